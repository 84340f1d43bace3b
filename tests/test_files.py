"""Files and folders that are written in one step: complete or not at all, whatever happens on the way."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from minielectra.errors import InputError
from minielectra.formats import files
from minielectra.formats.files import replacing, replacing_folder, write_json, write_text
from minielectra.formats.reading import read_json

linux_like = pytest.mark.skipif(os.name == "nt", reason="links, modes and locks as on Unix")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Stop(Exception):
    pass


def leftover(path, digits="0123456789abcdef"):
    """The name that a killed process leaves temporary `path`."""
    return path.with_name(f".{path.name}.{digits}.partial")


# Files.


def test_a_file_is_made_and_replaced(tmp_path):
    path = tmp_path / "a.txt"
    for content in (b"one", b"two\r\n"):
        with replacing(path) as temporary:
            assert (
                temporary.parent.parent == tmp_path
                and temporary.name == path.name
                and temporary.read_bytes() == b""
            )
            temporary.write_bytes(content)
            assert not path.exists() or path.read_bytes() == b"one"
        assert path.read_bytes() == content
        assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk(tmp_path, monkeypatch, call, existing):
    path = tmp_path / "a.txt"
    if existing:
        path.write_text("old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((files.Path, "write_text") if call == "write" else (files.os, call)), full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_text(path, "new")
    monkeypatch.undo()
    assert names(tmp_path) == ["a.txt"] * existing
    assert not existing or path.read_text() == "old"


def test_the_file_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, original=original: (calls.append(name), original(*a))
        )
    write_text(tmp_path / "a.txt", "text")
    assert calls == ["fsync", "replace", "fsync"][: 2 if os.name == "nt" else 3]  # file, then folder


@linux_like
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_are_those_of_open(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "plain").write_text("")
        (tmp_path / "plain folder").mkdir()
        write_text(tmp_path / "ours", "")
        with replacing_folder(tmp_path / "our folder") as temporary:
            (temporary / "file").write_text("")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes["ours"] == modes["plain"] == 0o666 & ~mask
    assert modes["our folder"] == modes["plain folder"] == 0o777 & ~mask
    assert stat.S_IMODE((tmp_path / "our folder" / "file").stat().st_mode) == modes["plain"]


@linux_like
def test_a_library_that_makes_its_own_file_gives_it_no_mode_of_its_own(tmp_path):
    """safetensors renames a file of mode 600 over the path it is given."""
    (tmp_path / "plain").write_text("")
    with replacing(tmp_path / "ours") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    with replacing_folder(tmp_path / "folder") as temporary:
        os.close(os.open(temporary / "ours", os.O_CREAT | os.O_WRONLY, 0o600))
    expected = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "folder" / "ours").stat().st_mode == expected


@linux_like
@pytest.mark.parametrize("dangling", [True, False])
def test_planted_links_are_not_followed(tmp_path, monkeypatch, dangling):
    """A link at the temporary name, even if somebody could guess it, is an error; links at other names are
    left alone."""
    victim, path = tmp_path / "victim", tmp_path / "a.txt"
    if not dangling:
        victim.write_text("precious")
    planted = [
        leftover(path),
        *(tmp_path / name for name in ("a.txt.partial", ".a.txt.partial", "a.txt.tmp")),
    ]
    for link in planted:
        link.symlink_to(victim)
    write_text(path, "new")
    with replacing_folder(tmp_path / "folder") as temporary:
        (temporary / "file").write_text("")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0123456789abcdef")
    with pytest.raises(FileExistsError):
        write_text(path, "newer")
    leftover(tmp_path / "folder 2").symlink_to(victim)
    with pytest.raises(FileExistsError), replacing_folder(tmp_path / "folder 2"):
        pass
    assert path.read_text() == "new" and not path.is_symlink()
    assert all(link.is_symlink() for link in planted)
    assert dangling != victim.exists() and (dangling or victim.read_text() == "precious")


@linux_like
def test_a_target_that_is_a_link_is_replaced_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a.txt").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "a.txt").is_symlink()


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="not an ordinary file"):
        write_text(tmp_path / "folder", "text")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileExistsError, match="not an ordinary file"):
            write_text(tmp_path / "pipe", "text")
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "a.txt", "text")
    assert set(names(tmp_path)) <= {"folder", "pipe"}


# Leftovers of killed processes.


@linux_like
def test_leftovers_are_removed_by_the_next_write_of_the_same_target(tmp_path):
    path = tmp_path / "a.txt"
    (leftover(path) / "deep").mkdir(parents=True)
    (leftover(path) / "a.txt").write_text("half")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("precious")
    (leftover(path) / "deep" / "link").symlink_to(tmp_path / "outside")
    others = [leftover(tmp_path / "b.txt"), leftover(path, "0" * 15), leftover(path, "F" * 16)]
    others += [tmp_path / name for name in ("a.txt.partial", ".aXtxt.0123456789abcdef.partial")]
    others += [tmp_path / f"x{leftover(path).name}", tmp_path / f"{leftover(path).name}.gz"]
    for other in others:
        other.mkdir()
    leftover(path, "a" * 16).write_text("a file is none of ours")
    os.mkfifo(leftover(path, "b" * 16))
    leftover(path, "c" * 16).symlink_to(tmp_path / "outside")
    before = names(tmp_path)
    write_text(path, "new")
    assert names(tmp_path) == sorted({*before, path.name} - {leftover(path).name})
    assert (tmp_path / "outside" / "file").read_text() == "precious"


@linux_like
@pytest.mark.parametrize("kind", ["replacing", "replacing_folder"])
def test_a_killed_process_leaves_what_the_next_removes(tmp_path, kind):
    path = tmp_path / "target"
    code = (
        "import os, signal, sys; from minielectra.formats import files\n"
        "with getattr(files, sys.argv[1])(sys.argv[2]) as temporary: os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, kind, str(path)], check=False)
    assert len(names(tmp_path)) == 1 and names(tmp_path)[0].startswith(".target.")
    with getattr(files, kind)(path):
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", [replacing, replacing_folder])
def test_a_write_in_progress_is_not_a_leftover(tmp_path, kind):
    path = tmp_path / "a"
    with kind(path) as first:
        with pytest.raises(Stop), kind(path) as second:
            raise Stop
        assert first != second and first.exists() and not second.exists()
    assert names(tmp_path) == ["a"]


def test_many_writers_of_one_file(tmp_path):
    path, errors = tmp_path / "a.txt", []

    def write(number):
        try:
            for _ in range(30):
                write_text(path, str(number) * 1000)
                assert len(set(path.read_text())) == 1
        except Exception as error:  # a thread's failure is the test's, below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(path.read_text()) == 1000 and names(tmp_path) == ["a.txt"]


# Folders.


def test_a_folder_is_made_with_its_parents(tmp_path):
    path = tmp_path / "deep" / "er" / "folder"
    with replacing_folder(path) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "file").write_text("content")
        assert not path.exists()
    assert (path / "sub" / "file").read_text() == "content" and names(path.parent) == ["folder"]
    with pytest.raises(FileExistsError), replacing_folder(path):
        pass
    assert names(path.parent) == ["folder"]


def test_every_file_of_a_folder_is_flushed(tmp_path, monkeypatch):
    flushed, original = [], files._finish
    monkeypatch.setattr(
        files, "_finish", lambda path, mode: (flushed.append(path.name), original(path, mode))
    )
    with replacing_folder(tmp_path / "folder") as temporary:
        (temporary / "sub").mkdir()
        for name in ("a", "b", "sub/c"):
            (temporary / name).write_text(name)
    assert sorted(flushed) == ["a", "b", "c"]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("where", ["block", "fsync", "rename"])
def test_a_failure_leaves_no_folder_or_the_old_one(tmp_path, monkeypatch, overwrite, where):
    path = tmp_path / "folder"
    if overwrite:
        path.mkdir()
        (path / "old").write_text("old")
    original = os.rename

    def fail(*arguments):
        if where == "rename" and arguments[0] != temporary:  # the old one may be moved away and back
            return original(*arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
        replacing_folder(path, overwrite) as temporary,
    ):
        (temporary / "new").write_text("new")
        if where == "block":
            fail(temporary)
        monkeypatch.setattr(files.os, where, fail)
        monkeypatch.setattr(files, "_exchange", lambda *_: False)  # not every system can
    monkeypatch.undo()
    assert names(tmp_path) == ["folder"] * overwrite
    assert not overwrite or names(path) == ["old"]


def test_a_folder_that_appears_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(OSError), replacing_folder(path) as temporary:
        (temporary / "ours").write_text("")
        path.mkdir()
        (path / "theirs").write_text("")
    assert names(path) == ["theirs"] and names(tmp_path) == ["folder"]


def test_overwriting_a_folder(tmp_path):
    path = tmp_path / "folder"
    for content in ("one", "two"):
        with replacing_folder(path, overwrite=True) as temporary:
            (temporary / content).write_text(content)
        assert names(path) == [content] and names(tmp_path) == ["folder"]
    path.joinpath("two").unlink()
    with replacing_folder(path, overwrite=True):  # an empty folder
        pass
    assert names(tmp_path) == ["folder"]


# Text and JSON.


def test_text_and_json(tmp_path):
    write_text(tmp_path / "a.txt", "é\nb\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\nb\r\n".encode()
    write_json(str(tmp_path / "a.json"), {"a": [1, None]})
    assert (tmp_path / "a.json").read_text() == json.dumps({"a": [1, None]}, indent=2) + "\n"
    assert read_json(str(tmp_path / "a.json"), "") == {"a": [1, None]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert read_json(tmp_path / "a.json", "") == {"a": [1, None]} and names(tmp_path) == ["a.json", "a.txt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "make it first"),
        (b"{", r"a\.json: cannot be read"),
        (b"[" * 10**5, r"a\.json: cannot be read"),
        (b"\xff", r"a\.json: cannot be read"),
        (b"[1]", r"a\.json: does not hold a JSON object"),
    ],
)
def test_json_that_is_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_json(tmp_path / "a.json", "make it first")
    assert "\n" not in str(caught.value)
