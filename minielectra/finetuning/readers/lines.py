"""From the bytes of a file to its lines: read once, decompressed if need be; and how messages quote them."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import sys
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from minielectra.errors import InputError, reason
from minielectra.formats import limits

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_START, _CHUNK = 16, 1 << 20  # bytes that tell how a file is compressed; bytes that are read at a time
_PER_LINE = 64  # bytes that a line takes in memory beside its text
_COMPRESSED = {  # suffix -> first bytes, how to open it
    ".gz": (b"\x1f\x8b\x08", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ\x00", lzma.open),
}


@dataclass
class TextFile:
    """A text file in memory: its lines, what it is called, and a tally of what readers leave out of it."""

    where: str  # what error messages call it
    suffix: str  # of its name, in lower case, without `.gz` and the like; "" for standard input
    lines: list[str]  # without line ends
    tally: dict = field(default_factory=dict)  # {what was found: (how often, where first)}

    @cached_property
    def holds_json(self):
        """Whether the file is JSON: its name says so, or its first line is a JSON object."""
        if self.suffix in JSON_SUFFIXES:
            return True
        first = next((line for line in self.lines if line.strip()), "")
        try:
            return first.lstrip().startswith('{"') and isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            return False

    def count(self, what, place):
        """Remember one more case of `what`, such as "row(s) left out: no label", found at `place`."""
        number, first = self.tally.get(what, (0, place))
        self.tally[what] = number + 1, first

    def tell(self):
        """Say what was counted, in one line on standard error, if there is anything to say."""
        found = (f"{number} {what} (first: {first})" for what, (number, first) in self.tally.items())
        if message := "; ".join(found):
            print(f"{self.where}: {message}", file=sys.stderr)
        self.tally.clear()


def shown_path(path):
    """What error messages call the file `path`; "-" is standard input."""
    return "standard input" if str(path) == "-" else str(path)


def quoted(text):
    """A text from a file as error messages show it: in quotes, at most fifty characters."""
    return repr(text if len(text) <= 50 else text[:47] + "...")


def read_file(path, blank=False):
    """A text file, or standard input for "-" -> TextFile. A TextFile is handed back as it is.

    So a pipe, which can be read only once, can pass through functions that take a path. Files compressed with
    gzip, bzip2 or xz are decompressed. A byte-order mark is removed. A line that is not UTF-8 is read as
    Latin-1, the encoding of older data sets (TREC's questions, CoNLL 2002); this is decided line by line, so
    that one stray byte does not spoil a file. blank: whether all lines may be blank. Raises InputError for a
    file that cannot be read, is empty, is too large, or is not text.
    """
    if isinstance(path, TextFile):
        return path
    where = shown_path(path)
    try:
        if str(path) == "-":
            lines = _lines(sys.stdin.buffer, where)
        else:
            with open(path, "rb") as stream:
                lines = _lines(stream, where)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({reason(error)}); check path and permissions") from None
    except MemoryError:
        raise InputError(f"{where}: needs more memory than there is; split it into smaller files") from None
    if not lines or not (blank or any(line.strip() for line in lines)):
        raise InputError(f"{where}: empty; give a file with text in it")
    return TextFile(where, "" if str(path) == "-" else _suffix(path), lines)


def numbered(lines):
    """(line number, line) of each line that is not blank.

    Lines are not stripped: a TAB at the end precedes an empty field.
    """
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _suffix(path):
    path = Path(path)
    if path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower()


def _lines(stream, where):
    """The lines of a stream, decompressed. What it begins with decides, since a pipe has no name."""
    start = _filled(stream, _START)
    whole = _Continued(start, stream)
    kind = next((kind for kind, (first, _) in _COMPRESSED.items() if start.startswith(first)), None)
    if kind is None or (kind == ".bz2" and _is_plain(start)):
        return _bounded(whole, where)
    try:
        with _COMPRESSED[kind][1](whole) as text:
            return _bounded(text, where)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if getattr(error, "strerror", None):  # of the system, not of the decompressor
            raise
        raise InputError(f"{where}: broken compressed file ({reason(error)}); compress it again") from None


def _is_plain(start):
    """Whether what begins with the letters BZh is a text all the same, as no compressed file is."""
    return start[4:10] != b"1AY&SY" and b"\0" not in start


class _Continued(io.RawIOBase):
    """A stream of which the start was read already."""

    def __init__(self, start, stream):
        self._start, self._stream = io.BytesIO(start), stream

    def readable(self):
        return True

    def read(self, size=-1):
        """As of any stream."""
        return self._start.read(size) or self._stream.read(size)

    def readinto(self, buffer):
        """As of any stream."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _filled(stream, size):
    """The first `size` bytes of a stream, or fewer at its end. A pipe may give them in pieces."""
    start = b""
    while len(start) < size and (part := stream.read(size - len(start))):
        start += part
    return start


def _bounded(stream, where):
    """The decoded lines of a stream, which is read piece by piece.

    Raises InputError if all of it or one line is too large, and for a NUL, because then it is no text.
    """
    lines, rest, size, first = [], [], 0, True
    while part := stream.read(_CHUNK):
        if b"\0" in part:
            line = len(lines) + part.count(b"\n", 0, part.index(b"\0")) + 1
            raise InputError(
                f"{where}:{line}: a NUL byte, so this is not plain text; convert it to UTF-8, e.g. with iconv"
            )
        part = part.removeprefix(codecs.BOM_UTF8) if first else part
        first = False
        *ended, last = part.split(b"\n")
        if ended:
            lines.append(_decode(b"".join([*rest, ended[0]])))
            lines += map(_decode, ended[1:])
            rest = []
        rest.append(last)
        size += len(part) + _PER_LINE * len(ended)
        if size > limits.limit(limits.LABELLED):
            raise InputError(f"{where}: {limits.too_large(limits.LABELLED)}, or split it into smaller files")
        if sum(map(len, rest)) > limits.limit(limits.LINE):
            raise InputError(f"{where}:{len(lines) + 1}: a line of {limits.too_large(limits.LINE)}")
    if any(rest):
        lines.append(_decode(b"".join(rest)))
    return lines


def _decode(line):
    line = line.removesuffix(b"\r")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
