"""Layer normalisation in blocks of rows; derivation in `reference/layernorm.py`."""

from minielectra.backend import allocator, array_module, scratch
from minielectra.ops.fast.blocks import blocks, column_sum, row_dot, row_sum
from minielectra.ops.reference.layernorm import LayerNormCache


def layernorm_forward(x, weight, bias, eps=1e-12, workspace=None):
    """x [N, H], weight [H], bias [H] -> y [N, H], cache. x is overwritten by x̂."""
    memory = allocator(workspace, x)
    y, rstd = memory.empty(x.shape, x.dtype), memory.empty((x.shape[0], 1), x.dtype)
    for part in blocks(x, *x.shape):
        _forward_block(x[part], y[part], rstd[part], weight, bias, eps)
    return y, LayerNormCache(x, rstd, weight)


def _forward_block(x, y, rstd, weight, bias, eps):
    xp = array_module(x)
    inverse = 1.0 / x.shape[1]
    x -= row_sum(x) * inverse
    variance = row_dot(x, x)[:, None] * inverse
    variance += eps
    xp.sqrt(variance, out=variance)
    xp.divide(1.0, variance, out=rstd)
    x *= rstd  # x̂
    xp.multiply(x, weight, out=y)
    y += bias


def layernorm_backward(dy, cache, dweight, dbias, workspace=None):
    """dy [N, H] -> dx [N, H], which overwrites dy. Adds into dweight [H] and dbias [H]."""
    xhat, rstd, weight = cache
    parts = blocks(dy, *dy.shape)
    with scratch(workspace):
        product = allocator(workspace, dy).empty(dy[parts[0]].shape if parts else dy.shape, dy.dtype)
        for part in parts:
            _backward_block(
                dy[part], xhat[part], rstd[part], weight, dweight, dbias, product[: part.stop - part.start]
            )
    return dy


def _backward_block(dy, xhat, rstd, weight, dweight, dbias, product):
    xp = array_module(dy)
    inverse = 1.0 / dy.shape[1]
    dbias += column_sum(dy)
    xp.multiply(dy, xhat, out=product)
    dweight += column_sum(product)
    dy *= weight  # g = dy γ
    g_mean = row_sum(dy) * inverse
    xp.multiply(xhat, row_dot(dy, xhat)[:, None] * inverse, out=product)
    dy -= g_mean
    dy -= product
    dy *= rstd
