"""Words with tags in columns, as in CoNLL's tasks: one word per line, a blank line between sentences.

Confidence NN B-NP          From    ADP   IN         Stabilized  O
in         IN B-PP          the     DET   DT         approach    O
"""

import dataclasses
import re
from dataclasses import dataclass

from minielectra.errors import InputError
from minielectra.finetuning.readers.json_values import json_records, plain_text
from minielectra.finetuning.readers.lines import quoted, read_file

CONLLU_COLUMNS = 10
_NOT_A_WORD = re.compile(r"\d+[-.]\d+")  # id of a CoNLL-U line: a contraction (3-4) or an empty node (8.1)
# Lines that separate documents or describe a sentence, whatever the number of columns: CoNLL 2003, CoNLL-U,
# CoNLL 2012, and the biomedical sets.
_MARK = re.compile(
    r"-DOCSTART-|#\s?new(doc|par)(\s+id\b|\s*=|\s*$)|#\s?(sent_id|text)\s*="
    r"|#(begin|end) document\b|###MEDLINE:"
)
_VARYING = re.compile(r"#begin document\b")  # CoNLL 2012: sentences with more verbs have more columns
_BRACKET = re.compile(r"(?:\(([^()*\s]+))?\*?(\))?")  # CoNLL 2012 writes spans so: (PER* * *) and (LOC)
# What JSON objects call a list of words, and the list of their tags.
_WORD_KEYS, _TAG_KEYS = ("words", "tokens"), ("tags", "labels", "ner_tags", "pos_tags", "upos")
_TEXT_KEYS = ("text", "sentence")


@dataclass(frozen=True)
class Sentence:
    """Words, their tags (None if the file has none), and the number of the first line."""

    words: list[str]
    tags: list[str] | None
    line: int


def read_sentences(path, word=0, tag=-1, labelled=True, separator=None, columns=None):
    """The sentences of a file in columns -> non-empty list of Sentence. `path` "-" is standard input.

    word, tag: numbers of columns, from 0, or from the end if negative. separator: what separates columns;
    None: a TAB if the file has one (words may then contain spaces), else any number of spaces.

    A sentence ends at a blank line, at a line that separates documents (such as `-DOCSTART-`), and at a
    comment (a line that begins with `# ` and is not in columns itself). In a file with the ten columns of
    CoNLL-U and `word` other than 0, the lines of contractions and empty nodes are skipped. After `#begin
    document` sentences may differ in their columns, if `word` and `tag` are counted from the start. Spans in
    brackets, `(PER* * *)`, become tags of IOB2. JSON objects have a list of words and one of tags.

    labelled=False: tags may be missing (None). columns: how many the training file had; a file with another
    number of them has no tags. Raises InputError, with the line, for rows of different lengths, a missing
    column, an empty word or tag.
    """
    file = read_file(path)
    if file.holds_json:
        return _json_sentences(file, labelled)
    separator = separator or usual_separator(file.lines)
    rows = _without_comments([split_fields(line, separator) for line in file.lines])
    if not any(rows):
        raise InputError(f"{file.where}: no words in this file; give one with a word on each line")
    varying = min(word, tag) >= 0 and any(_VARYING.match(line) for line in file.lines)
    columns = None if varying else columns
    return _without_brackets(_sentences(rows, word, tag, labelled, columns, varying, file.where))


def read_plain_sentences(path):
    """A sentence for each line of a file, blank ones too, split at spaces and TABs -> list of Sentence."""
    file = read_file(path, blank=True)
    file.tell()
    return [Sentence(_words(line), None, number) for number, line in enumerate(file.lines, 1)]


def count_columns(path, separator=None):
    """How many columns a file has -> int, or None if its sentences are not in columns."""
    file = read_file(path)
    separator = separator or usual_separator(file.lines)
    rows = _without_comments([split_fields(line, separator) for line in file.lines])
    return None if file.holds_json else next((len(fields) for fields in rows if fields), None)


def usual_separator(lines):
    """What separates the columns of these lines: a TAB if there is one, else None, for spaces."""
    return "\t" if any("\t" in line for line in lines) else None


