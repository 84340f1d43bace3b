"""What activations share: value and derivative at once, in blocks that stay in cache."""

from minielectra.backend import allocator, scratch
from minielectra.ops.fast.blocks import blocks


def in_blocks(x, block_function, workspace, backward):
    """An activation y = f(x) of x [...], contiguous -> y [...], cache.

    block_function(x, y, spare_1, spare_2, backward) works on one block [K]. It fills y, which may be x, and
    with `backward` leaves dy/dx in x. So x is overwritten: by dy/dx, which is the cache, or, if no backward
    pass follows, by y.
    """
    memory = allocator(workspace, x)
    y = memory.empty(x.shape, x.dtype) if backward else x
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    parts = blocks(flat_x, x.size, 1)
    with scratch(workspace):
        spare = memory.empty((2, parts[0].stop if parts else 0), x.dtype)
        for part in parts:
            size = part.stop - part.start
            block_function(flat_x[part], flat_y[part], spare[0, :size], spare[1, :size], backward)
    return y, x if backward else None


def times_derivative(dy, cache):
    """The backward pass of all of them: dy [...] -> dx [...], which overwrites dy."""
    dy *= cache
    return dy
