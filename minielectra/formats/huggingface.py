"""Hugging Face's directories: config.json, vocab.txt, tokenizer_config.json, model.safetensors."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from minielectra.errors import InputError, reason
from minielectra.formats.files import make_folder, replacing, write_json
from minielectra.formats.reading import read_json
from minielectra.formats.weights import find_arrays
from minielectra.nn.parameters import misfits

TIED = "generator_lm_head.weight"  # the word table again, in files that spell it out
ENCODER = "electra."  # before the names of embeddings and encoder, in every model that has a head
OWN_TYPE = "minielectra"  # model_type of what transformers cannot compute (finetuning/heads.py)
CONSTANT = "embeddings.position_ids"  # 0, 1, 2, …, which older versions wrote
UNSUPPORTED = ("is_decoder", "add_cross_attention")  # would change what is computed


def save_pretrained(model, directory, tokenizer=None):
    """Write an `Electra` model (its own tower only) and, if given, its tokenizer.

    Existing files are replaced, each in one step. With a tokenizer, config.json has its id of [PAD], and
    files of an earlier tokenizer are removed. Raises InputError if the directory cannot be written.
    """
    directory = Path(directory)
    try:
        make_folder(directory)
        with replacing(directory / "model.safetensors") as temporary:
            # transformers insists on the metadata
            save_file(model.standalone_state(), temporary, metadata={"format": "pt"})
        save_description(model, directory, tokenizer)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{directory}: cannot be written ({reason(error)}); make room or choose another"
        ) from None


def save_description(model, directory, tokenizer=None):
    """Write all but the weights: config.json and, if given, the tokenizer. Raises OSError."""
    config = {
        "architectures": [type(model).__name__],
        "model_type": "electra",
        **model.config.to_huggingface(),
    }
    if tokenizer is not None:
        config["pad_token_id"] = tokenizer.pad_id
    write_json(directory / "config.json", config)
    if tokenizer is not None:
        _save_tokenizer(tokenizer, directory, model.config)


def _save_tokenizer(tokenizer, directory, config):
    """Write a tokenizer, with what other libraries must know of its model. Raises OSError."""
    tokenizer.save(directory, config.max_position_embeddings)
    if config.type_vocab_size == 1:  # else transformers would ask for segment 1, which is not there
        path = directory / "tokenizer_config.json"
        inputs = {"model_input_names": ["input_ids", "attention_mask"]}
        write_json(path, read_json(path, f"{path}: missing") | inputs)


def from_pretrained(kind, directory):
    """Read a model of the class `kind` from a directory in this layout, whole or in shards.

    The model is float32, whatever the precision of the file. Raises InputError, in one line, if a file is
    missing or damaged or the weights do not fit the configuration. Shapes are compared before any memory is
    taken.
    """
    directory = Path(directory)
    config = load_config(directory, kind.config_class)
    arrays = model_arrays(directory)
    tied = arrays.pop(TIED, None)
    where = f"{directory}: does not hold an {kind.__name__}"
    if config.num_hidden_layers > len(arrays):  # before a million layers are made to be compared
        layers = f"{config.num_hidden_layers} layers, but only {len(arrays)} arrays"
        raise InputError(f"{where} of config.json's sizes ({layers})")
    model = kind(config)  # takes no memory yet
    expected, found = model.parameters.shapes, {name: array.shape for name, array in arrays.items()}
    if problems := misfits(expected, found):
        if _only_lacks_the_head(expected, found):
            raise InputError(
                f"{where}: its encoder has no {kind.head_name} head ({problems}); give a directory with one, "
                "or fine-tune this one"
            )
        raise InputError(f"{where} of config.json's sizes ({problems})")
    model.parameters.load_state({name: array.read() for name, array in arrays.items()})
    if tied is not None and not np.array_equal(tied.read(), model.embeddings.word.value):
        raise InputError(f"{directory}: {TIED} differs from the word table; the two are one matrix here")
    return model


def model_arrays(directory):
    """{name: StoredArray} of a model's weights, those of embeddings and encoder under `electra.…`.

    `ElectraModel` of transformers, the encoder alone, writes the same arrays without this prefix. Raises
    InputError if there are none or a file is damaged.
    """
    arrays = {name: array for name, array in find_arrays(directory).items() if not name.endswith(CONSTANT)}
    if any(name.startswith(ENCODER) for name in arrays):
        return arrays
    alone = ("embeddings.", "embeddings_project.", "encoder.")
    return {ENCODER + name if name.startswith(alone) else name: array for name, array in arrays.items()}


def _only_lacks_the_head(expected, found):
    """Whether the arrays `found` {name: shape} are an encoder like that of `expected`, without its head."""
    encoder = {name for name in expected if name.startswith(ENCODER)}
    fits = all(found.get(name) == tuple(expected[name]) for name in encoder)
    return fits and any(name not in found for name in expected if name not in encoder)


def is_our_own(directory):
    """Whether the model in a directory is one that transformers cannot compute. Raises InputError."""
    path = Path(directory) / "config.json"
    return read_json(path, f"{path}: missing").get("model_type") == OWN_TYPE


def load_config(directory, kind):
    """The configuration in a directory's config.json, as an instance of `kind`, a class with
    `from_huggingface`.

    Raises InputError if it is not ELECTRA's.
    """
    path = Path(directory) / "config.json"
    config = read_json(path, f"{directory}: neither a run (run.json) nor a model directory (config.json)")
    if config.get("model_type", "electra") not in ("electra", OWN_TYPE):
        raise InputError(f"{path}: model_type is {config['model_type']!r:.100}, expected 'electra'")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{path}: position_embedding_type is {config['position_embedding_type']!r:.100}; "
            "only 'absolute' is supported"
        )
    if config.get("tie_word_embeddings", True) is not True:
        raise InputError(
            f"{path}: tie_word_embeddings is {config['tie_word_embeddings']!r:.100}; "
            "the output matrix is the word table here"
        )
    for name in UNSUPPORTED:
        if config.get(name):
            raise InputError(f"{path}: {name} is set, but this is only an encoder")
    try:
        return kind.from_huggingface(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
