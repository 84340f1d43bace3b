"""Sigmoid linear unit (Hendrycks & Gimpel 2016), also called swish (Ramachandran et al. 2017): x σ(x).

With σ(x) = 1 / (1 + exp(−x)), whose derivative is σ(x) (1 − σ(x)):

    y = x σ(x)        y' = σ(x) + x σ(x) (1 − σ(x)) = σ(x) (1 + x (1 − σ(x)))
"""

from typing import NamedTuple

from minielectra.ops.reference.losses import sigmoid


class SiluCache(NamedTuple):
    x: object  # [...]
    s: object  # [...] σ(x)


def silu_forward(x):
    """x [...] -> y [...], cache."""
    s = sigmoid(x)
    return x * s, SiluCache(x, s)


def silu_backward(dy, cache):
    """dy [...] -> dx [...]"""
    x, s = cache
    return dy * s * (1.0 + x * (1.0 - s))
