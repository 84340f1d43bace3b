"""A pre-training model as a folder of Hugging Face directories, `discriminator` and `generator`, and back.

Each directory is a whole model, so that other tools open it; the shared embeddings are therefore in both, and must be equal.
"""

import dataclasses
from pathlib import Path

import numpy as np

from minielectra.electra.towers import EMBEDDINGS, ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError

CLASSES = {"discriminator": ElectraForPreTraining, "generator": ElectraForMaskedLM}
FREE = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")  # fields the weights do not depend on


def save_towers(model, directory, tokenizer):
    """Write the towers of an ElectraPretraining under `directory` -> their paths."""
    written = []
    for name in CLASSES:
        tower = getattr(model, name)
        if tower is not None:
            tower.save_pretrained(Path(directory) / name, tokenizer)
            written.append(Path(directory) / name)
    return written


def read_towers(directory, objective, tied=False):
    """The towers that `objective` trains -> ({configuration field: value} that makes such a model, {joint name: array}, the first
    tower's directory, which holds the vocabulary). tied: they have one encoder (PretrainingConfig's `tie_encoders`).

    Raises InputError where one is missing, or the two are not a pair: another embedding, or a generator that is no scaled copy.
    """
    directory = Path(directory)
    names = [name for name in CLASSES if objective == "electra" or name == "generator"]
    for name in names:
        if not (directory / name).is_dir():
            raise InputError(f"{directory}: has no {name}; --init wants a folder as `export` writes it")
    towers = {name: CLASSES[name].from_pretrained(directory / name) for name in names}
    fields = dataclasses.asdict(towers[names[0]].config)
    state = {}
    for name, tower in towers.items():
        for key, array in tower.parameters.state().items():
            joint = key if key.startswith(f"{EMBEDDINGS}.") else f"{'discriminator' if tied else name}.{key}"
            if not np.array_equal(state.setdefault(joint, array), array):
                raise InputError(
                    f"{directory}: {key} differs between generator and discriminator, which share it in pre-training"
                )
    if objective == "electra":
        fields |= _generator_scale(directory, towers["discriminator"].config, towers["generator"].config)
    return fields, state, directory / names[0]


def _generator_scale(directory, config, gen_config):
    """{"generator_width", "generator_depth"} that lead from the discriminator's configuration to the generator's."""
    width = gen_config.hidden_size / config.hidden_size
    depth = gen_config.num_hidden_layers / config.num_hidden_layers
    scaled, actual = dataclasses.asdict(config.generator(width, depth)), dataclasses.asdict(gen_config)
    for name, value in scaled.items():
        if value != actual[name] and name not in FREE:
            raise InputError(f"{directory}: the generator's {name} is {actual[name]}, expected {value} at its hidden_size")
    return {"generator_width": width, "generator_depth": depth}
