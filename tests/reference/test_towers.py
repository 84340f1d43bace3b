"""Each tower alone beside transformers' model of the same name: logits, and every parameter's gradient."""

from dataclasses import replace

import numpy as np
import pytest

from minielectra import objectives
from minielectra.backend import Workspace
from minielectra.pretraining.presets import PRESETS, configure

from .checks import CONFIG, TOLERANCE, tower_errors, worst

KINDS = ("ElectraForMaskedLM", "ElectraForPreTraining")
both = pytest.mark.parametrize("kind", KINDS)
precisions = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)


def small(errors, dtype):
    """Asserts that every figure of {name: relative error} is within `dtype`'s tolerance."""
    name, error = worst(errors)
    assert error <= TOLERANCE[dtype], f"{name}: {error:.1e}"


@precisions
@both
@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        ({}, {}),
        ({}, {"padded": False}),
        ({}, {"count": 1, "length": 2}),
        ({}, {"count": 9, "length": 17}),  # every position there is
        ({"embedding_size": 36}, {}),  # E = H: no projection
        ({"embedding_size": 40}, {"padded": False}),  # E > H
        ({"num_attention_heads": 1, "num_hidden_layers": 3}, {}),
        ({"num_attention_heads": 12, "type_vocab_size": 2}, {}),
        ({"hidden_act": "gelu_new"}, {}),
        ({"hidden_act": "gelu_pytorch_tanh"}, {}),
        ({"hidden_act": "relu"}, {}),
        ({"hidden_act": "silu"}, {}),
        ({"hidden_act": "swish", "type_vocab_size": 1}, {}),
        ({"pad_token_id": 7, "layer_norm_eps": 1e-5}, {}),
        ({"num_hidden_layers": 12}, {}),  # errors add up over layers
    ],
    ids=str,
)
def test_tower(kind, dtype, change, sizes):
    small(tower_errors(kind, replace(CONFIG, **change), dtype, **sizes), dtype)


@precisions
def test_generator_at_chosen_positions(dtype):
    rows = np.array([3, 40, 17, 3, 54])  # in any order, and one twice: a hidden state used twice
    small(tower_errors("ElectraForMaskedLM", CONFIG, dtype, rows=rows), dtype)


@precisions
@both
def test_tower_in_a_workspace(kind, dtype):
    workspace = Workspace()
    for seed in range(3):  # memory of the first pass is what the others work in
        workspace.reset()
        small(tower_errors(kind, CONFIG, dtype, seed=seed, workspace=workspace), dtype)


def preset_config(preset, kind):
    """A tower's configuration in a preset, but at most two layers deep, or one if it is wide."""
    objective = objectives.make(*configure(preset))  # which takes no memory
    config = objective.towers["generator" if kind == "ElectraForMaskedLM" else "discriminator"].config
    return replace(config, num_hidden_layers=1 if preset in ("base", "large") else 2)


@precisions
@pytest.mark.parametrize(
    ("preset", "kind"),
    [
        pytest.param(preset, kind, marks=pytest.mark.slow if preset in ("base", "large") else ())
        for preset in PRESETS
        for kind in KINDS
    ],
)
def test_presets_at_their_real_widths(preset, kind, dtype):
    small(tower_errors(kind, preset_config(preset, kind), dtype, count=2, length=19), dtype)
