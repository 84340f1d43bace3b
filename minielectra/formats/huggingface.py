"""Hugging Face's directories: config.json, vocab.txt, tokenizer_config.json, model.safetensors."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from minielectra.errors import InputError, reason
from minielectra.formats.files import read_json, replacing, write_json
from minielectra.formats.weights import find_arrays
from minielectra.nn.parameters import misfits

TIED = "generator_lm_head.weight"  # the word table again, in files that spell it out
CONSTANT = "embeddings.position_ids"  # 0, 1, 2, …, which older versions wrote
UNSUPPORTED = ("is_decoder", "add_cross_attention")  # would change what is computed


def save_pretrained(model, directory, tokenizer=None):
    """Write an `Electra` model (its own tower only) and, if given, its tokenizer.

    Existing files are replaced, each in one step. Raises InputError if the directory cannot be written.
    """
    directory = Path(directory)
    config = {
        "architectures": [type(model).__name__],
        "model_type": "electra",
        **model.config.to_huggingface(),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with replacing(directory / "model.safetensors") as temporary:
            save_file(
                model.standalone_state(), temporary, metadata={"format": "pt"}
            )  # transformers insists on it
        write_json(directory / "config.json", config)
        if tokenizer is not None:
            tokenizer.save(directory)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{directory}: cannot be written ({reason(error)}); make room or choose another"
        ) from None


def from_pretrained(kind, directory):
    """Read a model of the class `kind` from a directory in this layout, whole or in shards.

    The model is float32, whatever the precision of the file. Raises InputError, in one line, if a file is
    missing or damaged or the weights do not fit the configuration. Shapes are compared before any memory is
    taken.
    """
    directory = Path(directory)
    config = load_config(directory, kind.config_class)
    arrays = {name: array for name, array in find_arrays(directory).items() if not name.endswith(CONSTANT)}
    tied = arrays.pop(TIED, None)
    where = f"{directory}: does not hold an {kind.__name__} of config.json's sizes"
    if config.num_hidden_layers > len(arrays):  # before a million layers are made to be compared
        raise InputError(f"{where} ({config.num_hidden_layers} layers, but only {len(arrays)} arrays)")
    model = kind(config)  # takes no memory yet
    if problems := misfits(model.parameters.shapes, {name: array.shape for name, array in arrays.items()}):
        raise InputError(f"{where} ({problems})")
    model.parameters.load_state({name: array.read() for name, array in arrays.items()})
    if tied is not None and not np.array_equal(tied.read(), model.embeddings.word.value):
        raise InputError(f"{directory}: {TIED} differs from the word table; the two are one matrix here")
    return model


def load_config(directory, kind):
    """The configuration in a directory's config.json, as an instance of `kind`, a class with
    `from_huggingface`.

    Raises InputError if it is not ELECTRA's.
    """
    path = Path(directory) / "config.json"
    config = read_json(path, f"{directory}: neither a run (run.json) nor a model directory (config.json)")
    if config.get("model_type", "electra") != "electra":
        raise InputError(f"{path}: model_type is {config['model_type']!r}, expected 'electra'")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{path}: position_embedding_type is {config['position_embedding_type']!r}; "
            "only 'absolute' is supported"
        )
    if config.get("tie_word_embeddings", True) is not True:
        raise InputError(
            f"{path}: tie_word_embeddings is {config['tie_word_embeddings']!r}; "
            "the output matrix is the word table here"
        )
    for name in UNSUPPORTED:
        if config.get(name):
            raise InputError(f"{path}: {name} is set, but this is only an encoder")
    try:
        return kind.from_huggingface(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
