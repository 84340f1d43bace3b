"""Cross-entropy in the memory of its logits, the largest array of a step.

Derivation in `reference/losses.py`.
"""

from minielectra.backend import array_module
from minielectra.ops.fast.blocks import blocks, row_sum
from minielectra.ops.reference.losses import CrossEntropyCache


def cross_entropy_forward(logits, targets, weights, normalizer):
    """logits [M, V], targets [M] int, weights [M] -> loss (0-d), cache.

    The logits are overwritten by p = softmax(logits), which stays in the cache: samples are drawn from it,
    and accuracy is read off it.
    """
    xp = array_module(logits)
    p = logits
    shifted, total = xp.empty(p.shape[0], p.dtype), xp.empty((p.shape[0], 1), p.dtype)
    for part in blocks(p, *p.shape):
        block = p[part]
        block -= block.max(axis=-1, keepdims=True)
        shifted[part] = block[xp.arange(block.shape[0]), targets[part]]
        xp.exp(block, out=block)
        total[part] = row_sum(block)
        block *= xp.divide(1.0, total[part])
    loss = -(weights * (shifted - xp.log(total[:, 0]))).sum() / normalizer
    return loss, CrossEntropyCache(p, targets, weights, normalizer)


def cross_entropy_backward(cache, dloss=1.0):
    """-> dlogits [M, V], which overwrite p. dloss: the loss's weight."""
    p, targets, weights, normalizer = cache
    scale = weights * (dloss / normalizer)
    p *= scale[:, None]
    p[array_module(p).arange(p.shape[0]), targets] -= scale
    return p
