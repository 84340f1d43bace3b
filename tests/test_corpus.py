"""Finding and reading text, telling prose from code, and the default corpus."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import threading
import tracemalloc

import pytest
from conftest import cli, cli_here, train_here

from minielectra.data.dataset.prepare import prepare
from minielectra.data.text import corpus as corpus_module
from minielectra.data.text import default_corpus as default
from minielectra.data.text import documentation
from minielectra.data.text.corpus import corpus_documents, corpus_lines, find_corpus_files
from minielectra.data.text.prose import is_prose, paragraphs
from minielectra.errors import InputError
from minielectra.formats import limits


def test_documents_lines_and_line_ends(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeff\n\nOne é.\r\n  Two. \r\n \r\n\r\n\nThree.".encode())
    other = tmp_path / "b.txt"
    other.write_bytes(b"Four.\n")
    assert list(corpus_documents([file, other])) == [["One é.", "Two."], ["Three."], ["Four."]]
    assert list(corpus_lines(file)) == ["One é.", "Two.", "", "Three.", ""]


def test_a_long_line_is_one_line(tmp_path):
    file = tmp_path / "long.txt"
    file.write_text("word " * 200_000)
    [[line]] = corpus_documents(file)
    assert len(line) == 5 * 200_000 - 1


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


def test_what_a_folder_holds(tmp_path):
    names = ["a.TXT", "b.txt.GZ", "c.jsonl", "deep/wiki_00", "deep/part-00001.bz2", "d.ndjson.xz"]
    others = ["README", "notes.md", "table.csv", "e.json", "f.txt.zip", "v1.2"]
    (tmp_path / "deep").mkdir()
    for name in [*names, *others]:
        (tmp_path / name).write_text("X.")
    notes = []
    found = find_corpus_files(tmp_path, notes.append)
    assert sorted(str(path.relative_to(tmp_path)) for path in found) == sorted(names)
    [note] = notes
    assert f"left out {len(others)} files" in note and "README" in note


@pytest.mark.parametrize(
    ("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files(tmp_path, ending, compress):
    raw = "Ö.\n\nSecond.\n".encode()
    for name in (f"a.txt{ending}", "no-ending", f"b.TXT{ending.upper()}"):
        (tmp_path / name).write_bytes(compress(raw))
        assert list(corpus_lines(tmp_path / name)) == ["Ö.", "", "Second.", ""]
    (tmp_path / "a.jsonl").write_bytes(compress(b'{"text": "One."}\n'))
    assert list(corpus_lines(tmp_path / "a.jsonl")) == ["One.", ""]
    for content in (compress(raw * 999)[:-20], b"not compressed at all"):
        (tmp_path / f"broken.txt{ending}").write_bytes(content)
        with pytest.raises(InputError, match=r"broken.*: broken (gzip|bzip2|xz) file"):
            list(corpus_lines(tmp_path / f"broken.txt{ending}"))


def test_compressed_zeros_take_no_memory(tmp_path):
    (tmp_path / "zeros.txt.gz").write_bytes(gzip.compress(bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"line 1, byte 0 is NUL"):
        list(corpus_lines(tmp_path / "zeros.txt.gz"))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


# JSON lines.


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson", "a.txt", "wiki_00"])
def test_json_lines(tmp_path, name):
    records = [
        {"text": "Ä one.\nTwo.\n\nThree. ", "id": 1},
        {"url": {"a": [1]}, "text": " \n"},
        {"text": "Four."},
    ]
    content = "\ufeff\n" + "\r\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n\n"
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert list(corpus_documents(tmp_path / name)) == [["Ä one.", "Two.", "Three."], ["Four."]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"body": "x"}', 'line 3 has no "text" with a string'),
        ('{"text": null}', 'line 3 has no "text" with a string'),
        ('["x"]', 'line 3 has no "text" with a string'),
        ('{"text": "cut', "line 3 is not JSON"),
        ("[" * 100_000, "line 3 is not JSON"),
        ("Plain text.", "line 3 is not JSON"),
    ],
)
def test_lines_that_are_no_records(tmp_path, line, message):
    (tmp_path / "a.txt").write_text(f'{{"text": "One."}}\n\n{line}\n')
    with pytest.raises(InputError, match=f"a.txt: {message}") as caught:
        list(corpus_lines(tmp_path / "a.txt"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_json_that_is_not_in_lines(tmp_path):
    (tmp_path / "a.json").write_text('[\n{"text": "x"}\n]\n')
    with pytest.raises(InputError, match=r"a.json: line 1 is not JSON"):
        list(corpus_lines(tmp_path / "a.json"))
    (tmp_path / "prose.txt").write_text("{curly} is the first word.\n")
    assert list(corpus_lines(tmp_path / "prose.txt")) == ["{curly} is the first word.", ""]


def test_records_may_be_long_but_not_endless(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "LONGEST_LINE", 1000)
    monkeypatch.setattr(corpus_module, "_READ", 100)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "A word. " * 1000}) + "\n")
    documents = list(corpus_documents(tmp_path / "a.jsonl"))
    assert len(documents) == 8 and all(len(line) <= 1000 for [line] in documents)
    monkeypatch.setattr(limits, "RECORD", 1 << 12)
    with pytest.raises(InputError, match="line 1 has more than 0 MiB; MINIELECTRA_LIMITS=4"):
        list(corpus_documents(tmp_path / "a.jsonl"))
    monkeypatch.setenv("MINIELECTRA_LIMITS", "4")
    assert len(list(corpus_documents(tmp_path / "a.jsonl"))) == 8


def test_marks_of_wikiextractor_end_documents(tmp_path):
    (tmp_path / "wiki_00").write_text(
        '<doc id="1" url="u" title="T">\nT\n\nOne.\n</doc>\n<doc id="2">\nTwo.\n</doc>\n'
    )
    assert list(corpus_documents(tmp_path)) == [["T"], ["One."], ["Two."]]


# Pipes.


@pytest.fixture
def pipe(tmp_path):
    """A named pipe, into which a thread writes some text once."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines = [f"Sentence number {i} has some words." for i in range(300)]
    thread = threading.Thread(target=lambda: path.write_text("\n".join(lines) + "\n"))
    thread.start()
    yield path, lines
    thread.join(10)


