"""Scores of classification and regression, as scikit-learn and SciPy define them.

Each function takes two sequences of the same length N ≥ 1 and returns a Python float. Labels may be anything
hashable. Different lengths and empty input raise ValueError: these are mistakes of the caller, not of the
user.
"""

import numpy as np


def accuracy(targets, predictions):
    """The share of labels that are predicted correctly, in [0, 1]."""
    counts = _confusion(targets, predictions)[0]
    return float(np.trace(counts) / counts.sum())


def binary_f1(targets, predictions, positive=1):
    """F1 = 2 TP / (2 TP + FP + FN) of the label `positive` against all others, in [0, 1].

    0 if it is neither among targets nor among predictions (scikit-learn's zero_division=0).
    """
    counts, codes = _confusion(targets, predictions)
    if positive not in codes:
        return 0.0
    i = codes[positive]
    return float(2 * counts[i, i] / (counts[i].sum() + counts[:, i].sum()))


def matthews(targets, predictions):
    """Matthews' correlation for any number of classes, in [-1, 1]; 0 if one side has a single class.

        MCC = (c·N - Σ t_k p_k) / √((N² - Σ p_k²)(N² - Σ t_k²))

    with c correct labels, t_k targets and p_k predictions of class k (Gorodkin 2004, R_K).
    """
    counts = _confusion(targets, predictions)[0].astype(np.float64)
    t, p, n = counts.sum(1), counts.sum(0), counts.sum()
    spread = (n**2 - p @ p) * (n**2 - t @ t)
    return float((np.trace(counts) * n - t @ p) / np.sqrt(spread)) if spread else 0.0


def pearson(x, y):
    """Pearson's correlation of two sequences of numbers, in [-1, 1].

    NaN if it is undefined: one side is constant (always so for N = 1) or holds NaN or infinity.
    """
    x, y = _numbers(x, y)
    if (x == x[0]).all() or (y == y[0]).all():
        return float("nan")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # NaN and infinity lead to NaN
        return float(np.clip(_direction(x) @ _direction(y), -1, 1))


def spearman(x, y):
    """Spearman's correlation: Pearson's of the ranks, where equal values share their average rank.

    NaN as for `pearson`, except that infinities have ranks.
    """
    x, y = _numbers(x, y)
    if np.isnan(x).any() or np.isnan(y).any():
        return float("nan")
    return pearson(_ranks(x), _ranks(y))


def _confusion(targets, predictions):
    """-> counts [C, C], how often target i was predicted as j; codes {label: index}."""
    _check_lengths(targets, predictions)
    codes = {}
    t, p = ([codes.setdefault(label, len(codes)) for label in labels] for labels in (targets, predictions))
    c = len(codes)
    return np.bincount(np.array(t) * c + p, minlength=c * c).reshape(c, c), codes


def _numbers(x, y):
    _check_lengths(x, y)
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def _check_lengths(targets, predictions):
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} targets but {len(predictions)} predictions")
    if len(targets) == 0:
        raise ValueError("no score without at least one target")


def _direction(x):
    """x - mean, scaled to length 1; to largest value 1 first, so that squares neither overflow nor vanish."""
    x = x - x.mean()
    x /= np.abs(x).max()
    return x / np.sqrt(x @ x)


def _ranks(x):
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
