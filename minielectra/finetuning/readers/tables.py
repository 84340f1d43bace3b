"""Texts with labels for classification: GLUE's files as they come, any TSV or CSV, `label text` lines, bare lines.

    columns      a TSV or CSV; which column holds the text, the pair's second text and the label is told by the header
    label-text   `DESC:manner How did serfdom develop … ?`: the label is what stands before the first white space
    lines        one text a line, a TAB before the second text of a pair; no labels

A TSV is not quoted, as in GLUE: a `"` is text (MRPC has many). A CSV is quoted, by the rules of Python's csv module. White space
around a field is taken away, and blank lines are skipped.
"""

import re
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import numbered, quoted, read_lines, source, split_rows

# GLUE's tasks (Wang et al. 2019) and the columns of their files: text, second text of the pair, label. Test files lack the label.
GLUE = {
    "cola": ("sentence", None, "label"),  # train and dev have no header: source, label, original mark, sentence
    "sst-2": ("sentence", None, "label"),
    "mrpc": ("#1 String", "#2 String", "Quality"),
    "sts-b": ("sentence1", "sentence2", "score"),
    "qqp": ("question1", "question2", "is_duplicate"),
    "mnli": ("sentence1", "sentence2", "gold_label"),  # dev has label1 … label5, too
    "qnli": ("question", "sentence", "label"),
    "rte": ("sentence1", "sentence2", "label"),
    "wnli": ("sentence1", "sentence2", "label"),
}
# What a header may call text and pair, and the label: the first that is there. Pairs come first, since they have a text, too.
_TEXTS = (
    *(("#1 String", "#2 String"), ("question1", "question2"), ("sentence1", "sentence2"), ("question", "sentence")),
    *(("premise", "hypothesis"), ("text1", "text2"), ("text", "pair"), ("sentence", None), ("text", None), ("sequence", None)),
)
_LABELS = ("gold_label", "is_duplicate", "quality", "label", "score", "class", "category")


@dataclass(frozen=True)
class Example:
    """A text, the second text of a pair or None, its label as written or None, and the line it begins on."""

    text: str
    pair: str | None
    label: str | None
    line: int


