"""Probes on frozen features: the features of every layer, the regression, and what is found where it is."""

import numpy as np
import pytest
from conftest import train_here
from test_finetuning import TEXTS, WORDS

from minielectra.electra.towers import Electra
from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.finetuning.backbone import read_backbone, truncated, untrained
from minielectra.finetuning.layer_features import LayerReader, layer_features, used_rows
from minielectra.finetuning.logistic_regression import fit, logits
from minielectra.finetuning.probes import CHOOSING, PENALTIES, probe_layers
from minielectra.nn.layers import PassContext

# The regression.


def loss(w, x, y, penalty):
    z = logits(x, w)
    nats = (
        np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) + z.max(axis=1) - z[np.arange(len(y)), y]
    )
    return nats.mean() + 0.5 * penalty * (w[:-1] ** 2).sum()


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_regression_is_fitted_to_the_end(penalty, classes):
    """No direction leads further down; a start elsewhere leads to the same place."""
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 7)) @ random.standard_normal((7, 7))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = (x @ random.standard_normal((7, classes)) + random.standard_normal((300, classes))).argmax(axis=1)
    w = fit(x, y, classes, penalty)
    best = loss(w, x, y, penalty)
    for _ in range(50):
        step = random.standard_normal(w.shape)
        assert best < loss(w + 0.1 * step, x, y, penalty) + 1e-4
        slope = (loss(w + 1e-4 * step, x, y, penalty) - loss(w - 1e-4 * step, x, y, penalty)) / 2e-4
        assert abs(slope) < 5e-3 * np.linalg.norm(step)
    elsewhere = fit(x, y, classes, penalty, random.standard_normal(w.shape))
    assert loss(elsewhere, x, y, penalty) == pytest.approx(best, abs=1e-3)
    assert (logits(x, w).argmax(axis=1) == y).mean() > 1.5 / classes


def test_a_regression_on_features_that_say_nothing():
    """They are constant, or depend on each other: what is left is how frequent the classes are."""
    y = np.array([0] * 6 + [1] * 2)
    x = np.zeros((8, 3))
    z = logits(x, fit(x, y, 3, 0.1))
    p = np.exp(z[0]) / np.exp(z[0]).sum()
    np.testing.assert_allclose(p, [0.75, 0.25, 0.0], atol=0.02)
    column = np.where(y == 0, 1.0, -1.0)[:, None]
    assert (
        logits(np.hstack([column] * 4), fit(np.hstack([column] * 4), y, 2, 1e-4)).argmax(axis=1) == y
    ).all()


# The features.


@pytest.fixture(scope="module", params=["electra", "mlm"])
def run(request, tmp_path_factory, corpus):
    """A run of each arm, barely trained."""
    out = tmp_path_factory.mktemp("probes") / "run"
    train_here(out, corpus, "--steps", "3", "--objective", request.param)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    kinds = [(a, b, i) for a in WORDS for b in WORDS for i in range(2)]
    texts = {
        "sst.tsv": "sentence\tlabel\n"
        + "".join(f"the {a} sees the {'old' if i else 'happy'} {b}\t{i}\n" for a, b, i in kinds),
        "pos.conll": 4 * TEXTS["pos.conll"],
        "numbers.tsv": TEXTS["numbers.tsv"],
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("name", "file"), [("sst-2", "sst.tsv"), ("tagging", "pos.conll")])
def test_features_are_what_truncated_encoders_give(run, files, name, file):
    """One sequence at a time, without padding, by a model with just so many layers."""
    backbone = read_backbone(run)
    task, examples = tasks.find(name).from_file(name, files / file, {})
    encoded = task.encode(examples[:5], backbone.tokenizer, 24)
    encoded[0].ids, encoded[0].segments = encoded[0].ids[:-2], encoded[0].segments[:-2]  # of another length
    if encoded[0].weights:
        encoded[0].weights = encoded[0].weights[:-2]
    found = layer_features(backbone, encoded, backbone.tokenizer.pad_id)
    assert found.shape[1:] == (backbone.config.num_hidden_layers + 1, backbone.config.hidden_size)
    for layer in range(1, found.shape[1]):
        shallow = truncated(backbone, layer)
        model = Electra(shallow.config)
        model.parameters.load_state(shallow.state)
        expected = []
        for sequence in encoded:
            arrays = np.array([sequence.ids]), None, np.array([sequence.segments])
            hidden = model.encode(*arrays, PassContext(backward=False))[0]
            own = hidden[used_rows(sequence)] if name == "tagging" else hidden.mean(axis=0, keepdims=True)
            expected.append(own)
        np.testing.assert_allclose(found[:, layer], np.concatenate(expected), atol=2e-6)
    first = LayerReader(backbone.config, per_token=True)
    first.parameters.load_state(backbone.state)
    ids = np.array([[encoded[0].ids[1]]])
    before = first(ids)[0, 0, 0]
    first.parameters["electra.encoder.layer.0.output.dense.weight"].value[...] = 0.0
    assert (first(ids)[0, 0, 0] == before).all()  # layer 0 is what the first block reads


