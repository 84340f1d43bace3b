"""Optimizers, the learning-rate schedule and clipping.

Each optimizer is a file of its own that defines `OPTIMIZER`, a class that satisfies
`training.contracts.Optimizer`. Adding one means adding a file: its name is the value of the setting
`optimizer`.
"""

import importlib
import pkgutil

_SHARED = ("schedule", "clipping", "buffer_blocks")


def names():
    """The names of all optimizers."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)


def find(name):
    """The class of an optimizer, by its name."""
    return importlib.import_module(f"{__name__}.{name}").OPTIMIZER
