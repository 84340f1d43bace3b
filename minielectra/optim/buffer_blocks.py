"""The flat buffer in blocks, stretches of parameters that are updated alike.

Each is cut to a size that stays in the processor's cache.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

BLOCK = 1 << 16  # elements: the nine passes of Adam over a block run in cache
ELEMENTWISE = 100  # multiply-adds of a matrix product in the time that Adam takes for one number, about


class Block(NamedTuple):
    """A stretch of the flat buffer whose parameters all have the same weight decay and rate factor."""

    start: int
    stop: int
    decay: float
    rate_factor: float

    @property
    def cost(self):
        """What its update costs, in multiply-adds of a matrix product (see `Muon`), which are far cheaper."""
        return ELEMENTWISE * (self.stop - self.start)


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


def outside(blocks, frozen):
    """The parts of blocks that lie in none of the stretches (start, stop) of `frozen` -> list of blocks."""
    for start, stop in frozen:
        pieces = []
        for block in blocks:
            left = block._replace(stop=min(block.stop, start))
            right = block._replace(start=max(block.start, stop))
            pieces += [piece for piece in (left, right) if piece.start < piece.stop]
        blocks = pieces
    return blocks


def contiguous_shares(blocks, count):
    """The blocks in `count` shares of neighbours that cost about the same -> list of ranges of their numbers.

    blocks: in the order of the buffer, with a `cost` each.
    """
    ends = np.cumsum([block.cost for block in blocks])
    middles = ends - [block.cost / 2 for block in blocks]
    edges = np.searchsorted(middles, ends[-1] * np.arange(count + 1) / count).tolist()
    return [range(a, b) for a, b in pairwise(edges)]
