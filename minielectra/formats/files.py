"""Writing files and folders so that they are never half there.

Everything the product writes goes through here. Content is written in a temporary folder beside the target,
`.NAME.0123456789abcdef.partial`, flushed to the disk, and then renamed, which is one step for a file system.
So a reader finds the old content or the new, even after a power cut. The temporary name is random and created
exclusively: two writers never share one, and a link that somebody planted is never followed.

A file is announced as saved only when it would survive a power cut: its content is flushed, and so are the
names of the file and of every folder that was made for it.
"""

import contextlib
import ctypes
import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from os import PathLike
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{16}\.partial")


@contextlib.contextmanager
def replacing(path: str | PathLike) -> Iterator[Path]:
    """Create or replace the file `path` in one step.

        with replacing(path) as temporary:
            temporary.write_text(text)

    `temporary` is an empty file of the same name in a private folder. If the block ends without an error, it
    is flushed and renamed to `path`. Otherwise it is removed, and `path` stays as it was. The new file gets
    the mode that `open` would give it. The folder of `path` must exist. Raises FileExistsError if `path` is a
    folder, a device or a pipe, and OSError for other failures.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "exists and is not an ordinary file", str(path))
    with _temporary_folder(path, private=True) as folder:
        temporary = folder / path.name
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        _finish(temporary, mode)
        os.replace(temporary, path)
    _flush_folder(path.parent)


@contextlib.contextmanager
def replacing_folder(
    path: str | PathLike, overwrite: bool = False, flushed: Collection[str] = ()
) -> Iterator[Path]:
    """Create the folder `path` with all its files in one step.

        with replacing_folder(path) as temporary:
            (temporary / "a.txt").write_text(text)

    `temporary` is an empty folder beside `path`. If the block ends without an error, every file in it is
    flushed and the folder is renamed to `path`. Otherwise it is removed. Missing parents are created.

    overwrite: what `path` holds is removed once the new folder is complete. Without it, an existing `path`
    raises FileExistsError. Other failures raise OSError. flushed: names of files that the block has flushed
    itself by its end.
    """
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    make_folder(path.parent)
    with _temporary_folder(path) as temporary:
        yield temporary
        for found in temporary.rglob("*"):
            if found.is_dir():
                _flush_folder(found)
            elif found.name not in flushed:
                finish_file(found, temporary)
        _flush_folder(temporary)
        if overwrite:
            _replace_folder(temporary, path)
        else:
            os.rename(temporary, path)
    _flush_folder(path.parent)


def make_folder(path: str | PathLike) -> None:
    """Make a folder and its missing parents, if it is not there. Their names survive a power cut.

    Raises OSError, FileExistsError among them if `path` is something else than a folder.
    """
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        _flush_folder(folder.parent)


def remove_folder(path: str | PathLike) -> None:
    """Remove a folder; never half of it under its name, and never what links lead to. Raises OSError."""
    gone = _temporary_name(Path(path))
    os.rename(path, gone)
    _flush_folder(gone.parent)
    if gone.is_symlink():
        gone.unlink()
    else:
        shutil.rmtree(gone, ignore_errors=True)  # what cannot be removed is a leftover


def set_aside(path: str | PathLike, ending: str) -> Path:
    """Rename `path` to `path`.ENDING, or if that is taken, `path`.ENDING-2, … -> the new path."""
    path, number = Path(path), 1
    aside = path.with_name(f"{path.name}.{ending}")
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.{ending}-{number}")
    os.rename(path, aside)
    _flush_folder(path.parent)
    return aside


def append_text(path: str | PathLike, text: str) -> None:
    """Add `text` (UTF-8) to the end of a file, and flush it. Raises OSError, also if the file is a link.

    This is not one step: after a kill or a power cut, the end of the text may be missing.
    """
    path = Path(path)
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINKS, 0o666)
    with open(descriptor, "a", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    if new:
        _flush_folder(path.parent)


def open_for_appending(path: str | PathLike, size: int) -> io.FileIO:
    """The file `path`, opened to add bytes after its first `size` ones. What followed them is cut off.

    It has no buffer: what is written is in the operating system's hands at once, and on the disk after
    `flush_file`. The file is made if it is not there. Raises OSError, also if the file is a link.
    """
    path = Path(path)
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINKS, 0o666)
    os.ftruncate(descriptor, size)
    if new:
        _flush_folder(path.parent)
    return open(descriptor, "ab", buffering=0)


def write_text(path: str | PathLike, text: str) -> None:
    """Replace the file `path` by `text` (UTF-8, line ends as they are) in one step. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | PathLike, value) -> None:
    """Replace the file `path` by `value` as indented JSON in one step. Raises OSError."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def clear_leftovers(folder: str | PathLike, names: str = ".+") -> None:
    """Remove what killed processes left in `folder` while they were writing files or folders of these names.

    names: a regular expression. What a living process writes, and links, stay.
    """
    if fcntl is None or not os.path.isdir(folder):
        return
    ours = re.compile(rf"\.{names}\.[0-9a-f]{{16}}\.partial")
    for name in filter(ours.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError):  # a link, a file, in use by a living process, or already gone
            _remove_unlocked(Path(folder, name))


# Temporary folders. Each is locked while it is written, if the system can. The lock ends with the process at
# the latest, so a folder that nobody has locked is a leftover of a process that was killed.


@contextlib.contextmanager
def _temporary_folder(path: Path, private: bool = False) -> Iterator[Path]:
    """A new folder beside `path`. It is removed at the end if it is still there."""
    _remove_leftovers(path)
    folder, descriptor = _make_and_lock(path, 0o700 if private and os.name != "nt" else 0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def is_leftover(name: str) -> bool:
    """Whether a file name is one of those that a killed process leaves."""
    return _LEFTOVER.fullmatch(name) is not None


def _temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody can guess."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def _make_and_lock(path: Path, mode: int) -> tuple[Path, int | None]:
    """(a new folder beside `path`, the descriptor that locks it; None on Windows)."""
    while True:
        folder = _temporary_name(path)
        folder.mkdir(mode)  # raises FileExistsError for anything that is there, a link included
        if fcntl is None:
            return folder, None
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):  # some network drives have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)
        # Another writer took the folder for a leftover before it was locked: try again.


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left beside `path`: folders with exactly our names for it, never links."""
    clear_leftovers(path.parent, re.escape(path.name))


