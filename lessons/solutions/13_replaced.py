"""Solutions to lesson 13."""

import numpy as np

from minielectra.electra.corruption import replace_tokens
from minielectra.functional.softmax import softmax_forward


def draw_at(logits, τ, u):
    ends = np.cumsum(softmax_forward(logits / τ)[0], axis=1)
    return (ends <= u[:, None] * ends[:, -1:]).sum(axis=1)


def expected_share(p, original, used, valid):
    hit = np.take_along_axis(p, original[:, :, None], axis=2)[:, :, 0]
    return (used * (1 - hit)).sum() / valid.sum()


def replaced_share(input_ids, positions, used, samples, valid):
    _, labels = replace_tokens(input_ids, positions, used, samples)
    return labels[valid].mean()
