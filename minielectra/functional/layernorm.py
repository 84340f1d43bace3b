"""Layer normalisation (Ba et al. 2016): every row to mean 0 and variance 1, then scaled and shifted.

N rows, H features; γ = weight, β = bias.

    μ = mean_h x      σ² = mean_h (x − μ)²      r = 1/√(σ² + ε)
    x̂ = (x − μ) r     y = γ x̂ + β

Backward. With g = dy γ (the gradient at x̂), x̂ depends on x three ways: directly, through μ and through r:

    ∂x̂[j]/∂x[i] = r (δ_ij − 1/H − x̂[i] x̂[j] / H)
    dx = r (g − mean_h g − x̂ · mean_h (g x̂))
    dγ = Σ_n dy x̂      dβ = Σ_n dy

Both means are over g = dy γ, not over dy: leaving γ out gives a gradient that is right only at γ = 1.
"""

from minielectra.backend import allocator, array_module
from minielectra.functional.linear import column_sum, row_sum


def layernorm_forward(x, weight, bias, eps=1e-12, ws=None):
    """x [N, H], weight [H], bias [H] -> y [N, H], cache. dtype follows `x`."""
    xp = array_module(x)
    memory = allocator(ws, x)
    features = x.shape[1]
    xhat = memory.empty(x.shape, x.dtype)
    y = memory.empty(x.shape, x.dtype)
    xp.subtract(x, row_sum(x) * (1.0 / features), out=xhat)
    xp.multiply(xhat, xhat, out=y)  # y is scratch here
    rstd = row_sum(y) * (1.0 / features)
    rstd += eps
    xp.sqrt(rstd, out=rstd)
    xp.divide(1.0, rstd, out=rstd)
    xhat *= rstd
    xp.multiply(xhat, weight, out=y)
    y += bias
    return y, (xhat, rstd, weight)


def layernorm_backward(dy, cache, dweight, dbias, ws=None):
    """dy [N, H] -> dx [N, H]. Adds into dweight [H] and dbias [H]."""
    xhat, rstd, weight = cache
    xp = array_module(dy)
    memory = allocator(ws, dy)
    inverse = 1.0 / dy.shape[1]
    product = memory.empty(dy.shape, dy.dtype)
    dx = memory.empty(dy.shape, dy.dtype)
    dbias += column_sum(dy)  # y += bias
    xp.multiply(dy, xhat, out=product)
    dweight += column_sum(product)  # y = x̂ γ
    xp.multiply(dy, weight, out=dx)  # g = dy γ
    product *= weight  # g x̂
    g_mean = row_sum(dx) * inverse
    xp.multiply(xhat, row_sum(product) * inverse, out=product)
    dx -= g_mean
    dx -= product
    dx *= rstd
    return dx
