"""Operations, plain and fast, against independent references: extremes, masks, random numbers, sampling."""

import math

import numpy as np
import pytest
from properties import given, settings, st

from minielectra.backend import RandomStream, keep_probability, scatter_add
from minielectra.electra.corruption import sample_categorical
from minielectra.ops.fast import attention as fast_attention
from minielectra.ops.fast import gelu as fast_gelu
from minielectra.ops.fast import losses as fast_losses
from minielectra.ops.reference import attention, gelu, losses
from minielectra.ops.reference.attention import additive_mask
from minielectra.ops.reference.dropout import dropout_forward
from minielectra.ops.reference.losses import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    sigmoid,
)
from minielectra.ops.reference.softmax import softmax_forward

# --- gelu


def test_erf_and_gelu_in_float32():
    tiny = np.logspace(-30, 0, 500)
    x = np.concatenate([np.linspace(-12, 12, 40001), tiny, -tiny, [0.0]]).astype(np.float32)
    exact = np.array([math.erf(value * math.sqrt(0.5)) for value in x.astype(np.float64)])
    assert np.abs(fast_gelu.erf_scaled(x, x * x, np.empty_like(x)) - exact).max() <= 2e-7
    y, slope = fast_gelu.gelu_forward(x.copy())
    wide = x.astype(np.float64)
    expected = np.array([value * 0.5 * math.erfc(-value * math.sqrt(0.5)) for value in wide])
    assert (np.abs(y - expected) <= 5e-7 * np.abs(wide)).all()  # left of 0, Φ itself is near 0: relative to x
    assert (np.abs(y - expected)[x > 0] <= 5e-7 * expected[x > 0]).all()
    density = np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    assert np.abs(slope - (0.5 * (1 + exact) + wide * density)).max() <= 5e-7


def test_gelu_in_float64_is_exact():
    x = np.linspace(-6, 6, 101)
    expected = np.array([value * 0.5 * (1 + math.erf(value * math.sqrt(0.5))) for value in x])
    for module in (gelu, fast_gelu):
        np.testing.assert_allclose(module.gelu_forward(x.copy())[0], expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("module", [gelu, fast_gelu])
def test_gelu_of_extreme_values(module):
    x = np.array([-3e38, -1e5, -20, 0, 20, 1e5, 3e38], np.float32)
    with np.errstate(over="ignore"):
        y, cache = module.gelu_forward(x.copy())
        slope = module.gelu_backward(np.ones_like(x), cache)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(slope, [0, 0, 0, 0.5, 1, 1, 1])


# --- extreme logits

both_losses = pytest.mark.parametrize("module", [losses, fast_losses])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_extreme_logits(dtype):
    x = np.array([[1e4, 0, -1e4], [3e38, 3e38, -3e38], [-1e30, -1e30, -1e30], [0, 1e-30, 0]], dtype)
    # The distance of two extremes is infinite, and its exponential 0: as it should be
    with np.errstate(over="ignore"):
        p, _ = softmax_forward(x)
    np.testing.assert_allclose(p, [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3, [1 / 3] * 3], rtol=1e-6)
    assert p.dtype == dtype


@both_losses
def test_cross_entropy_of_extreme_logits(module):
    logits = np.array([[200.0, -200, 0], [-200, 200, 0], [1e4, 1e4, -1e4]], np.float32)
    loss, cache = module.cross_entropy_forward(
        logits.copy(), np.array([0, 0, 1]), np.ones(3, np.float32), 1.0
    )
    assert float(loss) == pytest.approx(0.0 + 400.0 + math.log(2), rel=1e-6)
    gradient = module.cross_entropy_backward(cache)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [-1, 1, 0], [0.5, -0.5, 0]], atol=1e-6)


@both_losses
def test_small_losses_keep_their_digits(module):
    """A likely target: −log p is far smaller than the rounding of p near 1 would leave."""
    for logit in (5.0, 10.0, 20.0):
        x = np.array([[logit, 0.0]], np.float32)
        loss, _ = module.cross_entropy_forward(x, np.array([0]), np.ones(1, np.float32), 1.0)
        assert float(loss) == pytest.approx(math.log1p(math.exp(-logit)), abs=6e-8)
        loss, _ = binary_cross_entropy_forward(np.float32([logit]), np.float32([1]), np.float32([1]), 1.0)
        assert float(loss) == pytest.approx(math.log1p(math.exp(-logit)), rel=1e-6)


def test_binary_cross_entropy_of_extreme_logits():
    x, y = np.array([1e4, -1e4, 1e4, -1e4, 0], np.float32), np.array([1, 0, 0, 1, 1], np.float32)
    with np.errstate(all="raise", under="ignore"):
        loss, cache = binary_cross_entropy_forward(x, y, np.ones(5, np.float32), 1.0)
        gradient = binary_cross_entropy_backward(cache)
    assert float(loss) == pytest.approx(2e4 + math.log(2))
    np.testing.assert_allclose(gradient, [0, 0, 1, -1, -0.5], atol=1e-7)
    assert sigmoid(x).dtype == np.float32


# --- attention's mask

both_attentions = pytest.mark.parametrize("module", [attention, fast_attention])


