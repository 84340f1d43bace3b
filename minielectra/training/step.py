"""One training step: the batch cut into shards, each run by a worker, gradients summed in a fixed order, one update.

A worker is a thread or a process of its own (see `workers.py`). For a fixed number of shards the results are the same bits, however
many workers there are and whatever they are; they change in the last digits with the number of shards, which is therefore a
setting and never read off the machine.
"""

import math
from dataclasses import dataclass

import numpy as np

from minielectra.backend import RandomStream, Workspace, array_module, set_blas_threads
from minielectra.electra.pretraining import ElectraPretraining
from minielectra.errors import InputError
from minielectra.fast.blocks import slices
from minielectra.nn.layers import Run
from minielectra.nn.parameters import Parameters
from minielectra.training.optimizer import Adam, clip_scale
from minielectra.training.workers import Processes, Threads, processes_available

STREAM_SHARD = 5  # purposes of random streams: every key is (seed, purpose, step, …)


@dataclass
class StepResult:
    """Figures of one step, on the host. disc_loss is None under the mlm objective."""

    gen_loss: float
    disc_loss: float | None
    grad_norm: float

    @property
    def finite(self):
        """Whether both losses and the gradient's norm are finite numbers."""
        return bool(np.isfinite([self.gen_loss, self.disc_loss or 0.0, self.grad_norm]).all())


class Worker:
    """One worker's part of a step: every `count`-th shard from `index` on, and every `count`-th block of the flat buffers."""

    def __init__(self, config, pretraining, memory, index, count):
        """memory [3 + S, P]: parameters, Adam's two moments, and the gradients of S shards; shared by all workers."""
        self.xp = array_module(memory)
        shapes = ElectraPretraining.shapes(config, pretraining)
        self.grads = memory[3:]
        self.replicas = {
            i: ElectraPretraining(config, pretraining, Parameters(shapes, self.xp, flat=memory[0], grad=memory[3 + i]))
            for i in range(index, len(self.grads), count)
        }
        self.workspace = Workspace(self.xp)
        parameters = next(iter(self.replicas.values())).parameters
        self.optimizer = Adam(parameters, pretraining, memory[1], memory[2])
        self.blocks = list(enumerate(self.optimizer.blocks))[index::count]

    def shards(self, parts, normalizers, seed, step):
        """Forward and backward of this worker's shards; parts: a Batch for each shard -> [(shard, gen_loss, disc_loss)]."""
        return [(i, *self._shard(i, parts[i], normalizers, seed, step)) for i in self.replicas]

    def _shard(self, i, part, normalizers, seed, step):
        model, ws = self.replicas[i], self.workspace
        ws.reset()
        model.parameters.zero_grad()
        if not len(part.input_ids):
            return 0.0, 0.0
        random = RandomStream((seed, STREAM_SHARD, step, i), self.xp)
        part = part.to_device(self.xp)
        uniform = random.uniform(part.positions.size, model.parameters.flat.dtype)
        outcome = model.forward_backward(part, normalizers, Run(ws, random), uniform)
        return float(outcome.gen_loss), None if outcome.disc_loss is None else float(outcome.disc_loss)

    def reduce(self):
        """Sum the shards' gradients, in order, into the first's -> [(block, sum of squares)]."""
        if self.xp is not np:  # one shard, and a device is better asked once
            return [(0, float(self.xp.dot(self.grads[0], self.grads[0])))]
        sums = []
        for number, (start, stop, _) in self.blocks:
            total = self.grads[0, start:stop]
            for other in self.grads[1:]:
                total += other[start:stop]
            sums.append((number, float(np.dot(total, total))))
        return sums

    def update(self, rate, scale, step):
        """Adam on this worker's blocks."""
        self.optimizer.update(self.grads[0], rate, scale, step, [block for _, block in self.blocks])


class Trainee:
    """A model in training: its parameters, gradients and moments in one block of memory, and the workers that update them."""

    def __init__(self, model, threads=None, workers=None):
        """model: ElectraPretraining, initialised; its values are taken over by `self.model`. threads: number of workers, at most
        (and by default) one for each shard. workers: "threads" or "processes" (the default where the system can)."""
        config, pretraining, xp = model.config, model.pretraining, model.parameters.xp
        on_host = xp is np
        self.shards = min(pretraining.shards, pretraining.batch_size) if on_host else 1
        self.count = min(threads or self.shards, self.shards) if on_host else 1
        if on_host:
            set_blas_threads(1)
        if workers not in (None, "threads", "processes"):
            raise InputError(f"unknown workers {workers!r}: choose threads or processes")
        wanted = workers or ("processes" if processes_available() else "threads")
        self.workers = wanted if self.count > 1 else "threads"
        engine = Processes if self.workers == "processes" else Threads
        shape = (3 + self.shards, model.parameters.size)
        self.engine = engine(Worker, (config, pretraining), shape, model.parameters.flat.dtype, xp, self.count)
        memory = self.engine.memory
        memory[0] = model.parameters.flat
        parameters = Parameters(model.parameters.shapes, xp, flat=memory[0], grad=memory[3])
        self.model = ElectraPretraining(config, pretraining, parameters)
        self.optimizer = Adam(parameters, pretraining, memory[1], memory[2])
        self.xp = xp

    def step(self, batch, rate, seed, step):
        """One update with `batch` (a Batch on the host) at learning rate `rate` -> StepResult.

        Nothing is updated when a loss or the gradient is not finite: see `StepResult.finite`.
        """
        normalizers = batch.normalizers()
        parts = [batch.shard(part) for part in slices(len(batch.input_ids), self.shards)]
        losses = sorted(pair for worker in self.engine.run("shards", parts, normalizers, seed, step) for pair in worker)
        squares = sorted(pair for worker in self.engine.run("reduce") for pair in worker)
        norm, scale = clip_scale(math.sqrt(sum(square for _, square in squares)), self.model.pretraining.clip_norm)
        gen_loss = sum(gen for _, gen, _ in losses)
        disc_loss = None if self.model.discriminator is None else sum(disc for _, _, disc in losses)
        result = StepResult(gen_loss, disc_loss, norm)
        if result.finite:
            self.engine.run("update", rate, scale, step)
        return result

    def close(self):
        """End the workers."""
        self.engine.close()
