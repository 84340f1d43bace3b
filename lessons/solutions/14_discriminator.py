"""Solutions to lesson 14."""

import numpy as np

from minielectra.ops.reference.losses import sigmoid


def weighted_loss(x, y, a):
    weight = 1.0 + (a - 1.0) * y  # a for replaced tokens, 1 for original ones
    terms = np.maximum(x, 0.0) - x * y + np.log1p(np.exp(-np.abs(x)))
    return (weight * terms).mean(), weight * (sigmoid(x) - y) / len(x)


def constant_judge(labels):
    q = labels.mean()
    loss = -sum(share * np.log(share) for share in (q, 1.0 - q) if share > 0.0)
    return max(q, 1.0 - q), loss
