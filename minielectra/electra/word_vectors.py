"""Word vectors that are counted instead of learned: which words stand beside which, in the text itself.

"You shall know a word by the company it keeps." For each offset o of −2, −1, 1 and 2, count how often word c
stands o places from word a. Where it stands there more often than its frequency p(c) lets one expect, the
logarithm of the ratio is positive pointwise mutual information,

    PPMI_o(a, c) = max(0, log  p(c | a, o) / p(c)),

and the best approximation of rank k of the matrix [V, offsets · contexts] gives every word k numbers: U √S of
its singular value decomposition. Word2vec learns nearly this factorisation (Levy and Goldberg 2014; the
exponent 0.75 on the contexts' frequencies and the root of S are from Levy, Goldberg and Dagan 2015). Counting
takes seconds, and saves a short run most of the steps in which it would learn which words resemble each other
(docs/LOG.md).
"""

import numpy as np

OFFSETS = (-2, -1, 1, 2)
CONTEXTS = 500  # the most frequent words; 2 000 are no better
LARGEST = 1 << 26  # elements of the matrix: with a large vocabulary there are fewer contexts
COUNTED = 1 << 23  # tokens at most; of a longer text, pieces that are spread over it
PIECES = 64
SEEN = 3  # a word that occurs less often says nothing about its neighbours
SMOOTHING = 0.75  # exponent of the contexts' frequencies
OVERSAMPLING, ITERATIONS = 16, 3  # of the randomised decomposition


def spread(tokens, most=COUNTED):
    """At most `most` of the tokens [N], in PIECES that are spread evenly over them -> [M] int64."""
    if len(tokens) <= most:
        return np.asarray(tokens, np.int64)
    length = most // PIECES
    starts = np.arange(PIECES) * (len(tokens) - length) // (PIECES - 1)
    return np.concatenate([np.asarray(tokens[start : start + length], np.int64) for start in starts])


def log_frequencies(tokens, vocab_size):
    """log p(word) [V] float64, up to a constant: the mean over the words is 0.

    tokens [N] int. Every word counts once more than it occurs, so that none is impossible.
    """
    x = np.log(np.bincount(tokens, minlength=vocab_size) + 1.0)
    return x - x.mean()


def cooccurrence_vectors(tokens, vocab_size, width, random):
    """Vectors of the words that occur in `tokens` -> [V, k] float32, each of length 1.

    tokens [N] int: running text, each below vocab_size = V; width: k, below V; random: numpy Generator. With
    a vocabulary of a million words, there are fewer contexts and columns, and k may be less than `width`.
    Words that are too rare get a random direction. The directions of the space are mixed by a rotation, so
    that no feature is more important than another.
    """
    counts = np.bincount(tokens, minlength=vocab_size)
    matrix = _ppmi(tokens, counts)
    vectors = _left_factor(matrix, width, random)
    width = vectors.shape[1]
    vectors -= vectors.mean(axis=0)
    vectors = vectors @ np.linalg.qr(random.standard_normal((width, width)).astype(np.float32))[0]
    lengths = np.linalg.norm(vectors, axis=1)
    unknown = (counts < SEEN) | (lengths <= 1e-6 * lengths.max(initial=0.0))
    vectors[unknown] = random.standard_normal((np.count_nonzero(unknown), width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _ppmi(tokens, counts):
    """Positive pointwise mutual information of the words and their contexts -> [V, offsets · C] float32."""
    vocab_size = len(counts)
    n_contexts = max(1, min(CONTEXTS, vocab_size, LARGEST // (vocab_size * len(OFFSETS))))
    contexts = np.argsort(-counts, kind="stable")[:n_contexts]
    column = np.full(vocab_size, -1)
    column[contexts] = np.arange(n_contexts)
    smooth = np.maximum(counts[contexts], 1) ** SMOOTHING
    smooth = (smooth / smooth.sum()).astype(np.float32)
    matrix = np.zeros((vocab_size, len(OFFSETS), n_contexts), np.float32)
    for i, offset in enumerate(OFFSETS):
        words, neighbours = tokens[max(0, -offset) :], tokens[max(0, offset) :]  # pairs, up to the shorter
        words, columns = words[: len(neighbours)], column[neighbours[: len(words)]]
        known = columns >= 0
        cells = (words[known] * len(OFFSETS) + i) * n_contexts + columns[known]
        np.add.at(matrix.reshape(-1), cells, 1.0)
        joint = matrix[:, i]
        joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1.0) * smooth
        np.maximum(joint, 1.0, out=joint)
        np.log(joint, out=joint)
    return matrix.reshape(vocab_size, -1)


def _left_factor(matrix, rank, random):
    """U √S of the best approximation of this rank -> [rows, rank] float32.

    By a randomised range finder with power iterations (Halko, Martinsson and Tropp 2011, algorithms 4.4 and
    5.1), since the whole decomposition would take minutes.
    """
    rows = len(matrix)
    span = random.standard_normal((rows, min(rows, rank + OVERSAMPLING))).astype(np.float32)
    for _ in range(1 + ITERATIONS):
        span = np.linalg.qr(matrix @ (matrix.T @ span))[0]
    left, values, _ = np.linalg.svd(span.T @ matrix, full_matrices=False)
    return (span @ left)[:, :rank] * np.sqrt(values[:rank])
