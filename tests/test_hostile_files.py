"""Weights that somebody damaged or forged: one clear error each, no code executed, no memory wasted."""

import json
import os
import pickle
import re
import shutil
import struct

import numpy as np
import pytest
from hostile import HEAD, WORDS, filled, read_arrays, refusal, write_arrays
from properties import given, settings, st

from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError

# The safetensors file.


def change(**entry):
    def edit(header):
        header[WORDS] |= entry
        return header

    return edit


def rename(new):
    return lambda header: {new if name == WORDS else name: entry for name, entry in header.items()}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change(shape=[2**40, 2**40]), "overflow"),
        (change(shape=[10**6, 10**6]), "safetensors"),
        (change(shape=[9, 6, 1]), "safetensors|expected"),
        (change(shape=[6, 9]), f"{WORDS} has shape .6, 9., expected .9, 6."),
        (change(shape=[-9, -6]), "safetensors"),
        (change(shape="many"), "safetensors"),
        (change(data_offsets=[0, 2**60]), "safetensors"),
        (change(data_offsets=[8, 0]), "safetensors"),
        (change(data_offsets=[16, 232]), "safetensors"),  # overlaps the next array
        (change(dtype="F99"), "safetensors"),
        (rename("../../etc/passwd"), "unexpected ../../etc/passwd"),
        (rename("a\nb\x1b[31m"), r"unexpected 'a\\nb\\x1b"),
        (rename("x" * 10**5), "missing electra.embeddings.word"),
        (lambda header: [header], "safetensors"),
        (lambda header: b"[" * 10**5, "safetensors"),
        (lambda header: b'{"a": "\xff"}', "safetensors"),
        (lambda header: b"", "safetensors"),
    ],
)
def test_forged_header(directory, edit, words):
    write_arrays(directory / "model.safetensors", read_arrays(directory), edit)
    line = refusal(directory)
    assert re.search(words, line), line


@pytest.mark.parametrize("length", [0, 1, 2**24 + 1, 2**40, 2**64 - 1])
def test_header_of_impossible_length(directory, length):
    path = directory / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    assert "model.safetensors" in refusal(directory)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_truncated(directory, keep):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors: truncated or not safetensors" in refusal(directory)


@pytest.mark.parametrize("dtype", ["I32", "U32"])
def test_wrong_dtype(directory, dtype):
    arrays = read_arrays(directory)
    arrays[HEAD][0] = dtype
    write_arrays(directory / "model.safetensors", arrays)
    assert f"{HEAD} has dtype {dtype}, expected one of F64, F32, F16, BF16" in refusal(directory)


@pytest.mark.parametrize(("dtype", "precision"), [("F64", 0), ("F16", 2**-11), ("BF16", 2**-7)])
def test_other_precisions_and_old_buffers_are_welcome(directory, dtype, precision):
    arrays, values = read_arrays(directory), filled().parameters
    for name, entry in arrays.items():
        wide = values[name].value
        upper = (wide.view(np.uint32) >> 16).astype(np.uint16)  # truncated, not rounded
        stored = {"F64": wide.astype("<f8"), "F16": wide.astype("<f2"), "BF16": upper}[dtype]
        entry[0], entry[2] = dtype, stored.tobytes()
    arrays["electra.embeddings.position_ids"] = ["I64", [1, 12], np.arange(12).tobytes()]
    write_arrays(directory / "model.safetensors", arrays)
    found = ElectraForPreTraining.from_pretrained(directory).parameters.flat
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values.flat, rtol=precision, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(directory, value):
    arrays = read_arrays(directory)
    arrays[HEAD][2] = arrays[HEAD][2][:-4] + np.float32(value).tobytes()
    write_arrays(directory / "model.safetensors", arrays)
    assert f"{HEAD} holds NaN or infinite values" in refusal(directory)


def test_a_double_that_float32_cannot_hold(directory):
    arrays = read_arrays(directory)
    arrays[HEAD] = ["F64", [8, 8], np.full((8, 8), 1e300).tobytes()]
    write_arrays(directory / "model.safetensors", arrays)
    assert f"{HEAD} holds NaN or infinite values" in refusal(directory)


def test_missing_and_unexpected(directory):
    arrays = read_arrays(directory)
    arrays["classifier.bias"] = arrays.pop(HEAD)
    write_arrays(directory / "model.safetensors", arrays)
    line = refusal(directory)
    assert f"missing {HEAD}" in line and "unexpected classifier.bias" in line


