"""Softmax over the last axis.

    p[i] = exp(x[i] − max x) / Σ_j exp(x[j] − max x)

Subtracting the maximum changes nothing (it cancels) and keeps exp from overflowing. Backward:

    ∂p[j]/∂x[i] = p[j] (δ_ij − p[i])
    dx = p (dp − Σ_j dp[j] p[j])
"""

from minielectra.backend import array_module


def softmax_forward(x, out=None):
    """x [..., K] -> p [..., K], cache = p. `out` may be `x` itself, which is then overwritten."""
    xp = array_module(x)
    p = xp.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    xp.exp(p, out=p)
    total = xp.matmul(p, xp.ones((p.shape[-1], 1), p.dtype))  # row sums, by BLAS
    p /= total
    return p, p


def softmax_backward(dp, cache, out=None):
    """dp [..., K] -> dx [..., K]. `out` may be `dp` itself."""
    p = cache
    xp = array_module(dp)
    correction = (dp * p).sum(axis=-1, keepdims=True)
    dx = xp.subtract(dp, correction, out=out)
    dx *= p
    return dx
