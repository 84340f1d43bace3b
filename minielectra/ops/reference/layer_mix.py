"""A learned mix of layers: their mean, with weights that are learned, times a number that is learned too.

    y = Σ_l c_l x_l,        c = γ s,        s = softmax(w)

(Peters et al. 2018, ELMo, equation 1.) Backward, from dy:

    dx_l = c_l dy
    dc_l = Σ dy · x_l                   the sum over all elements
    dγ   = Σ_l s_l dc_l
    ds   = γ dc
    dw_l = s_l (ds_l − Σ_k s_k ds_k)    softmax
"""

from typing import NamedTuple

from minielectra.backend import allocator, array_module
from minielectra.ops.reference.softmax import softmax_backward, softmax_forward


class LayerMixCache(NamedTuple):
    layers: list  # L + 1 of [N, H]
    shares: object  # s [L + 1]
    scale: object  # γ [1]


def layer_mix_forward(layers, weights, scale, workspace=None, backward=True):
    """layers: yields x_0 … x_L, each [N, H]; weights w [L + 1], scale γ [1] -> y [N, H], cache.

    Without a backward pass the cache is None, and each x_l may be overwritten once the next is asked for.
    """
    shares, _ = softmax_forward(weights)
    coefficients, y, kept = scale * shares, None, []
    for i, x in enumerate(layers):
        if y is None:
            memory = allocator(workspace, x)
            y, term = memory.empty(x.shape, x.dtype), memory.empty(x.shape, x.dtype)
            y[...] = 0
        y += array_module(x).multiply(x, coefficients[i], out=term)
        if backward:
            kept.append(x)
    return y, LayerMixCache(kept, shares, scale) if backward else None


def layer_mix_backward(dy, cache, dweights, dscale, workspace=None):
    """dy [N, H] -> list of dx_l [N, H]. Adds into dweights [L + 1] and dscale [1]."""
    layers, shares, scale = cache
    xp, memory = array_module(dy), allocator(workspace, dy)
    dcoefficients = xp.stack([xp.dot(dy.reshape(-1), x.reshape(-1)) for x in layers])
    dscale += (shares * dcoefficients).sum()  # c = γ s
    dweights += softmax_backward(scale * dcoefficients, shares)
    coefficients = scale * shares
    dxs = [memory.empty(dy.shape, dy.dtype) for _ in layers]
    return [xp.multiply(dy, coefficients[i], out=dx) for i, dx in enumerate(dxs)]
