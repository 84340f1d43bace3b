"""English text that every installation already holds: the documentation of Python, NumPy and Matplotlib.

The project ships no data, yet the first run needs some: docstrings and comments of the installed packages give about half
a million words of clean English prose. The sources are parsed, never imported. The text differs with the versions installed,
which is why they are in the name of the cached file.
"""

import ast
import importlib.metadata
import importlib.util
import inspect
import os
import platform
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from minielectra.data.text.prose import paragraphs
from minielectra.errors import InputError

_FORMAT = 1  # raise when the text changes
_PACKAGES = ("numpy", "matplotlib")
_SKIPPED = {"test", "tests", "testing", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__", "_vendor"}
_MINIMUM_PARAGRAPHS = 50


def cache_directory() -> Path:
    """Where files that can be made again are kept: ``$MINIELECTRA_CACHE``, else the platform's place for a user's caches."""
    if given := os.environ.get("MINIELECTRA_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "minielectra"


def default_corpus(cache_dir: str | PathLike | None = None) -> Path | list[list[str]]:
    """A source for `prepare`: the path of the cached text file, or the documents themselves where no cache can be written.

    A document is one source file (one topic, for Python's help topics), a line one paragraph. The order is fixed. The first call
    takes some ten seconds. Raises InputError where the installation holds next to no documentation.
    """
    path = Path(cache_dir or cache_directory()).expanduser() / _cache_name()
    if path.is_file():
        return path
    documents = gather_documents()
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join("".join(line + "\n" for line in document) for document in documents)
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    except OSError:  # a read-only home is no reason to fail
        return documents
    return path


def _cache_name() -> str:
    versions = [f"python-{platform.python_version()}"]
    for package in _PACKAGES:
        try:
            versions.append(f"{package}-{importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"documentation-v{_FORMAT}-{'-'.join(versions)}.txt"


def gather_documents() -> list[list[str]]:
    """Each document as a list of paragraphs; a paragraph that occurred before, in any document, is left out."""
    seen: set[str] = set()
    documents = []
    for texts in _sources():
        document = []
        for text in texts:
            for paragraph in paragraphs(text):
                key = "".join(filter(str.isalpha, paragraph.lower()))
                if key not in seen:
                    seen.add(key)
                    document.append(paragraph)
        if document:
            documents.append(document)
    if len(seen) < _MINIMUM_PARAGRAPHS:
        raise InputError("this Python installation holds almost no documentation to learn from; name a text file of your own")
    return documents


def _sources() -> Iterator[list[str]]:
    """The texts of each document-to-be."""
    for folder in _folders():
        for path in sorted(folder.rglob("*.py")):
            if _SKIPPED.isdisjoint(path.relative_to(folder).parts):
                texts = _texts_of(path)
                if path.parent.name == "pydoc_data":
                    yield from ([text] for text in texts)
                else:
                    yield texts


def _folders() -> list[Path]:
    """The folders of the standard library and the packages, found without importing them."""
    folders = [Path(sysconfig.get_paths()["stdlib"])]
    for package in _PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        folders += map(Path, (spec and spec.submodule_search_locations) or ())
    return folders


def _texts_of(path: Path) -> list[str]:
    """Long strings (docstrings and text kept in variables) and comment blocks of one file, in their order."""
    try:
        source = path.read_bytes().decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes, in other people's files
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = [
        (node.lineno, inspect.cleandoc(node.value))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") >= 5
    ]
    return [text for _, text in sorted([*found, *_comment_blocks(source)])]


def _comment_blocks(source: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of each run of lines that hold nothing but a comment."""
    block: list[str] = []
    start = 0
    for number, line in enumerate([*source.split("\n"), ""], 1):
        body = line.lstrip()
        if body.startswith("#"):
            if not block:
                start = number
            block.append(body.lstrip("#!:").rstrip())
        elif block:
            yield start, inspect.cleandoc("\n" + "\n".join(block))
            block = []
