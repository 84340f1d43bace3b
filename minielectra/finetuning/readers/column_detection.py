"""Whether a file for a tagger is in columns, as the training file was, or holds a sentence on each line."""

import re

from minielectra.errors import InputError
from minielectra.finetuning.readers.conll import is_mark, split_fields, usual_separator
from minielectra.finetuning.readers.lines import numbered, quoted

_COLUMN_SUFFIX = re.compile(r"\.(.*conll\w*|iob\w*|bio\w*|bmes|tsv)")


def is_in_columns(file, columns, tag, separator, is_tag):
    """Whether a TextFile is in columns, by its name, its marks, or the columns of the training file.

    columns: how many those were, or None if unknown; tag: which of them held the tags; separator: what
    separated them, or None; is_tag: a function that tells whether a text may be a tag.

    Lines of text that happen to have as many words do not make columns: their tags would have to be tags.
    Raises InputError if some are and some are not.
    """
    first = next((line for line in file.lines if line.strip()), "")
    if file.holds_json or _COLUMN_SUFFIX.fullmatch(file.suffix) or is_mark(first):
        return True
    separator = separator or usual_separator(file.lines)
    rows = [
        (number, split_fields(line, separator)) for number, line in numbered(file.lines) if not is_mark(line)
    ]
    counts = {len(fields) for _, fields in rows}
    if len(counts) != 1:
        return False
    count = counts.pop()
    if count == 1 and len(rows) > 1:
        for number, _ in rows:
            file.count(
                "line(s) of one word read as sentences; columns need --form training", f"line {number}"
            )
    if separator == "\t" and columns == count + 1 and count > 1:
        return not any(" " in field for _, fields in rows for field in fields)  # only the tags are missing
    if (columns is not None and count != columns) or count < 2 or not -count <= tag < count:
        return False
    tags = [(number, fields[tag]) for number, fields in rows]
    wrong = [(number, text) for number, text in tags if not is_tag(text)]
    if not any(is_tag(text) and any(map(str.isalnum, text)) for _, text in tags):
        return False  # a full stop is a tag in some sets, and most sentences end with one
    if wrong:
        number, text = wrong[0]
        raise InputError(
            f"{file.where}:{number}: {quoted(text)} is no tag of the training data, so this may be a line of "
            "columns or a sentence; say which with --form training or --form lines"
        )
    return True