def _remove_unlocked(folder: Path) -> None:
    """Remove a folder. Raises OSError if it is no folder, or if a living process has locked it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _replace_folder(new: Path, path: Path) -> None:
    """Make the folder `new` the one at `path`, and remove what was there: links, never what they lead to."""
    if not os.path.lexists(path):
        os.rename(new, path)
        return
    if _exchange(new, path):
        old = new
    else:  # two steps: a process killed between them leaves the old folder under its other name
        old = path.with_name(f"{path.name}.{secrets.token_hex(8)}.old")
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(old, path)
            raise
    _flush_folder(path.parent)  # before the old content goes
    if old.is_symlink() or not old.is_dir():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Let two folders swap their names in one step, if the system can (Linux) -> whether it did."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # an old C library
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return call(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0


# Flushing is waiting until the disk has everything. Otherwise the new name could reach the disk before the
# content.


def finish_file(path: Path, folder: Path) -> None:
    """Flush a file in a folder of `replacing_folder`, with the mode that `open` gives."""
    _finish(path, stat.S_IMODE(folder.stat().st_mode) & 0o666)


def _finish(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:  # safetensors makes files that only their owner can read
        path.chmod(mode)
    flush_file(path)


def flush_file(path: str | PathLike) -> None:
    """Wait until the disk has the content of a file. Its name is flushed with its folder."""
    with open(path, "r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Flush the names in a folder, if the system can. Windows and some network drives cannot."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):  # it can, but it did not
            raise
