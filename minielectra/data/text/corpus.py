"""Reading a corpus: files, folders, patterns and pipes in, lines and documents out.

Plain text has BERT's format: UTF-8, one sentence or paragraph per line, a blank line between documents. The
end of a file also ends a document. JSON lines have one object per line, whose "text" is a document. Text is
streamed: a line that is longer than a million characters is read, and split into documents, piece by piece.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from minielectra.data.text.corpus_files import (
    JSON_LINES,
    Paths,
    Spooled,
    find_corpus_files,
    open_corpus_file,
    plain_name,
    readable_again,
)
from minielectra.data.text.sentences import cut_before
from minielectra.errors import InputError, reason

__all__ = ["Paths", "corpus_documents", "corpus_lines", "find_corpus_files", "lines_of"]

LONGEST_LINE = 1 << 20  # characters; what is longer becomes several documents
LONGEST_RECORD = 1 << 26  # bytes of one line of JSON
_READ = 1 << 20  # bytes that are read at a time, at most
_BOUNDARY = re.compile(r"<doc id=.*>|</doc>")  # what WikiExtractor writes around a document


def corpus_lines(paths: Paths) -> Iterator[str]:
    """All lines of the files, stripped; `""` once after each document and nowhere else.

    A byte-order mark at the beginning and Windows line ends are removed. Raises InputError for a file that
    cannot be read, holds no text, or is not UTF-8, and for a line of JSON without a text.
    """
    with readable_again(find_corpus_files(paths), None) as files:
        yield from lines_of(files)


def lines_of(files: Iterable[Path | Spooled]) -> Iterator[str]:
    """As `corpus_lines`, from files that were found and can be read again."""
    for file in files:
        pending = False  # is there a document to close?
        empty = True
        for line in _stripped_lines(file):
            if line:
                pending, empty = True, False
                yield line
            elif pending:
                pending = False
                yield ""
        if pending:
            yield ""
        if empty:
            raise InputError(f"{_path(file)}: no text in this file; fill it or leave it out")


def corpus_documents(paths: Paths) -> Iterator[list[str]]:
    """Each document as the list of its lines, without blank ones. Errors as for `corpus_lines`."""
    document: list[str] = []
    for line in corpus_lines(paths):
        if line:
            document.append(line)
        else:
            yield document
            document = []


def _path(file: Path | Spooled) -> Path:
    return file.path if isinstance(file, Spooled) else file


def _stripped_lines(file: Path | Spooled) -> Iterator[str]:
    """The lines of one file, stripped; a blank one wherever a document ends, and perhaps elsewhere."""
    records = _holds_json(file)
    with open_corpus_file(file) as stream:
        pieces = _decoded(_path(file), stream)
        if records:
            for number, record in _whole_lines(_path(file), pieces):
                for line in _record_text(_path(file), number, record).split("\n"):
                    if stripped := line.strip():
                        yield from _short_lines([(stripped, True)])
                yield ""
        else:
            for line in _short_lines((text, ends) for _, text, ends in pieces):
                yield "" if line.startswith("<") and _BOUNDARY.fullmatch(line) else line


def _decoded(path: Path, stream) -> Iterator[tuple[int, str, bool]]:
    """(line number, text, whether the line ends with it): lines, the long ones in pieces.

    Raises InputError for NUL bytes and for what is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, offset = 1, 0  # offset: bytes before the current piece
    while True:
        raw = stream.readline(_READ)
        if 0 in raw:
            where = f"line {number}, byte {offset + raw.index(0)}"
            raise InputError(
                f"{path}: {where} is NUL, so this is not plain UTF-8 text; convert it or leave it out"
            )
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            before = len(error.object) - len(raw)  # bytes of a character that began in the piece before
            where = f"line {number}, byte {offset - before + error.start}"
            raise InputError(
                f"{path}: {where} is not UTF-8; convert the file, for example with iconv"
            ) from None
        if not raw:
            return
        ends = raw.endswith(b"\n")
        yield number, text if offset else text.removeprefix("\ufeff"), ends
        offset += len(raw)
        number += ends


def _short_lines(pieces: Iterable[tuple[str, bool]]) -> Iterator[str]:
    """Lines, stripped, from (text, whether the line ends with it).

    A long line comes in parts, with a blank one after each.
    """
    waiting = ""
    for text, ends in pieces:
        waiting += text
        while len(waiting) > LONGEST_LINE:
            cut = cut_before(waiting, LONGEST_LINE)
            yield waiting[:cut].strip()
            yield ""
            waiting = waiting[cut:]
        if ends:
            yield waiting.strip()
            waiting = ""
    if waiting:
        yield waiting.strip()


# JSON lines.


def _holds_json(file: Path | Spooled) -> bool:
    """Whether a file holds JSON lines: its name says so, or its first line is a JSON object."""
    if plain_name(_path(file)).endswith(JSON_LINES):
        return True
    with open_corpus_file(file) as stream:
        line = stream.readline(_READ).removeprefix(codecs.BOM_UTF8)
        while line and not line.strip():
            line = stream.readline(_READ)
        line = line.lstrip()
        if not line.startswith(b"{"):
            return False
        line += stream.readline(LONGEST_RECORD) if not line.endswith(b"\n") else b""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _whole_lines(path: Path, pieces: Iterable[tuple[int, str, bool]]) -> Iterator[tuple[int, str]]:
    """(line number, line) of the lines that are not blank. Raises InputError for one that is too long."""
    parts: list[str] = []
    last = 1
    for number, text, ends in pieces:
        parts.append(text)
        last = number
        if sum(map(len, parts)) > LONGEST_RECORD:
            size = LONGEST_RECORD >> 20
            raise InputError(f"{path}: line {number} has more than {size} MiB; cut its text into several")
        if ends:
            if line := "".join(parts).strip():
                yield number, line
            parts = []
    if line := "".join(parts).strip():
        yield last, line


def _record_text(path: Path, number: int, line: str) -> str:
    """The text of a line of JSON. Raises InputError if there is none."""
    where = f"{path}: line {number}"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({reason(error)}); write one object per line") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError(
            f'{where} has no "text" with a string; write objects like {{"text": "…"}}, one per line'
        )
    return record["text"]
