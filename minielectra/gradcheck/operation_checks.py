"""Gradient checks of every operation, the plain versions and the fast ones.

Sizes: 2 calls, B sequences, A heads, T tokens, D features per head; M rows, I, O, H features; V words, P
positions, S segments. All are different, and no value is neutral.
"""

from functools import partial

import numpy as np

from minielectra.gradcheck.checker import check_pair
from minielectra.ops.fast import attention as fast_attention
from minielectra.ops.fast import gelu as fast_gelu
from minielectra.ops.fast import layernorm as fast_layernorm
from minielectra.ops.fast import linear as fast_linear
from minielectra.ops.fast import losses as fast_losses
from minielectra.ops.fast import relu as fast_relu
from minielectra.ops.fast import silu as fast_silu
from minielectra.ops.reference import (
    attention,
    copy_gate,
    dropout,
    embedding,
    gelu,
    layer_mix,
    layernorm,
    linear,
    losses,
    relu,
    silu,
    softmax,
)


def operations(random):
    """Every operation, plain and fast -> rows."""
    normal = random.standard_normal

    def check(name, forward, backward, inputs, parameters=None):
        parameters = parameters or {}
        gradients = {key: np.zeros_like(p) for key, p in parameters.items()}
        yield from check_pair(
            name,
            lambda *x: forward(*x, *parameters.values()),
            lambda dy, cache: backward(dy, cache, *gradients.values()),
            inputs,
            parameters,
            gradients,
            random,
        )

    x, matrix, bias = {"x": normal((2, 5, 3))}, {"weight": normal((4, 3))}, {"bias": normal(4)}
    for name, module in (("linear", linear), ("fast linear", fast_linear)):
        yield from check(name, module.linear_forward, module.linear_backward, x, matrix | bias)
        yield from check(f"{name}, no bias", module.linear_forward, module.linear_backward, x, matrix)
    x, affine = {"x": normal((2, 5, 6))}, {"weight": 1.0 + normal(6), "bias": normal(6)}
    for name, module in (("layernorm", layernorm), ("fast layernorm", fast_layernorm)):
        yield from check(name, *_kept(module.layernorm_forward, module.layernorm_backward), x, affine)
    for name, module in (("gelu", gelu), ("fast gelu", fast_gelu)):
        x = {"x": 2.0 * normal((2, 5, 3))}
        yield from check(name, *_kept(module.gelu_forward, module.gelu_backward), x)
        yield from check(f"{name}, tanh form", *_kept(module.gelu_tanh_forward, module.gelu_tanh_backward), x)
    away = 2.0 * normal((2, 5, 3))
    away += np.copysign(0.1, away)  # from 0, where relu has a kink
    for name, forward, backward in (
        ("relu", relu.relu_forward, relu.relu_backward),
        ("fast relu", fast_relu.relu_forward, fast_relu.relu_backward),
        ("silu", silu.silu_forward, silu.silu_backward),
        ("fast silu", fast_silu.silu_forward, fast_silu.silu_backward),
    ):
        yield from check(name, *_kept(forward, backward), {"x": away})
    yield from check(
        "softmax", softmax.softmax_forward, softmax.softmax_backward, {"x": normal((2, 3, 4, 5))}
    )
    x, keep = normal((2, 5, 3)), random.random((2, 5, 3)) < 0.7
    yield from check(
        "dropout",
        partial(dropout.dropout_forward, scale=1 / 0.7),
        dropout.dropout_backward,
        {"x": x, "keep": keep},
    )
    yield from check(
        "layer mix",
        layer_mix.layer_mix_forward,
        lambda dy, *more: np.stack(layer_mix.layer_mix_backward(dy, *more)),
        {"layers": normal((2, 4, 5, 3))},
        {"weights": normal(4), "scale": 1.0 + normal(1)},
    )

    ids = {"ids": random.integers(0, 7, (2, 10))}  # some ids repeat
    yield from check(
        "embedding", embedding.embedding_forward, embedding.embedding_backward, ids, {"table": normal((7, 3))}
    )
    ids = {"ids": random.integers(0, 9, (2, 3, 5)), "segments": random.integers(0, 2, (2, 3, 5))}
    tables = {"word": normal((9, 4)), "position": normal((6, 4)), "segment": normal((2, 4))}
    yield from check("embeddings", embedding.embeddings_forward, embedding.embeddings_backward, ids, tables)

    qkv = {key: normal((2, 3, 2, 5, 4)) for key in "qkv"}  # [calls, B, A, T, D]
    masks = {
        "valid": np.arange(5) < np.array([[5, 3, 1], [2, 5, 4]])[:, :, None],
        "keep": random.random((2, 3, 2, 5, 5)) < 0.8,
    }

    for name, module in (("attention", attention), ("fast attention", fast_attention)):

        def masked(q, k, v, valid=None, keep=None, module=module):
            mask = None if valid is None else attention.additive_mask(valid, q.dtype)
            return module.attention_forward(q, k, v, mask, keep, 1.0 if keep is None else 1 / 0.8)

        def dropped(q, k, v, keep, masked=masked):
            return masked(q, k, v, keep=keep)

        yield from check(name, masked, module.attention_backward, qkv)
        yield from check(f"{name}, mask", masked, module.attention_backward, qkv | {"valid": masks["valid"]})
        yield from check(
            f"{name}, dropout", dropped, module.attention_backward, qkv | {"keep": masks["keep"]}
        )
        yield from check(f"{name}, mask and dropout", masked, module.attention_backward, qkv | masks)

    weights, normalizer = random.random(6) + 0.5, 4.3  # some weights are not 1, and one is 0: an unused slot
    weights[2] = 0.0
    for name, module in (("cross entropy", losses), ("fast cross entropy", fast_losses)):
        yield from check(
            name,
            lambda x, y, module=module: module.cross_entropy_forward(x.copy(), y, weights, normalizer),
            lambda dy, cache, module=module: module.cross_entropy_backward(cache, dy),
            {"logits": normal((2, 6, 7)), "targets": random.integers(0, 7, (2, 6))},
        )
    seen = random.integers(0, 7, (2, 6))
    targets = np.where(np.arange(6) % 2, seen, random.integers(0, 7, (2, 6)))  # some stand there already
    yield from check(
        "copy gate",
        lambda x, gate, *ids: copy_gate.copy_gate_forward(x.copy(), gate, *ids, weights, normalizer)[::2],
        lambda dy, cache: copy_gate.copy_gate_backward(cache, dy),
        {"logits": normal((2, 6, 7)), "gate": 2.0 * normal((2, 6)), "seen": seen, "targets": targets},
    )
    yield from check(
        "binary cross entropy",
        lambda x, y: losses.binary_cross_entropy_forward(x, y.astype(x.dtype), weights, normalizer),
        lambda dy, cache: losses.binary_cross_entropy_backward(cache, dy),
        {"logits": 2.0 * normal((2, 6)), "labels": random.integers(0, 2, (2, 6))},
    )
    targets = normal(6)
    yield from check(
        "squared error",
        lambda x: losses.squared_error_forward(x, targets, weights, normalizer),
        lambda dy, cache: losses.squared_error_backward(cache, dy),
        {"x": normal((2, 6))},
    )


def _kept(forward, backward):
    """A pair that may overwrite its x and its dy, as one that does not."""
    return (lambda x, *more: forward(x.copy(), *more)), (lambda dy, *more: backward(dy.copy(), *more))
