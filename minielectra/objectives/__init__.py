"""What pre-training minimises: one file per objective.

Each file defines `OBJECTIVE`, a class that satisfies `training.contracts.Objective` and is made as
Kind(model_config, config), with `xp` and `dtype` as options. Adding one means adding a file: its name is the
value of `--objective`. Listing the names imports none of them.
"""

import importlib
import pkgutil

_SHARED = ("base",)


def names():
    """The names of all objectives."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)


def find(name):
    """The class of an objective, by its name."""
    return importlib.import_module(f"{__name__}.{name}").OBJECTIVE


def make(model_config, config, xp=None, dtype=None):
    """The objective that `config` names, over new parameters, all 0.

    model_config: ElectraConfig of the full-size tower; config: PretrainingConfig; xp, dtype: of the
    parameters (NumPy, float32).
    """
    options = {name: value for name, value in (("xp", xp), ("dtype", dtype)) if value is not None}
    return find(config.objective)(model_config, config, **options)
