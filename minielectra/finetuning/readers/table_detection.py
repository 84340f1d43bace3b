"""How to read a file of texts: its TableFormat, from its name, its header, and the columns the user named."""

import dataclasses
import re

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import numbered, read_file
from minielectra.finetuning.readers.rows import find_separator, read_rows
from minielectra.finetuning.readers.tables import TableFormat, find_column, list_columns, read_examples

# GLUE's tasks (Wang et al. 2019) and their columns: text, a pair's second text, label (not in test files).
GLUE = {
    "cola": ("sentence", None, "label"),  # without a header: source, label, original mark, sentence
    "sst-2": ("sentence", None, "label"),
    "mrpc": ("#1 String", "#2 String", "Quality"),
    "sts-b": ("sentence1", "sentence2", "score"),
    "qqp": ("question1", "question2", "is_duplicate"),
    "mnli": ("sentence1", "sentence2", "gold_label"),  # dev also has label1 … label5
    "qnli": ("question", "sentence", "label"),
    "rte": ("sentence1", "sentence2", "label"),
    "wnli": ("sentence1", "sentence2", "label"),
}
# What headers call a text and a pair's second text. Pairs come first, because a pair contains a text too.
TEXT_COLUMNS = (
    ("#1 String", "#2 String"),
    ("question1", "question2"),
    ("sentence1", "sentence2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
    ("text1", "text2"),
    ("text", "pair"),
    ("sentence", None),
    ("text", None),
    ("sequence", None),
)
LABEL_COLUMNS = ("gold_label", "is_duplicate", "quality", "label", "score", "class", "category")


def detect_format(path, task=None, text=None, pair=None, label=None, separator=None, labelled=True):
    """How to read the file `path` ("-" is standard input) -> TableFormat.

    task: a key of `GLUE`, in any spelling ("SST-2", "sst2"); None: recognised if the header allows it. text,
    pair, label: columns that the user named; if all of them are numbers, the file has no header. separator:
    what separates columns; None: see `find_separator`. labelled=False: a file that is not a table is read as
    bare lines instead of label and text.

    A file is a table if it contains a TAB, is called .tsv or .csv, or holds JSON. Raises InputError for an
    unknown task, a missing column, or a header that does not tell.
    """
    file, name = read_file(path), _task_name(task)
    columns_named = not (text is pair is label is None)
    if not columns_named and separator is None and not _is_table(file):
        return TableFormat("label-text" if labelled else "lines", name=name)
    separator = _one_character(separator) or find_separator(file)
    line, first_row = next(read_rows(file, separator), (1, [""]))
    at = f"{file.where}:{line}"
    text, pair, label = map(_number_or_name, (text, pair, label))
    if text is None:
        found = _text_columns(first_row, name)
        if found is None and not columns_named:
            if _is_cola(first_row) and name in (None, "cola"):
                return TableFormat("columns", 3, None, 1, separator, header=False, name="cola")
            if not labelled and not _called_table(file):
                return TableFormat("lines", pair=1, name=name)
        if found is None:
            wanted = "the text" if name is None else f"the text of {name}"
            raise InputError(
                f"{at}: {list_columns(first_row)}, none of which is known as {wanted}; say which column it is"
            )
        text, pair = found[0], found[1] if pair is None else pair
    header = file.holds_json or any(isinstance(column, str) for column in (text, pair, label))
    if label is None and header:
        label = _spelling(first_row, *LABEL_COLUMNS)
    for column in (text, pair, label):
        find_column(column, first_row, header, at)
    if name is None and not columns_named:
        tasks = [task for task, columns in GLUE.items() if columns == (text, pair, label)]
        name = tasks[0] if len(tasks) == 1 else None
    return TableFormat("columns", text, pair, label, separator, header, name)


def read_unlabelled(path, trained, labels, form=None):
    """The examples of a file to predict for -> list of Example. "-" is standard input.

    trained: the TableFormat of the training file; labels: the task's. form: "training": the file is written
    like the training file, with or without labels; "lines": one text per line; None: the former if the name,
    the header or the first words of all lines say so, otherwise the latter, as on standard input.
    """
    file = read_file(path, blank=True)
    lines = TableFormat("lines", pair=None if trained.pair is None else 1, name=trained.name)
    if form is None and str(path) == "-" and not file.holds_json:
        form = "lines"
    found = lines if form == "lines" else _unlabelled_format(file, trained, labels, form == "training")
    return read_examples(file, found or lines, labelled=False)


def _unlabelled_format(file, trained, labels, told):
    """How to read a file that may be like the training file -> TableFormat, or None for bare lines.

    told: whether the user says that it is like the training file.
    """
    if trained.kind != "columns" and not file.holds_json:
        return trained if told or _begin_with_labels(file, labels) else None
    if not told and not _could_be_table(file, trained):
        return None
    separator = find_separator(file, usual=trained.separator)
    try:
        if trained.name is not None or trained.kind != "columns":
            found = detect_format(file, task=trained.name, separator=separator, labelled=False)
        else:
            found = detect_format(
                file, text=trained.text, pair=trained.pair, separator=separator, labelled=False
            )
    except InputError:
        if told or _called_table(file):
            raise
        return None
    if told and found.kind != "columns":
        raise InputError(f"{file.where}: no header with the training file's columns; or say --form lines")
    return found if found.kind == "columns" else None


def _begin_with_labels(file, labels):
    """Whether every line is a label of the training file and a text. If so, that is told."""
    rows = [(number, line.split(maxsplit=1)) for number, line in numbered(file.lines)]
    if not rows or not all(len(words) == 2 and words[0] in labels for _, words in rows):
        return False
    for number, _ in rows:
        file.count("line(s) begin with a label; to read it as text, say --form lines", f"line {number}")
    return True


def _could_be_table(file, trained):
    """Whether a file may be like the training file: a table by its name or its content."""
    if _called_table(file):
        return True
    if trained.header:
        first_line = next(numbered(file.lines), (0, ""))[1]
        names = [name.strip() for name in first_line.split(trained.separator)]
        return _is_table(file) or trained.text in names
    counts = {line.count("\t") for _, line in numbered(file.lines)}
    return len(counts) == 1 and counts != {0}  # without a header, only equal rows tell


def format_like(path, trained):
    """How to read a labelled file with the columns of the training file -> TableFormat.

    trained: the training file's. The separator is the file's own.
    """
    file = read_file(path)
    if trained.kind != "columns":
        return detect_format(file) if file.holds_json else trained
    return dataclasses.replace(trained, separator=find_separator(file, usual=trained.separator))


def _one_character(separator):
    """What the user calls the separator of columns; `\\t` stands for a TAB. Raises InputError."""
    separator = {"\\t": "\t"}.get(separator, separator)
    if separator is not None and len(separator) != 1:
        raise InputError(f"--separator {separator!r}: is not one character; give one, such as ';'")
    return separator


def _task_name(task):
    """The key of GLUE that the user means, or None for None. Raises InputError if there is no such task."""
    if task is None:
        return None
    plain = {name.replace("-", ""): name for name in GLUE}
    key = "".join(filter(str.isalnum, task.lower()))
    if key not in plain:
        raise InputError(
            f"{task!r}: no such task; choose one of {', '.join(GLUE)}, or name the columns of text and label"
        )
    return plain[key]


def _called_table(file):
    return file.suffix in (".tsv", ".csv") or file.holds_json


def _is_table(file):
    return _called_table(file) or any("\t" in line for line in file.lines)


def _is_cola(first_row):
    """Whether a file without header looks like CoLA's: source, label, original mark, sentence."""
    return len(first_row) == 4 and first_row[1] in ("0", "1")


def _number_or_name(column):
    """A column as the user wrote it -> int if it is a number, since few headers call a column `1`."""
    return int(column) if isinstance(column, str) and re.fullmatch(r"-?\d+", column) else column


def _text_columns(first_row, name):
    """The (text, pair) columns of a header, as spelt there, or None. A known task says if there is a pair."""
    candidates = TEXT_COLUMNS
    if name is not None:
        own = GLUE[name][:2]
        candidates = [own, *(texts for texts in TEXT_COLUMNS if (texts[1] is None) == (own[1] is None))]
    for text, pair in candidates:
        found = _spelling(first_row, text), pair and _spelling(first_row, pair)
        if found[0] is not None and (pair is None or found[1] is not None):
            return found
    return None


def _spelling(first_row, *names):
    """The first of `names` that is in the header in any case, as it is spelt there, or None."""
    spellings = {field.lower(): field for field in reversed(first_row)}
    return next((spellings[name.lower()] for name in names if name.lower() in spellings), None)
