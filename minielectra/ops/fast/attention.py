"""Scaled dot-product attention, a few sequences at a time; derivation in `reference/attention.py`.

The probabilities are held transposed, [key, query]. What belongs to a query (its sum, and its correction in
the backward pass) is then a row, which NumPy broadcasts three times as fast as a column.
"""

import math
from typing import NamedTuple

from minielectra.backend import allocator, array_module, scratch
from minielectra.ops.fast.blocks import blocks, row_dot
from minielectra.ops.reference.dropout import DropoutCache, dropout_backward, dropout_forward


class AttentionCache(NamedTuple):
    q: object  # [B, A, T, D]
    k: object  # [B, A, T, D]
    v: object  # [B, A, T, D]
    p: object  # [B, A, T, T] softmax of the scores, [key, query]
    keep: object  # [B, A, T, T] bool, or None
    scale: float
    o: object  # [B, A, T, D]


def attention_forward(q, k, v, mask=None, keep=None, scale=1.0, out=None, workspace=None, backward=True):
    """q, k, v [B, A, T, D] -> o [B, A, T, D], cache.

    mask: additive over keys, [B, 1, 1, T]. keep [B, A, T, T] bool (of [key, query]) and scale = 1 / P(keep):
    dropout of the probabilities. out: where to write o; a strided view will do. Without a backward pass the
    cache is None.
    """
    xp = array_module(q)
    memory = allocator(workspace, q)
    batch, heads, length, _ = q.shape
    o = memory.empty(q.shape, q.dtype) if out is None else out
    p = memory.empty((batch, heads, length, length), q.dtype) if backward else None
    parts = blocks(q, batch, heads * length * length)
    with scratch(workspace):
        first = (parts[0].stop if parts else 0, heads, length, length)
        spare = memory.empty(first, q.dtype) if keep is not None or not backward else None
        for part in parts:
            size = part.stop - part.start
            weights = p[part] if backward else spare[:size]
            _probabilities(q[part], k[part], None if mask is None else mask[part], weights)
            if keep is not None:
                weights, _ = dropout_forward(weights, keep[part], scale, out=spare[:size])
            xp.matmul(weights.swapaxes(-1, -2), v[part], out=o[part])
    return o, AttentionCache(q, k, v, p, keep, scale, o) if backward else None


def _probabilities(q, k, mask, p):
    """softmax(q kᵀ / √D + mask), transposed, into p [b, A, T, T]."""
    xp = array_module(q)
    xp.matmul(k, q.swapaxes(-1, -2), out=p)
    p *= 1.0 / math.sqrt(q.shape[-1])
    if mask is not None:
        p += mask.swapaxes(-1, -2)
    p -= p.max(axis=-2, keepdims=True)
    xp.exp(p, out=p)
    total = xp.matmul(xp.ones((1, p.shape[-2]), p.dtype), p)
    p *= xp.divide(1.0, total, out=total)


def attention_backward(do, cache, dq=None, dk=None, dv=None, workspace=None):
    """do [B, A, T, D] -> dq, dk, dv [B, A, T, D], written into the arrays of those names if they are handed
    in.
    """
    q, k, v, p, keep, scale, o = cache
    xp = array_module(do)
    memory = allocator(workspace, do)
    dq, dk, dv = (memory.empty(q.shape, q.dtype) if d is None else d for d in (dq, dk, dv))
    batch, heads, length, width = q.shape
    parts = blocks(q, batch, heads * length * length)
    with scratch(workspace):
        first = p[parts[0]].shape
        ds_memory = memory.empty(first, p.dtype)
        spare = memory.empty(first, p.dtype) if keep is not None else None
        for part in parts:
            size = part.stop - part.start
            weights, ds = p[part], ds_memory[:size]
            xp.matmul(v[part], do[part].swapaxes(-1, -2), out=ds)  # o = p̃ v
            if keep is not None:
                dropout_backward(ds, DropoutCache(keep[part], scale), out=ds)  # p̃ = dropout(p)
                weights, _ = dropout_forward(weights, keep[part], scale, out=spare[:size])
            xp.matmul(weights, do[part], out=dv[part])
            ds -= row_dot(do[part], o[part])[:, :, None, :]
            ds *= p[part]  # p = softmax(s)
            ds *= 1.0 / math.sqrt(width)
            xp.matmul(ds.swapaxes(-1, -2), k[part], out=dq[part])  # s = q kᵀ / √D
            xp.matmul(ds, q[part], out=dk[part])
    return dq, dk, dv
