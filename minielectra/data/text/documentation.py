"""Gathering documentation: the docstrings and comments of the installed packages in, documents of English
prose out.

The packages are the standard library, NumPy and Matplotlib. Their source files are parsed but never imported.
"""

import ast
import importlib.util
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from minielectra.data.text.prose import paragraphs
from minielectra.errors import InputError

PACKAGES = ("numpy", "matplotlib")  # beside the standard library
_SKIPPED = {
    "test",
    "tests",
    "testing",
    "idle_test",
    "site-packages",
    "dist-packages",
    "lib2to3",
    "__pycache__",
    "_vendor",
}
_MINIMUM_PARAGRAPHS = 50


def gather_documents() -> list[list[str]]:
    """Documents, each a list of paragraphs. A paragraph that occurred before, in any document, is left out.

    A document is one source file (one topic, for Python's help topics). The order is fixed. Raises InputError
    if the installation has almost no documentation.
    """
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
        raise InputError(
            "this Python installation has almost no documentation to learn from; name a text file of your own"
        )
    return documents


def _sources() -> Iterator[list[str]]:
    """For each document, the texts that its paragraphs are taken from."""
    for folder in _folders():
        for path in sorted(folder.rglob("*.py")):
            if _SKIPPED.isdisjoint(path.relative_to(folder).parts):
                texts = _texts_of(path)
                if path.parent.name == "pydoc_data":  # Python's help topics, all in one file
                    yield from ([text] for text in texts)
                else:
                    yield texts


def _folders() -> list[Path]:
    """The folders of the standard library and the packages, found without importing them."""
    folders = [Path(sysconfig.get_paths()["stdlib"])]
    for package in PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        folders += map(Path, (spec and spec.submodule_search_locations) or ())
    return folders


def _texts_of(path: Path) -> list[str]:
    """The long strings (most of them docstrings) and the comment blocks of one file, in order.

    A file that cannot be read or parsed has none.
    """
    try:
        source = path.read_bytes().decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's files
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
