"""A tiny model's directory for tests to damage, and a check that it is refused as it should be."""

import json
import struct
import tracemalloc

import numpy as np
import pytest

from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS, WordPieceTokenizer
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.errors import InputError

CONFIG = ElectraConfig(
    vocab_size=9,
    embedding_size=6,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=10,
    max_position_embeddings=12,
)
WORDS, HEAD = "electra.embeddings.word_embeddings.weight", "discriminator_predictions.dense.weight"


def filled(cls=ElectraForPreTraining):
    """A model of random weights, all different."""
    model = cls(CONFIG)
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.size)
    return model


def save(directory):
    """Write the model with its tokenizer -> the directory."""
    filled().save_pretrained(directory, WordPieceTokenizer([*SPECIAL_TOKENS, "a", "b", "c", "d"]))
    return directory


def read_arrays(directory):
    """{name: [dtype, shape, bytes]} of model.safetensors."""
    raw = (directory / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)  # write_arrays leaves it out
    return {
        name: [h["dtype"], h["shape"], raw[8 + length :][slice(*h["data_offsets"])]]
        for name, h in header.items()
    }


def write_arrays(path, arrays, edit_header=lambda header: header):
    """Write a safetensors file by hand, so that it can be wrong."""
    header, at = {}, 0
    for name, (dtype, shape, data) in arrays.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    edited = edit_header(header)
    text = edited if isinstance(edited, bytes) else json.dumps(edited).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in arrays.values()))


def refusal(directory, cls=ElectraForPreTraining):
    """The one line with which a directory is refused. That takes no more memory than a few times its size."""
    size = sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            cls.from_pretrained(directory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * size + 2_000_000, f"{peak:,} bytes allocated for {size:,} on disk"
    line = str(caught.value)
    assert "\n" not in line and len(line) < 1000
    return line
