"""Reading files that others made: JSON, sizes, and paths that are not what they seem."""

import os
import stat
from os import PathLike
from pathlib import Path

from minielectra.errors import InputError, reason
from minielectra.formats import limits
from minielectra.formats.json_text import parse_json


def expanded(path: str | PathLike) -> Path:
    """A path with the home directory in the place of ~. Raises InputError if the system knows no home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: the home directory is not known; give the whole path") from None


def read_json(path: str | PathLike, missing: str) -> dict:
    """The JSON object in the file `path`.

    Raises InputError: with the message `missing` if there is no such file; otherwise it names the file and
    says why it cannot be read or that it holds something other than an object.
    """
    path = Path(path)
    try:
        check_ordinary(path)
        value = parse_json(read_bytes(path, limits.JSON))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(missing) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: does not hold a JSON object")
    return value


def read_bytes(path: str | PathLike, size: int) -> bytes:
    """The content of a file. size: one of `limits`. Raises OSError, and InputError if it is larger."""
    parts, left = [], limits.limit(size)
    with open(path, "rb") as file:
        while part := file.read(1 << 16):
            parts.append(part)
            left -= len(part)
            if left < 0:
                raise InputError(f"{path}: {limits.too_large(size)}")
    return b"".join(parts)


def check_ordinary(path: str | PathLike) -> None:
    """Raise InputError if `path` is something else than an ordinary file: a pipe might never end."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # reading it will say what is wrong
    from_the_shell = stat.S_ISFIFO(mode) and str(path).startswith("/dev/fd/")  # as in <(cat x)
    if not stat.S_ISREG(mode) and not from_the_shell:
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for test, name in kinds if test(mode)), "a device")
        raise InputError(f"{path}: is {kind}, not an ordinary file")


def check_links(folder: str | PathLike) -> None:
    """Raise InputError if a link inside `folder`, at any depth, leads out of it.

    A run that somebody sent could otherwise make us read, write or delete elsewhere. `folder` itself may be
    reached through links.
    """
    inside = os.path.realpath(folder) + os.sep
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            if os.path.islink(path) and not (os.path.realpath(path) + os.sep).startswith(inside):
                raise InputError(
                    f"{path}: is a link that leads out of {folder}; put what it leads to in its place"
                )
