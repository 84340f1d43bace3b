"""Texts with labels for classification: tables (such as GLUE's), lines of a label and a text, bare lines.

    columns      a TSV or CSV; a TableFormat says which columns hold text, a pair's second text, and label
    label-text   `DESC:manner How did serfdom develop … ?`: the label is what precedes the first white space
    lines        one text per line, with a TAB before the second text of a pair; no labels

Quotes in a TSV are text, as in GLUE (MRPC has many). A CSV is quoted by the rules of Python's csv module.
White space around a field is removed, and blank lines are skipped.
"""

from dataclasses import asdict, dataclass
from math import isfinite

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import numbered, quoted, read_lines, shown_path, split_rows


@dataclass(frozen=True)
class Example:
    """A text, a pair's second text or None, the label as written or None, the number of the first line."""

    text: str
    pair: str | None
    label: str | None
    line: int


@dataclass(frozen=True)
class TableFormat:
    """How to read a file: `kind` is "columns", "label-text" or "lines"; the other fields describe columns.

    text, pair, label: names of columns, or numbers from 0 (from the end if negative); pair and label may be
    None. separator: "," means quoted. header: whether the first line holds names. name: a GLUE task's, or
    None.
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
            _READERS[made.kind]
        except (TypeError, KeyError):
            raise InputError(
                f"{quoted(str(values))} is not the format of a table; make it with detect_format"
            ) from None
        return made


def read_examples(path, table_format, labelled=True):
    """The examples of a file -> non-empty list of Example. `path` "-" is standard input.

    labelled=False: labels may be missing or empty, and are then None. Raises InputError, with the line, for a
    missing column, a row with too few or too many fields, broken quotes, an empty text, a missing label.
    """
    where = shown_path(path)
    examples = list(_READERS[table_format.kind](read_lines(path), table_format, labelled, where))
    for example in examples:
        at = f"{where}:{example.line}"
        if not example.text or example.pair == "":
            which = "second text" if example.text else "text"
            raise InputError(f"{at}: the {which} is empty; fill it in or remove the line")
        if labelled and example.label is None:
            raise InputError(f"{at}: no label; add it or remove the line")
    if not examples:
        raise InputError(f"{where}: a header and nothing else; add lines with texts")
    return examples


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
                f"{shown_path(path)}:{example.line}: the label {example.label!r} is not a number; correct it"
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


def _read_columns(lines, table_format, labelled, where):
    expected = None
    for line, fields in split_rows(lines, table_format.separator, where):
        if expected is None:
            expected, first, at = len(fields), line, f"{where}:{line}"
            header = table_format.header
            text, pair = (find_column(c, fields, header, at) for c in (table_format.text, table_format.pair))
            if labelled and table_format.label is None:
                raise InputError(
                    f"{at}: {list_columns(fields)}, none of which is called the label; say which column it is"
                )
            label = find_column(table_format.label, fields, header, at, optional=not labelled)
            if header:
                continue
        if len(fields) != expected:
            hint = "is the separator right?" if len(fields) == 1 else "correct the line"
            raise InputError(
                f"{where}:{line}: {len(fields)} field(s), but line {first} has {expected}; {hint}"
            )
        second, answer = (None if column is None else fields[column] for column in (pair, label))
        yield Example(fields[text], second, answer or None, line)


def _read_label_text(lines, table_format, labelled, where):
    for line, content in numbered(lines):
        label, *text = content.strip().split(maxsplit=1)
        if not text:
            raise InputError(
                f"{where}:{line}: {quoted(label)} and no text; write a label, a space and a text on each line"
            )
        yield Example(text[0], None, label, line)


def _read_lines(lines, table_format, labelled, where):
    if labelled:
        raise InputError(
            f"{where}: bare lines have no labels; give a table, or write a label before each text"
        )
    for line, content in numbered(lines):
        fields = [field.strip() for field in content.split("\t")]
        if len(fields) > 2:
            raise InputError(
                f"{where}:{line}: {len(fields) - 1} TABs; "
                "give one text per line, or two with one TAB between them"
            )
        yield Example(fields[0], fields[1] if len(fields) == 2 else None, None, line)


_READERS = {"columns": _read_columns, "label-text": _read_label_text, "lines": _read_lines}
