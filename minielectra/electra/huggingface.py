"""Hugging Face's directory layout: `config.json`, `vocab.txt`, `tokenizer_config.json`, `model.safetensors`."""

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from minielectra.electra.config import ElectraConfig
from minielectra.errors import InputError
from minielectra.files import read_json

TIED = "generator_lm_head.weight"  # the word table again, in files that spell it out
IGNORED_SUFFIX = "embeddings.position_ids"  # a constant that older versions wrote


def save_pretrained(model, directory, tokenizer=None):
    """Write an `Electra` model (its own tower only) and, where given, its tokenizer. Existing files are replaced.

    Raises InputError where the directory cannot be written.
    """
    directory = Path(directory)
    arrays = standalone_state(model)
    config = {"architectures": [type(model).__name__], "model_type": "electra", **dataclasses.asdict(model.config)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_file(arrays, directory / "model.safetensors", metadata={"format": "pt"})  # as transformers insists
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(directory)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{directory}: cannot be written ({error})") from None


def standalone_state(model):
    """{Hugging Face's name: array} of one tower: the shared tables and what stands under its prefix, the prefix taken off."""
    state = model.parameters.state()
    own = model.shapes(model.config, model.prefix)
    return {name.removeprefix(model.prefix): state[name].copy() for name in own}


def from_pretrained(cls, directory):
    """Read a model of class `cls` from a directory in this layout; float32.

    Raises InputError, in one line, where a file is missing or damaged or the weights do not fit the configuration.
    """
    directory = Path(directory)
    model = cls(load_config(directory))
    path = directory / "model.safetensors"
    if not path.exists():
        pickled = (directory / "pytorch_model.bin").exists()
        hint = (
            "pytorch_model.bin is a pickle, which can run code: open it in transformers and save_pretrained it" if pickled else ""
        )
        raise InputError(f"{path}: missing. {hint or 'Is this an ELECTRA directory?'}")
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: truncated or not safetensors ({error})") from None
    arrays = {name: array for name, array in arrays.items() if name != TIED and not name.endswith(IGNORED_SUFFIX)}
    try:
        model.parameters.load_state(arrays)
    except ValueError as error:
        raise InputError(f"{path}: does not hold an {cls.__name__} of config.json's sizes ({error})") from None
    return model


def load_config(directory):
    """ElectraConfig of a directory's config.json; fields that do not concern the computation are ignored."""
    path = Path(directory) / "config.json"
    config = read_json(path, f"{directory}: neither a run (run.json) nor a model directory (config.json)")
    if config.get("model_type", "electra") != "electra":
        raise InputError(f"{path}: not the configuration of an ELECTRA model")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type {config['position_embedding_type']!r} is not known; only absolute is")
    known = {field.name for field in dataclasses.fields(ElectraConfig)}
    try:
        return ElectraConfig(**{name: value for name, value in config.items() if name in known})
    except (TypeError, InputError) as error:
        raise InputError(f"{path}: {error}") from None