@both_attentions
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padded_keys_have_exactly_zero_weight(module, dtype):
    random = np.random.default_rng(0)
    q, k, v = (10 * random.standard_normal((2, 3, 6, 4)).astype(dtype) for _ in range(3))
    valid = np.arange(6) < np.array([[4], [1]])
    o, cache = module.attention_forward(q, k, v, additive_mask(valid, dtype))
    p = cache.p if module is attention else cache.p.swapaxes(-1, -2)
    assert (p[0, :, :, 4:] == 0).all() and (p[1, :, :, 1:] == 0).all()
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-6)
    v[0, :, 4:], k[0, :, 4:] = 1e6, -1e3  # what stands in padding does not matter
    assert np.array_equal(module.attention_forward(q, k, v, additive_mask(valid, dtype))[0], o)
    _, dk, dv = module.attention_backward(np.ones_like(o), cache)
    assert (dk[0, :, 4:] == 0).all() and (dv[0, :, 4:] == 0).all()


@both_attentions
def test_attention_equals_its_definition(module):
    random = np.random.default_rng(1)
    q, k, v = (random.standard_normal((2, 3, 5, 4)) for _ in range(3))
    o, _ = module.attention_forward(q, k, v)
    for b in range(2):
        for n in range(3):
            for t in range(5):
                weights = np.array([math.exp(q[b, n, t] @ k[b, n, s] / 2) for s in range(5)])  # √4
                np.testing.assert_allclose(o[b, n, t], weights / weights.sum() @ v[b, n], rtol=1e-12)


# --- scatter_add


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_scatter_add_equals_add_at(words, count, features, seed):
    random = np.random.default_rng(seed)
    table, rows = random.standard_normal((words, features)), random.standard_normal((count, features))
    index = random.integers(0, words, count)
    expected = table.copy()
    np.add.at(expected, index, rows)
    scatter_add(table, index, rows)
    np.testing.assert_allclose(table, expected, rtol=1e-12, atol=1e-13)


# --- random numbers


def test_dropout_keeps_the_share_it_says():
    keep = RandomStream((3, 1)).keep_mask((400, 500), 0.1)
    assert keep.mean() == pytest.approx(keep_probability(0.1), abs=4 * math.sqrt(0.09 / 200_000))
    assert keep_probability(0.1) == pytest.approx(0.9, abs=2**-16)
    assert RandomStream((3,)).keep_mask((5,), 0.0).all()
    x = np.ones((400, 500), np.float32)
    y, _ = dropout_forward(x, keep, 1 / keep_probability(0.1))
    assert y.mean() == pytest.approx(1.0, abs=0.004)


def test_random_streams_are_functions_of_their_key():
    a, b, c = (RandomStream(key).uniform((5,)) for key in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(a, b) and not np.array_equal(a, c) and a.dtype == np.float32


# --- sampling


@pytest.mark.parametrize("words", [1, 2, 3, 7, 50, 1000, 1021])
def test_samples_follow_the_distribution(words):
    random = np.random.default_rng(words)
    p = random.random(words) ** 3 + 0.05 / words
    p[random.random(words) < 0.3] = 0.0
    p[words // 2] += 0.1
    p /= p.sum()
    count = 60_000
    found = np.zeros(words, np.int64)
    for _ in range(20):
        u = random.random(count // 20, dtype=np.float32)
        rows = np.broadcast_to(p.astype(np.float32), (len(u), words))
        samples = sample_categorical(rows, u)
        assert samples.dtype == np.int32
        found += np.bincount(samples, minlength=words)
    assert found[p == 0].sum() == 0
    often = p * count >= 5
    expected = p[often] * count
    statistic = ((found[often] - expected) ** 2 / expected).sum()
    freedom = max(1, often.sum() - 1)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 5


@pytest.mark.parametrize("words", [2, 3, 10, 101, 2048])
def test_words_of_probability_zero_are_never_drawn(words):
    """Also where u falls on an edge of the distribution function, so that rounding decides."""
    random = np.random.default_rng(words)
    p = (random.random((3000, words)) * (random.random((3000, words)) < 0.5)).astype(np.float32)
    p[:, 0] += p.sum(axis=1) == 0
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(p))
    u = np.cumsum(p, axis=1)[rows, random.integers(0, words, len(p))] + random.integers(
        -2, 3, len(p)
    ) * np.float32(6e-8)
    u = np.clip(u, 0, np.float32(1 - 2**-24)).astype(np.float32)
    for edge in (u, np.zeros_like(u), np.full_like(u, 1 - 2**-24)):
        assert (p[rows, sample_categorical(p, edge)] > 0).all()


def test_samples_at_a_temperature():
    p = np.broadcast_to(np.array([0.2, 0.3, 0.5], np.float32), (40_000, 3))
    u = np.random.default_rng(0).random(40_000, dtype=np.float32)
    share = np.bincount(sample_categorical(p, u, 0.5), minlength=3) / 40_000
    np.testing.assert_allclose(share, np.array([0.04, 0.09, 0.25]) / 0.38, atol=0.015)
    assert (sample_categorical(p, u, 0.01) == 2).all()  # p^100 underflows, its ratios do not
    even = np.full((200, 5000), 1 / 5000, np.float32)
    assert len(np.unique(sample_categorical(even, u[:200], 0.05))) > 150
