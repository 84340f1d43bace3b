"""`train --init DIR`: a new run that begins with exported weights."""

import json
import shutil

import numpy as np
import pytest
from conftest import cli_here, train_here
from test_bad_input import complaint

from minielectra.devices.export_files import export_files
from minielectra.pretraining.load import load_pretraining


@pytest.fixture(scope="module")
def exported(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("init")
    train_here(folder / "run", corpus, "--steps", "6")
    export_files(folder / "run", folder / "exported", "huggingface", None)
    return folder / "exported"


def begin(out, corpus, initial, *arguments):
    """Train a new run from exported weights, in this process and without pictures."""
    sizes = ("--seq-length", "24", "--init", initial)
    cli_here("train", "--out", out, "--corpus", corpus, *sizes, *arguments)


def first_checkpoint(run):
    return load_pretraining(run, sorted((run / "checkpoints").iterdir())[0])[0]


def test_a_run_begins_where_the_exported_one_ended(exported, corpus, tmp_path):
    """At a learning rate of nearly nothing, one step leaves the weights as they were."""
    begin(tmp_path / "run", corpus, exported, "--steps", "1", "--set", "learning_rate=1e-12")
    before, _ = load_pretraining(exported.parent / "run")
    after = first_checkpoint(tmp_path / "run")
    np.testing.assert_allclose(after.parameters.flat, before.parameters.flat, rtol=0, atol=1e-8)
    assert after.model_config == before.model_config
    assert (tmp_path / "run" / "vocab.txt").read_bytes() == (
        exported / "discriminator" / "vocab.txt"
    ).read_bytes()


def test_resuming_does_not_begin_again(exported, corpus, tmp_path):
    begin(tmp_path / "whole", corpus, exported, "--steps", "6", "--checkpoint-every", "3")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-00000006")
    cli_here("train", "--resume", tmp_path / "cut", "--init", exported)
    a, b = (load_pretraining(tmp_path / name)[0].parameters.flat for name in ("whole", "cut"))
    assert np.array_equal(a, b)


def test_masked_language_model(exported, corpus, tmp_path):
    out = tmp_path / "run"
    begin(out, corpus, exported, "--steps", "2", "--objective", "mlm")
    assert first_checkpoint(out).model_config.hidden_size == 12  # the generator's


def test_tied_encoders_leave_and_come_back_as_one(corpus, tmp_path):
    tied = ("--set", "tie_encoders=true")
    train_here(tmp_path / "run", corpus, "--steps", "2", *tied)
    export_files(tmp_path / "run", tmp_path / "exported", "huggingface", None)
    options = ("--steps", "1", "--set", "learning_rate=1e-12")
    for out, more in (("one", tied), ("two", ())):
        begin(tmp_path / out, corpus, tmp_path / "exported", *options, *more)
    before = load_pretraining(tmp_path / "run")[0]
    one, two = first_checkpoint(tmp_path / "one"), first_checkpoint(tmp_path / "two")
    np.testing.assert_allclose(one.parameters.flat, before.parameters.flat, rtol=0, atol=1e-8)
    query = "electra.encoder.layer.0.attention.self.query.weight"
    names = {f"{tower}.{query}" for tower in ("generator", "discriminator")}
    assert names & set(one.parameters) == {f"discriminator.{query}"}
    untied, shared = (
        two.parameters[f"generator.{query}"].value,
        one.parameters[f"discriminator.{query}"].value,
    )
    np.testing.assert_allclose(untied, shared, atol=1e-8)


@pytest.mark.parametrize("tied", [("--set", "tie_encoders=true"), ("--preset", "mini")])
def test_encoders_that_differ_cannot_be_tied(exported, corpus, tmp_path, tied):
    options = ("--corpus", corpus, "--steps", "1", "--init", exported, "--seq-length", "24", *tied)
    assert "differs between generator and discriminator" in complaint(
        "train", "--out", tmp_path / "out", *options
    )
    assert not (tmp_path / "out").exists()


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def without_discriminator(folder):
    shutil.rmtree(folder / "discriminator")


def another_embedding(folder):
    from minielectra import ElectraForMaskedLM

    model = ElectraForMaskedLM.from_pretrained(folder / "generator")
    model.parameters["electra.embeddings.word_embeddings.weight"].value[7] += 1
    model.save_pretrained(folder / "generator")


def another_generator(folder):
    edit(folder / "generator" / "config.json", num_attention_heads=2)


def another_vocabulary(folder):
    with open(folder / "discriminator" / "vocab.txt", "a") as file:
        file.write("onemore\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_discriminator, "no discriminator"),
        (another_embedding, "word_embeddings.weight differs"),
        (another_generator, "num_attention_heads is 2, expected 1"),
        (another_vocabulary, "the vocabulary has"),
    ],
)
def test_folders_that_are_no_pair(exported, corpus, tmp_path, damage, words):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    damage(copy)
    line = complaint("train", "--out", tmp_path / "out", "--corpus", corpus, "--steps", "2", "--init", copy)
    assert words in line and not (tmp_path / "out").exists()


def test_sizes_cannot_be_chosen_again(exported, corpus, tmp_path):
    options = ("--corpus", corpus, "--steps", "2", "--init", exported, "--set", "hidden_size=32")
    assert "has hidden_size 24, not 32" in complaint("train", "--out", tmp_path / "out", *options)
