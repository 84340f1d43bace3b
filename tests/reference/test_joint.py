"""The joint objective beside PyTorch: both losses and the gradient of every parameter."""

from dataclasses import replace

import pytest

from minielectra import backend
from minielectra.backend import Workspace
from minielectra.errors import InputError

from .checks import CONFIG, SETTINGS, joint_errors
from .test_towers import precisions, small

CASES = {
    "electra": {},
    "no padding": {"padded": False},
    "E = H": {"config": replace(CONFIG, embedding_size=36)},
    "generator as large": {"settings": replace(SETTINGS, generator_width=1.0, generator_depth=1.0)},
    "encoders tied": {"settings": replace(SETTINGS, tie_encoders=True)},
    "λ 50": {"settings": replace(SETTINGS, gen_weight=0.3, disc_weight=50.0)},
    "tanh GELU": {"config": replace(CONFIG, hidden_act="gelu_new")},
    "mlm": {"settings": replace(SETTINGS, objective="mlm")},
    "mlm, no padding": {"settings": replace(SETTINGS, objective="mlm"), "padded": False},
    **{
        ", ".join(map(str, options.values())): {"settings": replace(SETTINGS, **options)}
        for options in (
            {"sampler": "unigram"},
            {"sampler": "uniform", "train_generator": True},
            {"embeddings": "separate"},
            {"embeddings": "gdes"},
            {"objective": "electra-15"},
            {"objective": "replace-mlm", "mlm_weight": 2.5},
            {"objective": "replace-mlm", "embeddings": "gdes"},
            {"objective": "all-tokens-mlm", "mlm_weight": 2.5},
            {"objective": "all-tokens-mlm", "tie_encoders": True},
            {"objective": "all-tokens-mlm", "copy_gate": False, "sampler": "unigram"},
            {"objective": "rtd+mlm", "mlm_weight": 2.5},
            {"objective": "rtd+mlm", "embeddings": "gdes"},
            {"objective": "electric", "sample_temperature": 1.5},
            {"objective": "electric", "sampler": "unigram"},
            {"adversarial": True, "sample_temperature": 1.5},
        )
    },
    "larger": {"count": 9, "length": 17, "slots": 4},
}


@precisions
@pytest.mark.parametrize("case", CASES)
def test_losses_and_every_gradient(case, dtype):
    small(joint_errors(**{"dtype": dtype, **CASES[case]}), dtype)


@precisions
def test_in_a_workspace(dtype):
    workspace = Workspace()
    for seed in range(3):
        workspace.reset()
        small(joint_errors(dtype=dtype, seed=seed, workspace=workspace), dtype)


@pytest.mark.gpu
@precisions
def test_on_a_gpu(dtype):
    try:
        xp = backend.load("gpu")
    except InputError as error:
        pytest.skip(str(error))
    small(joint_errors(dtype=dtype, xp=xp), dtype)
