"""Weights of one byte: how far off they are, who reads them, and what is said of damaged ones."""

import re

import numpy as np
import pytest
from hostile import HEAD, WORDS, filled, read_arrays, refusal, write_arrays

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.formats.int8_weights import quantized, restored, save_int8
from minielectra.pretraining.exported_pair import open_towers, save_compact

BIAS = "discriminator_predictions.dense.bias"


@pytest.mark.parametrize("exponent", [-30, -20, 0, 20, 37])
def test_no_weight_is_off_by_more_than_half_a_scale(exponent):
    random = np.random.default_rng(0)
    matrix = (random.standard_normal((40, 33)) * 10.0**exponent).astype(np.float32)
    matrix *= np.geomspace(1e-3, 1, 40, dtype=np.float32)[:, None]
    numbers, scale = quantized(matrix)
    assert numbers.dtype == np.int8 and scale.dtype == np.float32 and scale.shape == (40,)
    error = np.abs(matrix.astype(np.float64) - restored(numbers, scale))
    assert (error <= scale[:, None] * (0.5 + 1e-4)).all()  # the rest is the rounding of float32
    assert error.max() > scale.max() / 4
    assert (np.abs(numbers).max(axis=1) == 127).all()
    assert np.array_equal(quantized(-matrix)[0], -numbers)


def test_rows_of_zeros_stay_zero_and_tiny_ones_become_zero():
    matrix = np.array([[0, 0], [1e-40, -1e-40], [1, -2]], np.float32)
    numbers, scale = quantized(matrix)
    assert numbers.tolist()[:2] == [[0, 0], [0, 0]] and scale.tolist()[:2] == [0, 0]
    assert np.abs(restored(numbers, scale) - matrix).max() <= scale[2] / 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_written(value):
    with pytest.raises(ValueError, match="cannot be written"):
        quantized(np.array([[1, value]], np.float32))


@pytest.fixture
def int8(directory):
    """The directory of the tiny model with int8 weights."""
    save_int8(filled().standalone_state(), directory / "model.safetensors")
    return directory


def expected():
    """{name: array} that comes back."""
    state = filled().standalone_state()
    return {name: restored(*quantized(x)) if x.ndim == 2 else x for name, x in state.items()}


def assert_read(directory):
    found = ElectraForPreTraining.from_pretrained(directory).standalone_state()
    assert list(found) == list(expected())
    assert all(np.array_equal(found[name], x) for name, x in expected().items())


def test_a_model_comes_back(int8):
    assert_read(int8)
    arrays = read_arrays(int8)
    assert arrays[WORDS][0] == "I8" and arrays[f"{WORDS}.scale"][:2] == ["F32", [9]]
    assert arrays[BIAS][0] == "F32" and f"{BIAS}.scale" not in arrays


def test_shards_may_hold_them(int8):
    import json

    arrays = read_arrays(int8)
    (int8 / "model.safetensors").unlink()
    files = {name: f"{'ab'[i % 2]}.safetensors" for i, name in enumerate(arrays)}
    for file in set(files.values()):
        write_arrays(int8 / file, {name: x for name, x in arrays.items() if files[name] == file})
    (int8 / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert_read(int8)


def change(name, dtype=None, shape=None, data=None):
    def edit(arrays):
        changed = zip((dtype, shape, data), arrays[name], strict=True)
        arrays[name] = [own if new is None else new for new, own in changed]

    return edit


def scale(*values):
    return np.array(values, np.float32).tobytes()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda arrays: arrays.pop(f"{HEAD}.scale"), rf"{HEAD} holds int8 numbers, but their scales"),
        (change(f"{HEAD}.scale", "I32"), rf"{HEAD}.scale has dtype I32, expected one of F64"),
        (
            change(f"{HEAD}.scale", shape=[4], data=scale(1, 1, 1, 1)),
            r"is \[8, 8\], and its scales are \[4\]",
        ),
        (change(f"{HEAD}.scale", shape=[8, 1]), r"its scales are \[8, 1\]"),
        (change(f"{HEAD}.scale", shape=[], data=scale(1)), r"its scales are \[\]"),
        (change(f"{HEAD}.scale", data=scale(*[1] * 7, np.nan)), rf"{HEAD}.scale holds NaN or infinite"),
        (change(f"{HEAD}.scale", data=scale(*[1] * 7, np.inf)), rf"{HEAD}.scale holds NaN or infinite"),
        (change(f"{HEAD}.scale", data=scale(*[3e38] * 8)), rf"{HEAD} holds NaN or infinite"),
        (change(BIAS, "I8", [8], bytes(8)), rf"{BIAS} holds int8 numbers, but their scales"),
        (change(HEAD, "U8"), "unexpected"),
        (change(HEAD, shape=[4, 16]), r"has shape|\[4, 16\]|\(4, 16\)"),
    ],
)
def test_damaged_weights_are_refused_in_one_line(int8, edit, words):
    arrays = read_arrays(int8)
    edit(arrays)
    write_arrays(int8 / "model.safetensors", arrays)
    line = refusal(int8)
    assert re.search(words, line), line


def test_a_vector_of_int8_numbers_is_no_matrix(int8):
    arrays = read_arrays(int8)
    arrays[BIAS] = ["I8", [8], bytes(8)]
    arrays[f"{BIAS}.scale"] = ["F32", [8], bytes(32)]
    write_arrays(int8 / "model.safetensors", arrays)
    assert "expected a matrix and a scale per row" in refusal(int8)


# Two towers in one file.


@pytest.fixture
def pair(tmp_path):
    """A compact pair of two towers with the same embeddings."""
    towers = {"discriminator": filled(), "generator": filled(ElectraForMaskedLM)}
    for name, array in towers["discriminator"].parameters.state().items():
        if ".embeddings." in name:
            towers["generator"].parameters[name].value[...] = array
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcd"])
    save_compact(towers, tmp_path / "pair", tokenizer)
    return tmp_path / "pair", towers


def test_a_compact_pair_holds_the_embeddings_once(pair):
    folder, towers = pair
    assert [path.name for path in folder.rglob("*.safetensors")] == ["towers.safetensors"]
    found = open_towers(folder)
    assert list(found) == ["discriminator", "generator"]
    for name, tower in towers.items():
        for key, array in tower.standalone_state().items():
            wanted = restored(*quantized(array)) if array.ndim == 2 else array
            assert np.array_equal(found[name].parameters[key].value, wanted), key


def test_a_tower_is_read_from_inside_its_folder(pair, monkeypatch):
    monkeypatch.chdir(pair[0] / "generator")
    ElectraForMaskedLM.from_pretrained(".")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_file_of_towers(pair, keep):
    path = pair[0] / "towers.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "towers.safetensors: truncated or not safetensors" in refusal(pair[0] / "discriminator")


def test_a_tower_that_the_file_lacks(pair):
    (pair[0] / "generator").rename(pair[0] / "other")
    with pytest.raises(InputError, match=r"does not hold an ElectraForMaskedLM"):
        ElectraForMaskedLM.from_pretrained(pair[0] / "other")
