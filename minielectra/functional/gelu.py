"""Gaussian error linear unit (Hendrycks & Gimpel 2016): x Φ(x), Φ the standard normal distribution function.

Exact form, the one ELECTRA uses:

    y = x Φ(x) = x (1 + erf(x/√2)) / 2        y' = Φ(x) + x φ(x),      φ(x) = exp(−x²/2) / √(2π)

NumPy has no erf. In float64, where only checks run, `math.erf` is applied element by element. In float32 we use

    erf(x/√2) ≈ tanh(x P(x²)),

P the weighted least-squares polynomial of degree 6 fitted to artanh(erf(x/√2))/x on 0 < x < 5.5, x² clipped at 5.5²: evaluated
in float32 it is within 1.7e-7 of erf everywhere, which is the rounding of float32 itself.

Tanh form, an older approximation kept for checkpoints that name it (`gelu_new`):

    y = x (1 + tanh u) / 2,   u = √(2/π) (x + 0.044715 x³)       y' = (1 + tanh u)/2 + x (1 − tanh² u) u' / 2

Forward also computes y', where all its ingredients are at hand, and keeps it as the cache; backward is one product.
"""

import math

import numpy as np

from minielectra.backend import allocator, array_module, erf

ERF_POLYNOMIAL = (
    0.7978847387,
    0.03633400888,
    -3.363232816e-05,
    -5.48691287e-05,
    3.885317292e-06,
    -1.260543728e-07,
    1.587624562e-09,
)
ERF_CLIP = 5.5**2
BLOCK = 1 << 16  # elements worked on at a time: small enough for every pass after the first to run in cache


def gelu_forward(x, ws=None):
    """x [...] float32 or float64, contiguous -> y [...], cache = dy/dx [...]."""
    return _in_blocks(x, _exact_block, ws)


def gelu_tanh_forward(x, ws=None):
    """The tanh form: x [...], contiguous -> y [...], cache = dy/dx [...]."""
    return _in_blocks(x, _tanh_block, ws)


def gelu_backward(dy, cache, ws=None):
    """dy [...] -> dx [...], for both forms."""
    return array_module(dy).multiply(dy, cache, out=allocator(ws, dy).empty(dy.shape, dy.dtype))


def _in_blocks(x, block_function, ws):
    memory = allocator(ws, x)
    y, slope = memory.empty(x.shape, x.dtype), memory.empty(x.shape, x.dtype)
    flat_x, flat_y, flat_slope = x.reshape(-1), y.reshape(-1), slope.reshape(-1)
    step = BLOCK if array_module(x) is np else x.size  # a GPU wants one large call, a CPU cache many small ones
    for start in range(0, x.size, max(step, 1)):
        part = slice(start, start + step)
        block_function(flat_x[part], flat_y[part], flat_slope[part])
    return y, slope


def _exact_block(x, y, slope):
    """x [K] -> y, slope [K], written in place."""
    xp = array_module(x)
    square = x * x
    erf_scaled(x, square, out=y)  # erf(x/√2)
    y += 1.0
    y *= 0.5  # Φ(x)
    square *= -0.5
    xp.exp(square, out=slope)
    slope *= 1.0 / math.sqrt(2.0 * math.pi)  # φ(x)
    slope *= x
    slope += y  # Φ(x) + x φ(x)
    y *= x


def erf_scaled(x, square, out):
    """erf(x/√2) of x [K], written to `out`; `square` is x²."""
    xp = array_module(x)
    if x.dtype == np.float64 or hasattr(xp, "cuda"):
        return erf(x * math.sqrt(0.5), out)
    z = xp.minimum(square, ERF_CLIP)
    xp.multiply(z, ERF_POLYNOMIAL[-1], out=out)
    for coefficient in ERF_POLYNOMIAL[-2:0:-1]:  # Horner: ((c₆ z + c₅) z + c₄) z …
        out += coefficient
        out *= z
    out += ERF_POLYNOMIAL[0]
    out *= x
    return xp.tanh(out, out=out)


def _tanh_block(x, y, slope):
    """x [K] -> y, slope [K], written in place."""
    xp = array_module(x)
    c = math.sqrt(2.0 / math.pi)
    square = x * x
    u = (0.044715 * c) * square
    u += c
    u *= x
    t = xp.tanh(u, out=u)
    square *= 3.0 * 0.044715 * c
    square += c  # u'
    xp.multiply(t, t, out=slope)
    xp.subtract(1.0, slope, out=slope)
    slope *= square
    slope *= x
    slope += t
    slope += 1.0
    slope *= 0.5
    xp.add(t, 1.0, out=y)
    y *= x
    y *= 0.5
