"""Scaled dot-product attention (Vaswani et al. 2017, eq. 1), all heads at once.

B sequences, N heads, T tokens, D features a head.

    S = Q Kᵀ / √D + mask      P = softmax(S)      P̃ = dropout(P)      O = P̃ V

Backward, from the last step to the first:

    dV = P̃ᵀ dO        dP̃ = dO Vᵀ       dP = dropout_backward(dP̃)
    dS = P (dP − Σ_t dP P)             the row sum equals Σ_d dO O, with or without dropout: one cheap pass over [T, D]
    dQ = dS K / √D     dK = dSᵀ Q / √D
"""

import math

from minielectra.backend import allocator, array_module
from minielectra.functional.dropout import dropout_backward, dropout_forward
from minielectra.functional.softmax import softmax_forward


def attention_mask(valid, dtype):
    """valid [B, T] bool -> additive mask [B, 1, 1, T]: 0 where a key may be seen, the lowest finite number where it may not."""
    xp = array_module(valid)
    lowest = float(xp.finfo(dtype).min)
    return xp.where(valid, 0.0, lowest).astype(dtype)[:, None, None, :]


def attention_forward(q, k, v, mask=None, keep=None, scale=1.0, out=None, ws=None):
    """q, k, v [B, N, T, D] -> o [B, N, T, D], cache.

    mask: additive, broadcast to [B, N, T, T]. keep [B, N, T, T] bool and `scale` = 1 / P(keep): dropout of the probabilities.
    `out`: where to write o (a strided view will do).
    """
    xp = array_module(q)
    memory = allocator(ws, q)
    batch, heads, length, width = q.shape
    scores = memory.empty((batch, heads, length, length), q.dtype)
    xp.matmul(q, k.swapaxes(-1, -2), out=scores)
    scores *= 1.0 / math.sqrt(width)
    if mask is not None:
        scores += mask
    p, _ = softmax_forward(scores, out=scores)
    dropped = p
    if keep is not None:
        dropped, _ = dropout_forward(p, keep, scale, out=memory.empty(p.shape, p.dtype))
    o = xp.matmul(dropped, v, out=memory.empty(q.shape, q.dtype) if out is None else out)
    return o, (q, k, v, p, dropped, keep, scale, o)


def attention_backward(do, cache, dq=None, dk=None, dv=None, ws=None):
    """do [B, N, T, D] -> dq, dk, dv [B, N, T, D], written into the arrays handed in where there are some."""
    q, k, v, p, dropped, keep, scale, o = cache
    xp = array_module(do)
    memory = allocator(ws, do)
    dq, dk, dv = (memory.empty(q.shape, q.dtype) if d is None else d for d in (dq, dk, dv))
    xp.matmul(dropped.swapaxes(-1, -2), do, out=dv)  # o = p̃ v
    ds = xp.matmul(do, v.swapaxes(-1, -2), out=memory.empty(p.shape, p.dtype))
    if keep is not None:
        dropout_backward(ds, (keep, scale), out=ds)  # p̃ = dropout(p)
    ds -= (do * o).sum(axis=-1, keepdims=True)
    ds *= p  # p = softmax(s)
    ds *= 1.0 / math.sqrt(q.shape[-1])
    xp.matmul(ds, k, out=dq)  # s = q kᵀ / √D
    xp.matmul(ds.swapaxes(-1, -2), q, out=dk)
    return dq, dk, dv
