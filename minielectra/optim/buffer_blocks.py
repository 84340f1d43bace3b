"""The flat buffer in blocks, stretches of parameters that are updated alike.

Each is cut to a size that stays in the processor's cache.
"""

from typing import NamedTuple

import numpy as np

BLOCK = 1 << 16  # elements: the nine passes of Adam over a block run in cache


class Block(NamedTuple):
    """A stretch of the flat buffer whose parameters all have the same weight decay and rate factor."""

    start: int
    stop: int
    decay: float
    rate_factor: float


def decays(name):
    """Whether weight decay applies to a parameter: not to LayerNorm, not to biases."""
    return "LayerNorm" not in name and not name.endswith(".bias")


def cut_blocks(parameters, weight_decay, rate_factor=None, names=None):
    """Blocks that cover the buffer of `parameters`, in order -> list of Block.

    rate_factor(name): what a parameter's learning rate is multiplied by; default: 1. names: neighbouring
    parameters to cover; default: all. A device gets whole stretches.
    """
    size = BLOCK if parameters.xp is np else parameters.size
    stretches = []
    for name in parameters if names is None else names:
        start, stop = parameters.span(name)
        same = (weight_decay if decays(name) else 0.0, rate_factor(name) if rate_factor else 1.0)
        if stretches and (stretches[-1].decay, stretches[-1].rate_factor) == same:
            stretches[-1] = stretches[-1]._replace(stop=stop)
        else:
            stretches.append(Block(start, stop, *same))
    return [
        stretch._replace(start=start, stop=min(start + size, stretch.stop))
        for stretch in stretches
        for start in range(stretch.start, stretch.stop, size)
    ]
