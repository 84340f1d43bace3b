"""GELU in blocks, value and derivative at once; derivation in `reference/gelu.py`.

The forward pass also computes y', while all its ingredients are at hand, and leaves it in the memory of x.
The backward pass is then one product.

NumPy has no erf. In float64, which only checks use, `math.erf` is applied element by element. In float32 we
use

    erf(x/√2) ≈ tanh(x P(x²)),

where P is the weighted least-squares polynomial of degree 6 fitted to artanh(erf(x/√2))/x on 0 < x < 5.5, and
x² is clipped at 5.5². Evaluated in float32, it is within 1.7e-7 of erf everywhere: the rounding of float32
itself.
"""

import math

import numpy as np

from minielectra.backend import array_module, erf
from minielectra.ops.fast.elementwise import in_blocks, times_derivative
from minielectra.ops.reference.gelu import A, C

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


def gelu_forward(x, workspace=None, backward=True):
    """x [...] float32 or float64, contiguous -> y [...], cache.

    x is overwritten: by dy/dx, which is the cache, or, if no backward pass follows, by y.
    """
    return in_blocks(x, _exact_block, workspace, backward)


def gelu_tanh_forward(x, workspace=None, backward=True):
    """The tanh form of the same."""
    return in_blocks(x, _tanh_block, workspace, backward)


gelu_backward = gelu_tanh_backward = times_derivative


def _exact_block(x, y, cdf, density, backward):
    """x [K] -> y [K], which may be x; with `backward`, dy/dx over x. cdf, density [K]: scratch."""
    xp = array_module(x)
    square = xp.multiply(x, x, out=density)
    erf_scaled(x, square, out=cdf)  # erf(x/√2)
    cdf += 1.0
    cdf *= 0.5  # Φ(x)
    if not backward:
        xp.multiply(cdf, x, out=y)
        return
    density *= -0.5
    xp.exp(density, out=density)
    density *= 1.0 / math.sqrt(2.0 * math.pi)  # φ(x)
    density *= x
    xp.multiply(cdf, x, out=y)
    xp.add(cdf, density, out=x)  # Φ(x) + x φ(x)


def erf_scaled(x, square, out):
    """erf(x/√2) of x [K], written to `out`; `square` is x²."""
    xp = array_module(x)
    if x.dtype == np.float64 or hasattr(xp, "cuda"):
        return erf(x * math.sqrt(0.5), out)
    z = xp.clip(square, 0.0, ERF_CLIP)  # NumPy's `minimum` with a number takes three times as long
    xp.multiply(z, ERF_POLYNOMIAL[-1], out=out)
    for coefficient in ERF_POLYNOMIAL[-2:0:-1]:  # Horner: ((c₆ z + c₅) z + c₄) z …
        out += coefficient
        out *= z
    out += ERF_POLYNOMIAL[0]
    out *= x
    return xp.tanh(out, out=out)


def _tanh_block(x, y, t, slope, backward):
    """As `_exact_block`; t, slope [K]: scratch."""
    xp = array_module(x)
    xp.multiply(x, x, out=slope)
    xp.multiply(slope, A * C, out=t)
    t += C
    t *= x
    xp.tanh(t, out=t)
    if not backward:
        t += 1.0
        t *= 0.5
        xp.multiply(x, t, out=y)
        return
    slope *= 3.0 * A * C
    slope += C  # u'
    slope *= x
    xp.multiply(t, t, out=y)
    xp.subtract(1.0, y, out=y)
    slope *= y  # x (1 − t²) u'
    t += 1.0
    t *= 0.5
    slope *= 0.5
    xp.multiply(x, t, out=y)
    xp.add(t, slope, out=x)
