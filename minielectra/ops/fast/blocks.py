"""Blocks that stay in cache, and sums by BLAS: what the fast operations share."""

import numpy as np

from minielectra.backend import array_module

# Elements: 1 MiB in float32. Smaller blocks would fit a closer cache, but threads would wait for Python's
# lock more often.
BLOCK = 1 << 18


def blocks(x, rows, row_size, elements=BLOCK):
    """Slices over `rows` rows of `row_size` elements each, about `elements` elements per slice.

    If x is on a device, there is one slice.
    """
    step = max(1, elements // max(1, row_size)) if array_module(x) is np else max(1, rows)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def column_sum(x):
    """Σ_n x[n, :] of x [N, O] -> [O]."""
    return array_module(x).ones(x.shape[0], x.dtype) @ x


def row_sum(x):
    """Σ_o x[n, o] of x [N, O] -> [N, 1]."""
    return (x @ array_module(x).ones(x.shape[1], x.dtype))[:, None]


def row_dot(x, y):
    """Σ x y over the last axis of x, y [..., D] -> [...]."""
    return np.vecdot(x, y) if array_module(x) is np else (x * y).sum(axis=-1)
