"""Scaled dot-product attention (Vaswani et al. 2017, eq. 1), all heads at once.

B sequences, A heads, T tokens, D features per head.

    S = Q Kᵀ / √D + mask      P = softmax(S)      P̃ = dropout(P)      O = P̃ V

Backward, from the last step to the first:

    dV = P̃ᵀ dO        dP̃ = dO Vᵀ       dP = dropout_backward(dP̃)
    dS = P (dP − Σ_t dP P)
    dQ = dS K / √D     dK = dSᵀ Q / √D

The row sum Σ_t dP P equals Σ_d dO O, with or without dropout. That is cheaper, and is what `fast` computes.
"""

import math
from typing import NamedTuple

from minielectra.backend import array_module
from minielectra.ops.reference.dropout import DropoutCache, dropout_backward, dropout_forward
from minielectra.ops.reference.softmax import softmax_backward, softmax_forward


class AttentionCache(NamedTuple):
    q: object  # [B, A, T, D]
    k: object  # [B, A, T, D]
    v: object  # [B, A, T, D]
    p: object  # [B, A, T, T] softmax of the scores
    dropped: object  # [B, A, T, T] p after dropout
    keep: object  # [B, A, T, T] bool, or None
    scale: float


def additive_mask(valid, dtype):
    """valid [B, T] bool -> additive mask [B, 1, 1, T]: 0 where a key may be seen, the lowest finite number
    where it may not.
    """
    xp = array_module(valid)
    lowest = float(xp.finfo(dtype).min)
    return xp.where(valid, 0.0, lowest).astype(dtype)[:, None, None, :]


def attention_forward(q, k, v, mask=None, keep=None, scale=1.0):
    """q, k, v [B, A, T, D] -> o [B, A, T, D], cache.

    mask: additive, broadcast to [B, A, T, T]. keep [B, A, T, T] bool and `scale` = 1 / P(keep): dropout of
    the probabilities.
    """
    scores = (q @ k.swapaxes(-1, -2)) * (1.0 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores + mask
    p, _ = softmax_forward(scores)
    dropped = p if keep is None else dropout_forward(p, keep, scale)[0]
    return dropped @ v, AttentionCache(q, k, v, p, dropped, keep, scale)


def attention_backward(do, cache):
    """do [B, A, T, D] -> dq, dk, dv [B, A, T, D]"""
    q, k, v, p, dropped, keep, scale = cache
    dv = dropped.swapaxes(-1, -2) @ do  # o = p̃ v
    dp = do @ v.swapaxes(-1, -2)
    if keep is not None:
        dp = dropout_backward(dp, DropoutCache(keep, scale))  # p̃ = dropout(p)
    ds = softmax_backward(dp, p) * (1.0 / math.sqrt(q.shape[-1]))  # p = softmax(s)
    return ds @ k, ds.swapaxes(-1, -2) @ q, dv  # s = q kᵀ / √D
