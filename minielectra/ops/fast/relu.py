"""ReLU in blocks, value and derivative at once; derivation in `reference/relu.py`."""

from minielectra.backend import array_module
from minielectra.ops.fast.elementwise import in_blocks, times_derivative


def relu_forward(x, workspace=None, backward=True):
    """x [...], contiguous -> y [...], cache.

    x is overwritten: by dy/dx, which is the cache, or, if no backward pass follows, by y.
    """
    return in_blocks(x, _block, workspace, backward)


relu_backward = times_derivative


def _block(x, y, spare_1, spare_2, backward):
    """x [K] -> y [K], which may be x; with `backward`, dy/dx over x."""
    xp = array_module(x)
    xp.maximum(x, 0.0, out=y)
    if backward:
        xp.sign(y, out=x)  # 1 where y is above 0, else 0
