"""A worker: its share of the shards and of the flat buffers in every step."""

from minielectra.backend import Purpose, RandomStream, Workspace, array_module
from minielectra.nn.layers import PassContext
from minielectra.nn.parameters import replica
from minielectra.optim.buffer_blocks import outside
from minielectra.training.memory import make_optimizer, memory_of
from minielectra.training.step import sum_gradients


class Worker:
    """Every `count`-th shard from `index` on, and its share of the optimizer's blocks."""

    def __init__(self, objective, block, index, count):
        """objective: its structure counts, not its numbers.

        block: the array of a `Memory` that all workers share.
        """
        self.xp = array_module(block)
        self.memory = memory_of(objective, block)
        self.replicas = {
            i: replica(objective, self.xp, self.memory.values, self.memory.gradients[i])
            for i in range(index, len(self.memory.gradients), count)
        }
        self.workspace = Workspace(self.xp)
        self.optimizer = make_optimizer(self.replicas[index], self.memory)
        self.own(self.optimizer.share(index, count))

    def own(self, numbers):
        """Update the optimizer's blocks of these numbers from now on."""
        self.numbers = numbers
        self.blocks = [self.optimizer.blocks[number] for number in numbers]

    def run_shards(self, parts, normalizers, seed, number):
        """Forward and backward of this worker's shards.

        parts: a batch per shard -> [(shard, losses)], without those whose batch is empty.
        """
        ran = [(i, self._run_shard(i, parts[i], normalizers, seed, number)) for i in self.replicas]
        return [(i, losses) for i, losses in ran if losses]

    def _run_shard(self, i, part, normalizers, seed, number):
        objective = self.replicas[i]
        self.workspace.reset()
        objective.parameters.zero_grad()
        if not len(part.input_ids):
            return ()
        context = PassContext(self.workspace, RandomStream((seed, Purpose.STEP, number, i), self.xp))
        losses = objective.forward_backward(part.to_device(self.xp), normalizers, context)
        return tuple(float(loss) for loss in losses)

    def sum_gradients(self):
        """Sum this worker's blocks of the shards' gradients into the first's -> [(block, sum of squares)]."""
        return list(zip(self.numbers, sum_gradients(self.memory.gradients, self.blocks), strict=False))

    def update(self, rate, scale, number, frozen=()):
        """The optimizer on this worker's blocks. frozen: stretches (start, stop) that it leaves alone."""
        blocks = outside(self.blocks, frozen)
        self.optimizer.update(self.memory.gradients[0], rate, scale, number, blocks)
