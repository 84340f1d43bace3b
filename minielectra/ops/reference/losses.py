"""The two losses of ELECTRA (Clark et al. 2020, section 2), and the loss of regression tasks.

Each is a sum of weighted terms, divided by a `normalizer` that is handed in: usually the sum of all weights
of the *batch*. The shards of a batch then add up to the same loss and the same gradients as the whole.

Cross-entropy, over M chosen positions and V words (p = softmax of the logits, y the target):

    L = −Σ_m w[m] log p[m, y[m]] / Z            ∂L/∂logit[m, v] = w[m] (p[m, v] − [v = y[m]]) / Z

Binary cross-entropy with logits, over N tokens (x the logit, y ∈ {0, 1}, s = sigmoid):

    −y log s(x) − (1 − y) log(1 − s(x)) = max(x, 0) − x y + log(1 + exp(−|x|)),   which never overflows
    ∂L/∂x[n] = w[n] (s(x[n]) − y[n]) / Z

Squared error, over N numbers x with targets y:

    L = Σ_n w[n] (x[n] − y[n])² / Z             ∂L/∂x[n] = 2 w[n] (x[n] − y[n]) / Z
"""

from typing import NamedTuple

from minielectra.backend import array_module


class CrossEntropyCache(NamedTuple):
    p: object  # [M, V] softmax of the logits
    targets: object  # [M]
    weights: object  # [M]
    normalizer: float


class BinaryCrossEntropyCache(NamedTuple):
    logits: object  # [N]
    labels: object  # [N]
    weights: object  # [N]
    normalizer: float


class SquaredErrorCache(NamedTuple):
    error: object  # [N]
    weights: object  # [N]
    normalizer: float


def cross_entropy_forward(logits, targets, weights, normalizer):
    """logits [M, V], targets [M] int, weights [M] -> loss (0-d), cache."""
    xp = array_module(logits)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = xp.exp(shifted).sum(axis=-1)
    # log p = (x_y − max) − log Σ exp(x − max) is exact even if log(p_y) would lose digits or be −∞
    log_likelihood = shifted[xp.arange(logits.shape[0]), targets] - xp.log(total)
    p = xp.exp(shifted) / total[:, None]
    return -(weights * log_likelihood).sum() / normalizer, CrossEntropyCache(p, targets, weights, normalizer)


def cross_entropy_backward(cache, dloss=1.0):
    """-> dlogits [M, V].

    dloss: the derivative of what is minimised with respect to this loss, i.e. the loss's weight.
    """
    p, targets, weights, normalizer = cache
    scale = weights * (dloss / normalizer)
    dlogits = p * scale[:, None]
    dlogits[array_module(p).arange(p.shape[0]), targets] -= scale
    return dlogits


def sigmoid(x):
    """1 / (1 + exp(−x)) of x [...], without overflow: written with exp(−|x|)."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, e) / (1.0 + e)


def binary_cross_entropy_forward(logits, labels, weights, normalizer):
    """logits [N], labels [N] of 0 and 1, weights [N], all of one dtype -> loss (0-d), cache."""
    xp = array_module(logits)
    terms = xp.maximum(logits, 0.0) - logits * labels + xp.log1p(xp.exp(-xp.abs(logits)))
    return (weights * terms).sum() / normalizer, BinaryCrossEntropyCache(logits, labels, weights, normalizer)


def binary_cross_entropy_backward(cache, dloss=1.0):
    """-> dlogits [N]. dloss: as above."""
    logits, labels, weights, normalizer = cache
    return (sigmoid(logits) - labels) * (weights * (dloss / normalizer))


def squared_error_forward(x, targets, weights, normalizer):
    """x, targets, weights [N], all of one dtype -> loss (0-d), cache."""
    error = x - targets
    return (weights * error * error).sum() / normalizer, SquaredErrorCache(error, weights, normalizer)


def squared_error_backward(cache, dloss=1.0):
    """-> dx [N]. dloss: as above."""
    error, weights, normalizer = cache
    return error * (weights * (2.0 * dloss / normalizer))