def test_a_pipe_is_read_once(pipe, tmp_path):
    path, lines = pipe
    assert find_corpus_files(path) == [path]
    dataset = prepare(path, tmp_path / "data", 120)
    (tmp_path / "file.txt").write_text("\n".join(lines) + "\n")
    same = prepare(tmp_path / "file.txt", tmp_path / "same", 120)
    assert dataset.info["sources"] == ["pipe"]
    assert dataset.info | {"sources": 0} == same.info | {"sources": 0}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "file.txt", "pipe", "same"]


def test_a_run_keeps_the_text_of_a_pipe(pipe, tmp_path):
    path, _ = pipe
    train_here(tmp_path / "run", path, "--steps", 2)
    path.unlink()
    cli_here("train", "--resume", tmp_path / "run", "--steps", 3)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["corpus"] == [str(path)]


def test_standard_input_is_read_once(tmp_path):
    if not os.path.exists("/dev/stdin"):
        pytest.skip("no /dev/stdin here")
    text = "\n".join(f"Line {i} goes through a pipe." for i in range(200))
    done = cli("prepare", "--corpus", "/dev/stdin", "--vocab-size", 100, "--out", tmp_path / "a", input=text)
    assert done.stdout.splitlines()[-1] == str(tmp_path / "a")


def test_devices_are_refused():
    if not os.path.exists("/dev/zero"):
        pytest.skip("no /dev here")
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(InputError, match=f"{device}: is a device"):
            find_corpus_files(device)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "no text in this file"),
        ("blank.txt", b" \n\r\n\n", "no text in this file"),
        ("binary.txt", b"abc\nde\x00f", "line 2, byte 6 is NUL"),
        ("latin.txt", b"fine\ncaf\xe9 au lait\n", "line 2, byte 8 is not UTF-8; .*iconv"),
        ("cut.txt.gz", gzip.compress(b"text " * 1000, mtime=0)[:-20], "broken gzip"),
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
