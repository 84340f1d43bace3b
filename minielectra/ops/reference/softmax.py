"""Softmax over the last axis.

    p[i] = exp(x[i] − max x) / Σ_j exp(x[j] − max x)

Subtracting the maximum changes nothing (it cancels) and keeps exp from overflowing. Backward:

    ∂p[j]/∂x[i] = p[j] (δ_ij − p[i])
    dx = p (dp − Σ_j dp[j] p[j])
"""

from minielectra.backend import array_module


def softmax_forward(x):
    """x [..., K] -> p [..., K], cache = p."""
    p = array_module(x).exp(x - x.max(axis=-1, keepdims=True))
    p = p / p.sum(axis=-1, keepdims=True)
    return p, p


def softmax_backward(dp, cache):
    """dp [..., K] -> dx [..., K]"""
    p = cache
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))
