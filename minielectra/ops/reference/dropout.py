"""Dropout (Srivastava et al. 2014), inverted: what is kept is scaled up, so that nothing changes at
inference.

    y = x · keep / P(keep)       dx = dy · keep / P(keep)

The mask is handed in (`RandomStream.keep_mask`): the operation itself is deterministic.
"""

from typing import NamedTuple

from minielectra.backend import array_module


class DropoutCache(NamedTuple):
    keep: object  # [...] bool
    scale: float  # 1 / P(keep)


def dropout_forward(x, keep, scale, out=None):
    """x [...], keep [...] bool, scale = 1 / P(keep) -> y [...], cache. `out` may be `x` itself."""
    y = array_module(x).multiply(x, keep, out=out)
    y *= scale
    return y, DropoutCache(keep, scale)


def dropout_backward(dy, cache, out=None):
    """dy [...] -> dx [...]. `out` may be `dy` itself."""
    dx = array_module(dy).multiply(dy, cache.keep, out=out)
    dx *= cache.scale
    return dx
