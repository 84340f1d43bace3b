"""Words with tags in columns, as the CoNLL shared tasks write them: one word a line, a blank line between sentences.

    Confidence NN B-NP          From    ADP   IN         Stabilized  O
    in         IN B-PP          the     DET   DT         approach    O

Also here: how all readers of tasks take a text file apart.
"""

import codecs
import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from minielectra.errors import InputError

_CONLLU_EXTRA = re.compile(r"\d+[-.]\d+")  # ids of CoNLL-U lines that are no words: a contraction's range, an empty node
_COLUMNS_AT_LEAST = 3  # so many lines with equally many fields are columns rather than sentences (labelled=False only)


@dataclass(frozen=True)
class Sentence:
    """Words, their tags (None where the file has none) and the number of the first line."""

    words: list[str]
    tags: list[str] | None
    line: int


def source(path):
    """How messages call the file `path`."""
    return "standard input" if str(path) == "-" else str(path)


def quoted(text):
    """How messages quote from a file: in quotes, and not much of it."""
    return repr(text if len(text) <= 50 else text[:47] + "...")


def read_lines(path):
    """The lines of a text file, or of standard input for "-", without line ends -> non-empty list of str.

    A byte-order mark is taken away. A line that is not UTF-8 is read as Latin-1: older data sets (TREC's questions, CoNLL 2002)
    come in it, and line by line so that one stray byte does not spoil a file. Raises InputError for a file that cannot be
    read, is blank, or is no text.
    """
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path and its rights") from None
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise InputError(f"{source(path)}:{line}: a NUL byte, so this is not plain text; convert it to UTF-8, e.g. with iconv")
    # not splitlines(): a text may hold one of Unicode's exotic line separators
    lines = raw.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")
    lines = [_decode(line.removesuffix(b"\r")) for line in lines]
    if not any(line.strip() for line in lines):
        raise InputError(f"{source(path)}: empty; give a file with text in it")
    return lines


def _decode(line):
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def numbered(lines):
    """(line number, line) of the lines that are not blank. They are not stripped: a TAB at the end stands before an empty field."""
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def split_rows(lines, separator, where):
    """(number of its first line, its stripped fields) of each row that is not blank; separator "," means quoted."""
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
        if any(field.strip() for field in fields[:1]) or len(fields) > 1:
            yield start, [field.strip() for field in fields]


def read_sentences(path, word=0, tag=-1, labelled=True, separator=None):
    """The sentences of a file in columns -> non-empty list of Sentence. `path` "-" is standard input.

    word, tag: which column, from 0, or from the end if negative. separator: what stands between columns; None: a TAB if there
    is one in the file (words may then hold spaces), else spaces, however many. Blank lines end a sentence, and so do lines that
    begin with `-DOCSTART-` and comments (lines that begin with `# ` and are no columns themselves). Skipped are, in the ten
    columns of CoNLL-U with `word` other than 0, the lines of contractions (`3-4`) and of empty nodes (`8.1`).

    labelled=False: tags may be absent (None). A file without TAB, no `separator` being given, is then

        words, one a line      if each line has one field
        columns                if all lines, at least three, have equally many fields
        sentences, one a line  otherwise, split at spaces

    Raises InputError, with the line, for rows of different lengths, a column that is not there, an empty word or tag.
    """
    lines = read_lines(path)
    if separator is None and any("\t" in line for line in lines):
        separator = "\t"
    rows = [_fields(line, separator) for line in lines]  # of each line; none of a blank one
    columns = _without_comments(rows)
    if not any(columns):
        raise InputError(f"{source(path)}: no words in this file; give one with a word a line")
    if not labelled and separator is None and not _are_columns(columns):
        return [Sentence(fields, None, number) for number, fields in enumerate(rows, 1) if fields]
    return _sentences(columns, word, tag, labelled, source(path))


def _fields(line, separator):
    if not line.strip() or line.startswith("-DOCSTART-"):
        return []
    if separator in (None, " "):
        return [field for field in line.split(" ") if field]  # not split(): a word may hold a no-break space
    return line.split(separator)


def _without_comments(rows):
    """Rows with those blanked that begin with the field `#`, or a longer one that begins with `# `, and have not as many fields
    as the others."""
    marked = [bool(fields) and (fields[0] == "#" or fields[0].startswith("# ")) for fields in rows]
    columns = next((len(fields) for fields, mark in zip(rows, marked, strict=True) if fields and not mark), None)
    return [[] if mark and columns not in (None, len(fields)) else fields for fields, mark in zip(rows, marked, strict=True)]


def _are_columns(rows):
    counts = [len(fields) for fields in rows if fields]
    return len(set(counts)) == 1 and (counts[0] == 1 or len(counts) >= _COLUMNS_AT_LEAST)


def _sentences(rows, word, tag, labelled, where):
    first, columns = next((number, len(fields)) for number, fields in enumerate(rows, 1) if fields)
    there = f"there are {columns}, counted from 0"
    if not -columns <= word < columns:
        raise InputError(f"{where}:{first}: no column {word} for the words: {there}; choose one of them")
    tagged = -columns <= tag < columns and (tag - word) % columns != 0
    if labelled and not tagged:
        raise InputError(f"{where}:{first}: no column {tag} for the tags beside the words: {there}; choose another, or add tags")
    conllu = columns == 10 and word % columns != 0
    sentences, words, tags, start = [], [], [], 0
    for number, fields in enumerate([*rows, []], 1):
        if not fields:
            if words:
                sentences.append(Sentence(words, tags if tagged else None, start))
                words, tags = [], []
            continue
        if len(fields) != columns:
            raise InputError(f"{where}:{number}: {len(fields)} column(s) where line {first} has {columns}; correct the line")
        if conllu and _CONLLU_EXTRA.fullmatch(fields[0]):
            continue
        if not fields[word].strip(" "):
            raise InputError(f"{where}:{number}: the word is empty; fill it, or leave the line blank to end the sentence")
        if tagged and not fields[tag].strip(" "):
            raise InputError(f"{where}:{number}: no tag for the word {quoted(fields[word])}; add it (`O`: in no span)")
        start = start if words else number
        words.append(fields[word])
        if tagged:
            tags.append(fields[tag])
    return sentences
