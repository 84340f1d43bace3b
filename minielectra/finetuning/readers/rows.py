"""From the lines of a file to rows of fields: between TABs, in a quoted CSV, or in JSON objects."""

import csv
import itertools

from minielectra.errors import InputError
from minielectra.finetuning.readers.json_values import json_records, plain_text
from minielectra.finetuning.readers.lines import numbered

_LONGEST_FIELD = 2**31 - 1  # characters; the csv module takes no larger number on every system
_SEPARATORS = (",", ";", "\t", "|")  # of files called .csv; spreadsheets write `;` where 0,5 is a number
_SNIFFED = 20  # rows that decide which one it is


def read_rows(file, separator):
    """(number of its first line, its stripped fields) of each row of a TextFile that is not blank.

    separator: between TABs everything is text, quotes too, as in GLUE; any other character means a quoted
    CSV, whose rows may run over several lines. Of JSON objects the first row holds the keys. Raises
    InputError, with the line, for broken quotes or JSON.
    """
    if file.holds_json:
        yield from _json_rows(file)
    elif separator == "\t":
        for number, line in numbered(file.lines):
            yield number, [field.strip() for field in line.split("\t")]
    else:
        yield from _csv_rows(file, separator)


def find_separator(file, usual="\t"):
    """What separates the fields of a TextFile, by its name; `usual` if the name does not tell.

    In a file called .csv it is the first of `, ; TAB |` that gives the same number of fields, two or more, in
    each of the first rows; a comma if none does.
    """
    if file.suffix == ".csv":
        return next((s for s in _SEPARATORS if _is_regular(file, s)), ",")
    return "\t" if file.suffix == ".tsv" else usual


def _is_regular(file, separator):
    try:
        counts = {len(fields) for _, fields in itertools.islice(_csv_rows(file, separator), _SNIFFED)}
    except InputError:
        return False
    return len(counts) == 1 and counts.pop() > 1


def _csv_rows(file, separator):
    lines = (line + "\n" for line in file.lines)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = _next_row(reader)
        except csv.Error as error:
            raise InputError(f"{file.where}:{start}: not CSV ({error}); check its quotes") from None
        if fields is None:
            return
        if len(fields) > 1 or any(field.strip() for field in fields):
            yield start, [field.strip() for field in fields]


def _next_row(reader):
    """The next row, with fields of any length, or None. The limit belongs to the whole process."""
    usual = csv.field_size_limit(_LONGEST_FIELD)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(usual)


def _json_rows(file):
    """The keys of all objects, then each object's values. Keys with lists or objects are no columns."""
    records = json_records(file)
    keys = dict.fromkeys(key for _, record in records for key in record)
    keys = [key for key in keys if not any(isinstance(r.get(key), (list, dict)) for _, r in records)]
    yield 1, keys
    for line, record in records:
        yield line, [plain_text(record.get(key)).strip() for key in keys]
