"""How every reader takes a text file apart: bytes to lines, lines to rows; and how messages quote them."""

import codecs
import csv
import sys
from pathlib import Path

from minielectra.errors import InputError


def shown_path(path):
    """What error messages call the file `path`; "-" is standard input."""
    return "standard input" if str(path) == "-" else str(path)


def quoted(text):
    """A text from a file as error messages show it: in quotes, at most fifty characters."""
    return repr(text if len(text) <= 50 else text[:47] + "...")


def read_lines(path):
    """The lines of a text file, or of standard input for "-", without line ends -> non-empty list of str.

    A byte-order mark is removed. A line that is not UTF-8 is read as Latin-1, the encoding of older data sets
    (TREC's questions, CoNLL 2002); this is decided line by line, so that one stray byte does not spoil a
    file. Raises InputError for a file that cannot be read, is blank, or is not text.
    """
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check path and permissions"
        ) from None
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise InputError(
            f"{shown_path(path)}:{line}: a NUL byte, so this is not plain text; "
            "convert it to UTF-8, e.g. with iconv"
        )
    # not splitlines(): a text may contain one of Unicode's rarer line separators
    lines = raw.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")
    lines = [_decode(line.removesuffix(b"\r")) for line in lines]
    if not any(line.strip() for line in lines):
        raise InputError(f"{shown_path(path)}: empty; give a file with text in it")
    return lines


def numbered(lines):
    """(line number, line) of each line that is not blank.

    Lines are not stripped: a TAB at the end precedes an empty field.
    """
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def split_rows(lines, separator, where):
    """(number of its first line, its stripped fields) of each row that is not blank.

    separator: "," means a quoted CSV, whose rows may run over several lines; where: the file's name for error
    messages.
    """
    if separator != ",":
        for number, line in numbered(lines):
            yield number, [field.strip() for field in line.split(separator)]
        return
    reader = csv.reader((line + "\n" for line in lines), strict=True, skipinitialspace=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{where}:{start}: not CSV ({error}); check its quotes") from None
        if fields is None:
            return
        if len(fields) > 1 or any(field.strip() for field in fields):
            yield start, [field.strip() for field in fields]


def _decode(line):
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
