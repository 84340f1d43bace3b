"""The checker itself: what is right passes, and every deliberately broken backward pass is caught."""

import numpy as np
import pytest

from minielectra import ops
from minielectra.backend import scatter_add
from minielectra.gradcheck.checker import Row, check_pair, compare, format_table, gradient_check
from minielectra.gradcheck.model_checks import VARIANTS, objectives, towers
from minielectra.gradcheck.suite import check_all
from minielectra.nn.encoder import Residual
from minielectra.nn.layers import TiedLinear
from minielectra.ops.reference.attention import attention_backward, attention_forward
from minielectra.ops.reference.embedding import embedding_forward
from minielectra.ops.reference.gelu import gelu_backward, gelu_forward
from minielectra.ops.reference.layernorm import layernorm_backward, layernorm_forward
from minielectra.ops.reference.linear import linear_backward, linear_forward
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.ops.reference.softmax import softmax_backward, softmax_forward

# What must be among the rows of `check_all`; there are more.
EVERYTHING = (
    *("linear", "linear, no bias", "layernorm", "gelu", "gelu, tanh form", "softmax", "dropout"),
    *("relu", "fast relu", "silu", "fast silu", "Activation(relu)", "Activation(silu)"),
    *("fast linear", "fast linear, no bias", "fast layernorm", "fast gelu", "fast gelu, tanh form"),
    *("embedding", "embeddings", "attention", "attention, mask", "attention, dropout"),
    *("attention, mask and dropout", "fast attention", "fast attention, mask", "fast attention, dropout"),
    *("fast attention, mask and dropout", "cross entropy", "fast cross entropy", "binary cross entropy"),
    *("squared error", "Linear", "JoinedLinear", "LayerNorm", "Activation(gelu)", "Activation(gelu_new)"),
    *("Embeddings", "Block", "Encoder", "generator", "discriminator"),
    *(f"objective {variant}" for variant in VARIANTS),
    *("objective electra", "objective electra, encoders tied", "objective mlm", "copy gate"),
    *("classification head", "regression head", "tagging head", "answering head"),
    *("classification loss", "regression loss", "tagging loss", "answering loss"),
)


@pytest.fixture
def random():
    return np.random.default_rng(3)


def verdicts(forward, backward, random, inputs, parameters=None):
    """{name: ok} of a pair in the library's convention."""
    parameters = parameters or {}
    gradients = {name: np.zeros_like(p) for name, p in parameters.items()}
    rows = check_pair(
        "pair",
        lambda *x: forward(*x, *parameters.values()),
        lambda dy, cache: backward(dy, cache, *gradients.values()),
        inputs,
        parameters,
        gradients,
        random,
    )
    return {row.parameter: row.ok for row in rows}


def test_the_library_passes():
    rows = check_all()
    assert [row for row in rows if not row.ok] == []
    assert len(rows) > 250
    operations = {row.operation for row in rows}
    assert set(EVERYTHING) <= operations


def test_format_table():
    table = format_table([Row("linear", "weight", 1.2e-12, True), Row("layernorm", "x", 0.3, False)])
    assert table.splitlines()[0].split() == ["operation", "parameter", "rel.", "error", "verdict"]
    assert "1.2e-12  ok" in table and "3.0e-01  WRONG" in table and "1 of 2 are wrong" in table
    assert "all 1 agree" in format_table([Row("linear", "weight", 1.2e-12, True)])


# --- gradient_check, as users and lessons call it


def test_failure_names_array_place_and_both_gradients(random):
    x, w = random.standard_normal((2, 3)), random.standard_normal(3)
    dw = 2 * w
    dw[1] += 0.5
    with pytest.raises(AssertionError) as caught:
        gradient_check(lambda: (x**2).sum() + (w**2).sum(), {"x": x, "weight": w}, {"x": 2 * x, "weight": dw})
    message = str(caught.value)
    assert "weight: relative error" in message and "(1,)" in message
    said = f"backward says {dw[1]:.10g}, finite differences {2 * w[1]:.10g}"
    assert said[:-4] in message  # the last digits are those of the difference
    assert "x: relative error" not in message


def test_large_arrays_go_by_direction_and_are_put_back(random):
    x = random.standard_normal((30, 40))
    before = x.copy()
    errors = gradient_check(lambda: np.sin(x).sum(), {"x": x}, {"x": np.cos(x)})
    assert errors["x"] < 1e-9
    assert np.array_equal(x, before)
    wrong = np.cos(x)
    wrong[7, 11] += 0.01  # one element of 1200
    with pytest.raises(AssertionError, match="random direction"):
        gradient_check(lambda: np.sin(x).sum(), {"x": x}, {"x": wrong})


def test_refuses_float32_and_misshapen_gradients(random):
    x = random.standard_normal(3)
    with pytest.raises(TypeError, match="float64"):
        gradient_check(lambda: 0.0, {"x": x.astype(np.float32)}, {"x": x})
    with pytest.raises(AssertionError, match="shape"):
        gradient_check(lambda: x.sum(), {"x": x}, {"x": np.ones((3, 1))})


