"""Dropout (Srivastava et al. 2014), inverted: kept elements are scaled up, so that nothing changes at inference.

    y = x · keep / P(keep)       dx = dy · keep / P(keep)

The mask is handed in (`RandomStream.keep_mask`): the operation itself is deterministic.
"""

from minielectra.backend import array_module


def dropout_forward(x, keep, scale, out=None):
    """x [...], keep [...] bool, scale = 1 / P(keep) -> y [...], cache. `out` may be `x` itself."""
    y = array_module(x).multiply(x, keep, out=out)
    y *= scale
    return y, (keep, scale)


def dropout_backward(dy, cache, out=None):
    """dy [...] -> dx [...]. `out` may be `dy` itself."""
    keep, scale = cache
    dx = array_module(dy).multiply(dy, keep, out=out)
    dx *= scale
    return dx
