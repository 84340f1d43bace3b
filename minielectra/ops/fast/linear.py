"""Linear layer; derivation in `ops/reference/linear.py`."""

from minielectra.backend import allocator, array_module, scratch
from minielectra.ops.fast.blocks import column_sum


def linear_forward(x, weight, bias=None, ws=None):
    """x [N, I], weight [O, I], bias [O] or None -> y [N, O], cache."""
    y = allocator(ws, x).empty((x.shape[0], weight.shape[0]), x.dtype)
    array_module(x).matmul(x, weight.T, out=y)
    if bias is not None:
        y += bias
    return y, (x, weight)


def linear_backward(dy, cache, dweight, dbias=None, ws=None):
    """dy [N, O] -> dx [N, I]. Adds into dweight [O, I] and dbias [O]."""
    x, weight = cache
    xp = array_module(dy)
    if dbias is not None:
        dbias += column_sum(dy)
    with scratch(ws):
        dweight += xp.matmul(dy.T, x, out=allocator(ws, dy).empty(weight.shape, dy.dtype))
    return xp.matmul(dy, weight, out=allocator(ws, dy).empty(x.shape, dy.dtype))
