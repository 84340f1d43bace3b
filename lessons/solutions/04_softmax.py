"""Solutions to lesson 4."""

import numpy as np

from minielectra.ops.reference.softmax import softmax_forward


def row_loss(logits, target):
    shifted = logits - logits.max()
    return np.log(np.exp(shifted).sum()) - shifted[target]


def shared_target_backward(logits, q):
    p = softmax_forward(logits)[0]
    return p * q.sum(axis=1, keepdims=True) - q
