"""SiLU in blocks, value and derivative at once; derivation in `reference/silu.py`."""

from minielectra.backend import array_module
from minielectra.ops.fast.elementwise import in_blocks, times_derivative

LOWEST = -80.0  # below it, σ(x) is less than 2e-35 and is not worth an overflow of exp(−x)


def silu_forward(x, workspace=None, backward=True):
    """x [...], contiguous -> y [...], cache.

    x is overwritten: by dy/dx, which is the cache, or, if no backward pass follows, by y.
    """
    return in_blocks(x, _block, workspace, backward)


silu_backward = times_derivative


def _block(x, y, s, slope, backward):
    """x [K] -> y [K], which may be x; with `backward`, dy/dx over x. s, slope [K]: scratch."""
    xp = array_module(x)
    xp.clip(x, LOWEST, None, out=s)
    xp.negative(s, out=s)
    xp.exp(s, out=s)
    s += 1.0
    xp.divide(1.0, s, out=s)  # σ(x)
    if not backward:
        xp.multiply(x, s, out=y)
        return
    xp.subtract(1.0, s, out=slope)
    slope *= x
    slope += 1.0
    xp.multiply(x, s, out=y)
    xp.multiply(s, slope, out=x)  # σ(x) (1 + x (1 − σ(x)))
