"""Words with tags in columns, as in CoNLL's tasks: one word per line, a blank line between sentences.

Confidence NN B-NP          From    ADP   IN         Stabilized  O
in         IN B-PP          the     DET   DT         approach    O
"""

import re
from dataclasses import dataclass

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import quoted, read_lines, shown_path

CONLLU_COLUMNS = 10
_NOT_A_WORD = re.compile(
    r"\d+[-.]\d+"
)  # id of a CoNLL-U line that is a contraction (3-4) or an empty node (8.1)
_COLUMNS_AT_LEAST = 3  # lines with equally many fields, from which on they are columns rather than sentences


@dataclass(frozen=True)
class Sentence:
    """Words, their tags (None if the file has none), and the number of the first line."""

    words: list[str]
    tags: list[str] | None
    line: int


def read_sentences(path, word=0, tag=-1, labelled=True, separator=None):
    """The sentences of a file in columns -> non-empty list of Sentence. `path` "-" is standard input.

    word, tag: numbers of columns, from 0, or from the end if negative. separator: what separates columns;
    None: a TAB if the file has one (words may then contain spaces), else any number of spaces.

    A sentence ends at a blank line, at a line that begins with `-DOCSTART-`, and at a comment (a line that
    begins with `# ` and is not in columns itself). In a file with the ten columns of CoNLL-U and `word` other
    than 0, the lines of contractions and empty nodes are skipped.

    labelled=False: tags may be missing (None). If no `separator` is given, a file without TABs is then read
    as

        words, one per line       if each line has one field
        columns                   if there are at least three lines, all with equally many fields
        sentences, one per line   otherwise, split at spaces

    Raises InputError, with the line, for rows of different lengths, a missing column, an empty word or tag.
    """
    lines, where = read_lines(path), shown_path(path)
    if separator is None and any("\t" in line for line in lines):
        separator = "\t"
    rows = [_fields(line, separator) for line in lines]
    columns = _without_comments(rows)
    if not any(columns):
        raise InputError(f"{where}: no words in this file; give one with a word on each line")
    if not labelled and separator is None and not _are_columns(columns):
        return [Sentence(fields, None, number) for number, fields in enumerate(rows, 1) if fields]
    return _sentences(columns, word, tag, labelled, where)


def _fields(line, separator):
    """The fields of a line -> list of str, empty if the line ends a sentence."""
    if not line.strip() or line.startswith("-DOCSTART-"):
        return []
    if separator in (None, " "):
        return [
            field for field in line.split(" ") if field
        ]  # not split(): a word may contain a no-break space
    return line.split(separator)


def _without_comments(rows):
    """The rows, with comments emptied: rows that begin with `#` and have another number of fields."""
    marked = [bool(fields) and (fields[0] == "#" or fields[0].startswith("# ")) for fields in rows]
    columns = next(
        (len(fields) for fields, mark in zip(rows, marked, strict=True) if fields and not mark), None
    )
    return [
        [] if mark and columns not in (None, len(fields)) else fields
        for fields, mark in zip(rows, marked, strict=True)
    ]


def _are_columns(rows):
    counts = [len(fields) for fields in rows if fields]
    return len(set(counts)) == 1 and (counts[0] == 1 or len(counts) >= _COLUMNS_AT_LEAST)


def _sentences(rows, word, tag, labelled, where):
    """Rows in columns -> list of Sentence."""
    first, columns, tagged = _check_columns(rows, word, tag, labelled, where)
    conllu = columns == CONLLU_COLUMNS and word % columns != 0
    sentences, words, tags, start = [], [], [], 0
    for number, fields in enumerate([*rows, []], 1):
        if not fields:
            if words:
                sentences.append(Sentence(words, tags if tagged else None, start))
                words, tags = [], []
            continue
        if len(fields) != columns:
            raise InputError(
                f"{where}:{number}: {len(fields)} column(s), but line {first} has {columns}; correct the line"
            )
        if conllu and _NOT_A_WORD.fullmatch(fields[0]):
            continue
        if not fields[word].strip(" "):
            raise InputError(
                f"{where}:{number}: the word is empty; fill it in, or empty the line to end the sentence"
            )
        if tagged and not fields[tag].strip(" "):
            raise InputError(
                f"{where}:{number}: no tag for the word {quoted(fields[word])}; "
                "add it (`O` if the word is in no span)"
            )
        start = start if words else number
        words.append(fields[word])
        if tagged:
            tags.append(fields[tag])
    return sentences


def _check_columns(rows, word, tag, labelled, where):
    """-> number of the first line in columns, number of columns, whether one has tags. Raises InputError."""
    first, columns = next((number, len(fields)) for number, fields in enumerate(rows, 1) if fields)
    there = f"there are {columns}, counted from 0"
    if not -columns <= word < columns:
        raise InputError(f"{where}:{first}: no column {word} for the words: {there}; choose one of them")
    tagged = -columns <= tag < columns and (tag - word) % columns != 0
    if labelled and not tagged:
        raise InputError(
            f"{where}:{first}: no column {tag} for the tags beside the words: {there}; "
            "choose another, or add tags"
        )
    return first, columns, tagged
