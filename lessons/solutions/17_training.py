"""Solutions to lesson 17."""

import numpy as np


def acquired_at(steps, curve, threshold):
    since = None
    for i in reversed(range(len(steps))):
        if not curve[i] >= threshold:  # true for NaN, too
            break
        since = steps[i]
    return since


def calibration(scores, replaced, bins):
    index = np.minimum((scores * bins).astype(int), bins - 1)
    n = np.bincount(index, minlength=bins)
    sums, counts = (np.bincount(index, what, minlength=bins) for what in (scores, replaced))
    with np.errstate(invalid="ignore"):  # 0/0 is wanted: it is NaN
        return sums / n, counts / n, n
