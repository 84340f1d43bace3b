"""Small files: reading JSON with errors a user can act on, and writing text so that it is never half there."""

import json
import os

from minielectra.errors import InputError


def read_json(path, missing):
    """The JSON object in the file `path` (a Path) -> dict. Raises InputError: `missing` where there is no file, else what is wrong."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(missing) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object")
    return value


def write_text(path, text):
    """Replace the file `path` (a Path) by `text` in one go: written beside, then renamed."""
    beside = path.with_name(path.name + ".partial")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
