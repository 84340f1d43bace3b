"""What pre-training minimises: one file per objective.

Each file defines `OBJECTIVE`, a class that satisfies `training.contracts.Objective` and is made as
Kind(model_config, config), with `xp` and `dtype` as options. Adding one means adding a file: its name is the
value of `--objective`, with a hyphen for each underscore and `+` for `_and_`. Listing the names imports none
of them.
"""

import importlib
import pkgutil

_SHARED = ("base", "replacing", "adversarial")  # the last one is an option of `electra`


def names():
    """The names of all objectives."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(_shown(module) for module in modules if module not in _SHARED)


def find(name):
    """The class of an objective, by its name."""
    module = name.replace("+", "_and_").replace("-", "_")
    return importlib.import_module(f"{__name__}.{module}").OBJECTIVE


def _shown(module):
    """The name of the objective in a module: `rtd_and_mlm` holds `rtd+mlm`."""
    return module.replace("_and_", "+").replace("_", "-")


def make(model_config, config, xp=None, dtype=None):
    """The objective that `config` names, over new parameters, all 0.

    model_config: ElectraConfig of the full-size tower; config: PretrainingConfig; xp, dtype: of the
    parameters (NumPy, float32).
    """
    options = {name: value for name, value in (("xp", xp), ("dtype", dtype)) if value is not None}
    kind = find("adversarial" if config.adversarial else config.objective)
    return kind(model_config, config, **options)
