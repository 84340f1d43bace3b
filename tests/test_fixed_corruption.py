"""The fixed yardstick: what is replaced by what, and that of a run only text and vocabulary matter."""

import json

import numpy as np
import pytest
from conftest import train_here
from small import small_objective

from minielectra.data.dataset import Dataset
from minielectra.data.dataset.prepare import prepare
from minielectra.pretraining.fixed_corruption import (
    FixedCorruption,
    make_fixed_corruption,
    score_fixed_corruption,
)


@pytest.fixture(scope="module")
def dataset(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed") / "data"
    prepare([corpus], folder, 150)
    return Dataset.open(folder)


@pytest.fixture(scope="module")
def fixed(dataset):
    return make_fixed_corruption(dataset, 128)


def sentences_of(part):
    ends = np.cumsum(part.sentence_lengths)
    return {
        tuple(part.tokens[end - n : end].tolist()) for end, n in zip(ends, part.sentence_lengths, strict=True)
    }


def test_exactly_one_whole_word_differs_from_a_held_out_sentence(dataset, fixed):
    known = sentences_of(dataset.heldout)
    vocab = dataset.tokenizer.vocab
    for ids, valid, word_of, wrong in zip(*fixed, strict=True):
        assert ids[0] == dataset.tokenizer.cls_id and ids[valid][-1] == dataset.tokenizer.sep_id
        here = word_of == wrong
        replaced = [vocab[i] for i in ids[here]]
        assert not replaced[0].startswith("##") and all(piece.startswith("##") for piece in replaced[1:])
        rest = tuple(ids[valid & ~here][1:-1].tolist())
        inner = here[valid][1:-1]
        fits = [s for s in known if len(s) == len(inner) and tuple(np.array(s)[~inner].tolist()) == rest]
        assert fits, "the other words are those of a sentence"


def test_words_are_numbered_one_after_the_other(fixed):
    for valid, word_of in zip(fixed.valid, fixed.word_of, strict=True):
        assert (word_of[~valid] == -1).all() and word_of[0] == -1
        inside = word_of[word_of >= 0]
        assert inside[0] == 0 and set(np.diff(inside)) <= {0, 1}


def test_the_replacement_is_of_similar_frequency():
    from minielectra.pretraining.fixed_corruption import _replacement

    ranked = [(i,) for i in range(1000)]
    rank = {word: i for i, word in enumerate(ranked)}
    random = np.random.default_rng(0)
    for place in (0, 3, 500, 999):
        drawn = {_replacement((place,), ranked, rank, random)[0] for _ in range(600)}
        assert place not in drawn and len(drawn) == 64 and max(abs(other - place) for other in drawn) <= 64
    # An unknown word is rare
    assert min(_replacement((5000,), ranked, rank, random)[0] for _ in range(50)) > 900


def test_it_is_the_same_whenever_it_is_made(dataset, fixed):
    again = make_fixed_corruption(dataset, 128)
    assert all(np.array_equal(a, b) for a, b in zip(fixed, again, strict=True))


def test_runs_with_other_seeds_and_sizes_see_the_same_sentences(dataset, tmp_path, monkeypatch):
    from minielectra.pretraining import trainer

    seen = []
    original = trainer.make_fixed_corruption
    monkeypatch.setattr(trainer, "make_fixed_corruption", lambda *a: seen.append(original(*a)) or seen[-1])
    for name, options in (("a", ["--seed", "0"]), ("b", ["--seed", "5", "--set", "num_hidden_layers=1"])):
        train_here(tmp_path / name, dataset.directory, "--steps", "2", *options)
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))
    rows = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    for row in map(json.loads, rows):
        assert 0.0 <= row["fixed_top1"] <= 1.0 and 0.0 <= row["fixed_auc"] <= 1.0


def test_scores_are_those_of_whole_words():
    """Against a loop over sentences and words; any number of threads gives the same."""
    objective = small_objective(num_hidden_layers=1)
    random = np.random.default_rng(0)
    ids = random.integers(5, 61, (5, 9), dtype=np.int32)
    word_of = np.array([[-1, 0, 1, 1, 2, 3, 4, -1, -1]] * 5, np.int32)
    valid = np.arange(9) < 8
    fixed = FixedCorruption(ids, np.tile(valid, (5, 1)), word_of, np.array([0, 1, 2, 3, 4]))
    found = score_fixed_corruption(objective.discriminator, fixed)
    logits = objective.discriminator(ids[:, :8], np.ones((5, 8)))
    first, pairs = [], []
    words = [[row[word_of[0, :8] == w].mean() for w in range(5)] for row in logits]
    for row, wrong in zip(words, fixed.wrong, strict=True):
        first.append(max(range(5), key=lambda w, row=row: row[w]) == wrong)
    right = [row[w] for row, wrong in zip(words, fixed.wrong, strict=True) for w in range(5) if w != wrong]
    for row, wrong in zip(words, fixed.wrong, strict=True):
        pairs += [row[wrong] > other for other in right]
    assert found["fixed_top1"] == pytest.approx(np.mean(first))
    assert found["fixed_auc"] == pytest.approx(np.mean(pairs))
    assert score_fixed_corruption(objective.discriminator, fixed, threads=2) == found


def test_a_text_without_usable_sentences_has_none(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n\n".join(["Oh no."] * 300), encoding="utf-8")
    prepare([path], tmp_path / "data", 100)
    assert make_fixed_corruption(Dataset.open(tmp_path / "data"), 128) is None
