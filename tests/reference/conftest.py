"""Marks this folder `reference`, and leaves it alone if it is not wanted or cannot be imported.

Importing PyTorch and transformers takes seconds, so the folder is not even looked at in a plain `pytest`.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

MISSING = [name for name in ("torch", "transformers", "scipy") if find_spec(name) is None]


class Skipped(pytest.Module):
    """A test module that is not imported."""

    def collect(self):
        pytest.skip(
            f"{', '.join(MISSING)} not installed; the reference suite needs pip install '.[reference]'",
            allow_module_level=True,
        )


def pytest_ignore_collect(config):
    """Whether to pass over a file of this folder: if `-m` leaves all of them out."""
    return True if "not reference" in config.getoption("markexpr") else None


def pytest_pycollect_makemodule(module_path, parent):
    """The test modules of this folder, none of which can be imported without PyTorch."""
    return Skipped.from_parent(parent, path=module_path) if MISSING else None


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items):
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.reference)
