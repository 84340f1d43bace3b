"""Solutions to lesson 13."""

import numpy as np

from minielectra.electra.corruption import replace_tokens


def draw_at(p, τ, u):
    p = p / p.max(axis=1, keepdims=True)  # the largest is 1, so a row cannot become all 0
    ends = np.cumsum(p ** (1 / τ), axis=1)
    return (ends <= u[:, None] * ends[:, -1:]).sum(axis=1)


def replaced_share(input_ids, positions, used, samples, valid):
    _, labels = replace_tokens(input_ids, positions, used, samples)
    return labels[valid].mean()
