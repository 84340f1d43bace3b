"""JSON, written so that every program can read it, and read from files that nobody has checked.

JSON has no NaN and no infinity: they are written as null.
"""

import json
import math

from minielectra.errors import printable


def json_text(value, indent=None):
    """A JSON-able value as text; floats that are not finite become null."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def _without_nan(value):
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(text):
    """The value of a JSON text (str, or bytes of UTF-8). Raises ValueError, which says why it is none."""
    try:
        return json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}: line {error.lineno} column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:  # Python converts no integers of more than 4 300 digits
        digits = "an integer has too many digits"
        raise ValueError(digits if "digits" in str(error) else printable(str(error), 200)) from None


# What values of JSON may be, for readers that check what they read.


def is_integer(value, at_least=0, at_most=2**53):
    """Whether a value is an integer (true and false are none) within bounds."""
    return type(value) is int and at_least <= value <= at_most


def is_number(value):
    """Whether a value is a finite number (true and false are none) that a float can hold."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def is_texts(value):
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
