"""Word vectors from co-occurrence: what is counted, how it is factorised, and what a run starts with."""

import json

import numpy as np
import pytest
from conftest import train_here

from minielectra import objectives
from minielectra.electra import word_vectors
from minielectra.electra.initialization import initialize
from minielectra.electra.word_vectors import OFFSETS, cooccurrence_vectors, log_frequencies, spread
from minielectra.pretraining.presets import configure

SIZES = {"vocab_size": 60, "embedding_size": 24, "hidden_size": 32, "num_attention_heads": 2}
TABLE = "electra.embeddings.word_embeddings.weight"


@pytest.fixture
def text():
    """Sentences "noun verb noun" in which the words of a class are interchangeable. Ids 10–19 are nouns,
    20–29 verbs; 5 ends a sentence."""
    random = np.random.default_rng(0)
    nouns, verbs = random.integers(10, 20, (2, 4000)), random.integers(20, 30, 4000)
    return np.stack([nouns[0], verbs, nouns[1], np.full(4000, 5)], axis=1).reshape(-1)


def direct_ppmi(tokens, vocab_size):
    """The definition, word by word."""
    counts = np.bincount(tokens, minlength=vocab_size)
    contexts = np.argsort(-counts, kind="stable")
    smooth = np.maximum(counts[contexts], 1) ** 0.75
    smooth /= smooth.sum()
    matrix = np.zeros((vocab_size, len(OFFSETS), vocab_size))
    for i, offset in enumerate(OFFSETS):
        for place, word in enumerate(tokens):
            if 0 <= place + offset < len(tokens):
                matrix[word, i, np.flatnonzero(contexts == tokens[place + offset])[0]] += 1
        matrix[:, i] /= np.maximum(matrix[:, i].sum(axis=1, keepdims=True), 1) * smooth
    return np.log(np.maximum(matrix, 1)).reshape(vocab_size, -1)


def test_mutual_information_is_what_its_definition_says():
    tokens = np.random.default_rng(1).integers(0, 9, 300) ** 2 % 11
    counts = np.bincount(tokens, minlength=11)
    expected = direct_ppmi(tokens, 11)
    assert expected.any()
    assert np.allclose(word_vectors._ppmi(tokens, counts), expected, atol=1e-5)


def test_the_factor_is_that_of_the_whole_decomposition():
    random = np.random.default_rng(2)
    matrix = (random.standard_normal((50, 6)) @ random.standard_normal((6, 80))).astype(np.float32)
    ours = word_vectors._left_factor(matrix, 6, random)
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    whole = left[:, :6] * np.sqrt(values[:6])
    assert np.allclose(ours @ ours.T, whole @ whole.T, atol=1e-3)


def test_interchangeable_words_are_neighbours(text):
    vectors = cooccurrence_vectors(text, 60, 8, np.random.default_rng(0))
    similarity = vectors @ vectors.T
    assert np.allclose(np.diag(similarity), 1.0, atol=1e-5)
    assert similarity[10:20, 10:20].min() > similarity[10:20, 20:30].max()
    assert similarity[20:30, 20:30].min() > similarity[10:20, 20:30].max()


def test_words_that_are_not_there_point_somewhere(text):
    vectors = cooccurrence_vectors(text, 60, 8, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(vectors[40:], axis=1), 1.0, atol=1e-5)
    assert np.abs(vectors[40:] @ vectors[40:].T - np.eye(20)).max() < 0.99
    for odd in (np.zeros(0, np.int64), np.full(50, 7), np.arange(5)):
        assert np.isfinite(cooccurrence_vectors(odd, 60, 8, np.random.default_rng(0))).all()


def test_a_large_vocabulary_has_fewer_contexts(text, monkeypatch):
    monkeypatch.setattr(word_vectors, "LARGEST", 60 * len(OFFSETS) * 7)
    assert word_vectors._ppmi(text, np.bincount(text, minlength=60)).shape == (60, 7 * len(OFFSETS))


def test_with_few_contexts_vectors_are_shorter(text, monkeypatch):
    monkeypatch.setattr(word_vectors, "LARGEST", 60 * len(OFFSETS))
    assert cooccurrence_vectors(text, 60, 20, np.random.default_rng(0)).shape == (60, len(OFFSETS))
    objective = objectives.make(*configure("tiny", SIZES | {"word_vectors": "cooccurrence"}))
    initialize(objective, 3, text)
    assert np.isfinite(objective.parameters.flat).all()


def test_a_long_text_is_read_in_places_spread_over_it():
    tokens = np.arange(100_000)
    assert np.array_equal(spread(tokens, 200_000), tokens)
    some = spread(tokens, 6_400)
    assert len(some) == 6_400 and some[0] == 0 and some[-1] == 99_999
    assert np.array_equal(some[:100], np.arange(100))  # neighbours stay neighbours


@pytest.mark.parametrize("start", ["official", "local_attention"])
@pytest.mark.parametrize("more", [{}, {"tie_encoders": True}, {"objective": "mlm"}])
def test_they_take_the_place_of_random_ones_and_of_nothing_else(text, start, more):
    states = []
    for vectors in ("random", "cooccurrence"):
        config = configure("tiny", SIZES | more | {"initialization": start, "word_vectors": vectors})
        objective = objectives.make(*config)
        initialize(objective, 3, text)
        states.append(objective.parameters.state())
    random, counted = states
    changed = {name for name in random if not np.array_equal(random[name], counted[name])}
    biases = {name for name in random if name.endswith("generator_lm_head.bias")}
    assert len(biases) == 1 and changed == {TABLE} | biases
    (bias,) = biases
    assert np.allclose(counted[bias], log_frequencies(text, 60), atol=1e-5)
    kept = np.flatnonzero((random[TABLE] == 0.0).all(axis=0))  # where positions are
    assert (counted[TABLE][:, kept] == 0.0).all() and (len(kept) > 0) == (start == "local_attention")
    words = [np.delete(state[TABLE], kept, axis=1)[1:] for state in states]
    assert words[1].std() == pytest.approx(words[0].std(), rel=0.2)
    assert (counted[TABLE][0] == 0.0).all()  # [PAD]


def test_without_a_text_they_are_random():
    config = configure("tiny", SIZES | {"word_vectors": "cooccurrence"})
    counted, random = (objectives.make(*config) for _ in range(2))
    initialize(counted, 3)
    initialize(random, 3, None)
    assert np.array_equal(counted.parameters.flat, random.parameters.flat)


def test_a_run_starts_at_the_words_frequencies(tmp_path, corpus):
    losses = {}
    for vectors in ("random", "cooccurrence"):
        run = tmp_path / vectors
        train_here(run, corpus, "--steps", "2", "--set", f"word_vectors={vectors}")
        row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
        losses[vectors] = row["gen_loss"] - row["unigram_entropy"]
    assert losses["cooccurrence"] < losses["random"]
