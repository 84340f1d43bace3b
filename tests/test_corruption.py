"""Which positions are chosen, what stands there, what is labelled."""

import numpy as np
import pytest
from small import MASK, SPECIAL, VOCAB, make_batch, small_objective

from minielectra.backend import RandomStream
from minielectra.electra.corruption import choose_positions, replace_tokens
from minielectra.nn.layers import PassContext
from minielectra.pretraining.pretraining_config import PretrainingConfig

# --- which positions are chosen


def test_choose_positions_count_distinct_and_only_candidates():
    random = np.random.default_rng(0)
    lengths = np.array([5, 20, 40, 33, 6, 3])
    candidates = (np.arange(40) < lengths[:, None] - 1) & (np.arange(40) > 0)
    candidates[1, 5:15] = False
    candidates[5, 1] = False  # nothing left to choose in the last one
    positions, used = choose_positions(candidates, lengths, 8, 0.15, random)
    assert positions.shape == used.shape == (6, 8) and positions.dtype == np.int32
    # max(1, round(0.15 n)), no more than there are candidates
    assert used.sum(axis=1).tolist() == [
        1,
        3,
        6,
        5,
        1,
        0,
    ]
    for row in range(6):
        chosen = positions[row, used[row]]
        assert len(set(chosen)) == len(chosen)
        assert candidates[row, chosen].all()
        assert len(set(positions[row])) == 8  # the unused slots too: writing back through them harms nothing


def test_choose_positions_is_uniform():
    count, length = 30_000, 12
    candidates = np.zeros((count, length), bool)
    candidates[:, 1:-1] = True
    positions, used = choose_positions(candidates, np.full(count, length), 2, 0.15, np.random.default_rng(1))
    found = np.bincount(positions[used], minlength=length)
    assert found[0] == found[-1] == 0 and found.sum() == 2 * count
    np.testing.assert_allclose(found[1:-1], 2 * count / 10, rtol=0.05)
    pairs = np.bincount(positions[:, 0] * length + positions[:, 1], minlength=length**2)
    assert (pairs > 0).sum() == 90  # every ordered pair of different candidates
    np.testing.assert_allclose(pairs[pairs > 0], count / 90, rtol=0.3)


def test_choose_positions_with_replacement_hits_fewer():
    candidates = np.ones((5000, 10), bool)
    _, used = choose_positions(
        candidates, np.full(5000, 10), 5, 0.5, np.random.default_rng(2), with_replacement=True
    )
    assert used.sum(axis=1).mean() == pytest.approx(10 * (1 - 0.9**5), abs=0.03)
    assert (np.sort(used, axis=1)[:, ::-1] == used).all()


def test_special_tokens_and_padding_are_never_chosen():
    batch = make_batch(3, count=400)
    used = batch.weights > 0
    chosen = np.take_along_axis(batch.input_ids, batch.positions, axis=1)[used]
    assert not np.isin(chosen, SPECIAL).any()
    assert np.take_along_axis(batch.valid, batch.positions, axis=1)[used].all()
    assert used.sum(axis=1).tolist() == [max(1, min(round(0.3 * n), 4)) for n in batch.valid.sum(axis=1)]
    assert batch.weights.dtype == np.float32 and batch.padded


# --- what stands there


def test_masking_shows_mask_tokens_and_nothing_else_changes():
    batch = make_batch(4, count=50)
    changed = batch.masked_ids != batch.input_ids
    chosen = np.zeros_like(changed)
    rows, slots = np.nonzero(batch.weights)
    chosen[rows, batch.positions[rows, slots]] = True
    assert (changed == chosen).all()
    assert (batch.masked_ids[chosen] == MASK).all()


def test_masking_options():
    config = PretrainingConfig(
        seq_length=14, mask_fraction=0.3, mask_keep_fraction=0.2, mask_random_fraction=0.3
    )
    batch = make_batch(5, count=8000, config=config)
    used = batch.weights > 0
    shown = np.take_along_axis(batch.masked_ids, batch.positions, axis=1)[used]
    original = np.take_along_axis(batch.input_ids, batch.positions, axis=1)[used]
    masked, kept = (shown == MASK).mean(), (shown == original).mean()
    assert masked == pytest.approx(0.5 + 0.3 / VOCAB, abs=0.015)
    assert kept == pytest.approx(0.2 + 0.3 / VOCAB, abs=0.015)
    random_words = np.bincount(shown[(shown != MASK) & (shown != original)], minlength=VOCAB)
    assert (np.delete(random_words, MASK) > 0).all()  # any word at all


def test_a_right_guess_is_an_original_token():
    ids = np.array([[2, 10, 11, 12, 3], [2, 20, 21, 3, 0]], np.int32)
    positions, used = np.array([[1, 3], [2, 0]], np.int32), np.array([[True, True], [True, False]])
    samples = np.array([[10, 30], [40, 50]], np.int32)  # right, wrong; wrong, unused
    corrupted, replaced = replace_tokens(ids, positions, used, samples)
    assert corrupted.tolist() == [[2, 10, 11, 30, 3], [2, 20, 40, 3, 0]]
    assert replaced.tolist() == [[False, False, False, True, False], [False, False, True, False, False]]
    assert corrupted.dtype == np.int32 and ids[0, 3] == 12  # the input is left alone


def test_discriminator_sees_originals_where_nothing_was_sampled():
    objective, batch = small_objective(), make_batch(6)
    u = RandomStream((1,)).uniform(batch.positions.size)
    outcome, _ = objective.forward(batch, batch.normalizers(), PassContext(), u)
    assert MASK not in outcome.corrupted_ids[:, 1:]  # never [MASK], except if the generator samples it
    unchosen = batch.masked_ids == batch.input_ids
    assert (outcome.corrupted_ids == batch.input_ids)[unchosen].all()
    assert (outcome.replaced == (outcome.corrupted_ids != batch.input_ids)).all()
    assert outcome.scores.shape == batch.input_ids.shape
