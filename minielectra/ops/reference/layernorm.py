"""Layer normalisation (Ba et al. 2016): every row to mean 0 and variance 1, then scaled and shifted.

N rows of H features; γ = weight, β = bias.

    μ = mean_h x      σ² = mean_h (x − μ)²      r = 1/√(σ² + ε)
    x̂ = (x − μ) r     y = γ x̂ + β

Backward. With g = dy γ (the gradient at x̂), x̂ depends on x three ways: directly, through μ and through r:

    ∂x̂[j]/∂x[i] = r (δ_ij − 1/H − x̂[i] x̂[j] / H)
    dx = r (g − mean_h g − x̂ · mean_h (g x̂))
    dγ = Σ_n dy x̂      dβ = Σ_n dy

Both means are taken over g = dy γ, not over dy. Without γ the gradient is right only at γ = 1.
"""

from typing import NamedTuple

from minielectra.backend import array_module


class LayerNormCache(NamedTuple):
    xhat: object  # [N, H]
    rstd: object  # [N, 1]
    weight: object  # [H]


def layernorm_forward(x, weight, bias, eps=1e-12):
    """x [N, H], weight [H], bias [H] -> y [N, H], cache. dtype follows `x`."""
    xp = array_module(x)
    centred = x - x.mean(axis=1, keepdims=True)
    rstd = 1.0 / xp.sqrt((centred * centred).mean(axis=1, keepdims=True) + eps)
    xhat = centred * rstd
    return xhat * weight + bias, LayerNormCache(xhat, rstd, weight)


def layernorm_backward(dy, cache, dweight, dbias):
    """dy [N, H] -> dx [N, H]. Adds into dweight [H] and dbias [H]."""
    xhat, rstd, weight = cache
    dbias += dy.sum(axis=0)  # y = … + β
    dweight += (dy * xhat).sum(axis=0)  # y = γ x̂
    g = dy * weight
    return rstd * (g - g.mean(axis=1, keepdims=True) - xhat * (g * xhat).mean(axis=1, keepdims=True))
