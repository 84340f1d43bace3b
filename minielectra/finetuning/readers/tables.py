"""Texts with labels for classification: tables (such as GLUE's), lines of a label and a text, bare lines.

    columns      a TSV, a CSV or JSON objects; a TableFormat says which columns hold text, a pair's second
                 text, and label
    label-text   `DESC:manner How did serfdom develop … ?`: the label is what precedes the first white space
    lines        one text per line, with a TAB before the second text of a pair; no labels

Quotes in a TSV are text, as in GLUE (MRPC has many). A CSV is quoted by the rules of Python's csv module.
White space around a field is removed. Blank lines are skipped, except among bare lines, where each line is a
text.
"""

import itertools
from dataclasses import asdict, dataclass
from math import isfinite

from minielectra.errors import InputError, shown
from minielectra.finetuning.readers.lines import numbered, quoted, read_file, shown_path
from minielectra.finetuning.readers.rows import read_rows

INDEX_COLUMNS = ("index", "id", "idx")  # what headers call the number of an example
NLI_LABELS = {"entailment", "neutral", "contradiction"}


@dataclass(frozen=True)
class Example:
    """One text, or two, with their label as written. An empty text is a text."""

    text: str
    pair: str | None  # a pair's second text
    label: str | None
    line: int  # number of its first line
    index: str | None = None  # what the file calls it, if it has a column for that


