"""ELECTRA from scratch: hand-written transformer layers with manual backpropagation on NumPy or CuPy arrays.

Names are imported when they are first used, so that `minielectra --help` answers at once.
"""

import importlib

# Imported here, so that `minielectra.detect` is the function and not the module of that name.
from minielectra.detect import detect

__version__ = "0.1.0"

_HOMES = {
    "ElectraConfig": "electra.electra_config",
    "ElectraForMaskedLM": "electra.towers",
    "ElectraForPreTraining": "electra.towers",
    "ElectraForQuestionAnswering": "finetuning.heads",
    "ElectraForSequenceClassification": "finetuning.heads",
    "ElectraForTokenClassification": "finetuning.heads",
    "InputError": "errors",
    "PretrainingConfig": "pretraining.pretraining_config",
    "WordPieceTokenizer": "data.wordpiece",
    "gradient_check": "gradcheck.checker",
    "load_discriminator": "pretraining.load",
}

__all__ = ["detect", *_HOMES]


def __getattr__(name):
    """Import a public name from its home, the first time somebody asks for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
