"""A pre-training model as two Hugging Face directories, `discriminator` and `generator`, in one folder; and
back.

Each directory is a whole model, so that other tools can open it. The shared embeddings are therefore in both,
and must be equal.
"""

import dataclasses
from pathlib import Path

import numpy as np

from minielectra.electra.towers import EMBEDDINGS, ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError

KINDS = {"discriminator": ElectraForPreTraining, "generator": ElectraForMaskedLM}
# Fields of a configuration that say nothing about the weights.
INDEPENDENT_OF_WEIGHTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
)


def save_towers(objective, directory, tokenizer):
    """Write the towers of a pre-training objective under `directory` -> their paths."""
    paths = {name: Path(directory) / name for name in KINDS if name in objective.towers}
    for name, path in paths.items():
        objective.towers[name].save_pretrained(path, tokenizer)
    return list(paths.values())


def read_towers(directory, objective, tied=False):
    """The towers that an objective trains.

    objective: its name; tied: whether its towers have one encoder (PretrainingConfig's `tie_encoders`). ->
    ({configuration field: value} that makes such a model, {name in the joint model: array}, the directory of
    the first tower, which holds the vocabulary). Raises InputError if a tower is missing, or if the two are
    not a pair: if their embeddings differ, or if the generator is not a scaled copy of the discriminator.
    """
    directory = Path(directory)
    names = ["generator"] if objective == "mlm" else list(KINDS)
    for name in names:
        if not (directory / name).is_dir():
            raise InputError(f"{directory}: has no {name}; --init needs a folder as `export` writes it")
    towers = {name: KINDS[name].from_pretrained(directory / name) for name in names}
    fields = dataclasses.asdict(towers[names[0]].config)
    state = {}
    for name, tower in towers.items():
        prefix = "discriminator" if tied else name
        for key, array in tower.parameters.state().items():
            joint = key if key.startswith(f"{EMBEDDINGS}.") else f"{prefix}.{key}"
            if not np.array_equal(state.setdefault(joint, array), array):
                raise InputError(
                    f"{directory}: {key} differs between generator and discriminator, "
                    "which share it in pre-training"
                )
    if "discriminator" in towers:
        fields |= _generator_scale(directory, towers["discriminator"].config, towers["generator"].config)
    return fields, state, directory / names[0]


def _generator_scale(directory, config, gen_config):
    """The generator_width and generator_depth that lead from the discriminator's configuration to the
    generator's.
    """
    width = gen_config.hidden_size / config.hidden_size
    depth = gen_config.num_hidden_layers / config.num_hidden_layers
    scaled, actual = dataclasses.asdict(config.generator(width, depth)), dataclasses.asdict(gen_config)
    for name, value in scaled.items():
        if value != actual[name] and name not in INDEPENDENT_OF_WEIGHTS:
            raise InputError(
                f"{directory}: the generator's {name} is {actual[name]}, expected {value} at its hidden_size"
            )
    return {"generator_width": width, "generator_depth": depth}