@dataclass(frozen=True)
class TableFormat:
    """How to read a file: `kind` is "columns", "label-text" or "lines"; the other fields describe columns.

    text, pair, label: names of columns, or numbers from 0 (from the end if negative); pair and label may be
    None. Among bare lines, `pair` says whether a TAB precedes a second text. separator: anything but a TAB
    means quoted (see `read_rows`). header: whether the first line holds names. name: a GLUE task's, or None.
    """

    kind: str
    text: str | int | None = None
    pair: str | int | None = None
    label: str | int | None = None
    separator: str = "\t"
    header: bool = True
    name: str | None = None

    def to_dict(self):
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`. Raises InputError for anything else."""
        try:
            made = cls(**values)
            columns = [
                column is None or type(column) in (int, str) for column in (made.text, made.pair, made.label)
            ]
            texts = isinstance(made.separator, str) and isinstance(made.name, str | None)
            usable = made.kind in _READERS and all(columns) and texts and len(made.separator) == 1
        except TypeError:
            usable = False
        if not usable or not isinstance(made.header, bool):
            raise InputError(f"{shown(values)} is not the format of a table; make it with detect_format")
        return made


def read_examples(path, table_format, labelled=True):
    """The examples of a file -> non-empty list of Example. `path` "-" is standard input.

    Rows with too few or too many fields are left out with a count, as GLUE's own readers do with texts that a
    line feed has cut in two. So are examples whose label says that there is none.

    labelled=False: labels may be missing or empty, and are then None. Raises InputError, with the line, for a
    missing column, broken quotes, a missing label, and if more rows would be left out than are read.
    """
    file = read_file(path)
    examples = list(_READERS[table_format.kind](file, table_format, labelled))
    for example in examples if labelled else ():
        if example.label is None:
            raise InputError(f"{file.where}:{example.line}: no label; add it or remove the line")
    if labelled and table_format.pair is not None:
        examples = _with_labels(examples, file)
    if not examples:
        raise InputError(f"{file.where}: a header and nothing else; add lines with texts")
    file.tell()
    return examples


def _with_labels(examples, file):
    """The examples of a table of pairs without those on whose label nobody agreed.

    SNLI and MNLI write `-` for it, and Hugging Face's copies -1 beside 0, 1 and 2.
    """
    labels = {example.label for example in examples}
    if "-" in labels and labels & NLI_LABELS:
        mark = "-"
    elif labels == {"-1", "0", "1", "2"}:
        mark = "-1"
    else:
        return examples
    for example in examples:
        if example.label == mark:
            file.count(f"example(s) left out, as the label {mark} means no agreement", f"line {example.line}")
    return [example for example in examples if example.label != mark]


def numeric_labels(examples, path):
    """The labels as finite numbers -> list of float. Raises InputError, with the line, for others."""
    numbers = []
    for example in examples:
        try:
            number = float(example.label or "")
        except ValueError:
            number = float("nan")
        if not isfinite(number):
            raise InputError(
                f"{shown_path(path)}:{example.line}: the label {example.label!r:.60} is not a number; "
                "correct it"
            )
        numbers.append(number)
    return numbers


def find_column(column, first_row, header, at, optional=False):
    """The index of a column, given by name or number -> int; None for None, or if it is optional and missing.

    first_row: the fields of the file's first row; header: whether they are names. Raises InputError, which
    begins with `at`.
    """
    if column is None:
        return None
    if isinstance(column, int) and -len(first_row) <= column < len(first_row):
        return column % len(first_row)
    if header and column in first_row:
        return first_row.index(column)
    if optional:
        return None
    hint = "choose one" if header else "choose one by its number"
    raise InputError(f"{at}: no column {column!r}: {list_columns(first_row)}; {hint}")


def list_columns(first_row):
    """The columns of a file as error messages list them."""
    return f"the columns are {', '.join(map(quoted, first_row))}"


def _read_columns(file, table_format, labelled):
    rows = read_rows(file, table_format.separator)
    first, names = next(rows, (1, [""]))
    at, header = f"{file.where}:{first}", table_format.header or file.holds_json
    text, pair = (find_column(c, names, header, at) for c in (table_format.text, table_format.pair))
    if labelled and table_format.label is None:
        raise InputError(
            f"{at}: {list_columns(names)}, none of which is called the label; say which column it is"
        )
    label = find_column(table_format.label, names, header, at, optional=not labelled)
    index = next((i for i, name in enumerate(names) if header and name.lower() in INDEX_COLUMNS), None)
    read, broken = 0, []
    for line, fields in rows if header else itertools.chain([(first, names)], rows):
        if len(fields) != len(names) and not _ends_empty(fields, len(names)):
            broken.append((line, len(fields)))
            few = "few" if len(fields) < len(names) else "many"
            file.count(f"row(s) left out: too {few} fields, line {first} has {len(names)}", f"line {line}")
            continue
        read += 1
        second, answer, own = (None if column is None else fields[column] for column in (pair, label, index))
        yield Example(fields[text], second, answer or None, line, own)
    if len(broken) > read:
        line, count = broken[0]
        hint = "is the separator right?" if count == 1 else "correct the line"
        more = f", and {len(broken)} of {len(broken) + read} rows differ from it" if read else ""
        raise InputError(
            f"{file.where}:{line}: {count} field(s), but line {first} has {len(names)}{more}; {hint}"
        )


def _ends_empty(fields, count):
    """Whether a row only has empty fields after the `count` that it should have."""
    return len(fields) > count and not any(fields[count:])


def _read_label_text(file, table_format, labelled):
    rows = [(line, *content.strip().split(maxsplit=1)) for line, content in numbered(file.lines)]
    labels = {row[1] for row in rows if len(row) == 3}
    for line, label, *text in rows:
        if not text and label not in labels:
            raise InputError(
                f"{file.where}:{line}: {quoted(label)} and no text; "
                "write a label, a space and a text on each line"
            )
        yield Example(text[0] if text else "", None, label, line)


def _read_lines(file, table_format, labelled):
    if labelled:
        raise InputError(
            f"{file.where}: bare lines have no labels; give a table, or write a label before each text"
        )
    for line, content in enumerate(file.lines, 1):
        fields = [field.strip() for field in content.split("\t")]
        if table_format.pair is None or len(fields) == 1:
            yield Example(content.strip(), None, None, line)
            continue
        if len(fields) > 2:
            raise InputError(
                f"{file.where}:{line}: {len(fields) - 1} TABs; "
                "give one text per line, or two with one TAB between them"
            )
        yield Example(*fields, None, line)


_READERS = {"columns": _read_columns, "label-text": _read_label_text, "lines": _read_lines}
