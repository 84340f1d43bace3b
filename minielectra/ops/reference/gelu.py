"""Gaussian error linear unit (Hendrycks & Gimpel 2016): x Φ(x), Φ the standard normal distribution function.

The exact form, which ELECTRA uses:

    y = x Φ(x) = x (1 + erf(x/√2)) / 2        y' = Φ(x) + x φ(x),      φ(x) = exp(−x²/2) / √(2π)

The tanh form, an older approximation, for checkpoints that name it (`gelu_new`):

    y = x (1 + t) / 2,   t = tanh u,   u = c (x + a x³),   c = √(2/π),   a = 0.044715
    y' = (1 + t)/2 + x (1 − t²) u' / 2,                    u' = c (1 + 3 a x²)
"""

import math
from typing import NamedTuple

from minielectra.backend import array_module, erf

C, A = math.sqrt(2.0 / math.pi), 0.044715


class GeluCache(NamedTuple):
    x: object  # [...]
    cdf: object  # [...] Φ(x)


class GeluTanhCache(NamedTuple):
    x: object  # [...]
    t: object  # [...] tanh u


def gelu_forward(x):
    """x [...] -> y [...], cache."""
    cdf = 0.5 * (1.0 + erf(x * math.sqrt(0.5)))
    return x * cdf, GeluCache(x, cdf)


def gelu_backward(dy, cache):
    """dy [...] -> dx [...]"""
    x, cdf = cache
    density = array_module(x).exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
    return dy * (cdf + x * density)


def gelu_tanh_forward(x):
    """The tanh form: x [...] -> y [...], cache."""
    t = array_module(x).tanh(C * (x + A * x * x * x))
    return 0.5 * x * (1.0 + t), GeluTanhCache(x, t)


def gelu_tanh_backward(dy, cache):
    """dy [...] -> dx [...]"""
    x, t = cache
    return dy * 0.5 * (1.0 + t + x * (1.0 - t * t) * C * (1.0 + 3.0 * A * x * x))
