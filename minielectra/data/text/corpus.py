"""Reading a corpus: files, folders and patterns in, lines and documents out.

The format is BERT's: UTF-8, one sentence or paragraph per line, a blank line between documents. The end of a
file also ends a document. Text is streamed, so only one line is in memory at a time.
"""

import glob
import gzip
import zlib
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

from minielectra.errors import InputError

Paths = str | PathLike | Iterable[str | PathLike]


def find_corpus_files(paths: Paths) -> list[Path]:
    """The files that `paths` stand for, in the given order, each once.

    Each path is a file (`.gz` is fine), a folder (its `*.txt` and `*.txt.gz` at any depth, sorted) or a
    pattern such as `"books/**/*.txt"`. Raises InputError for a path that leads to no file.
    """
    if isinstance(paths, (str, PathLike)):
        paths = [paths]
    found: dict[Path, None] = {}
    for given in paths:
        found.update(dict.fromkeys(_files_of(Path(given).expanduser())))
    if not found:
        raise InputError("no text given: name at least one file, folder or pattern")
    return list(found)


def _files_of(path: Path) -> list[Path]:
    """The files that one path stands for."""
    try:
        if path.is_dir():
            files = sorted(p for pattern in ("*.txt", "*.txt.gz") for p in path.rglob(pattern) if p.is_file())
            if not files:
                raise InputError(
                    f"{path}: no *.txt or *.txt.gz in this folder; name the files, or another folder"
                )
            return files
        if path.exists():
            return [path]
    except PermissionError:
        raise InputError(_denied(path)) from None
    if not glob.has_magic(str(path)):
        raise InputError(f"{path}: no such file or folder; check the path")
    files = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
    if not files:
        raise InputError(
            f"{path}: the pattern matches no file; check it, or quote it so that the shell leaves it alone"
        )
    return files


def corpus_lines(paths: Paths) -> Iterator[str]:
    """All lines of the files, stripped; `""` once after each document and nowhere else.

    A byte-order mark at the beginning and Windows line ends are removed. Raises InputError for a file that
    cannot be read, holds no text, or is not UTF-8.
    """
    for path in find_corpus_files(paths):
        pending = False  # is there a document to close?
        for line in _decoded_lines(path):
            if line:
                pending = True
                yield line
            elif pending:
                pending = False
                yield ""
        if pending:
            yield ""


def corpus_documents(paths: Paths) -> Iterator[list[str]]:
    """Each document as the list of its lines, without blank ones. Errors as for `corpus_lines`."""
    document: list[str] = []
    for line in corpus_lines(paths):
        if line:
            document.append(line)
        else:
            yield document
            document = []


def _decoded_lines(path: Path) -> Iterator[str]:
    """The lines of one file, stripped, blank ones included."""
    offset, empty = 0, True  # offset: bytes before the current line
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if 0 in raw:
                    where = f"line {number}, byte {offset + raw.index(0)}"
                    raise InputError(
                        f"{path}: {where} is NUL, so this is not plain UTF-8 text; convert it or leave it out"
                    )
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as error:
                    where = f"line {number}, byte {offset + error.start}"
                    raise InputError(
                        f"{path}: {where} is not UTF-8; convert the file, for example with iconv"
                    ) from None
                offset += len(raw)
                empty = empty and not line
                yield line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: broken gzip file ({error}); download or compress it again") from None
    except PermissionError:
        raise InputError(_denied(path)) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    if empty:
        raise InputError(f"{path}: no text in this file; fill it or leave it out")


def _denied(path: Path) -> str:
    return f"{path}: permission denied; check the permissions of the file and of its folder"
