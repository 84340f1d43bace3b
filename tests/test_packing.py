"""Packing keeps every token, batches are laid out right, the shuffle is a permutation."""

import numpy as np
import pytest
from properties import given, settings, st

from minielectra.data.dataset import packing
from minielectra.data.dataset.packing import MINIMUM_TOKENS, make_batch, pack, shuffled_index
from minielectra.errors import InputError

SPECIAL = (0, 1, 2, 3, 4)
DOCUMENTS = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=30), min_size=1, max_size=8)


def arrays(documents):
    lengths = np.array([length for document in documents for length in document], np.int32)
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    return lengths, starts


@given(DOCUMENTS, st.integers(8, 64), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_invariants(documents, seq_length, seed):
    lengths, starts = arrays(documents)
    document_ends = np.cumsum([sum(document) for document in documents])
    if all(sum(document) < MINIMUM_TOKENS for document in documents):
        with pytest.raises(InputError, match="make no example"):
            pack(lengths, starts, seq_length, seed)
        return
    rows = pack(lengths, starts, seq_length, seed)
    assert rows.dtype == np.int64 and rows.shape[1] == 3
    assert np.array_equal(rows, pack(lengths, starts, seq_length, seed))

    start, split, end = rows.T
    assert (start < split).all() and (split <= end).all()
    assert (end - start + np.where(split < end, 3, 2) <= seq_length).all()
    # no token twice, none lost but the ends of documents
    assert (start[1:] >= end[:-1]).all()
    used = np.zeros(document_ends[-1], bool)
    for a, _, b in rows:
        assert np.searchsorted(document_ends, a, "right") == np.searchsorted(document_ends, b - 1, "right")  # one document
        used[a:b] = True
    for first, last in zip([0, *document_ends], document_ends, strict=False):
        lost = np.flatnonzero(~used[first:last])
        assert len(lost) < MINIMUM_TOKENS and np.array_equal(lost, np.arange(last - first)[len(used[first:last]) - len(lost) :])
    # two segments meet where a sentence ends
    assert np.isin(split[split < end], np.cumsum(lengths)).all()


@given(DOCUMENTS, st.integers(8, 64), st.integers(0, 5), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_pieces_make_no_difference(documents, seq_length, seed, piece):
    lengths, starts = arrays([[5], *documents, *documents])
    whole = pack(lengths, starts, seq_length, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_PIECE", piece)
        pieces = list(packing.pack_pieces(lengths, starts, seq_length, seed))
    assert max(map(len, pieces)) <= piece
    assert np.array_equal(np.concatenate(pieces), whole)


def test_shares_of_single_segments_and_fill():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 40, 40_000)
    rows = pack(lengths, np.array([0]), 128)
    single = rows[:, 1] == rows[:, 2]
    assert 0.09 < single.mean() < 0.12
    full = rows[:, 2] - rows[:, 0] + np.where(single, 2, 3) == 128
    assert 0.93 < full.mean() < 0.98  # the others had a shorter target
    first = (rows[:, 1] - rows[:, 0])[~single & full]
    assert 55 < first.mean() < 70  # about half
    assert not np.array_equal(rows[:50], pack(lengths, np.array([0]), 128, seed=1)[:50])


def test_an_overlong_sentence_goes_on():
    rows = pack(np.array([1000]), np.array([0]), 16, seed=3)
    assert (rows[:, 1] == rows[:, 2]).all() and np.array_equal(rows[1:, 0], rows[:-1, 2]) and rows[-1, 2] > 995


def test_errors():
    with pytest.raises(InputError, match="3 tokens in 2 documents"):
        pack(np.array([1, 2]), np.array([0, 1]), 32)
    with pytest.raises(InputError, match="too short"):
        pack(np.array([100]), np.array([0]), 7)


@given(DOCUMENTS, st.integers(8, 64))
@settings(max_examples=100, deadline=None)
def test_batches_hold_what_the_rows_say(documents, seq_length):
    documents.append([50])
    lengths, starts = arrays(documents)
    tokens = np.arange(10, 10 + lengths.sum()).astype(np.uint16)
    rows = pack(lengths, starts, seq_length)
    ids, mask, types = make_batch(tokens, rows, seq_length, SPECIAL)
    assert ids.dtype == types.dtype == np.int32 and mask.dtype == bool
    assert ids.shape == mask.shape == types.shape == (len(rows), seq_length)
    for row, (start, split, end) in enumerate(rows):
        expected = [2, *tokens[start:split], 3] + ([*tokens[split:end], 3] if end > split else [])
        n = len(expected)
        assert ids[row].tolist() == expected + [0] * (seq_length - n)
        assert mask[row].tolist() == [True] * n + [False] * (seq_length - n)
        second = n - (split - start + 2)
        assert types[row].tolist() == [0] * (n - second) + [1] * second + [0] * (seq_length - n)


def test_a_batch_must_fit():
    with pytest.raises(ValueError, match="needs 13 positions"):
        make_batch(np.arange(20), np.array([[0, 5, 10]]), 12, SPECIAL)


@pytest.mark.parametrize("n", [*range(1, 201), 1000, 12_345])
def test_shuffle_is_a_permutation(n):
    for key in (0, 7, (3, 1)):
        assert np.array_equal(np.sort(shuffled_index(np.arange(n), n, key)), np.arange(n))


def test_shuffle_is_a_function_and_uniform():
    n = 1000
    whole = shuffled_index(np.arange(n), n, (1, 2))
    assert whole.dtype == np.int64
    assert shuffled_index(17, n, (1, 2)) == whole[17]
    assert np.array_equal(shuffled_index(np.arange(20).reshape(4, 5), n, (1, 2)), whole[:20].reshape(4, 5))
    assert (shuffled_index(np.arange(n), n, (2, 1)) == whole).mean() < 0.02
    assert abs(np.corrcoef(np.arange(n), whole)[0, 1]) < 0.15
    # where does index 0 (and n-1) land over many keys? chi-squared with 9 degrees of freedom, far tail at 30
    for n, i in [(10, 0), (10, 9), (1000, 0), (1000, 500)]:
        bins = np.bincount([int(shuffled_index(i, n, (key, 0))) * 10 // n for key in range(2000)], minlength=10)
        assert ((bins - 200) ** 2 / 200).sum() < 30
    with pytest.raises(ValueError, match="outside"):
        shuffled_index(10, 10, 0)