def test_nan_does_not_pass(random):
    x = random.standard_normal(3)
    with pytest.raises(AssertionError):
        gradient_check(lambda: x.sum(), {"x": x}, {"x": np.array([1.0, np.nan, 1.0])})


def test_zero_gradients_are_judged_against_the_largest(random):
    x, unused = random.standard_normal(3), random.standard_normal(2)
    function = lambda: (x**2).sum() + 1e-13 * unused.sum()  # noqa: E731
    assert compare(function, {"x": x, "u": unused}, {"x": 2 * x, "u": np.zeros(2)})["u"].relative_error < 1e-7
    assert (
        compare(function, {"x": x, "u": unused}, {"x": 2 * x, "u": np.full(2, 1e-8)})["u"].relative_error
        > 1e-7
    )
    assert compare(lambda: 1.0, {"u": unused}, {"u": np.zeros(2)})["u"].relative_error == 0.0


@pytest.mark.parametrize("size", [1e-6, 1e-7])
def test_sensitivity(random, size):
    """An error of a millionth is found; one of a ten-millionth, the tolerance, is about where it stops."""
    x = random.standard_normal(20)
    gradient = 2 * x * (1 + size * 1.01)
    with pytest.raises(AssertionError):
        gradient_check(lambda: (x**2).sum(), {"x": x}, {"x": gradient})


# --- broken backward passes, each with what must be flagged


def layernorm_parts(dy, cache):
    return cache.xhat, cache.rstd, dy * cache.weight


def mean(x):
    return x.mean(axis=1, keepdims=True)


def no_projection_term(dy, cache, dweight, dbias):
    _, rstd, g = layernorm_parts(dy, cache)
    layernorm_backward(dy, cache, dweight, dbias)
    return rstd * (g - mean(g))


def no_mean_term(dy, cache, dweight, dbias):
    xhat, rstd, g = layernorm_parts(dy, cache)
    layernorm_backward(dy, cache, dweight, dbias)
    return rstd * (g - xhat * mean(g * xhat))


def gamma_forgotten_in_means(dy, cache, dweight, dbias):
    xhat, rstd, g = layernorm_parts(dy, cache)
    layernorm_backward(dy, cache, dweight, dbias)
    return rstd * (g - mean(dy) - xhat * mean(dy * xhat))


def gamma_forgotten(dy, cache, dweight, dbias):
    layernorm_backward(dy, cache, dweight, dbias)
    neutral = cache._replace(weight=np.ones_like(cache.weight))
    return layernorm_backward(dy, neutral, dweight.copy(), dbias.copy())


def weight_gradient_overwritten(dy, cache, dweight, dbias):
    dweight[...] = 0
    return layernorm_backward(dy, cache, dweight, dbias)


def bias_gradient_missing(dy, cache, dweight, dbias):
    return layernorm_backward(dy, cache, dweight, np.zeros_like(dbias))


@pytest.mark.parametrize(
    ("broken", "flagged"),
    [
        (layernorm_backward, set()),
        (no_projection_term, {"x"}),
        (no_mean_term, {"x"}),
        (gamma_forgotten_in_means, {"x"}),
        (gamma_forgotten, {"x"}),
        (weight_gradient_overwritten, {"weight"}),
        (bias_gradient_missing, {"bias"}),
    ],
)
def test_broken_layernorm(random, broken, flagged):
    parameters = {"weight": 1 + random.standard_normal(6), "bias": random.standard_normal(6)}
    found = verdicts(layernorm_forward, broken, random, {"x": random.standard_normal((2, 5, 6))}, parameters)
    assert {name for name, ok in found.items() if not ok} == flagged


def linear_transposed(dy, cache, dweight, dbias):
    return linear_backward(dy, cache._replace(weight=cache.weight.T.copy()), dweight, dbias)


def linear_overwritten(dy, cache, dweight, dbias):
    dweight[...] = dy.T @ cache.x
    return linear_backward(dy, cache, np.zeros_like(dweight), dbias)


def linear_rows_reversed(dy, cache, dweight, dbias):
    return linear_backward(dy, cache._replace(x=cache.x[::-1]), dweight, dbias)


@pytest.mark.parametrize(
    ("broken", "flagged"),
    [(linear_transposed, {"x"}), (linear_overwritten, {"weight"}), (linear_rows_reversed, {"weight"})],
)
def test_broken_linear(random, broken, flagged):
    parameters = {
        "weight": random.standard_normal((4, 4)),
        "bias": random.standard_normal(4),
    }  # square: shapes do not tell
    found = verdicts(linear_forward, broken, random, {"x": random.standard_normal((2, 5, 4))}, parameters)
    assert {name for name, ok in found.items() if not ok} == flagged


