"""Embedding lookup, and the sum of word, position and segment embeddings that opens the encoder.

B sequences of T tokens, V words, P positions, S segments, E features.

    y[b, t] = word[ids[b, t]] + position[t] + segment[segments[b, t]]

A lookup copies a row, so its backward pass adds to that row, once for every time it was used.

    dword[v] = Σ over (b, t) with ids[b, t] = v of dy[b, t]
"""

from typing import NamedTuple

from minielectra.backend import array_module, scatter_add


class EmbeddingsCache(NamedTuple):
    ids: object  # [B, T]
    segments: object  # [B, T]


def embedding_forward(ids, table):
    """ids [N] int, table [V, E] -> rows [N, E], cache.

    Ids must be in range. Check them on the host: CuPy wraps silently."""
    return table[ids], ids


def embedding_backward(dy, cache, dtable):
    """dy [N, E]. Adds into dtable [V, E]; there is no gradient for integer ids."""
    scatter_add(dtable, cache, dy)


def embeddings_forward(ids, segments, word, position, segment):
    """ids, segments [B, T] int; word [V, E], position [P, E], segment [S, E] -> y [B·T, E], cache. T ≤ P."""
    y = word[ids]
    y += position[: ids.shape[1]]
    y += segment[segments]
    return y.reshape(-1, word.shape[1]), EmbeddingsCache(ids, segments)


def embeddings_backward(dy, cache, dword, dposition, dsegment):
    """dy [B·T, E]. Adds into dword [V, E], dposition [P, E], dsegment [S, E]."""
    ids, segments = cache
    batch, length = ids.shape
    xp = array_module(dy)
    embedding_backward(dy, ids.reshape(-1), dword)  # y = word[ids]
    dposition[:length] += dy.reshape(batch, length, -1).sum(axis=0)  # + position[t]
    # There are so few rows that a product beats a scatter.
    one_hot = xp.arange(dsegment.shape[0])[:, None] == segments.reshape(1, -1)
    dsegment += one_hot.astype(dy.dtype) @ dy  # + segment[s]
