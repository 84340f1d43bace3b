"""Linear layer: y = x Wᵀ + b.

N rows (tokens), I input features, O output features. Weights are stored [O, I], as in Hugging Face's files.

    y[n, o] = Σ_i x[n, i] W[o, i] + b[o]

Derivatives, for a loss L and dy = ∂L/∂y:

    ∂L/∂x[n, i] = Σ_o dy[n, o] W[o, i]      dx = dy W
    ∂L/∂W[o, i] = Σ_n dy[n, o] x[n, i]      dW = dyᵀ x
    ∂L/∂b[o]    = Σ_n dy[n, o]              db = column sums of dy
"""

from minielectra.backend import allocator, array_module


def linear_forward(x, weight, bias=None, ws=None):
    """x [N, I], weight [O, I], bias [O] or None -> y [N, O], cache. dtype follows `x`."""
    xp = array_module(x)
    y = allocator(ws, x).empty((x.shape[0], weight.shape[0]), x.dtype)
    xp.matmul(x, weight.T, out=y)
    if bias is not None:
        y += bias
    return y, (x, weight)


def linear_backward(dy, cache, dweight, dbias=None, ws=None):
    """dy [N, O] -> dx [N, I]. Adds into dweight [O, I] and dbias [O]."""
    x, weight = cache
    xp = array_module(dy)
    memory = allocator(ws, dy)
    if dbias is not None:
        dbias += column_sum(dy)  # y += bias
    product = memory.empty(weight.shape, dy.dtype)
    dweight += xp.matmul(dy.T, x, out=product)  # y = x Wᵀ
    return xp.matmul(dy, weight, out=memory.empty(x.shape, dy.dtype))


def column_sum(x):
    """Σ_n x[n, :] of x [N, O] -> [O], as a product with ones: BLAS adds faster than a reduction over the outer axis."""
    return array_module(x).ones(x.shape[0], x.dtype) @ x


def row_sum(x):
    """Σ_o x[n, o] of x [N, O] -> [N, 1], as a product with ones."""
    return (x @ array_module(x).ones(x.shape[1], x.dtype))[:, None]
