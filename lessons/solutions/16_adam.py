"""Solutions to lesson 16."""

import numpy as np


def corrected_adam(p, gradients, lr):
    p, m, v = p.copy(), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        p -= lr * (m / (1.0 - 0.9**t)) / (np.sqrt(v / (1.0 - 0.999**t)) + 1e-6)
    return p


def shortest_warmup(beta1, beta2, limit, steps):
    t = np.arange(1, steps + 1)
    move = (1.0 - beta1**t) / np.sqrt(1.0 - beta2**t)
    warmup = 1
    while (move * np.minimum(1.0, (t - 1) / warmup)).max() > limit:
        warmup += 1
    return warmup
