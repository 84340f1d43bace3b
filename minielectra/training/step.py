"""One training step: the batch cut into shards, each run by a replica on its own thread, gradients summed in a fixed order.

NumPy lets go of Python's lock inside BLAS and inside its elementwise loops, so two shards on two threads, with BLAS limited to
one thread each, beat one batch with BLAS on two. For a fixed number of shards the results are the same bits, however many threads
run them; they change in the last digits with the number of shards, which is therefore a setting and never read off the machine.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from minielectra.backend import RandomStream, Workspace, set_blas_threads
from minielectra.nn.layers import Run
from minielectra.training.optimizer import Adam, clip_scale

STREAM_SHARD = 5  # purposes of random streams: every key is (seed, purpose, step, …)


class Pool(ThreadPoolExecutor):
    """Worker threads that know how many they are."""

    def __init__(self, threads):
        super().__init__(threads, thread_name_prefix="shard")
        self.threads = threads


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


class Trainee:
    """A model in training: replicas, their workspaces, the optimiser and the threads they run on."""

    def __init__(self, model, threads=None):
        """model: ElectraPretraining, initialised. threads: at most one for each shard (the default)."""
        self.model = model
        self.xp = model.parameters.xp
        config = model.pretraining
        on_host = self.xp is np
        self.shards = min(config.shards, config.batch_size) if on_host else 1
        self.pool = Pool(min(threads or self.shards, self.shards)) if on_host else None
        if on_host:
            set_blas_threads(1)
        self.replicas = [model.replica() for _ in range(self.shards)]
        self.workspaces = [Workspace(self.xp) for _ in range(self.shards)]
        self.optimizer = Adam(model.parameters, config)

    def step(self, batch, rate, seed, step):
        """One update with `batch` (a Batch on the host) at learning rate `rate` -> StepResult.

        Nothing is updated when a loss or the gradient is not finite: see `StepResult.finite`.
        """
        normalizers = batch.normalizers()
        parts = [batch.shard(part) for part in slices(len(batch.input_ids), self.shards)]
        losses = list(self.map(lambda i: self._shard(i, parts[i], normalizers, seed, step), range(len(parts))))
        grad = self.replicas[0].parameters.grad
        for replica in self.replicas[1 : len(parts)]:
            grad += replica.parameters.grad
        norm, scale = clip_scale(grad, self.model.pretraining.clip_norm)
        gen_loss = sum(float(gen) for gen, _ in losses)
        disc_loss = None if self.model.discriminator is None else sum(float(disc) for _, disc in losses)
        result = StepResult(gen_loss, disc_loss, norm)
        if result.finite:
            self.optimizer.update(grad, rate, scale, step, self.pool)
        return result

    def map(self, function, items):
        """`function` over `items` on the worker threads, results in order."""
        return map(function, items) if self.pool is None else self.pool.map(function, items)

    def _shard(self, i, part, normalizers, seed, step):
        replica, ws = self.replicas[i], self.workspaces[i]
        ws.reset()
        replica.parameters.zero_grad()
        random = RandomStream((seed, STREAM_SHARD, step, i), self.xp)
        run = Run(ws, random)
        part = part.to_device(self.xp)
        uniform = random.uniform(part.positions.size, self.model.parameters.flat.dtype)
        outcome = replica.forward_backward(part, normalizers, run, uniform)
        return outcome.gen_loss, outcome.disc_loss


def slices(count, parts):
    """`count` items in `parts` consecutive slices whose sizes differ by at most one."""
    edges = [count * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
