"""Word tables with more rows than the vocabulary has pieces, as `--init` may bring them."""

import dataclasses
import json
import shutil
from contextlib import closing

import numpy as np
import pytest
from conftest import cli, cli_here, train_here
from fake_device import FakeDevice
from properties import given, settings, st
from small import SMALL, make_batch

from minielectra import objectives
from minielectra.backend import RandomStream, to_host
from minielectra.devices.export_files import export_files
from minielectra.electra.initialization import initialize
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.nn.layers import PassContext
from minielectra.pretraining.load import load_pretraining
from minielectra.pretraining.presets import configure
from minielectra.training.engine import make_engine

WORDS, BIAS = "electra.embeddings.word_embeddings.weight", "generator_lm_head.bias"


def padded_copy(objective, rows):
    """An objective like this one, whose word table and output bias have `rows` random rows more."""
    config = dataclasses.replace(objective.model_config, vocab_size=objective.model_config.vocab_size + rows)
    wide = objectives.make(config, objective.config, dtype=np.float64)
    random = np.random.default_rng(5)
    for name, array in objective.parameters.state().items():
        target = wide.parameters[name].value
        target[...] = 3.0 * random.standard_normal(target.shape)  # such rows would often be sampled
        target[tuple(map(slice, array.shape))] = array
    return wide


def pass_of(objective, batch, samples=None):
    """Losses, samples, probabilities and gradients of both passes."""
    context = PassContext(random=RandomStream((3,)))
    normalizers = batch.normalizers()
    objective.parameters.zero_grad()
    options = {} if samples is None else {"samples": samples}
    outcome, cache = objective.forward(batch, normalizers, context, **options)
    losses, probabilities = list(map(float, outcome.losses)), outcome.probabilities.copy()
    objective.backward(cache, context)
    found = {name: objective.parameters[name].grad.copy() for name in objective.parameters}
    return losses, getattr(outcome, "samples", None), probabilities, found


@given(
    st.integers(0, 20),
    st.integers(0, 50),
    st.sampled_from(["electra", "mlm"]),
    st.booleans(),
    st.sampled_from([1.0, 0.5, 3.0]),
)
@settings(max_examples=25, deadline=None)
def test_more_rows_change_nothing(rows, seed, name, tied, temperature):
    """Losses, samples and gradients are those of the model without these rows, whose gradients are 0."""
    fields = {"objective": name, "tie_encoders": tied, "sample_temperature": temperature}
    fields |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "mask_random_fraction": 0.2}
    narrow = objectives.make(*configure("tiny", SMALL | fields), dtype=np.float64)
    initialize(narrow, seed)
    wide, batch = padded_copy(narrow, rows), make_batch(seed, config=narrow.config)
    assert batch.vocab_size == SMALL["vocab_size"]
    for objective in (narrow, wide):
        objective.set_noise(np.ones(SMALL["vocab_size"]), ())
    losses, samples, probabilities, gradients = pass_of(narrow, batch)
    wide_losses, wide_samples, wide_probabilities, wide_gradients = pass_of(wide, batch)
    np.testing.assert_allclose(wide_losses, losses, rtol=1e-12)
    if name == "electra":
        assert np.array_equal(samples, wide_samples)
    np.testing.assert_allclose(wide_probabilities[:, : SMALL["vocab_size"]], probabilities, atol=1e-12)
    assert not wide_probabilities[:, SMALL["vocab_size"] :].any()
    for key, gradient in gradients.items():
        inside = tuple(map(slice, gradient.shape))
        np.testing.assert_allclose(wide_gradients[key][inside], gradient, rtol=1e-9, atol=1e-12, err_msg=key)
        if wide_gradients[key].shape != gradient.shape:
            assert not wide_gradients[key][len(gradient) :].any()


def test_shards_and_devices_know_the_vocabulary():
    batch = make_batch(0)
    assert batch.shard(slice(0, 2)).vocab_size == batch.to_device(np).vocab_size == batch.vocab_size == 61