def test_the_other_tower(directory):
    line = refusal(directory, ElectraForMaskedLM)
    assert "does not hold an ElectraForMaskedLM" in line
    assert "missing generator_predictions.dense.weight" in line


def test_an_output_matrix_that_is_not_the_word_table(tmp_path):
    filled(ElectraForMaskedLM).save_pretrained(tmp_path)
    arrays = read_arrays(tmp_path)
    arrays["generator_lm_head.weight"] = list(arrays[WORDS])
    write_arrays(tmp_path / "model.safetensors", arrays)
    ElectraForMaskedLM.from_pretrained(tmp_path)  # the same matrix, written out, is welcome
    arrays["generator_lm_head.weight"][2] = bytes(len(arrays[WORDS][2]))
    write_arrays(tmp_path / "model.safetensors", arrays)
    assert "generator_lm_head.weight differs from the word table" in refusal(tmp_path, ElectraForMaskedLM)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A model's directory, to be copied."""
    directory = tmp_path_factory.mktemp("intact")
    filled().save_pretrained(directory)
    return directory


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_damage_is_refused_or_harmless(tmp_path_factory, intact, data):
    """Bytes are overwritten, removed or added anywhere: either finite weights come out, or one error."""
    directory = shutil.copytree(intact, tmp_path_factory.mktemp("damaged") / "copy")
    for _ in range(data.draw(st.integers(1, 3))):
        path = directory / data.draw(st.sampled_from(["model.safetensors", "config.json"]))
        raw = bytearray(path.read_bytes())
        # most of a file is weights, so half of the damage goes to its first bytes
        at = data.draw(st.one_of(st.integers(0, min(700, len(raw))), st.integers(0, len(raw))))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        path.write_bytes(raw)
    try:
        model = ElectraForPreTraining.from_pretrained(directory)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(model.parameters.flat).all()
    shutil.rmtree(directory)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_weights(tmp_path_factory, intact, content):
    directory = shutil.copytree(intact, tmp_path_factory.mktemp("noise") / "copy")
    (directory / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError):
        ElectraForPreTraining.from_pretrained(directory)
    shutil.rmtree(directory)


# Pickles, pipes, shards.


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_is_refused_and_not_run(directory, monkeypatch, name):
    monkeypatch.chdir(directory)
    (directory / "model.safetensors").unlink()
    (directory / name).write_bytes(pickle.dumps(Bomb()))
    line = refusal(directory)
    assert not (directory / "executed").exists()
    assert ("save_pretrained" in line) == (name == "pytorch_model.bin")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(directory):
    (directory / "model.safetensors").unlink()
    os.mkfifo(directory / "model.safetensors")
    assert "not a file" in refusal(directory)


@pytest.fixture
def sharded(directory):
    """The directory with its weights in two files."""
    arrays = read_arrays(directory)
    (directory / "model.safetensors").unlink()
    names = list(arrays)
    files = {name: f"model-0000{1 + (i >= 9)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        write_arrays(directory / file, {name: arrays[name] for name in names if files[name] == file})
    write_index(directory, files)
    return directory, files


def write_index(directory, files):
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def test_shards(sharded):
    found = ElectraForPreTraining.from_pretrained(sharded[0]).parameters.flat
    assert np.array_equal(found, filled().parameters.flat)


@pytest.mark.parametrize(
    "file",
    [
        "../model.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        "",
        "x.bin",
        "a\\b.safetensors",
        "nul\0.safetensors",
    ],
)
def test_a_shard_elsewhere(sharded, file):
    directory, files = sharded
    (directory.parent / "model.safetensors").write_bytes(b"")
    write_index(directory, files | {HEAD: file})
    line = refusal(directory)
    assert "not the plain name" in line or "not a file" in line


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        (None, "no weight_map"),
        ([1, 2], "no weight_map"),
        ({HEAD: 3}, "no weight_map"),
        ({}, "only 0 arrays"),
        ({HEAD: "gone.safetensors"}, "not a file"),
        ({HEAD: "model-00001-of-00002.safetensors"}, "places elsewhere or does not know"),
    ],
)
def test_forged_index(sharded, weight_map, words):
    write_index(sharded[0], weight_map)
    assert words in refusal(sharded[0])


def test_an_array_that_the_index_only_promises(sharded):
    directory, files = sharded
    write_index(directory, files | {"more": files[HEAD]})
    assert "more is missing, though" in refusal(directory)
