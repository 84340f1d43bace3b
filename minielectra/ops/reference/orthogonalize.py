"""The nearest orthogonal matrix, by products alone: what Muon does to a gradient (Jordan et al. 2024).

If G = U S Vᵀ is a singular value decomposition, the nearest matrix with orthonormal rows (or columns) is U
Vᵀ: the same directions, each of length 1. It is also called the polar factor of G. An SVD would give it, at a
high price. An odd polynomial gives it almost, because a matrix polynomial acts on the singular values alone:

    p(X) = a X + b (X Xᵀ) X + c (X Xᵀ)² X  =  U p(S) Vᵀ,        p(s) = a s + b s³ + c s⁵

So we need a p that takes every s in (0, 1] to about 1. One polynomial of degree 5 cannot, five in a row can
(Newton–Schulz iteration, with coefficients chosen for each step: Amsel et al. 2025, "The Polar Express"). G
is first divided by its Frobenius norm, so that no singular value is above 1. What the five steps then do:

    singular value before                          after five steps
    1.0     ██████████████████████████████         0.98    █████████████████████████████
    0.3     █████████                              1.00    ██████████████████████████████
    0.1     ███                                    1.02    ███████████████████████████████
    0.03    █                                      0.99    ██████████████████████████████
    0.01    ▎                                      1.02    ███████████████████████████████
    0.003   ▏                                      1.08    ████████████████████████████████
    0.001                                          0.47    ██████████████
    0.0001                                         0.05    █

What was above 0.01 lies between 0.97 and 1.04 afterwards, and what was above 0.003 between 0.97 and 1.15.
Directions below a thousandth of the norm stay small: they are mostly rounding, and better left alone.
"""

from minielectra.backend import array_module

COEFFICIENTS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
TINY = 1e-7  # added to the norm, so that a matrix of zeros stays zero


def orthogonalize(g):
    """g [..., R, C], one or several matrices -> [..., R, C], each near its polar factor."""
    xp = array_module(g)
    wide = g.shape[-2] <= g.shape[-1]
    x = g if wide else g.swapaxes(-1, -2)  # the products are then of the smaller size
    x = x / (xp.sqrt((x * x).sum(axis=(-2, -1), keepdims=True)) + TINY)
    for a, b, c in COEFFICIENTS:
        square = x @ x.swapaxes(-1, -2)
        x = a * x + (b * square + c * (square @ square)) @ x
    return x if wide else x.swapaxes(-1, -2)


def orthogonalize_products(shape):
    """Multiply-adds of `orthogonalize` on one matrix of `shape` [R, C].

    With r and c for the smaller and the larger size, each step multiplies [r, c] by [c, r], [r, r] by [r, r]
    and [r, r] by [r, c].
    """
    small, large = sorted(shape)
    return len(COEFFICIENTS) * small * small * (2 * large + small)
