"""Forged configurations and tokenizers, and bad directories on the command line: one clear error each."""

import json
import re

import numpy as np
import pytest
from hostile import filled, refusal
from test_bad_input import complaint

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.nn.parameters import Parameters

# The configuration.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hidden_act": "tanh"}, "hidden_act 'tanh' is not known"),
        ({"hidden_act": ["gelu"]}, "hidden_act must be a string, got .'gelu'."),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type is 'relative_key'; only 'absolute'",
        ),
        ({"model_type": "bert"}, "model_type is 'bert', expected 'electra'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"is_decoder": True}, "is_decoder"),
        ({"vocab_size": 1 << 24}, "expected .16777216, 6."),
        ({"vocab_size": 10**400}, "vocab_size must be between 1 and 16777216, got 1000"),
        ({"vocab_size": "9"}, "vocab_size must be an integer, got '9'"),
        ({"vocab_size": True}, "vocab_size must be an integer, got True"),
        ({"vocab_size": 9.0}, "vocab_size must be an integer, got 9.0"),
        ({"num_hidden_layers": 1000}, "1000 layers, but only"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers must be between 1 and 1000"),
        ({"num_hidden_layers": 2}, "missing electra.encoder.layer.1"),
        ({"hidden_size": 16}, "discriminator_predictions.dense.weight has shape|embeddings_project"),
        ({"hidden_size": -8}, "between 1 and"),
        ({"num_attention_heads": 3}, "divisible"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ({"pad_token_id": 9}, "pad_token_id"),
    ],
)
def test_forged_configuration(directory, fields, words):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    line = refusal(directory)
    assert re.search(words, line), line


@pytest.mark.parametrize(
    "content", [b"", b"[" * 10**5, b"{" * 10, b"\xff\xfe", b"[]", b'{"vocab_size": 1' + b"0" * 5000 + b"}"]
)
def test_a_configuration_that_is_not_json(directory, content):
    (directory / "config.json").write_bytes(content)
    assert "config.json" in refusal(directory)


# The tokenizer, and the command line.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "not a WordPiece tokenizer"),
        ({"model": 3}, "not a WordPiece tokenizer"),
        ({"vocab": {"a": 0, "b": 2}}, "are not 0 … 1"),
        ({"vocab": {"a": 0, "b": "1"}}, "are not 0 … 1"),
        ({"vocab": {"a": 0}, "normalizer": {"type": "BertNormalizer", "strip_accents": False}}, "accents"),
    ],
)
def test_forged_tokenizer(tmp_path, content, words):
    model = {"continuing_subword_prefix": "##", "vocab": content.get("vocab")}
    forged = {
        "model": content.get("model", model),
        "normalizer": content.get("normalizer", {"type": "BertNormalizer"}),
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(forged))
    with pytest.raises(InputError, match=words):
        WordPieceTokenizer.from_pretrained(tmp_path)


def test_one_line_on_the_command_line(directory):
    (directory / "model.safetensors").write_bytes(bytes(20))
    assert "model.safetensors" in complaint("detect", directory, "a")


def test_a_vocabulary_larger_than_the_model(directory):
    with open(directory / "vocab.txt", "a") as file:
        file.write("e\n")
    assert "has 10 pieces, but the model only 9" in complaint("detect", directory, "e")


def test_saving_is_all_or_nothing(directory, monkeypatch):
    from minielectra.formats import huggingface

    before = (directory / "model.safetensors").read_bytes()

    def full(arrays, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface, "save_file", full)
    with pytest.raises(InputError, match="No space left"):
        filled().save_pretrained(directory)
    assert (directory / "model.safetensors").read_bytes() == before
    assert not list(directory.glob("*.partial"))


def test_state_names_key_expected_and_found():
    parameters = Parameters()
    parameters.declare("a", (2,))
    parameters.declare("b", (1,))
    with pytest.raises(ValueError, match=r"missing b; unexpected c; a has shape \[3\], expected \[2\]"):
        parameters.load_state({"a": np.zeros(3), "c": np.zeros(1)})