@dataclass(frozen=True)
class TableFormat:
    """How a file is read: `kind` is "columns", "label-text" or "lines"; the rest belongs to "columns".

    text, pair, label: names of columns, or their numbers from 0 (from the end if negative); pair and label may be None.
    separator: "," means quoted. header: does the first line hold names? name: the task's, a key of `GLUE`, or None.
    """

    kind: str
    text: str | int | None = None
    pair: str | int | None = None
    label: str | int | None = None
    separator: str = "\t"
    header: bool = True
    name: str | None = None

    def to_dict(self):
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`. Raises InputError for anything else."""
        try:
            made = cls(**values)
            _READERS[made.kind]
        except (TypeError, KeyError):
            raise InputError(f"{quoted(str(values))} is not the format of a table; make it with detect_format") from None
        return made


def detect_format(path, task=None, text=None, pair=None, label=None, labelled=True):
    """How the file `path` is to be read -> TableFormat.

    task: a key of `GLUE`, spelt as one likes ("SST-2", "sst2"); None: found out where the header tells. text, pair, label: names
    or numbers of columns that the user gave; numbers alone mean a file without header. labelled=False: a file that is no table
    is bare lines then, not `label text`. Standard input ("-") cannot be read twice: it is bare lines, or a TSV if `text` is
    given. A file with a TAB somewhere, or called .tsv or .csv, is a table.

    Raises InputError where the task is unknown, a column is missing, or the header does not tell.
    """
    name = _task_name(task)
    if str(path) == "-" and text is None:
        return TableFormat("lines", name=name)
    bare = text is pair is label is None
    if str(path) == "-":
        first, separator, at = [], "\t", source(path)
    else:
        lines, suffix = read_lines(path), Path(path).suffix.lower()
        if bare and suffix not in (".tsv", ".csv") and not any("\t" in line for line in lines):
            return TableFormat("label-text" if labelled else "lines", name=name)
        separator = "," if suffix == ".csv" else "\t"
        line, first = next(split_rows(lines, separator, source(path)), (1, [""]))
        at = f"{source(path)}:{line}"
    text, pair, label = map(_number_or_name, (text, pair, label))
    if text is None:
        found = _texts(first, name)
        if found is None and bare and len(first) == 4 and first[1] in ("0", "1") and name in (None, "cola"):
            return TableFormat("columns", 3, None, 1, separator, header=False, name="cola")
        if found is None and bare and not labelled and suffix not in (".tsv", ".csv"):
            return TableFormat("lines", name=name)
        if found is None:
            wanted = "the text" if name is None else f"the text of {name}"
            raise InputError(f"{at}: {_there(first)}, none of which is known as {wanted}; say which column it is")
        text, pair = found[0], found[1] if pair is None else pair
    header = any(isinstance(column, str) for column in (text, pair, label))
    if label is None and header:
        label = _spelt(first, *_LABELS)
    for column in (text, pair, label) if first else ():
        _find(column, first, header, at)
    if bare and name is None:
        tasks = [task for task, columns in GLUE.items() if columns == (text, pair, label)]
        name = tasks[0] if len(tasks) == 1 else None
    return TableFormat("columns", text, pair, label, separator, header, name)


def _task_name(task):
    plain = {name.replace("-", ""): name for name in GLUE}
    key = "".join(filter(str.isalnum, task.lower())) if task is not None else None
    if key is not None and key not in plain:
        raise InputError(f"{task!r}: no such task; choose one of {', '.join(GLUE)}, or say which columns hold text and label")
    return plain.get(key)


def _number_or_name(column):
    """A column as the user wrote it -> int if it is a number. A header may call a column `1`, but a label of a file without
    header is `1` far more often."""
    return int(column) if isinstance(column, str) and re.fullmatch(r"-?\d+", column) else column


def _texts(first, name):
    """The (text, pair) columns of a header, spelt as there; None if it has none. A known task decides if there is a pair."""
    candidates = _TEXTS
    if name is not None:
        own = GLUE[name][:2]
        candidates = [own, *(texts for texts in _TEXTS if (texts[1] is None) == (own[1] is None))]
    for text, pair in candidates:
        found = _spelt(first, text), pair and _spelt(first, pair)
        if found[0] is not None and (pair is None or found[1] is not None):
            return found
    return None


def _spelt(first, *names):
    """The first of `names` that is in the header, as it is spelt there; None if none is."""
    there = {field.lower(): field for field in reversed(first)}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def read_examples(path, format, labelled=True):
    """The examples of a file -> non-empty list of Example. `path` "-" is standard input.

    labelled=False: labels may be absent, or empty; they are None then. Raises InputError, with the line, for a column that is
    not there, a row with too few or too many fields, broken quotes, an empty text, a missing label.
    """
    where = source(path)
    examples = list(_READERS[format.kind](read_lines(path), format, labelled, where))
    for example in examples:
        at = f"{where}:{example.line}"
        if not example.text or example.pair == "":
            raise InputError(f"{at}: the {'text' if not example.text else 'second text'} is empty; fill it or take the line out")
        if labelled and example.label is None:
            raise InputError(f"{at}: no label; add it or take the line out")
    if not examples:
        raise InputError(f"{where}: a header and nothing else; add lines with texts")
    return examples


def numeric_labels(examples, path):
    """The labels as finite floats, for regression. Raises InputError with the line of one that is none."""
    numbers = []
    for example in examples:
        try:
            number = float(example.label or "")
        except ValueError:
            number = float("nan")
        if not isfinite(number):
            raise InputError(f"{source(path)}:{example.line}: the label {example.label!r} is not a number; correct it")
        numbers.append(number)
    return numbers


def _read_columns(lines, format, labelled, where):
    expected = None
    for line, fields in split_rows(lines, format.separator, where):
        if expected is None:
            expected, first, at = len(fields), line, f"{where}:{line}"
            text, pair = (_find(column, fields, format.header, at) for column in (format.text, format.pair))
            if labelled and format.label is None:
                raise InputError(f"{at}: {_there(fields)}, none of which is called the label; say which column it is")
            label = _find(format.label, fields, format.header, at, optional=not labelled)
            if format.header:
                continue
        if len(fields) != expected:
            what = "is the separator right?" if len(fields) == 1 else "correct the line"
            raise InputError(f"{where}:{line}: {len(fields)} field(s) where line {first} has {expected}; {what}")
        second, answer = (None if column is None else fields[column] for column in (pair, label))
        yield Example(fields[text], second, answer or None, line)


def _read_label_text(lines, format, labelled, where):
    for line, content in numbered(lines):
        label, *text = content.strip().split(maxsplit=1)
        if not text:
            raise InputError(f"{where}:{line}: {quoted(label)} and no text; write a label, a space and a text on each line")
        yield Example(text[0], None, label, line)


def _read_lines(lines, format, labelled, where):
    if labelled:
        raise InputError(f"{where}: bare lines have no labels; give a table, or write a label before each text")
    for line, content in numbered(lines):
        fields = [field.strip() for field in content.split("\t")]
        if len(fields) > 2:
            raise InputError(f"{where}:{line}: {len(fields) - 1} TABs; give one text a line, or two with one TAB between them")
        yield Example(fields[0], fields[1] if len(fields) == 2 else None, None, line)


_READERS = {"columns": _read_columns, "label-text": _read_label_text, "lines": _read_lines}


def _find(column, first, header, at, optional=False):
    """The index of a column, given by name or number, in the row `first`; None for None, or if it is optional and absent."""
    if column is None:
        return None
    if isinstance(column, int) and -len(first) <= column < len(first):
        return column % len(first)
    if header and column in first:
        return first.index(column)
    if optional:
        return None
    raise InputError(f"{at}: no column {column!r}: {_there(first)}; choose one{'' if header else ' by its number'}")


def _there(first):
    return f"the columns are {', '.join(map(quoted, first))}"
