"""Minimal pairs: what they are, and how a model's preference is scored."""

from types import SimpleNamespace

import numpy as np
from small import VOCAB, small_objective

from minielectra.experiments import sentence_scores
from minielectra.experiments.minimal_pairs import KINDS, Pair, make_pairs
from minielectra.experiments.sentence_scores import score_pairs


class Letters:
    """A tokenizer of single letters."""

    pad_id, cls_id, sep_id, mask_id = 0, 2, 3, 4

    def encode(self, text):
        return [5 + (ord(letter) - 97) % (VOCAB - 5) for letter in text]


PAIRS = [Pair("a", "abc", "abd"), Pair("a", "xyzv", "xyz"), Pair("b", "kl", "lk"), Pair("c", "same", "same")]


def sentences():
    return [sentence for pair in PAIRS for sentence in (pair.good, pair.bad)]


def test_pairs_are_the_same_every_time_and_differ_in_their_sentences():
    pairs = make_pairs(40)
    assert pairs == make_pairs(40)
    assert {pair.kind for pair in pairs} == set(KINDS)
    assert len(set(pairs)) == len(pairs) == 40 * len(KINDS)
    assert all(pair.good != pair.bad for pair in pairs)
    assert {(pair.good, pair.bad) for pair in pairs}.isdisjoint((pair.bad, pair.good) for pair in pairs)


def test_both_sentences_of_a_pair_have_equally_many_words():
    assert all(len(pair.good.split()) == len(pair.bad.split()) for pair in make_pairs(1000))


def test_a_masked_language_model_is_asked_token_by_token():
    objective = small_objective(np.float64, objective="mlm")
    tower, tokenizer = objective.towers["generator"], Letters()
    method, found = score_pairs(objective, tokenizer, PAIRS)
    assert method == sentence_scores.LIKELIHOOD
    expected = []
    for text in sentences():
        row = [2, *tokenizer.encode(text), 3]
        total = 0.0
        for place in range(1, len(row) - 1):
            masked = [4 if i == place else token for i, token in enumerate(row)]
            logits = tower(np.array([masked]))[0, place].astype(np.float64)
            total += logits[row[place]] - np.log(np.exp(logits).sum())
        expected.append(total)
    rows = [[2, *tokenizer.encode(text), 3] for text in sentences()]
    np.testing.assert_allclose(sentence_scores._scores(objective, rows, tokenizer)[1], expected, rtol=1e-10)
    right = [good > bad for good, bad in zip(expected[::2], expected[1::2], strict=True)]
    assert found == {"a": np.mean(right[:2]), "b": float(right[2]), "c": 0.5}


def test_a_discriminator_is_asked_whether_each_token_is_original():
    objective = small_objective(np.float64)
    tower, tokenizer = objective.towers["discriminator"], Letters()
    rows = [[2, *tokenizer.encode(text), 3] for text in sentences()]
    expected = [np.log(1 / (1 + np.exp(tower(np.array([row]))[0, 1:-1]))).sum() for row in rows]
    method, scores = sentence_scores._scores(objective, rows, tokenizer)
    assert method == sentence_scores.ORIGINAL
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    assert score_pairs(objective, tokenizer, PAIRS)[1]["c"] == 0.5


def test_a_corrector_reads_what_stands_there():
    """It never saw [MASK]: each token is scored in the sentence as it is."""
    tower, tokenizer = small_objective(np.float64, objective="mlm").towers["generator"], Letters()
    objective = SimpleNamespace(towers={"generator": None, "corrector": tower})
    rows = [[2, *tokenizer.encode(text), 3] for text in sentences()]
    method, scores = sentence_scores._scores(objective, rows, tokenizer)
    expected = []
    for row in rows:
        logits = tower(np.array([row]))[0].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected.append(sum(logs[i, row[i]] for i in range(1, len(row) - 1)))
    assert method == sentence_scores.SEEN
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
