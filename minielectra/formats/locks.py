"""Locks on folders: one process at a time works in a run or an output folder, and others are told who it is.

    with locked(folder / LOCK_NAME, folder):
        …

The lock belongs to the open file, so it ends with its process, however that ends. The file itself holds the
name of its owner, for the message that others get. It is removed at the end; a killed process leaves it, and
it then means nothing. Network drives without locks are used without them.
"""

import contextlib
import datetime
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from minielectra.errors import InputError
from minielectra.formats.files import clear_leftovers, is_leftover, make_folder
from minielectra.formats.reading import check_links

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everything else
    msvcrt = None

LOCK_NAME = ".lock"
_PATIENCE = 1.0  # seconds that the owner of a lock has for writing its name into it
_FAR = 1 << 30  # Windows keeps others from reading what is locked, so a byte far behind the text is


def vacant(folder: str | PathLike) -> bool:
    """Whether `folder` is missing, or an empty folder; what a killed process left does not count."""
    folder = Path(folder)
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and all(
        path.name == LOCK_NAME or is_leftover(path.name) for path in folder.iterdir()
    )


def unused(folder: str | PathLike) -> Path:
    """`folder`, or if that is taken, the first of `folder`-2, `folder`-3, … that is not there."""
    folder, number = Path(folder), 1
    while os.path.lexists(folder if number == 1 else folder.with_name(f"{folder.name}-{number}")):
        number += 1
    return folder if number == 1 else folder.with_name(f"{folder.name}-{number}")


class Claim:
    """A folder that this process works in, and what it may take back."""

    def __init__(self, folder: Path, made: bool):
        self.folder = folder
        self.made = made  # whether the folder was not there before
        self.undone = False

    def undo(self, names) -> None:
        """Remove what this process made in the folder, of these names; at the end also the folder itself."""
        for path in map(self.folder.joinpath, names):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                _remove(path)
        self.undone = True


@contextlib.contextmanager
def claimed(folder: str | PathLike) -> Iterator[Claim]:
    """Make `folder` if it is missing, and hold its lock while the block runs.

    What killed processes left half-written in it is removed. Raises InputError if it cannot be made, if
    another process holds the lock, or if a link in it leads out of it.
    """
    folder = Path(folder)
    made = not folder.exists()
    try:
        make_folder(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created ({error.strerror}); choose another --out") from None
    claim = Claim(folder, made)
    try:
        with locked(folder / LOCK_NAME, folder):
            check_links(folder)
            for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
                clear_leftovers(place)
            yield claim
    finally:
        if claim.undone and made:
            with contextlib.suppress(OSError):  # it holds something that is not ours
                folder.rmdir()


@contextlib.contextmanager
def locked(path: str | PathLike, folder: str | PathLike) -> Iterator[None]:
    """Hold the lock file `path` while the block runs. folder: what is locked, as messages call it.

    Raises InputError if another process holds it, with what is known about that process, and OSError if the
    file cannot be made.
    """
    path = Path(path)
    descriptor = _acquire(path, folder)
    try:
        yield
    finally:
        if msvcrt is None:
            _remove(path)  # while it is still locked, so that nobody else can have locked it
            os.close(descriptor)
        else:  # Windows does not remove open files
            os.close(descriptor)
            _remove(path)


@contextlib.contextmanager
def locked_beside(folder: str | PathLike) -> Iterator[None]:
    """The same for a folder that appears as a whole at the end: its lock lies beside it.

    Parents that are missing are made, and removed again if nothing came of it.
    """
    path = Path(folder).absolute()
    missing = [parent for parent in path.parents if not parent.exists()]
    make_folder(path.parent)
    try:
        with locked(path.with_name(f".{path.name}{LOCK_NAME}"), folder):
            yield
    finally:
        for parent in missing:
            with contextlib.suppress(OSError):  # it is in use
                parent.rmdir()


def is_held(path: str | PathLike) -> bool:
    """Whether a process holds the lock file `path`. If none does, it is taken for a moment to find out."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # most likely, it is not there
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _acquire(path: Path, folder) -> int:
    """The descriptor of the locked file. It is not inherited by other programs that this process starts."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if not _lock(descriptor):
                raise InputError(f"{folder}: in use by {_owner(descriptor)}; wait for it to end, or stop it")
            if _still_there(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _signature().encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last owner removed it between our opening and our locking: try again


def _lock(descriptor: int) -> bool:
    """Lock an open file -> False if somebody else has. Where there are no locks, nobody has."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a network drive without locks
        pass
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def _still_there(path: Path, descriptor: int) -> bool:
    """Whether `path` still is the file that is open."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # its folder may be gone, or another process may have opened it
        path.unlink()


def _signature() -> str:
    """What others are told: which process holds the lock, where, and since when."""
    program = Path(sys.argv[0] or "python").name
    command = " ".join(["minielectra" if program == "__main__.py" else program, *sys.argv[1:2]])
    since = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
    return f"process {os.getpid()} ({command}) on {platform.node() or 'this machine'} since {since}"


def _read(descriptor: int) -> str:
    """The text of a lock file; empty if another program keeps us from reading it."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, 400).decode("utf-8", "replace")
    except OSError:
        return ""


def _owner(descriptor: int) -> str:
    """The signature in a lock file. Its owner has locked it, but perhaps not signed it yet: wait a moment."""
    text = _read(descriptor)
    patience_ends = time.monotonic() + _PATIENCE
    while not text and time.monotonic() < patience_ends:
        time.sleep(0.01)
        text = _read(descriptor)
    if not text.startswith("process "):  # somebody else wrote the file
        return "another process"
    return "".join(character if character.isprintable() else "?" for character in text)
