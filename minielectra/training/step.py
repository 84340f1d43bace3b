"""One training step: zero the gradients, forward, backward, clip, update.

The batch is cut into shards. Each shard has a gradient buffer of its own, and the buffers are summed in a
fixed order. So the result depends on the number of shards (in its last digits), and never on how many workers
ran them. `training_step` runs them one after the other, and is the version to read. The engines run the same
parts at once, and give the same bits.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from minielectra.backend import Purpose, RandomStream, array_module
from minielectra.nn.layers import PassContext
from minielectra.optim.buffer_blocks import outside
from minielectra.optim.clipping import clip_scale


@dataclass
class StepResult:
    """Figures of one step, on the host."""

    losses: tuple  # of the whole batch: the generator's and the discriminator's, or the one of a task
    grad_norm: float  # before clipping

    @property
    def gen_loss(self):
        """The generator's loss."""
        return self.losses[0]

    @property
    def disc_loss(self):
        """The discriminator's loss; None if there is no discriminator."""
        return self.losses[1] if len(self.losses) > 1 else None

    @property
    def finite(self):
        """Whether all losses and the gradient's norm are finite numbers."""
        return bool(np.isfinite([*self.losses, self.grad_norm]).all())


def training_step(replicas, optimizer, batch, rate, seed, number, workspace=None):
    """One update of the weights with `batch` (on the host), at learning rate `rate` -> StepResult.

    replicas: the objective once per shard, over the same weights but with a gradient buffer each; optimizer:
    for these weights; number: of the step, from 0. Nothing is updated if a loss or the gradient is not
    finite.
    """
    xp = replicas[0].parameters.xp
    normalizers = batch.normalizers()  # of the whole batch, so that the shards' losses add up to its mean
    parts = shard_slices(len(batch.input_ids), len(replicas))
    losses = []
    for i, (objective, part) in enumerate(zip(replicas, parts, strict=True)):
        objective.parameters.zero_grad()
        if part.start == part.stop:  # fewer examples than shards
            continue
        if workspace is not None:
            workspace.reset()
        context = PassContext(workspace, RandomStream((seed, Purpose.STEP, number, i), xp))
        shard = batch.shard(part).to_device(xp)
        outcome, cache = objective.forward(shard, normalizers, context)
        objective.backward(cache, context)
        losses.append([float(loss) for loss in outcome.losses])

    gradients = [objective.parameters.grad for objective in replicas]
    norm = math.sqrt(sum(sum_gradients(gradients, optimizer.blocks)))  # the summed gradient is now the first
    result = StepResult(tuple(map(sum, zip(*losses, strict=True))), norm)
    if result.finite:
        scale = clip_scale(norm, replicas[0].config.clip_norm)
        blocks = outside(optimizer.blocks, replicas[0].frozen(batch))
        optimizer.update(gradients[0], rate, scale, number, blocks)
    return result


def sum_gradients(gradients, blocks):
    """Add the shards' gradients [P], in order, into the first -> list of its blocks' sums of squares."""
    first, *others = gradients
    xp = array_module(first)
    if xp is not np:  # a device has one shard, and is better asked once than once per block
        return [float(xp.dot(first, first))]
    squares = []
    for block in blocks:
        total = first[block.start : block.stop]
        for other in others:
            total += other[block.start : block.stop]
        squares.append(float(np.dot(total, total)))
    return squares


def shard_slices(count, parts):
    """`count` examples in `parts` consecutive slices whose sizes differ by at most one."""
    edges = [count * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
