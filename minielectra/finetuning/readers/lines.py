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

from minielectra.errors import InputError

LARGEST = 1 << 31  # bytes of text: a few megabytes of gzip can hold a terabyte of it
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_CHUNK = 1 << 20  # bytes that are read at a time
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
            raw = _contents(sys.stdin.buffer, where)
        else:
            with open(path, "rb") as stream:
                raw = _contents(stream, where)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check path and permissions"
        ) from None
    # not splitlines(): a text may contain one of Unicode's rarer line separators
    lines = raw.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")
    lines = [_decode(line.removesuffix(b"\r")) for line in lines]
    if not raw or not (blank or any(line.strip() for line in lines)):
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


def _contents(stream, where):
    """All bytes of a stream, decompressed. What they begin with decides, since a pipe has no name."""
    start = stream.read(_CHUNK)
    opener = next((opener for first, opener in _COMPRESSED.values() if start.startswith(first)), None)
    if opener is None:
        return _bounded(stream, where, start)
    raw = _bounded(stream, where, start, text=False)
    try:
        with opener(io.BytesIO(raw)) as text:
            return _bounded(text, where)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if opener is bz2.open and isinstance(error, OSError) and b"\0" not in raw:
            return raw  # a text may well begin with the letters BZh
        raise InputError(f"{where}: broken compressed file ({error}); compress it again") from None


def _bounded(stream, where, start=b"", text=True):
    """The rest of a stream after `start`. Raises InputError if it is too large or, as a text, holds a NUL."""
    parts, size, lines = [], 0, 1
    part = start or stream.read(_CHUNK)
    while part:
        if text and b"\0" in part:
            line = lines + part.count(b"\n", 0, part.index(b"\0"))
            raise InputError(
                f"{where}:{line}: a NUL byte, so this is not plain text; convert it to UTF-8, e.g. with iconv"
            )
        parts.append(part)
        size, lines = size + len(part), lines + part.count(b"\n")
        if size > LARGEST:
            raise InputError(f"{where}: more than {LARGEST >> 30} GiB; split it into smaller files")
        part = stream.read(_CHUNK)
    return b"".join(parts)


def _decode(line):
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