# The probes.


@pytest.mark.parametrize(
    ("name", "file", "rows"), [("sst-2", "sst.tsv", (200, 200)), ("tagging", "pos.conll", (40, 160))]
)
def test_what_a_word_says_is_found_in_the_embeddings(run, files, name, file, rows):
    """The labels follow from one word, so layer 0 knows all."""
    scores = probe_layers(run, name, files / file, files / file)
    depth = read_backbone(run).config.num_hidden_layers
    assert scores.metrics == ("accuracy",) and len(scores.layers) == depth + 1
    assert scores.layers[0]["accuracy"] > 0.95
    assert all(
        set(layer) == {"accuracy", "penalty"} and layer["penalty"] in PENALTIES for layer in scores.layers
    )
    assert (scores.n_train, scores.n_rows) == rows and scores.n_test == scores.n_train
    assert probe_layers(read_backbone(run), name, files / file, files / file) == scores


def test_what_stands_elsewhere_is_not_found_in_the_embeddings(run, tmp_path):
    """The tag of a word depends on the word before it: layer 0 does not know that, the layers above may."""
    lines = []
    for i in range(200):
        word = WORDS[i % len(WORDS)]
        first, tag = ("the", "A") if (i // len(WORDS)) % 2 else ("a", "B")
        lines.append(f"{first}\tO\n{word}\t{tag}\n\n")
    path = tmp_path / "order.conll"
    path.write_text("".join(lines), encoding="utf-8")
    found = [layer["accuracy"] for layer in probe_layers(run, "tagging", path, path).layers]
    assert found[0] < 0.8 and max(found[1:]) > 0.9


def test_the_control_and_fewer_rows(run, files):
    backbone = read_backbone(run)
    common = ("tagging", files / "pos.conll", files / "pos.conll")
    control = probe_layers(backbone, *common, from_scratch=True)
    assert len(control.layers) == backbone.config.num_hidden_layers + 1
    other = untrained(backbone, 0)
    assert other.state.keys() == backbone.state.keys()
    name = "electra.encoder.layer.0.output.dense.weight"
    assert not (other.state[name] == backbone.state[name]).any()
    for most in (40, 41, 43):
        few = probe_layers(backbone, *common, most_rows=most)
        assert (few.n_train, few.n_rows, few.n_test) == (10, 40, 40)
    assert few == probe_layers(backbone, *common, most_rows=43)
    assert probe_layers(backbone, *common, most_rows=43, seed=1).n_rows == 40


def test_what_has_no_probe(run, files, tmp_path):
    backbone = read_backbone(run)
    numbers = files / "numbers.tsv"
    with pytest.raises(InputError, match="sts-b: has no linear probe; use a classification or tagging task"):
        probe_layers(backbone, "sts-b", numbers, numbers)
    lines = (files / "sst.tsv").read_text().splitlines(keepends=True)
    few = tmp_path / "few.tsv"
    few.write_text("".join(lines[:CHOOSING]))
    with pytest.raises(
        InputError, match=f"few.tsv: 4 examples are too few; a probe needs {CHOOSING} or more"
    ):
        probe_layers(backbone, "sst-2", few, few)
    with pytest.raises(InputError, match="neither a run"):
        probe_layers(tmp_path, "sst-2", few, few)
