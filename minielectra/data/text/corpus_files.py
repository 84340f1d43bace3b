"""The files of a corpus: paths, folders, patterns and pipes in, open streams of bytes out."""

import bz2
import contextlib
import glob
import gzip
import lzma
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple

from minielectra.errors import InputError, reason
from minielectra.formats.reading import expanded

Paths = str | PathLike | Iterable[str | PathLike]

JSON_LINES = (".jsonl", ".ndjson", ".json")  # endings of files that hold one JSON object per line
_ENDINGS = (".txt", ".jsonl", ".ndjson")  # of what is taken from a folder
_NUMBERED = re.compile(r"[^.]*\d")  # and names without an ending that are numbered: wiki_00, part-00001
# {ending: (name, how such a file begins, how to open it)}
_COMPRESSED = {
    ".gz": ("gzip", re.compile(rb"\x1f\x8b\x08"), gzip.open),
    ".bz2": ("bzip2", re.compile(rb"BZh[1-9]1AY&SY"), bz2.open),
    ".xz": ("xz", re.compile(rb"\xfd7zXZ\x00"), lzma.open),
}


class Spooled(NamedTuple):
    """What came through a pipe, kept in a file without a name, so that it can be read again."""

    path: Path  # the pipe
    stream: BinaryIO


def find_corpus_files(paths: Paths, tell: Callable[[str], None] | None = None) -> list[Path]:
    """The files that `paths` stand for, in the given order, each once.

    Each path is a file or a pipe, a folder or a pattern such as `"books/**/*.txt"`. Of a folder, these are
    taken, at any depth, sorted: `*.txt` and `*.jsonl` (in capitals too), those compressed, and numbered files
    without an ending such as `wiki_00`. tell: called with a sentence about the files that are left out.
    Raises InputError for a path that leads to no file.
    """
    if isinstance(paths, (str, PathLike)):
        paths = [paths]
    found: dict[Path, None] = {}
    for given in paths:
        found.update(dict.fromkeys(_files_of(expanded(given), tell or (lambda _: None))))
    if not found:
        raise InputError("no text given: name at least one file, folder or pattern")
    return list(found)


def _files_of(path: Path, tell: Callable[[str], None]) -> list[Path]:
    """The files that one path stands for."""
    try:
        if path.is_dir():
            return _in_folder(path, tell)
        if path.exists():
            mode = path.stat().st_mode
            terminal = str(path.resolve()).startswith(("/dev/pts/", "/dev/tty"))
            if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not terminal):
                raise InputError(f"{path}: is a device, not a text; give a file, a folder or a pipe")
            return [path]
    except PermissionError:
        raise InputError(denied(path)) from None
    if not glob.has_magic(str(path)):
        raise InputError(f"{path}: no such file or folder; check the path")
    files = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
    if not files:
        raise InputError(
            f"{path}: the pattern matches no file; check it, or quote it so that the shell leaves it alone"
        )
    return files


def _in_folder(folder: Path, tell: Callable[[str], None]) -> list[Path]:
    files, others = [], []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = plain_name(path)
        is_text = name.endswith(_ENDINGS) or _NUMBERED.fullmatch(name)
        (files if is_text else others).append(path)
    if not files:
        raise InputError(
            f"{folder}: no *.txt, *.jsonl or the like in this folder; name the files, or another folder"
        )
    if others:
        kinds = "other than *.txt, *.jsonl and numbered files"
        tell(f"{folder}: left out {len(others)} files {kinds}; the first is {others[0]}")
    return files


def plain_name(path: Path) -> str:
    """The name of a file in small letters, without the ending of a compressed one."""
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return name


def is_pipe(path: Path) -> bool:
    """Whether what a path leads to can be read only once, as a pipe or a file that came as standard input."""
    return path.exists() and not path.is_dir() and (not path.is_file() or path.parts[1:2] == ("dev",))


@contextlib.contextmanager
def readable_again(files: Iterable[Path | Spooled], folder: str | PathLike | None) -> Iterator[list]:
    """The same files, each pipe among them read once, into a file without a name in `folder`.

    folder: None for the system's. Raises InputError if a pipe cannot be read, or if its text does not fit.
    """
    with contextlib.ExitStack() as opened:
        result = []
        for file in files:
            if isinstance(file, Path) and is_pipe(file):
                try:
                    stream = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                    with file.open("rb") as pipe:
                        shutil.copyfileobj(pipe, stream, 1 << 20)
                except OSError as error:
                    problem = f"cannot be read and kept for the next pass ({reason(error)})"
                    raise InputError(f"{file}: {problem}; write it to a file first") from None
                file = Spooled(file, stream)
            result.append(file)
        yield result


@contextlib.contextmanager
def open_corpus_file(file: Path | Spooled) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed. Raises InputError, also within the block, if it cannot be read."""
    path = file.path if isinstance(file, Spooled) else file
    kind = None
    try:
        with contextlib.ExitStack() as opened:
            if isinstance(file, Spooled):
                file.stream.seek(0)
                stream = file.stream
            else:
                stream = opened.enter_context(path.open("rb"))
            kind, opener = _compression(path, stream)
            yield opened.enter_context(opener(stream)) if opener else stream
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(_broken(path, kind, error)) from None
    except MemoryError:  # xz may ask for gigabytes
        raise InputError(f"{path}: needs more memory than there is; compress it in another way") from None
    except PermissionError:
        raise InputError(denied(path)) from None
    except OSError as error:
        if kind and error.errno is None:  # bzip2's
            raise InputError(_broken(path, kind, error)) from None
        raise InputError(f"{path}: cannot be read ({reason(error)}); check the path") from None


def _compression(path: Path, stream: BinaryIO):
    """How a file is compressed, by its ending or its first bytes -> (name, opener), or (None, None)."""
    begin = stream.read(16)
    stream.seek(-len(begin), os.SEEK_CUR)
    for ending, (name, pattern, opener) in _COMPRESSED.items():
        if path.suffix.lower() == ending or pattern.match(begin):
            return name, opener
    return None, None


def _broken(path: Path, kind: str, error: Exception) -> str:
    return f"{path}: broken {kind} file ({reason(error)}); download or compress it again"


def denied(path: Path) -> str:
    """The message for a file that may not be read."""
    return f"{path}: permission denied; check the permissions of the file and of its folder"
