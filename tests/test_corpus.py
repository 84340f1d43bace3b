"""Finding and reading text, telling prose from code, and the default corpus."""

import gzip
import os
import subprocess
import sys

import pytest

from minielectra.data.text import default_corpus as default
from minielectra.data.text import documentation
from minielectra.data.text.corpus import corpus_documents, corpus_lines, find_corpus_files
from minielectra.data.text.prose import is_prose, paragraphs
from minielectra.errors import InputError


def test_documents_lines_and_line_ends(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeff\n\nOne é.\r\n  Two. \r\n \r\n\r\n\nThree.".encode())
    other = tmp_path / "b.txt"
    other.write_bytes(b"Four.\n")
    assert list(corpus_documents([file, other])) == [["One é.", "Two."], ["Three."], ["Four."]]
    assert list(corpus_lines(file)) == ["One é.", "Two.", "", "Three.", ""]


def test_one_huge_line(tmp_path):
    file = tmp_path / "huge.txt"
    file.write_text("word " * 400_000)
    [[line]] = corpus_documents(file)
    assert len(line) == 5 * 400_000 - 1


def test_folders_patterns_and_gzip(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "z.txt").write_text("Z.")
    (tmp_path / "notes.md").write_text("M.")
    (tmp_path / "deep" / "er" / "y.txt.gz").write_bytes(gzip.compress(b"Y."))
    assert [p.name for p in find_corpus_files(tmp_path)] == ["y.txt.gz", "z.txt"]
    assert [p.name for p in find_corpus_files([str(tmp_path / "*.md"), tmp_path / "z.txt", tmp_path])] == [
        "notes.md",
        "z.txt",
        "y.txt.gz",
    ]
    assert list(corpus_documents(tmp_path)) == [["Y."], ["Z."]]
    brackets = tmp_path / "with [brackets].txt"
    brackets.write_text("B.")
    assert find_corpus_files(brackets) == [brackets]  # an existing file wins over the pattern it could be


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "no text in this file"),
        ("blank.txt", b" \n\r\n\n", "no text in this file"),
        ("binary.txt", b"abc\nde\x00f", "line 2, byte 6 is NUL"),
        ("latin.txt", b"fine\ncaf\xe9 au lait\n", "line 2, byte 8 is not UTF-8; .*iconv"),
        ("cut.txt.gz", gzip.compress(b"text " * 1000)[:-20], "broken gzip"),
        ("fake.txt.gz", b"not gzip at all", "broken gzip"),
    ],
)
def test_unusable_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(corpus_documents(tmp_path / name))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "folder").mkdir()
    messages = {"none.txt": "no such file", "*.none": "matches no file", "folder": r"no \*.txt"}
    for path, message in messages.items():
        with pytest.raises(InputError, match=message):
            find_corpus_files(str(tmp_path / path))
    with pytest.raises(InputError, match="no text given"):
        find_corpus_files([])


CAN_READ_ALL = sys.platform == "win32" or (hasattr(os, "geteuid") and os.geteuid() == 0)


@pytest.mark.skipif(CAN_READ_ALL, reason="root can read everything")
def test_no_permission(tmp_path):
    file = tmp_path / "secret.txt"
    file.write_text("S.")
    file.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        list(corpus_lines(file))


# Prose.


def test_prose_is_told_from_code_and_tables():
    docstring = """Return the distance between a pair of :func:`~os.path.join` points.

The result is *always* given in the ``units`` of the
first point, as was decided in 1999.

    >>> distance(a, b)
    3.0

Heading of the section that follows
-----------------------------------
x : array_like, optional
    The points from which the distance is to be taken.

Use it like this::

    This is code in the block after the double colon, not prose.

- The first of the items in this list is
  continued on the second line.
:param y: The other one of the two points, in the same units.

====  =====
a     b
====  =====
"""
    assert list(paragraphs(docstring)) == [
        "Return the distance between a pair of os.path.join points.",
        "The result is always given in the units of the first point, as was decided in 1999.",
        "The points from which the distance is to be taken.",
        "The first of the items in this list is continued on the second line.",
        "The other one of the two points, in the same units.",
    ]
    assert not is_prose("if x == y: return the value of the thing.")
    assert not is_prose("Too short.")


def test_default_corpus_is_cached_and_the_same_again(tmp_path, monkeypatch):
    library = tmp_path / "library"
    library.mkdir()
    for i in range(60):
        number = "i" * (i + 1)
        words = f"This is the sentence with the number {number} that the module has for its documentation."
        docstring = f'"""{words}\n\nThe same paragraph is in all of the files."""\n'
        comment = "# And this is a comment\n# of two lines.\n"
        (library / f"m{i:02}.py").write_text((docstring + "# not code\nx = (\n") * (i != 7))
        (library / f"n{i:02}.py").write_text(docstring + comment)
    monkeypatch.setattr(documentation, "_folders", lambda: [library])
    monkeypatch.setenv("MINIELECTRA_CACHE", str(tmp_path / "cache"))
    path = default.default_corpus()
    documents = list(corpus_documents(path))
    assert path.parent == tmp_path / "cache" and len(documents) == 60  # files that do not parse are left out
    assert documents == documentation.gather_documents()
    assert documents[0][1:] == [
        "The same paragraph is in all of the files.",
        "And this is a comment of two lines.",
    ]
    assert all(len(document) == 1 for document in documents[1:])
    assert os.listdir(path.parent) == [path.name]

    monkeypatch.setattr(documentation, "_folders", lambda: [])
    assert default.default_corpus() == path  # from the cache
    with pytest.raises(InputError, match="almost no documentation"):
        default.default_corpus(tmp_path / "elsewhere")


def test_an_unwritable_cache_is_no_failure(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(default, "gather_documents", lambda: [["A paragraph."]])
    assert default.default_corpus(tmp_path / "file" / "cache") == [["A paragraph."]]


def test_cache_directory(monkeypatch):
    monkeypatch.setenv("MINIELECTRA_CACHE", "/somewhere")
    assert default.cache_directory().as_posix() == "/somewhere"
    monkeypatch.delenv("MINIELECTRA_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default.cache_directory().as_posix() == "/xdg/minielectra"


@pytest.mark.slow
def test_this_installation_has_enough_prose():
    """It is found in a fresh interpreter, without importing what is read."""
    code = (
        "import sys; from minielectra.data.text.documentation import gather_documents\n"
        "d = gather_documents()\n"
        "print(sum(len(p.split()) for x in d for p in x), 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words, imported = done.stdout.split()
    assert int(words) > 100_000 and imported == "False"
