"""JSON in a text file: one value, or one per line (JSON Lines); and the objects that such files list."""

import json
import re

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import numbered

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can spell them; no text can hold them


def json_values(file):
    """(line, value) of each JSON value in a TextFile: the whole file is one, or each line is.

    Raises InputError, with the line, for anything else.
    """
    lines = [(line, text) for line, text in numbered(file.lines)]
    if len(lines) < 2 or not _is_json(lines[0][1]):
        try:
            return [(1, json.loads("\n".join(file.lines)))]
        except json.JSONDecodeError as error:
            raise _not_json(file, error.lineno, error.msg) from None
        except (ValueError, RecursionError) as error:
            raise _not_json(file, 1, error) from None
    found = []
    for line, text in lines:
        try:
            found.append((line, json.loads(text)))
        except (ValueError, RecursionError) as error:
            raise _not_json(file, line, getattr(error, "msg", error)) from None
    return found


def json_records(file):
    """(line, object) of each JSON object in a TextFile.

    They are one per line, or in one list, perhaps under the key `data`; then their number stands for the
    line. Raises InputError, with the line, if it holds anything else.
    """
    values = json_values(file)
    if len(values) == 1:
        value = values[0][1]
        if isinstance(value, dict) and isinstance(value.get("data"), list):
            value = value["data"]
        if isinstance(value, list):
            values = list(enumerate(value, 1))
    for line, value in values:
        if not isinstance(value, dict):
            raise InputError(f"{file.where}:{line}: not a JSON object; give objects, one per line")
    return values


def _is_json(line):
    """Whether a line is a whole value of JSON."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def plain_text(value):
    """A JSON value as text: null is empty, a number as JSON writes it, and lone surrogates are replaced."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return _LONE_SURROGATES.sub("\ufffd", text)


def _not_json(file, line, error):
    why = "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
    return InputError(f"{file.where}:{line}: not JSON ({why}); correct it")
