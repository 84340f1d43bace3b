"""TOML files, read so that messages can say in which line something is."""

import re

from minielectra.errors import InputError, reason
from minielectra.formats import limits
from minielectra.formats.reading import check_ordinary, read_bytes

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = None

_TABLE = re.compile(r"\s*\[\[?\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


class TomlFile:
    """A TOML file: `values`, a dictionary, and where its entries stand."""

    def __init__(self, path):
        """Raises InputError if the file cannot be read or is no TOML."""
        self.path = path
        if tomllib is None:
            raise InputError(f"{path}: reading TOML needs Python 3.11 or newer")
        try:
            check_ordinary(path)
            text = read_bytes(path, limits.JSON).decode("utf-8")
            self.values = tomllib.loads(text)
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
        except RecursionError:
            raise InputError(f"{path}: nested too deeply") from None
        except (OSError, ValueError) as error:  # tomllib says line and column
            raise InputError(f"{path}: cannot be read ({reason(error)})") from None
        self._lines = _lines_of_entries(text)

    def error(self, entry, message):
        """The InputError about an entry, a tuple of keys such as ("variants", "bert", "seeds")."""
        known = next((entry[:n] for n in range(len(entry), 0, -1) if entry[:n] in self._lines), None)
        line = f":{self._lines[known]}" if known else ""
        name = ".".join(entry)
        return InputError(f"{self.path}{line}: {name + ': ' if name else ''}{message}")


def _lines_of_entries(text):
    """{keys of an entry: number of its line}. Entries of inline tables are not found."""
    found, table = {}, ()
    for number, line in enumerate(text.split("\n"), 1):
        if match := _TABLE.match(line):
            table = _keys(match[1])
            found.setdefault(table, number)
        elif match := _KEY.match(line):
            found.setdefault((*table, *_keys(match[1])), number)
    return found


def _keys(dotted):
    return tuple(part.strip().strip("\"'") for part in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", dotted))
