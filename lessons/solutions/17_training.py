"""Solutions to lesson 17."""

import numpy as np


def acquired_at(steps, curve, threshold):
    since = None
    for i in reversed(range(len(steps))):
        if not curve[i] >= threshold:  # also where it is NaN
            break
        since = steps[i]
    return since


def calibration(scores, replaced, bins):
    index = np.minimum((scores * bins).astype(int), bins - 1)
    n = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0/0 is wanted: it is NaN
        return np.bincount(index, scores, minlength=bins) / n, np.bincount(index, replaced, minlength=bins) / n, n
