"""Small-sample statistics: confidence intervals, smoothing over evaluations, per-token AUC, step of acquisition.

Dimensions: E evaluations, G groups (of tokens, positions …), V vocabulary entries.
"""

import numpy as np

from minielectra.runs.detection_counts import grouped_auc

Z = 1.959964  # two-sided 95 % of the normal distribution
ACQUIRED = 0.6  # a token counts as acquired once its detection AUC stays above this


def wilson(successes, total):
    """Wilson's 95 % interval of a proportion (Wilson 1927): honest for small counts, unlike p ± 1.96 √(p(1−p)/n).

    successes, total: arrays of one shape, 0 ≤ successes ≤ total -> (low, high), (NaN, NaN) where total is 0.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(total, np.float64))
    n = np.where(n > 0, n, np.nan)
    p = k / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


def ratio(numerator, denominator):
    """numerator / denominator as float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def auc_interval(auc, n_replaced, n_original):
    """95 % interval of an AUC from the counts of both classes (Hanley and McNeil 1982) -> (low, high), clipped to [0, 1]."""
    p, n = np.maximum(n_replaced, 1), np.maximum(n_original, 1)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (p - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / (p * n)
    half = Z * np.sqrt(np.maximum(variance, 0))
    return np.clip(auc - half, 0, 1), np.clip(auc + half, 0, 1)


def window(evaluations):
    """How many evaluations to smooth over: odd, about an eighth of them, 5 at most."""
    return 1 + 2 * min(2, evaluations // 12)


def smooth(values, width, weights=None):
    """Centred moving mean along axis 0 over `width` (odd) evaluations, narrower at both ends, NaN left out.

    The first evaluation stands alone: it shows the untrained model, which has nothing in common with the next ones.

    values [E, …], weights [E, …] ≥ 0 or None (then every finite value counts alike) -> [E, …] float64, NaN where nothing counts.
    """
    weights = np.isfinite(values) * (1.0 if weights is None else weights)
    weighted = np.where(weights > 0, values, 0) * weights
    parts = [
        ratio(_moving_sum(weighted[part], width), _moving_sum(weights[part], width)) for part in (slice(0, 1), slice(1, None))
    ]
    return np.concatenate(parts)


def _moving_sum(values, width):
    total = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=total[1:])
    centre = np.arange(len(values))
    return total[np.minimum(centre + width // 2 + 1, len(values))] - total[np.maximum(centre - width // 2, 0)]


def token_auc(records):
    """Detection AUC of every vocabulary entry at every evaluation, and the counts behind it.

    For entry v: the chance that a planted v (a v the generator wrote over something else) gets a higher score than a v that
    belongs there. That v is rare, or rarely planted, does not help here: only the context tells the two apart.

    -> auc [E, V], n_replaced [E, V], n_original [E, V]; smoothed over `window(E)` evaluations, weighted by the planted tokens.
    The counts are means per evaluation: the same sentences return at each, so pooling does not make them more.
    """
    evaluations, vocab = len(records.steps), len(records.tokens)
    auc, replaced, original = (np.empty((evaluations, vocab)) for _ in range(3))
    for e in range(evaluations):
        tokens, labels = records.seen[e][records.counted], records.labels(e)[records.counted]
        auc[e] = grouped_auc(records.scores[e][records.counted], labels, tokens, vocab)
        replaced[e] = np.bincount(tokens[labels], minlength=vocab)
        original[e] = np.bincount(tokens[~labels], minlength=vocab)
    width = window(evaluations)
    return smooth(auc, width, weights=replaced), smooth(replaced, width), smooth(original, width)


def acquisition_step(steps, curves, threshold=ACQUIRED):
    """The first step from which a curve stays at or above the threshold to the end; never step 0, before which nothing was learned.

    steps [E], curves [E, N] (NaN counts as below) -> [N] float64, NaN for a curve that ends below.
    """
    below = ~(curves >= threshold)
    if len(steps) > 1:
        below[0] |= np.asarray(steps)[0] == 0
    first = len(steps) - np.argmax(below[::-1], axis=0)  # one past the last evaluation below
    first[~below.any(axis=0)] = 0
    return np.where(first < len(steps), np.asarray(steps, np.float64)[np.minimum(first, len(steps) - 1)], np.nan)