@pytest.mark.parametrize("fields", [{}, {"hidden_act": "relu"}, {"hidden_act": "silu", "type_vocab_size": 1}])
def test_a_step_on_a_device(fields):
    """With more rows than words, each activation, and one kind of segment: the same step as on the host."""
    found, fields = [], fields | {"vocab_size": 66, "shards": 1, "generator_width": 0.5}
    for xp in (np, FakeDevice()):
        objective = objectives.make(*configure("tiny", SMALL | fields), xp=xp)
        initialize(objective, 1)
        with closing(make_engine(objective, threads=1, workers="threads")) as engine:
            result = engine.step(make_batch(2, config=objective.config), 1e-2, seed=3, number=0)
            found.append((*result.losses, result.grad_norm, to_host(engine.objective.parameters.flat)))
    for host, device in zip(*found, strict=True):
        np.testing.assert_allclose(device, host, rtol=1e-4, atol=1e-5)


def pieces(directory):
    """The number of pieces in a directory's vocab.txt."""
    return len((directory / "vocab.txt").read_text(encoding="utf-8").splitlines())


def pad_directory(directory, kind, rows):
    """Rewrite a model's directory with `rows` rows more."""
    model = kind.from_pretrained(directory)
    random = np.random.default_rng(8)
    wide = kind(dataclasses.replace(model.config, vocab_size=model.config.vocab_size + rows))
    for name, array in model.parameters.state().items():
        target = wide.parameters[name].value
        target[...] = 0.1 * random.standard_normal(target.shape)
        target[tuple(map(slice, array.shape))] = array
    wide.save_pretrained(directory)


@pytest.fixture(scope="module")
def padded(tmp_path_factory, corpus):
    """An exported pair with 7 rows beyond its pieces."""
    folder = tmp_path_factory.mktemp("padded")
    train_here(folder / "run", corpus, "--steps", "2")
    export_files(folder / "run", folder / "pair", "huggingface", None)
    for name, kind in (("generator", ElectraForMaskedLM), ("discriminator", ElectraForPreTraining)):
        pad_directory(folder / "pair" / name, kind, 7)
    return folder / "pair"


def test_pre_training_goes_on(padded, corpus, tmp_path):
    out = tmp_path / "run"
    options = ("--init", padded, "--steps", "4", "--seq-length", "24", "--set", "weight_decay=0.5")
    cli_here("train", "--out", out, "--corpus", corpus, *options, "--checkpoint-every", "3")
    size = pieces(padded / "generator")
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["config"]["vocab_size"] == size + 7
    assert pieces(out) == size
    export_files(out, tmp_path / "pair", "huggingface", None)
    before = ElectraForMaskedLM.from_pretrained(padded / "generator").parameters
    after = ElectraForMaskedLM.from_pretrained(tmp_path / "pair" / "generator").parameters
    for name in (WORDS, BIAS):
        assert np.array_equal(after[name].value[size:], before[name].value[size:]), name
        assert not np.array_equal(after[name].value[:size], before[name].value[:size])
    assert "replaced" in cli("detect", out, "the old cat", "--json").stdout
    assert load_pretraining(out)[0].model_config.vocab_size == size + 7
    again = tmp_path / "again"  # what came out can go in
    cli_here("train", "--init", tmp_path / "pair", "--out", again, "--corpus", corpus, "--steps", "1")


def test_more_pieces_than_rows_are_refused(padded, corpus, tmp_path):
    shutil.copytree(padded, tmp_path / "pair")
    with open(tmp_path / "pair" / "discriminator" / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("".join(f"more{i}\n" for i in range(8)))
    options = ("--init", tmp_path / "pair", "--corpus", corpus, "--steps", "1", "--out", tmp_path / "run")
    line = cli("train", *options, check=2).stderr
    size = pieces(padded / "discriminator")
    assert f"the vocabulary has {size + 8} pieces, but the model only {size + 7}" in line
    assert not (tmp_path / "run").exists()
