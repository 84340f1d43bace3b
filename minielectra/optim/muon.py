"""Muon: momentum made orthogonal, for the matrices inside the encoders; Adam for everything else.

    m ← μ m + g            u = g + μ m  (Nesterov's look-ahead)
    p ← p − lr (0.2 √max(R, C) · orthogonalize(u) + decay · p)        p of shape [R, C]

(Jordan et al. 2024, "Muon"; the factor: Liu et al. 2025, arXiv 2502.16982.) Adam scales every number by
itself; Muon scales every *direction* of a matrix by itself. A gradient is dominated by a few directions, and
the many weak ones hold most of what is still to be learned; Muon gives all of them the same length. An
orthogonal matrix [R, C] has root mean square 1/√max(R, C), and Adam's update typically has 0.2, so the factor
gives both the same size and one learning rate serves both.

Muon remembers one number per parameter where Adam remembers two. The second moment of its matrices is never
touched, so the system never gives it memory, and a checkpoint does not hold it.
"""

import math
from typing import NamedTuple

import numpy as np

from minielectra import ops
from minielectra.backend import to_host
from minielectra.optim.adam import Adam
from minielectra.optim.buffer_blocks import cut_blocks, decays

# Elementwise operations of an update, per number of a matrix and without weight decay: 5 for the momentum, 13
# for the iteration, 2 for the step. And per number of X Xᵀ, in all steps of the iteration.
OPERATIONS, SQUARE_OPERATIONS = 20, 15


class MatrixBlock(NamedTuple):
    """One matrix in the flat buffer."""

    start: int
    stop: int
    decay: float
    rate_factor: float
    shape: tuple  # (R, C)

    @property
    def cost(self):
        """What its orthogonalization costs: the matrix is dealt out to workers by this."""
        return ops.orthogonalize_products(self.shape)


def is_muons(name, shape):
    """Whether Muon updates a parameter.

    The encoders' matrices are its; tables, heads and projections Adam's.
    """
    return len(shape) == 2 and ".encoder.layer." in name


class Muon(Adam):
    """Muon for matrices, Adam for the rest. The first moment is the momentum of both."""

    def __init__(self, parameters, config, moments=None, rate_factor=None):
        """Arguments as for `Adam`."""
        super().__init__(parameters, config, moments, rate_factor)
        self.blocks = []
        rest = []  # neighbours that are Adam's
        for name, shape in parameters.shapes.items():
            if not is_muons(name, shape):
                rest.append(name)
                continue
            self.blocks += cut_blocks(parameters, config.weight_decay, rate_factor, rest)
            rest = []
            decay = config.weight_decay if decays(name) else 0.0
            factor = rate_factor(name) if rate_factor else 1.0
            self.blocks.append(MatrixBlock(*parameters.span(name), decay, factor, shape))
        self.blocks += cut_blocks(parameters, config.weight_decay, rate_factor, rest)

    @classmethod
    def flops(cls, parameters, config, names=None):
        """Operations of one update -> (in matrix products, elementwise). names: as for Adam."""
        shapes = {name: parameters[name].shape for name in (parameters if names is None else names)}
        matrices = {name: shape for name, shape in shapes.items() if is_muons(name, shape)}
        rest = [name for name in shapes if name not in matrices]
        products, elementwise = Adam.flops(parameters, config, rest)
        for rows, columns in matrices.values():
            products += 2 * ops.orthogonalize_products((rows, columns))
            elementwise += (OPERATIONS + bool(config.weight_decay)) * rows * columns
            elementwise += SQUARE_OPERATIONS * min(rows, columns) ** 2
        return products, elementwise

    def share(self, index, count):
        """Numbers of the blocks that worker `index` of `count` updates: matrices by cost, the rest in turn.

        The costliest matrix goes first, each to the worker that has the least to do so far.
        """
        matrices = [i for i, block in enumerate(self.blocks) if isinstance(block, MatrixBlock)]
        load, shares = [0] * count, [[] for _ in range(count)]
        for i in sorted(matrices, key=lambda i: -self.blocks[i].cost):
            worker = load.index(min(load))
            load[worker] += self.blocks[i].cost
            shares[worker].append(i)
        others = sorted(set(range(len(self.blocks))) - set(matrices))
        return sorted(shares[index] + others[index::count])

    def update(self, gradient, rate, scale=1.0, step=0, blocks=None):
        """One update, arguments as for `Adam`. Matrices of one shape are orthogonalized together."""
        chosen = self.blocks if blocks is None else blocks
        super().update(gradient, rate, scale, step, [b for b in chosen if not isinstance(b, MatrixBlock)])
        groups = {}
        for block in chosen:
            if isinstance(block, MatrixBlock):
                groups.setdefault(block.shape, []).append(block)
        for shape, group in groups.items():
            directions = ops.orthogonalize(self._look_ahead(gradient, scale, group, shape))
            size = 0.2 * math.sqrt(max(shape))
            for i, block in enumerate(group):
                p = self.parameters.flat[block.start : block.stop]
                own_rate = rate * block.rate_factor
                if block.decay:
                    p *= 1.0 - own_rate * block.decay
                p -= (own_rate * size) * directions[i].reshape(-1)

    def _look_ahead(self, gradient, scale, group, shape):
        """Move the momentum of some matrices of one shape -> g + μ m of each, [n, R, C]."""
        ahead = self.parameters.xp.empty((len(group), *shape), gradient.dtype)
        for i, block in enumerate(group):
            part = slice(block.start, block.stop)
            g, m = gradient[part] * scale, self.first[part]
            m *= self.config.muon_momentum
            m += g
            ahead[i] = (g + self.config.muon_momentum * m).reshape(shape)
        return ahead

    def state(self):
        """{name: NumPy array} for a checkpoint: first moments [P], and second moments of what is Adam's."""
        second = to_host(self.second)
        kept = [second[b.start : b.stop] for b in self.blocks if not isinstance(b, MatrixBlock)]
        return {"first_moment": to_host(self.first), "second_moment": np.concatenate(kept)}

    def load_state(self, arrays):
        """Take the moments of a checkpoint. Raises ValueError if they are not of this optimizer and size."""
        if {name: array.shape for name, array in arrays.items()} != {
            k: v.shape for k, v in self.state().items()
        }:
            raise ValueError("does not hold the moments of Muon for these parameters")
        xp = self.parameters.xp
        self.first[...] = xp.asarray(arrays["first_moment"])
        begin = 0
        for block in self.blocks:
            if not isinstance(block, MatrixBlock):
                end = begin + block.stop - block.start
                self.second[block.start : block.stop] = xp.asarray(arrays["second_moment"][begin:end])
                begin = end


OPTIMIZER = Muon
