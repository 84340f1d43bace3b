"""A pre-training model as Hugging Face directories in one folder, `discriminator` and `generator`; and back.

An objective that predicts words with its full-size encoder has a third one, `corrector`, with or without a
discriminator on the same encoder.

Each directory is a whole model, so that other tools can open it. The shared embeddings are therefore in both,
and must be equal. A compact pair, such as the model that comes with minielectra, takes a tenth of the space.
Its weights are int8 and in one file beside the two directories, which lack only model.safetensors:

    towers.safetensors   electra.… is what both share; discriminator.… and generator.… are their own
    discriminator/       config.json, vocab.txt, tokenizer_config.json
    generator/           likewise
"""

import dataclasses
from pathlib import Path

import numpy as np

from minielectra import objectives
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.formats import huggingface
from minielectra.formats.files import make_folder
from minielectra.formats.int8_weights import save_int8
from minielectra.formats.weights import TOWERS
from minielectra.nn.shared_tables import Sum
from minielectra.pretrained.shipped import locate

KINDS = {
    "discriminator": ElectraForPreTraining,
    "generator": ElectraForMaskedLM,
    "corrector": ElectraForMaskedLM,
}
FULL_SIZE_FIRST = ("discriminator", "corrector", "generator")
# Fields of a configuration that say nothing about the weights.
INDEPENDENT_OF_WEIGHTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
)


def save_towers(towers, directory, tokenizer):
    """Write towers {name: Electra} under `directory` -> their paths."""
    paths = {name: Path(directory) / name for name in KINDS if name in towers}
    for name, path in paths.items():
        towers[name].save_pretrained(path, tokenizer)
    return list(paths.values())


def open_towers(directory):
    """The towers in a folder that `save_towers` or `save_compact` wrote -> {name: Electra}, perhaps none.

    Raises InputError if one cannot be read.
    """
    paths = {name: Path(directory) / name for name in KINDS}
    return {name: KINDS[name].from_pretrained(path) for name, path in paths.items() if path.is_dir()}


def save_compact(towers, directory, tokenizer):
    """Write towers {name: Electra} as a compact pair into the folder `directory`. Raises OSError."""
    states = {name: tower.standalone_state() for name, tower in towers.items()}
    state = {}
    for name, tower in towers.items():
        make_folder(Path(directory) / name)
        huggingface.save_description(tower, Path(directory) / name, tokenizer)
        for key, array in states[name].items():
            shared = all(key in other and np.array_equal(array, other[key]) for other in states.values())
            shared &= key.startswith("electra.")
            state[key if shared else f"{name}.{key}"] = array
    save_int8(state, Path(directory) / TOWERS)


def read_towers(directory, config):
    """The towers that an objective trains, from a folder as above or a shipped model that `directory` names.

    config: PretrainingConfig. -> ({configuration field: value} that makes such a model, {name in the joint
    model: array}, the directory of the full-size tower, which holds the vocabulary). Raises InputError if a
    tower is missing, or if they do not belong together: if what they share differs, or if the generator is
    not a scaled copy of the full-size tower.
    """
    directory = locate(directory)
    names = list(objectives.make(ElectraConfig(num_attention_heads=1), config).towers)
    for name in names:
        if not (directory / name).is_dir():
            raise InputError(f"{directory}: has no {name}; --init needs a folder as `export` writes it")
    towers = {name: KINDS[name].from_pretrained(directory / name) for name in names}
    model_config = towers[names[-1]].config
    fields = dataclasses.asdict(model_config)
    if "generator" in names[:-1]:
        scale = _generator_scale(directory, model_config, towers["generator"].config)
        config = dataclasses.replace(config, **scale)
        fields |= scale
    state = _joint_state(directory, towers, objectives.make(model_config, config))
    return fields, state, directory / names[-1]


def _joint_state(directory, towers, objective):
    """{name: array} of an objective whose towers are `towers` {name: Electra}. Raises InputError."""
    owners = {}
    for name, tower in towers.items():
        for key, array in tower.parameters.state().items():
            handle = objective.towers[name].parameter(key)
            if isinstance(handle, Sum):
                handle.difference.value[...] = array - handle.base.value
                continue
            owner = owners.setdefault(handle.start, name)
            if owner == name and array.shape == handle.shape:
                handle.value[...] = array
            elif not np.array_equal(handle.value, array):
                other = list(towers)[-1] if owner == name else name
                raise InputError(
                    f"{directory}: {key} differs between {owner} and {other}, which share it in pre-training"
                )
    return objective.parameters.state()


def _generator_scale(directory, config, gen_config):
    """The generator_width and generator_depth that lead from the discriminator's configuration to the
    generator's.
    """
    depth = gen_config.num_hidden_layers / config.num_hidden_layers
    actual = dataclasses.asdict(gen_config)
    ratio = gen_config.hidden_size / config.hidden_size
    # Scaled sizes are rounded down, so that the true width is at least the ratio of any of them.
    for width in (max(ratio, gen_config.intermediate_size / config.intermediate_size), ratio):
        scaled = dataclasses.asdict(config.generator(width, depth))
        wrong = [n for n, x in scaled.items() if x != actual[n] and n not in INDEPENDENT_OF_WEIGHTS]
        if not wrong:
            return {"generator_width": width, "generator_depth": depth}
    name = wrong[0]
    raise InputError(
        f"{directory}: the generator's {name} is {actual[name]}, expected {scaled[name]} at its hidden_size"
    )
