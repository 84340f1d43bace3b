"""Packing keeps every token, and `assemble` lays examples out right."""

import numpy as np
import pytest
from properties import given, settings, st

from minielectra.data.dataset import packing
from minielectra.data.dataset.packing import MINIMUM_TOKENS, assemble, pack
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
    # no token is used twice, and none is left out except at the ends of documents
    assert (start[1:] >= end[:-1]).all()
    used = np.zeros(document_ends[-1], bool)
    for a, _, b in rows:
        first, last = np.searchsorted(document_ends, (a, b - 1), "right")
        assert first == last  # all of it is in one document
        used[a:b] = True
    for first, last in zip([0, *document_ends], document_ends, strict=False):
        unused = np.flatnonzero(~used[first:last])
        assert len(unused) < MINIMUM_TOKENS
        assert np.array_equal(unused, np.arange(last - first)[len(used[first:last]) - len(unused) :])
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
    assert 0.93 < full.mean() < 0.98  # the rest had a shorter target
    first = (rows[:, 1] - rows[:, 0])[~single & full]
    assert 55 < first.mean() < 70  # about half
    assert not np.array_equal(rows[:50], pack(lengths, np.array([0]), 128, seed=1)[:50])


def test_an_overlong_sentence_continues_in_the_next_example():
    rows = pack(np.array([1000]), np.array([0]), 16, seed=3)
    assert (rows[:, 1] == rows[:, 2]).all()
    assert np.array_equal(rows[1:, 0], rows[:-1, 2]) and rows[-1, 2] > 995


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
    ids, valid, segments = assemble(tokens, rows, seq_length, SPECIAL)
    assert ids.dtype == segments.dtype == np.int32 and valid.dtype == bool
    assert ids.shape == valid.shape == segments.shape == (len(rows), seq_length)
    for row, (start, split, end) in enumerate(rows):
        expected = [2, *tokens[start:split], 3] + ([*tokens[split:end], 3] if end > split else [])
        n = len(expected)
        assert ids[row].tolist() == expected + [0] * (seq_length - n)
        assert valid[row].tolist() == [True] * n + [False] * (seq_length - n)
        second = n - (split - start + 2)
        assert segments[row].tolist() == [0] * (n - second) + [1] * second + [0] * (seq_length - n)


def test_a_batch_must_fit():
    with pytest.raises(ValueError, match="needs 13 positions"):
        assemble(np.arange(20), np.array([[0, 5, 10]]), 12, SPECIAL)
