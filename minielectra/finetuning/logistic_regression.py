"""Multinomial logistic regression, fitted to the end by Newton steps with a bound in place of the Hessian.

    minimise  f(W) = 1/n Σ_i −log softmax(x_i W)[y_i]  +  ½ penalty · |W|²        bias not penalised

The Hessian of the first term is below ½ XᵀX/n for every class, whatever W is (Böhning 1992). So with the
matrix B = ½ XᵀX/n + penalty·I, inverted once, W ← W − B⁻¹ ∇f never makes f larger, and needs no rate. With
Nesterov's momentum, which starts anew whenever it points uphill (O'Donoghue & Candès 2015), it takes far
fewer steps.
"""

import numpy as np

from minielectra.backend import blas_threads
from minielectra.ops import softmax_forward

DONE = 1e-7  # nats per example that one more step would promise
MOST_STEPS = 1000


def fit(x, y, classes, penalty, start=None):
    """The weights that minimise f -> W [H + 1, C] float64, the bias in the last row.

    x [n, H] float64, best centred and of deviation 1; y [n] int, in 0 … C − 1; classes: C; start: W of
    another penalty, from which it is not far; default: zeros. It is computed on one thread: on a busy
    machine, more of them would wait for each other.
    """
    with blas_threads(1):
        return _fit(x, y, classes, penalty, start)


def _fit(x, y, classes, penalty, start):
    x = np.column_stack([x, np.ones(len(x))])
    penalties = np.full(x.shape[1], penalty)
    penalties[-1] = 0.0
    bound = 0.5 * (x.T @ x) / len(x) + np.diag(penalties)
    inverse = np.linalg.inv(bound + 1e-10 * np.eye(len(bound)))  # features may depend on each other
    w = np.zeros((x.shape[1], classes)) if start is None else start
    ahead, inertia, rows = w, 1.0, np.arange(len(y))
    for _ in range(MOST_STEPS):
        error, _ = softmax_forward(x @ ahead)
        error[rows, y] -= 1.0
        gradient = x.T @ error / len(x) + penalties[:, None] * ahead
        step = inverse @ gradient
        previous, w = w, ahead - step
        if (gradient * step).sum() < DONE:
            break
        if (gradient * (w - previous)).sum() > 0.0:
            ahead, inertia = w, 1.0
            continue
        following = (1.0 + np.sqrt(1.0 + 4.0 * inertia**2)) / 2.0
        ahead, inertia = w + (inertia - 1.0) / following * (w - previous), following
    return w


def logits(x, w):
    """x [n, H], W [H + 1, C] -> [n, C]"""
    return x @ w[:-1] + w[-1]
