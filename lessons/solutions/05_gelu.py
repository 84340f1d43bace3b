"""Solutions to lesson 5."""

import numpy as np

from minielectra.ops.reference.gelu import gelu_backward, gelu_forward


def gelu_tanh_slope(x):
    c, a = np.sqrt(2 / np.pi), 0.044715
    t = np.tanh(c * (x + a * x**3))
    return (1 + t) / 2 + x * (1 - t * t) * c * (1 + 3 * a * x * x) / 2


def train_neuron(x, t, w, b, rate, steps):
    for _ in range(steps):
        y, cache = gelu_forward(x @ w + b)
        du = gelu_backward(2 * (y - t) / len(t), cache)
        w, b = w - rate * (x.T @ du), b - rate * du.sum()
    return w, b
