"""Words with tags in columns, as the CoNLL shared tasks write them: one word a line, a blank line between sentences.

    Confidence NN B-NP          From    ADP   IN         Stabilized  O
    in         IN B-PP          the     DET   DT         approach    O

Also here: how all readers of tasks take a text file apart.
"""

import re
from dataclasses import dataclass

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import quoted, read_lines, source

_CONLLU_EXTRA = re.compile(r"\d+[-.]\d+")  # ids of CoNLL-U lines that are no words: a contraction's range, an empty node
_COLUMNS_AT_LEAST = 3  # so many lines with equally many fields are columns rather than sentences (labelled=False only)


@dataclass(frozen=True)
class Sentence:
    """Words, their tags (None where the file has none) and the number of the first line."""

    words: list[str]
    tags: list[str] | None
    line: int


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
