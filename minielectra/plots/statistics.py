"""Statistics of few events: intervals, smoothing over evaluations, per-token AUC, step of acquisition.

Dimensions: E evaluations, V vocabulary entries, N curves of any kind. A function without a dimension takes
arrays of any one shape.
"""

import numpy as np

from minielectra.runs.detection_counts import grouped_auc

Z = 1.959964  # two-sided 95 % of the normal distribution
ACQUIRED = 0.6  # a token counts as acquired once its detection AUC stays at or above this


def wilson(successes, total):
    """Wilson's 95 % interval of a proportion (Wilson 1927).

    It is honest for small counts, unlike p ± 1.96 √(p(1−p)/n).

    successes, total: 0 ≤ successes ≤ total -> (low, high), NaN where total is 0.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(total, np.float64))
    n = np.where(n > 0, n, np.nan)
    p = k / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


def ratio(numerator, denominator):
    """numerator / denominator as float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def auc_interval(auc, n_replaced, n_original):
    """95 % interval of an AUC (Hanley and McNeil 1982) -> (low, high) within [0, 1]."""
    p, n = np.maximum(n_replaced, 1), np.maximum(n_original, 1)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (p - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / (p * n)
    half = Z * np.sqrt(np.maximum(variance, 0))
    return np.clip(auc - half, 0, 1), np.clip(auc + half, 0, 1)


def window(evaluations):
    """How many evaluations to smooth over: an odd number, about an eighth of them, at most 5."""
    return 1 + 2 * min(2, evaluations // 12)


def smooth(values, width, weights=None):
    """Centred moving mean over `width` (odd) evaluations, narrower at both ends; NaN is left out.

    The first evaluation is not averaged: it shows the untrained model, which has nothing in common with the
    ones after it.

    values [E, …]; weights [E, …] ≥ 0, or None to count every finite value alike -> [E, …] float64, NaN where
    nothing counts.
    """
    weights = np.isfinite(values) * (1.0 if weights is None else weights)
    weighted = np.where(weights > 0, values, 0) * weights
    untrained, trained = (
        ratio(_moving_sum(weighted[part], width), _moving_sum(weights[part], width))
        for part in (slice(0, 1), slice(1, None))
    )
    return np.concatenate((untrained, trained))


def _moving_sum(values, width):
    total = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=total[1:])
    centre = np.arange(len(values))
    return total[np.minimum(centre + width // 2 + 1, len(values))] - total[np.maximum(centre - width // 2, 0)]


def token_auc(records):
    """Detection AUC of every vocabulary entry at every evaluation, and the counts it is based on.

    For entry v: the chance that a replaced v (which the generator wrote over another token) gets a higher
    score than an original v. A model gains nothing here by knowing that v is rare or rarely a replacement:
    only the context tells the two apart.

    -> auc [E, V], n_replaced [E, V], n_original [E, V] float64, smoothed over `window(E)` evaluations; the
    AUC is weighted by the replaced tokens. The counts are means per evaluation: every evaluation uses the
    same sentences, so pooling adds no evidence.
    """
    evaluations, vocab = len(records.steps), len(records.tokens)
    auc, n_replaced, n_original = (np.empty((evaluations, vocab)) for _ in range(3))
    for e in range(evaluations):
        tokens, replaced = records.seen[e][records.counted], records.replaced_mask[e][records.counted]
        auc[e] = grouped_auc(records.scores[e][records.counted], replaced, tokens, vocab)
        n_replaced[e] = np.bincount(tokens[replaced], minlength=vocab)
        n_original[e] = np.bincount(tokens[~replaced], minlength=vocab)
    width = window(evaluations)
    return smooth(auc, width, weights=n_replaced), smooth(n_replaced, width), smooth(n_original, width)


def acquisition_step(steps, curves, threshold=ACQUIRED):
    """The first step from which a curve stays at or above the threshold until the end.

    Step 0 never counts, because nothing has been learned by then.

    steps [E], curves [E, N] (NaN counts as below) -> [N] float64, NaN for a curve that ends below the
    threshold.
    """
    below = ~(curves >= threshold)
    if len(steps) > 1:
        below[0] |= np.asarray(steps)[0] == 0
    first = len(steps) - np.argmax(below[::-1], axis=0)  # the evaluation after the last one below
    first[~below.any(axis=0)] = 0
    step = np.asarray(steps, np.float64)[np.minimum(first, len(steps) - 1)]
    return np.where(first < len(steps), step, np.nan)
