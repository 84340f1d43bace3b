"""The default corpus: English that every installation already holds, gathered once and then kept in a cache.

The project ships no data, yet the first run needs some. The documentation of Python, NumPy and Matplotlib
gives about half a million words of clean prose. It differs between the versions installed, so they are in the
name of the cached file.
"""

import importlib.metadata
import os
import platform
import sys
from os import PathLike
from pathlib import Path

from minielectra.data.text.documentation import PACKAGES, gather_documents
from minielectra.errors import InputError
from minielectra.formats.files import make_folder, write_text
from minielectra.formats.reading import expanded

_FORMAT = 1  # raise it whenever the text changes


def default_corpus(cache_dir: str | PathLike | None = None) -> Path | list[list[str]]:
    """A source for `prepare`: the cached text file, or the documents themselves if no cache can be written.

    cache_dir: where to keep the file, if not in `cache_directory()`. Each line of it is a paragraph. The
    first call takes some ten seconds. Raises InputError if the installation has almost no documentation.
    """
    try:
        path = expanded(cache_dir or cache_directory()) / _cache_name()
        if path.is_file():
            with path.open("rb"):
                return path
    except (OSError, RuntimeError, InputError):  # no home, or a folder that may not be searched
        return gather_documents()
    documents = gather_documents()
    try:
        make_folder(path.parent)
        write_text(path, "\n".join("".join(line + "\n" for line in document) for document in documents))
    except OSError:  # a read-only home is no reason to fail
        return documents
    return path


def cache_directory() -> Path:
    """The folder for files that can be made again: `$MINIELECTRA_CACHE`, or the platform's usual place.

    Raises RuntimeError if there is no home directory.
    """
    if given := os.environ.get("MINIELECTRA_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "minielectra"


def _cache_name() -> str:
    versions = [f"python-{platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package}-{importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"documentation-v{_FORMAT}-{'-'.join(versions)}.txt"
