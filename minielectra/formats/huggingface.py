"""Hugging Face's directory layout: `config.json`, `vocab.txt`, `tokenizer_config.json`, `model.safetensors`."""

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError
from minielectra.formats.files import read_json, write_text
from minielectra.formats.weights import find_arrays
from minielectra.nn.parameters import misfits

TIED = "generator_lm_head.weight"  # the word table again, in files that spell it out
CONSTANT = "embeddings.position_ids"  # 0, 1, 2, …, which older versions wrote
UNSUPPORTED = ("is_decoder", "add_cross_attention")  # would change what is computed


def save_pretrained(model, directory, tokenizer=None):
    """Write an `Electra` model (its own tower only) and, where given, its tokenizer. Existing files are replaced, each in one go.

    Raises InputError where the directory cannot be written.
    """
    directory = Path(directory)
    config = {"architectures": [type(model).__name__], "model_type": "electra", **model.config.to_huggingface()}
    weights = directory / "model.safetensors"
    beside = weights.with_name(weights.name + ".partial")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_file(standalone_state(model), beside, metadata={"format": "pt"})  # as transformers insists
        os.replace(beside, weights)
        write_text(directory / "config.json", json.dumps(config, indent=2) + "\n")
        if tokenizer is not None:
            tokenizer.save(directory)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{directory}: cannot be written ({error})") from None
    finally:
        beside.unlink(missing_ok=True)


def standalone_state(model):
    """{Hugging Face's name: array} of one tower: the shared tables and what stands under its prefix, the prefix taken off."""
    state = model.parameters.state()
    own = model.shapes(model.config, model.prefix)
    return {name.removeprefix(model.prefix): state[name].copy() for name in own}


def from_pretrained(cls, directory):
    """Read a model of class `cls` from a directory in this layout, whole or in shards; whatever the file's precision, float32.

    Raises InputError, in one line, where a file is missing or damaged or the weights do not fit the configuration: shapes are
    compared before anything is allocated.
    """
    directory = Path(directory)
    config = load_config(directory, cls.config_class)
    arrays = {name: array for name, array in find_arrays(directory).items() if not name.endswith(CONSTANT)}
    tied = arrays.pop(TIED, None)
    where = f"{directory}: does not hold an {cls.__name__} of config.json's sizes"
    if config.num_hidden_layers > len(arrays):
        raise InputError(f"{where} ({config.num_hidden_layers} layers, but only {len(arrays)} arrays)")
    if problems := misfits(cls.shapes(config), {name: array.shape for name, array in arrays.items()}):
        raise InputError(f"{where} ({problems})")
    model = cls(config)
    model.parameters.load_state({name: array.read() for name, array in arrays.items()})
    if tied is not None and not np.array_equal(tied.read(), model.embeddings.word.value):
        raise InputError(f"{directory}: {TIED} differs from the word table; the two are one matrix here")
    return model


def load_config(directory, kind=ElectraConfig):
    """The configuration, of the class `kind`, in a directory's config.json."""
    path = Path(directory) / "config.json"
    config = read_json(path, f"{directory}: neither a run (run.json) nor a model directory (config.json)")
    if config.get("model_type", "electra") != "electra":
        raise InputError(f"{path}: model_type is {config['model_type']!r}, expected 'electra'")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type {config['position_embedding_type']!r} is not known; only absolute is")
    if config.get("tie_word_embeddings", True) is not True:
        raise InputError(
            f"{path}: tie_word_embeddings is {config['tie_word_embeddings']!r}; the output matrix is the word table here"
        )
    for name in UNSUPPORTED:
        if config.get(name):
            raise InputError(f"{path}: {name} is set, but this is an encoder only")
    try:
        return kind.from_huggingface(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
