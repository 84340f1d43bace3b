"""One training step: the batch cut into shards, each run by a worker, gradients summed in a fixed order, one update.

A worker is a thread or a process of its own (see `workers.py`). For a fixed number of shards the results are the same bits, however
many workers there are and whatever they are; they change in the last digits with the number of shards, which is therefore a
setting and never read off the machine.
"""

import math
from dataclasses import dataclass

import numpy as np

from minielectra.backend import RandomStream, Workspace, array_module, set_blas_threads
from minielectra.errors import InputError
from minielectra.nn.layers import Run
from minielectra.nn.parameters import Parameters
from minielectra.ops.fast.blocks import slices
from minielectra.optim.adam import Adam
from minielectra.optim.clipping import clip_scale
from minielectra.training.teams import Processes, Threads, processes_available

STREAM_SHARD = 5  # purposes of random streams: every key is (seed, purpose, step, …)


@dataclass
class StepResult:
    """Figures of one step, on the host."""

    losses: tuple  # of the whole batch: the generator's and the discriminator's, or the one of a task
    grad_norm: float

    @property
    def gen_loss(self):
        """The generator's loss."""
        return self.losses[0]

    @property
    def disc_loss(self):
        """The discriminator's loss; None under the mlm objective."""
        return self.losses[1] if len(self.losses) > 1 else None

    @property
    def finite(self):
        """Whether all losses and the gradient's norm are finite numbers."""
        return bool(np.isfinite([*self.losses, self.grad_norm]).all())


class Worker:
    """One worker's part of a step: every `count`-th shard from `index` on, and every `count`-th block of the flat buffers."""

    def __init__(self, kind, settings, memory, index, count):
        """kind(*settings, parameters): the model; memory [3 + S, P]: parameters, Adam's two moments, and the gradients of S shards;
        shared by all workers."""
        self.xp = array_module(memory)
        shapes = kind.shapes(*settings)
        self.grads = memory[3:]
        self.replicas = {
            i: kind(*settings, Parameters(shapes, self.xp, flat=memory[0], grad=memory[3 + i]))
            for i in range(index, len(self.grads), count)
        }
        self.workspace = Workspace(self.xp)
        self.optimizer = make_optimizer(next(iter(self.replicas.values())), memory)
        self.blocks = list(enumerate(self.optimizer.blocks))[index::count]

    def shards(self, parts, normalizers, seed, step):
        """Forward and backward of this worker's shards; parts: a batch for each shard -> [(shard, losses)]."""
        return [(i, self._shard(i, parts[i], normalizers, seed, step)) for i in self.replicas]

    def _shard(self, i, part, normalizers, seed, step):
        model, ws = self.replicas[i], self.workspace
        ws.reset()
        model.parameters.zero_grad()
        if not len(part.input_ids):
            return None
        random = RandomStream((seed, STREAM_SHARD, step, i), self.xp)
        return model.losses(part.to_device(self.xp), normalizers, Run(ws, random))

    def reduce(self):
        """Sum the shards' gradients, in order, into the first's -> [(block, sum of squares)]."""
        if self.xp is not np:  # one shard, and a device is better asked once
            return [(0, float(self.xp.dot(self.grads[0], self.grads[0])))]
        sums = []
        for number, (start, stop, *_) in self.blocks:
            total = self.grads[0, start:stop]
            for other in self.grads[1:]:
                total += other[start:stop]
            sums.append((number, float(np.dot(total, total))))
        return sums

    def update(self, rate, scale, step):
        """Adam on this worker's blocks."""
        self.optimizer.update(self.grads[0], rate, scale, step, [block for _, block in self.blocks])


def make_optimizer(model, memory):
    """Adam for a model's parameters, its moments in memory[1] and memory[2]."""
    return Adam(model.parameters, model.settings[1], memory[1], memory[2], getattr(model, "rate_factor", None))


class Trainee:
    """A model in training: its parameters, gradients and moments in one block of memory, and the workers that update them.

    What is asked of a model: `parameters`; `settings`, two things, of which the second has the fields of `PretrainingConfig` that
    concern a step and Adam; `type(model)(*settings, parameters)` and `type(model).shapes(*settings)`, which make it anew;
    `losses(batch, normalizers, run)`, forward and backward; and `rate_factor(name)`, where not all parameters learn at one rate.
    """

    def __init__(self, model, threads=None, workers=None):
        """model: an ElectraPretraining, or another of the kind above, initialised; its values are taken over by `self.model`.
        threads: number of workers, at most (and by default) one for each shard. workers: "threads" or "processes" (the default
        where the system can)."""
        settings, xp = model.settings, model.parameters.xp
        on_host = xp is np
        self.shards = min(settings[1].shards, settings[1].batch_size) if on_host else 1
        self.count = min(threads or self.shards, self.shards) if on_host else 1
        if on_host:
            set_blas_threads(1)
        if workers not in (None, "threads", "processes"):
            raise InputError(f"unknown workers {workers!r}: choose threads or processes")
        wanted = workers or ("processes" if processes_available() else "threads")
        self.workers = wanted if self.count > 1 else "threads"
        engine = Processes if self.workers == "processes" else Threads
        shape = (3 + self.shards, model.parameters.size)
        self.engine = engine(Worker, (type(model), settings), shape, model.parameters.flat.dtype, xp, self.count)
        memory = self.engine.memory
        memory[0] = model.parameters.flat
        parameters = Parameters(model.parameters.shapes, xp, flat=memory[0], grad=memory[3])
        self.model = type(model)(*settings, parameters)
        self.optimizer = make_optimizer(self.model, memory)
        self.xp = xp

    def step(self, batch, rate, seed, step):
        """One update with `batch` (on the host) at learning rate `rate` -> StepResult.

        Nothing is updated when a loss or the gradient is not finite: see `StepResult.finite`.
        """
        normalizers = batch.normalizers()
        parts = [batch.shard(part) for part in slices(len(batch.input_ids), self.shards)]
        ran = sorted(pair for worker in self.engine.run("shards", parts, normalizers, seed, step) for pair in worker if pair[1])
        squares = sorted(pair for worker in self.engine.run("reduce") for pair in worker)
        norm, scale = clip_scale(math.sqrt(sum(square for _, square in squares)), self.model.settings[1].clip_norm)
        result = StepResult(tuple(map(sum, zip(*(losses for _, losses in ran), strict=True))), norm)
        if result.finite:
            self.engine.run("update", rate, scale, step)
        return result

    def close(self):
        """End the workers."""
        self.engine.close()
