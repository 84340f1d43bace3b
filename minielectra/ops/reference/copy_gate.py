"""Cross-entropy with a copy gate: keep the word that stands there, or write another (All-Tokens MLM, Clark et
al. 2020, section 3.5).

M positions, V words. x is the word that stands there, y the target, s = softmax of the logits, and g the
gate's logit of "write", so that D = sigmoid(−g) is the probability of "copy":

    p = D [x = y] + (1 − D) s[y]            L = −Σ_m w[m] log p[m] / Z

p mixes two ways to arrive at y. With r = (1 − D) s[y] / p, the share that writing has in it,

    ∂L/∂logit[v] = w r (s[v] − [v = y]) / Z         ∂L/∂g = w ((1 − D) − r) / Z

as for a mixture of two experts. If x ≠ y, there is only one way, and r = 1.
"""

from typing import NamedTuple

from minielectra.backend import array_module
from minielectra.ops.reference.losses import sigmoid


class CopyGateCache(NamedTuple):
    softmax: object  # [M, V]
    gate: object  # [M]
    share: object  # [M] r
    targets: object  # [M]
    weights: object  # [M]
    normalizer: float


def copy_gate_forward(logits, gate, seen, targets, weights, normalizer):
    """logits [M, V], gate [M], seen and targets [M] int, weights [M] -> loss (0-d), log p [M], cache.

    The logits are overwritten by their softmax: they are by far the largest array.
    """
    xp = array_module(logits)
    logits -= logits.max(axis=-1, keepdims=True)
    log_written = logits[xp.arange(logits.shape[0]), targets] - _softplus(-gate)
    xp.exp(logits, out=logits)
    total = logits.sum(axis=-1)
    logits /= total[:, None]
    log_written -= xp.log(total)
    log_p = xp.where(seen == targets, xp.logaddexp(-_softplus(gate), log_written), log_written)
    cache = CopyGateCache(logits, gate, xp.exp(log_written - log_p), targets, weights, normalizer)
    return -(weights * log_p).sum() / normalizer, log_p, cache


def copy_gate_backward(cache, dloss=1.0):
    """-> dlogits [M, V], which overwrite the softmax, and dgate [M]. dloss: the loss's weight."""
    softmax, gate, share, targets, weights, normalizer = cache
    scale = weights * (dloss / normalizer)
    written = scale * share
    softmax *= written[:, None]
    softmax[array_module(softmax).arange(softmax.shape[0]), targets] -= written
    return softmax, scale * (sigmoid(gate) - share)


def _softplus(x):
    """log(1 + exp(x)), without overflow."""
    xp = array_module(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))
