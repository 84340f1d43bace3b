"""How to read a file of texts: its TableFormat, from its name, its header, and the columns the user named."""

import re
from pathlib import Path

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import read_lines, shown_path, split_rows
from minielectra.finetuning.readers.tables import TableFormat, find_column, list_columns

# GLUE's tasks (Wang et al. 2019) and their columns: text, a pair's second text, label (not in test files).
GLUE = {
    "cola": (
        "sentence",
        None,
        "label",
    ),  # train and dev have no header: source, label, original mark, sentence
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


def detect_format(path, task=None, text=None, pair=None, label=None, labelled=True):
    """How to read the file `path` -> TableFormat.

    task: a key of `GLUE`, in any spelling ("SST-2", "sst2"); None: recognised if the header allows it. text,
    pair, label: columns that the user named; if all of them are numbers, the file has no header.
    labelled=False: a file that is not a table is read as bare lines instead of label and text.

    A file is a table if it contains a TAB or is called .tsv or .csv. Standard input ("-") cannot be read
    twice: it is bare lines, or a TSV if `text` is given. Raises InputError for an unknown task, a missing
    column, or a header that does not tell.
    """
    name = _task_name(task)
    columns_named = not (text is pair is label is None)
    if str(path) == "-":
        if text is None:
            return TableFormat("lines", name=name)
        first_row, separator, at = [], "\t", shown_path(path)
    else:
        lines = read_lines(path)
        if not columns_named and not _called_table(path) and not any("\t" in line for line in lines):
            return TableFormat("label-text" if labelled else "lines", name=name)
        separator = "," if Path(path).suffix.lower() == ".csv" else "\t"
        line, first_row = next(split_rows(lines, separator, shown_path(path)), (1, [""]))
        at = f"{shown_path(path)}:{line}"
    text, pair, label = map(_number_or_name, (text, pair, label))
    if text is None:
        found = _text_columns(first_row, name)
        if found is None and not columns_named:
            if _is_cola(first_row) and name in (None, "cola"):
                return TableFormat("columns", 3, None, 1, separator, header=False, name="cola")
            if not labelled and not _called_table(path):
                return TableFormat("lines", name=name)
        if found is None:
            wanted = "the text" if name is None else f"the text of {name}"
            raise InputError(
                f"{at}: {list_columns(first_row)}, none of which is known as {wanted}; say which column it is"
            )
        text, pair = found[0], found[1] if pair is None else pair
    header = any(isinstance(column, str) for column in (text, pair, label))
    if label is None and header:
        label = _spelling(first_row, *LABEL_COLUMNS)
    for column in (text, pair, label) if first_row else ():
        find_column(column, first_row, header, at)
    if name is None and not columns_named:
        tasks = [task for task, columns in GLUE.items() if columns == (text, pair, label)]
        name = tasks[0] if len(tasks) == 1 else None
    return TableFormat("columns", text, pair, label, separator, header, name)


def unlabelled_format(path, trained, labels):
    """How to read a file to predict for -> TableFormat.

    trained: the TableFormat of the training file; labels: the task's. The file may look like the training
    file, with or without labels, or hold bare lines.
    """
    lines = TableFormat("lines", name=trained.name)
    if str(path) == "-":
        return lines
    if trained.kind != "columns":
        words = [line.split(maxsplit=1) for line in read_lines(path) if line.strip()]
        labelled = all(len(parts) == 2 and parts[0] in labels for parts in words)
        return trained if labelled else lines
    try:
        if trained.name is not None:
            return detect_format(path, task=trained.name, labelled=False)
        return detect_format(path, text=trained.text, pair=trained.pair, labelled=False)
    except InputError:
        if _called_table(path):
            raise
        return lines


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


def _called_table(path):
    return Path(path).suffix.lower() in (".tsv", ".csv")


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