def split_fields(line, separator):
    """The fields of a line -> list of str, empty if the line ends a sentence."""
    if not line.strip() or is_mark(line):
        return []
    if separator in (None, " "):  # not split(): a word may contain a no-break space
        return [field for field in line.split(" ") if field]
    return line.split(separator)


def is_mark(line):
    """Whether a line separates documents or describes a sentence."""
    return _MARK.match(line) is not None


def _words(line):
    return [word for word in re.split("[ \t]", line) if word]


def _without_comments(rows):
    """The rows, with comments emptied: rows that begin with `#` and have another number of fields.

    Empty fields at the end of a row are no columns if the first row has none there.
    """
    marked = [bool(fields) and (fields[0] == "#" or fields[0].startswith("# ")) for fields in rows]
    columns = next(
        (len(fields) for fields, mark in zip(rows, marked, strict=True) if fields and not mark), None
    )
    found = []
    for fields, mark in zip(rows, marked, strict=True):
        if mark and columns not in (None, len(fields)):
            fields = []
        if columns is not None and len(fields) > columns and not any(map(str.strip, fields[columns:])):
            fields = fields[:columns]
        found.append(fields)
    return found


def _sentences(rows, word, tag, labelled, trained, varying, where):
    """Rows in columns -> list of Sentence."""
    first, columns, tagged = _check_columns(rows, word, tag, labelled, where)
    tagged = tagged and (labelled or trained in (None, columns))
    conllu = columns == CONLLU_COLUMNS and word % columns != 0
    sentences, words, tags, start = [], [], [], 0
    for number, fields in enumerate([*rows, []], 1):
        if not fields:
            if words:
                sentences.append(Sentence(words, tags if tagged and all(tags) else None, start))
                words, tags = [], []
            continue
        if varying and not words and len(fields) > max(word, tag):
            first, columns = number, len(fields)
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
        if labelled and not fields[tag].strip(" "):
            raise InputError(
                f"{where}:{number}: no tag for the word {quoted(fields[word])}; "
                "add it (`O` if the word is in no span)"
            )
        start = start if words else number
        words.append(fields[word])
        if tagged:
            tags.append(fields[tag].strip(" ") and fields[tag])
    return sentences


def _without_brackets(sentences):
    """The sentences with tags of IOB2, if all of them are tagged with spans in brackets."""
    tags = {tag for sentence in sentences for tag in sentence.tags or ()}
    if "*" not in tags or not all(map(_BRACKET.fullmatch, tags)):
        return sentences
    return [s if s.tags is None else dataclasses.replace(s, tags=list(_iob2_tags(s.tags))) for s in sentences]


def _iob2_tags(brackets):
    """Spans in brackets as tags: `(PER* *)` `*` becomes B-PER I-PER O."""
    kind = None
    for tag in brackets:
        opened, closed = _BRACKET.fullmatch(tag).groups()
        kind = opened or kind
        yield "O" if kind is None else f"{'B' if opened else 'I'}-{kind}"
        kind = None if closed else kind


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


def _json_sentences(file, labelled):
    """JSON objects with a list of words and perhaps one of tags -> list of Sentence."""
    sentences = []
    for line, record in json_records(file):
        words, tags = (_first(record, keys) for keys in (_WORD_KEYS, _TAG_KEYS))
        if words is None and not labelled:
            words = _words(plain_text(_first(record, _TEXT_KEYS)))
        at = f"{file.where}:{line}"
        if not isinstance(words, list):
            raise InputError(f"{at}: no list of words; call it {' or '.join(map(repr, _WORD_KEYS))}")
        usable = isinstance(tags, list) and len(tags) == len(words) and None not in tags
        if labelled and not usable:
            raise InputError(
                f"{at}: no list of {len(words)} tags; call it {', '.join(map(repr, _TAG_KEYS[:-1]))} "
                f"or {_TAG_KEYS[-1]!r}"
            )
        tags = [plain_text(tag) for tag in tags] if usable else None
        if words or not labelled:
            sentences.append(Sentence([plain_text(word) for word in words], tags, line))
    if not sentences:
        raise InputError(f"{file.where}: no words in this file; give one with lists of words")
    return sentences


def _first(record, keys):
    """The first of these keys' values that a JSON object has, or None."""
    return next((record[key] for key in keys if record.get(key) is not None), None)
