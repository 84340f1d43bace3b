"""Reading a corpus: files, folders, patterns and pipes in, lines and documents out.

Plain text has BERT's format: UTF-8, one sentence or paragraph per line, a blank line between documents. The
end of a file also ends a document. JSON lines have one object per line, whose "text" is a document. Text is
streamed: a line that is longer than a million characters is read, and split into documents, piece by piece.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import compress
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
from minielectra.formats import limits
from minielectra.formats.json_text import parse_json

__all__ = ["Paths", "corpus_documents", "corpus_lines", "find_corpus_files", "lines_of"]

LONGEST_LINE = 1 << 20  # characters; what is longer becomes several documents
_READ = 1 << 18  # bytes that are read at a time
_BLANKS = re.compile("\n{3,}")  # several blank lines
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
        blocks = _decoded(_path(file), stream)
        if records:
            for number, record in _whole_lines(_path(file), blocks):
                for line in _record_text(_path(file), number, record).split("\n"):
                    if stripped := line.strip():
                        yield from _short_lines([stripped])
                yield ""
        else:
            for line in _short_lines(text for _, text in blocks):
                yield "" if line.startswith("<") and _BOUNDARY.fullmatch(line) else line


def _decoded(path: Path, stream) -> Iterator[tuple[int, str]]:
    """The text of a file in blocks: (number of the line where a block begins, the block).

    Raises InputError for NUL bytes and for what is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, offset = 1, 0  # lines and bytes before the block
    while True:
        raw = stream.read(_READ)
        fault, at, text = "", len(raw), ""
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            before = len(error.object) - len(raw)  # bytes of a character that began in the block before
            fault, at = "is not UTF-8; convert the file, for example with iconv", error.start - before
        if 0 in raw[: max(at, 0)]:
            fault = "is NUL, so this is not plain UTF-8 text; convert it or leave it out"
            at = raw.index(0)
        if fault:
            line = number + raw.count(b"\n", 0, max(at, 0))
            raise InputError(f"{path}: line {line}, byte {offset + at} {fault}")
        if not raw:
            return
        yield number, text if offset else text.removeprefix("\ufeff")
        number += raw.count(b"\n")
        offset += len(raw)


def _short_lines(blocks: Iterable[str]) -> Iterator[str]:
    """The lines of a text, stripped. A long line comes in parts, with a blank one after each.

    Many blank lines in a row become few: they mean the same, and there may be millions.
    """
    waiting, blank = "", False
    for block in blocks:
        text = waiting + _BLANKS.sub("\n\n", block)
        lines = text.split("\n")
        if len(text) > LONGEST_LINE:
            lines = [part for line in lines for part in _parts(line)]
        waiting = lines.pop()
        for line in lines:
            line = line.strip()
            if line or not blank:
                yield line
            blank = not line
    if waiting:
        yield waiting.strip()


def _parts(line: str) -> Iterator[str]:
    """A line as it is or, if it is long, in parts, with a blank one after each but the last."""
    while len(line) > LONGEST_LINE:
        cut = cut_before(line, LONGEST_LINE)
        yield line[:cut]
        yield ""
        line = line[cut:]
    yield line


# JSON lines.


def _holds_json(file: Path | Spooled) -> bool:
    """Whether a file holds JSON lines: its name says so, or its first line is a JSON object."""
    if plain_name(_path(file)).endswith(JSON_LINES):
        return True
    with open_corpus_file(file) as stream:
        start = stream.read(_READ).removeprefix(codecs.BOM_UTF8)
        while start and not start.strip():
            start = stream.read(_READ)
        line, end, _ = start.lstrip().partition(b"\n")
        if not line.startswith(b"{"):
            return False
        line += b"" if end else stream.readline(limits.limit(limits.RECORD))
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False


def _whole_lines(path: Path, blocks: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """(line number, line) of the lines that are not blank. Raises InputError for one that is too long."""
    parts: list[str] = []  # of a line that began in an earlier block
    size, longest = 0, limits.limit(limits.RECORD)  # characters
    number = 1
    for number, block in blocks:
        *lines, rest = block.split("\n")
        if lines:
            lines[0] = "".join([*parts, lines[0]])
            parts, size = [], 0
        for at, line in compress(enumerate(lines, number), lines):  # the empty ones cost next to nothing
            _check_length(path, at, len(line), longest)
            if line := line.strip():
                yield at, line
        number += len(lines)
        parts.append(rest)
        size += len(rest)
        _check_length(path, number, size, longest)
    if line := "".join(parts).strip():
        yield number, line


def _check_length(path: Path, number: int, size: int, longest: int) -> None:
    if size > longest:
        problem = f"line {number} has {limits.too_large(limits.RECORD)}"
        raise InputError(f"{path}: {problem}, or cut its text into several")


def _record_text(path: Path, number: int, line: str) -> str:
    """The text of a line of JSON. Raises InputError if there is none."""
    where = f"{path}: line {number}"
    try:
        record = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({reason(error)}); write one object per line") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError(
            f'{where} has no "text" with a string; write objects like {{"text": "…"}}, one per line'
        )
    return record["text"]
