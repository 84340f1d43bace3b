"""Linear layer: y = x Wᵀ + b.

N rows (tokens), I input features, O output features. Weights are stored [O, I], as in Hugging Face's files.

    y[n, o] = Σ_i x[n, i] W[o, i] + b[o]

Derivatives, for a loss L and dy = ∂L/∂y:

    ∂L/∂x[n, i] = Σ_o dy[n, o] W[o, i]      dx = dy W
    ∂L/∂W[o, i] = Σ_n dy[n, o] x[n, i]      dW = dyᵀ x
    ∂L/∂b[o]    = Σ_n dy[n, o]              db = column sums of dy
"""

from typing import NamedTuple


class LinearCache(NamedTuple):
    x: object  # [N, I]
    weight: object  # [O, I]


def linear_forward(x, weight, bias=None):
    """x [N, I], weight [O, I], bias [O] or None -> y [N, O], cache. dtype follows `x`."""
    y = x @ weight.T
    if bias is not None:
        y = y + bias
    return y, LinearCache(x, weight)


def linear_backward(dy, cache, dweight, dbias=None):
    """dy [N, O] -> dx [N, I]. Adds into dweight [O, I] and dbias [O]."""
    x, weight = cache
    if dbias is not None:
        dbias += dy.sum(axis=0)  # y = … + bias
    dweight += dy.T @ x  # y = x Wᵀ
    return dy @ weight
