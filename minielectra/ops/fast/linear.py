"""Linear layer; derivation in `reference/linear.py`."""

from minielectra.backend import allocator, array_module, scratch
from minielectra.ops.fast.blocks import column_sum
from minielectra.ops.reference.linear import LinearCache


def linear_forward(x, weight, bias=None, workspace=None):
    """x [N, I], weight [O, I], bias [O] or None -> y [N, O], cache."""
    y = allocator(workspace, x).empty((x.shape[0], weight.shape[0]), x.dtype)
    array_module(x).matmul(x, weight.T, out=y)
    if bias is not None:
        y += bias
    return y, LinearCache(x, weight)


def linear_backward(dy, cache, dweight, dbias=None, workspace=None):
    """dy [N, O] -> dx [N, I]. Adds into dweight [O, I] and dbias [O]."""
    x, weight = cache
    xp = array_module(dy)
    if dbias is not None:
        dbias += column_sum(dy)
    with scratch(workspace):
        dweight += xp.matmul(dy.T, x, out=allocator(workspace, dy).empty(weight.shape, dy.dtype))
    return xp.matmul(dy, weight, out=allocator(workspace, dy).empty(x.shape, dy.dtype))