def test_cache_kept_on_a_shared_object(random):
    class Layer:
        def forward(self, x):
            y, self.cache = gelu_forward(x)
            return y, None

        def backward(self, dy, cache):
            return gelu_backward(dy, self.cache)

    layer = Layer()
    assert verdicts(layer.forward, layer.backward, random, {"x": random.standard_normal((2, 5, 3))}) == {
        "x": False
    }


def test_broken_softmax_without_correction(random):
    inputs = {"x": random.standard_normal((2, 3, 5))}
    assert verdicts(softmax_forward, softmax_backward, random, inputs) == {"x": True}
    assert verdicts(softmax_forward, lambda dp, p: dp * p, random, inputs) == {"x": False}


def test_label_smoothing_in_backward_only(random):
    weights = np.ones(6)

    def smoothed(dy, cache):
        rows = np.arange(len(cache.p))
        target = np.full_like(cache.p, 0.001 / cache.p.shape[1])
        target[rows, cache.targets] += 0.999
        return dy * (cache.p - target) / 6

    inputs = {"logits": random.standard_normal((2, 6, 7)), "targets": random.integers(0, 7, (2, 6))}
    forward = lambda x, t: cross_entropy_forward(x, t, weights, 6.0)  # noqa: E731
    assert verdicts(forward, lambda dy, c: cross_entropy_backward(c, dy), random, inputs) == {"logits": True}
    assert verdicts(forward, smoothed, random, inputs) == {"logits": False}


def test_repeated_ids_forgotten(random):
    """`table[ids] += rows` keeps one of several additions to a row."""

    def last_only(dy, ids, dtable):
        dtable[ids] += dy

    inputs = {"ids": np.array([[0, 3, 3, 1], [2, 2, 2, 0]])}
    table = {"table": random.standard_normal((5, 3))}
    assert verdicts(embedding_forward, lambda dy, ids, d: scatter_add(d, ids, dy), random, inputs, table) == {
        "table": True
    }
    assert verdicts(embedding_forward, last_only, random, inputs, table) == {"table": False}


def test_broken_attention(random):
    qkv = {name: random.standard_normal((2, 2, 3, 5, 4)) for name in "qkv"}

    def wrong_reshape(do, cache):  # a peer's bug: dK reshaped where it should be transposed
        dq, dk, dv = attention_backward(do, cache)
        return dq, dk.swapaxes(-1, -2).reshape(dk.shape), dv

    def unscaled(do, cache):
        dq, dk, dv = attention_backward(do, cache)
        return dq * 2, dk, dv

    def dropout_forgotten(do, cache):
        return attention_backward(do, cache._replace(keep=None, scale=1.0))

    assert set(verdicts(attention_forward, attention_backward, random, qkv).values()) == {True}
    assert verdicts(attention_forward, wrong_reshape, random, qkv) == {"q": True, "k": False, "v": True}
    assert verdicts(attention_forward, unscaled, random, qkv) == {"q": False, "k": True, "v": True}
    keep = random.random((2, 3, 5, 5)) < 0.7
    forward = lambda q, k, v: attention_forward(q, k, v, None, keep, 1 / 0.7)  # noqa: E731
    assert verdicts(forward, dropout_forgotten, random, qkv) == {"q": False, "k": False, "v": True}


# --- mutants of the library, through the whole-model checks


def flagged_rows(check, random):
    return {row.parameter for row in check(random) if not row.ok}


@pytest.mark.slow
def test_mutant_tied_embedding_without_the_output_layer(monkeypatch, random):
    def untied(self, dy, cache, context):
        return linear_backward(dy, cache, np.zeros_like(self.weight.grad), self.bias.grad)

    monkeypatch.setattr(TiedLinear, "backward", untied)
    flagged = flagged_rows(objectives, random)
    assert "electra.embeddings.word_embeddings.weight" in flagged
    # With gdes, the discriminator reads the generator's table plus a difference of its own
    assert all("word_embeddings" in name or ".difference." in name for name in flagged)


@pytest.mark.slow
def test_mutant_residual_branch_lost(monkeypatch, random):
    original = Residual.backward

    def cut_off(self, dy, cache, context):
        dinner, dz = original(self, dy, cache, context)
        return dinner, np.zeros_like(dz)

    monkeypatch.setattr(Residual, "backward", cut_off)
    flagged = flagged_rows(towers, random)
    assert "electra.embeddings.word_embeddings.weight" in flagged
    assert "electra.encoder.layer.1.output.dense.weight" not in flagged  # above the break all is well


@pytest.mark.slow
def test_mutant_loss_weight_forgotten(monkeypatch, random):
    backward = ops.binary_cross_entropy_backward
    monkeypatch.setattr(ops, "binary_cross_entropy_backward", lambda cache, dloss: backward(cache, 1.0))
    flagged = flagged_rows(objectives, random)
    assert any(name.startswith("discriminator.") for name in flagged)
    others = [name for name in flagged if name.startswith("generator.")]
    assert not [name for name in others if "baseline" not in name]  # which has such a loss, too
