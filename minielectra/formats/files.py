"""Writing files and folders so that they are never half there, and reading JSON.

Everything the product writes goes through here. Content is written in a temporary folder beside the target,
`.NAME.0123456789abcdef.partial`, flushed to the disk, and then renamed, which is one step for a file system.
So a reader finds the old content or the new, even after a power cut. The temporary name is random and created
exclusively: two writers never share one, and a link that somebody planted is never followed.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from minielectra.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


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
def replacing_folder(path: str | PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Create the folder `path` with all its files in one step.

        with replacing_folder(path) as temporary:
            (temporary / "a.txt").write_text(text)

    `temporary` is an empty folder beside `path`. If the block ends without an error, every file in it is
    flushed and the folder is renamed to `path`. Otherwise it is removed. Missing parents are created.

    overwrite: what `path` holds is removed once the new folder is complete. Without it, an existing `path`
    raises FileExistsError. Other failures raise OSError.
    """
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_folder(path) as temporary:
        mode = stat.S_IMODE(temporary.stat().st_mode) & 0o666
        yield temporary
        for found in temporary.rglob("*"):
            if found.is_dir():
                _flush_folder(found)
            else:
                _finish(found, mode)
        _flush_folder(temporary)
        if overwrite:
            _replace_folder(temporary, path)
        else:
            os.rename(temporary, path)
    _flush_folder(path.parent)


def write_text(path: str | PathLike, text: str) -> None:
    """Replace the file `path` by `text` (UTF-8, line ends as they are) in one step. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | PathLike, value) -> None:
    """Replace the file `path` by `value` as indented JSON in one step. Raises OSError."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | PathLike, missing: str) -> dict:
    """The JSON object in the file `path`.

    Raises InputError: with the message `missing` if there is no such file; otherwise it names the file and
    says why it cannot be read or that it holds something other than an object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(missing) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: does not hold a JSON object")
    return value


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
    """Rename the folder `new` to `path`. What was there is set aside first, and put back on failure."""
    if not os.path.lexists(path):
        os.rename(new, path)
        return
    old = _temporary_name(path)
    os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        os.rename(old, path)
        raise
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


# Flushing is waiting until the disk has everything. Otherwise the new name could reach the disk before the
# content.


def _finish(path: Path, mode: int) -> None:
    """Flush a file, with the mode that `open` gives."""
    if stat.S_IMODE(path.stat().st_mode) != mode:  # safetensors makes files that only their owner can read
        path.chmod(mode)
    with open(path, "r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Flush the names in a folder, if the system can. Windows and some network drives cannot."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
