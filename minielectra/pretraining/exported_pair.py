"""A pre-training model as two Hugging Face directories, `discriminator` and `generator`, in one folder; and
back.

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

from minielectra.electra.towers import EMBEDDINGS, ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.formats import huggingface
from minielectra.formats.files import make_folder
from minielectra.formats.int8_weights import save_int8
from minielectra.formats.weights import TOWERS
from minielectra.pretrained.shipped import locate

KINDS = {"discriminator": ElectraForPreTraining, "generator": ElectraForMaskedLM}
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


def read_towers(directory, objective, tied=False):
    """The towers that an objective trains, from a folder as above or a shipped model that `directory` names.

    objective: its name; tied: whether its towers have one encoder (PretrainingConfig's `tie_encoders`). ->
    ({configuration field: value} that makes such a model, {name in the joint model: array}, the directory of
    the first tower, which holds the vocabulary). Raises InputError if a tower is missing, or if the two are
    not a pair: if their embeddings differ, or if the generator is not a scaled copy of the discriminator.
    """
    directory = locate(directory)
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
