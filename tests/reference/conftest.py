"""Skips this folder, with a message, where PyTorch or transformers are not installed."""

from importlib.util import find_spec

import pytest

MISSING = [name for name in ("torch", "transformers", "scipy") if find_spec(name) is None]


class Skipped(pytest.Module):
    """A test module that is not imported."""

    def collect(self):
        pytest.skip(
            f"{', '.join(MISSING)} not installed; reference suite: pip install '.[reference]' brings PyTorch and transformers",
            allow_module_level=True,
        )


def pytest_pycollect_makemodule(module_path, parent):
    """The test modules of this folder, none of which can be imported without PyTorch."""
    return Skipped.from_parent(parent, path=module_path) if MISSING else None
