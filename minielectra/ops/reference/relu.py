"""Rectified linear unit (Nair & Hinton 2010): what is negative becomes 0.

    y = max(x, 0)        y' = 1 if x > 0, else 0

At 0 there is a kink and no derivative. As everywhere, 0 is taken.
"""

from minielectra.backend import array_module


def relu_forward(x):
    """x [...] -> y [...], cache (x)."""
    return array_module(x).maximum(x, 0.0), x


def relu_backward(dy, cache):
    """dy [...] -> dx [...]"""
    return dy * (cache > 0.0)
