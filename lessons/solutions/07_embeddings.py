"""Solutions to lesson 7."""

import numpy as np

from minielectra.ops.reference.embedding import embedding_backward


def mean_of_words_backward(dy, ids, table):
    real = (ids != 0)[:, :, None]  # [B, T, 1]
    drows = real * (dy / real.sum(axis=1))[:, None]  # y = Σ_t rows / k: dy / k at every real token
    dtable = np.zeros_like(table)
    embedding_backward(drows.reshape(-1, dy.shape[1]), ids.reshape(-1), dtable)  # rows = table[ids]
    return dtable


def pair_backward(dy, first, second, table):
    dtable = np.zeros_like(table)
    embedding_backward(dy * table[second], first, dtable)  # table[first], seen from the first factor
    embedding_backward(dy * table[first], second, dtable)
    return dtable
