"""The ways to run a step, with the same bits: plainly, on threads, or in processes."""

import math

import numpy as np

from minielectra.backend import Workspace, set_blas_threads
from minielectra.errors import InputError
from minielectra.nn.parameters import replica
from minielectra.optim.clipping import clip_scale
from minielectra.training.memory import make_optimizer, memory_of, memory_shape
from minielectra.training.processes import Processes, processes_available
from minielectra.training.step import StepResult, shard_slices, training_step
from minielectra.training.threads import Threads
from minielectra.training.worker import Worker

WORKERS = ("threads", "processes", "plain")


def make_engine(objective, threads=None, workers=None):
    """The engine that trains `objective`, an initialised `Objective`, from its present weights -> Engine.

    threads: number of workers; at most, and by default, one per shard. workers: "processes" (the default on
    Linux), "threads", or "plain", which runs one shard after the other, as the course shows it.
    """
    if workers not in (None, *WORKERS):
        raise InputError(f"unknown workers {workers!r}: choose threads, processes or plain")
    on_host = objective.parameters.xp is np
    if on_host:
        set_blas_threads(1)
    if workers == "plain":
        return PlainEngine(objective)
    count = min(threads or objective.config.shards, n_shards(objective))
    if workers is None:
        workers = "processes" if processes_available() else "threads"
    return ParallelEngine(objective, Processes if workers == "processes" and count > 1 else Threads, count)


def n_shards(objective):
    """How many shards its batches are cut into. A device gets the whole batch at once."""
    if objective.parameters.xp is not np:
        return 1
    return min(objective.config.shards, objective.config.batch_size)


class PlainEngine:
    """`training_step`, and nothing else."""

    workers, n_workers = "plain", 1

    def __init__(self, objective):
        parameters, self.n_shards = objective.parameters, n_shards(objective)
        shape = memory_shape(objective, self.n_shards)
        memory = memory_of(objective, parameters.xp.zeros(shape, parameters.flat.dtype))
        memory.values[...] = parameters.flat
        self.replicas = [
            replica(objective, parameters.xp, memory.values, gradient) for gradient in memory.gradients
        ]
        self.objective = self.replicas[0]
        self.optimizer = make_optimizer(self.objective, memory)
        self._workspace = Workspace(parameters.xp)

    def step(self, batch, rate, seed, number):
        """One update with `batch` (on the host) at learning rate `rate` -> StepResult."""
        return training_step(self.replicas, self.optimizer, batch, rate, seed, number, self._workspace)

    def close(self):
        """Nothing to end."""


class ParallelEngine:
    """The parts of `training_step` on a team of workers."""

    def __init__(self, objective, team, n_workers):
        """team: `Threads` or `Processes`."""
        parameters = objective.parameters
        self.workers = team.__name__.lower()
        self.n_workers, self.n_shards = n_workers, n_shards(objective)
        shape = memory_shape(objective, self.n_shards)
        self.team = team(objective, shape, parameters.flat.dtype, parameters.xp, n_workers)
        memory = memory_of(objective, self.team.block)
        memory.values[...] = parameters.flat
        self.objective = replica(objective, parameters.xp, memory.values, memory.gradients[0])
        self.optimizer = make_optimizer(self.objective, memory)

    def step(self, batch, rate, seed, number):
        """One update with `batch` (on the host) at learning rate `rate` -> StepResult.

        Nothing is updated if a loss or the gradient is not finite: see `StepResult.finite`.
        """
        normalizers = batch.normalizers()
        parts = [batch.shard(part) for part in shard_slices(len(batch.input_ids), self.n_shards)]
        losses = self._in_order(Worker.run_shards, parts, normalizers, seed, number)
        norm = math.sqrt(sum(self._in_order(Worker.sum_gradients)))
        result = StepResult(tuple(map(sum, zip(*losses, strict=True))), norm)
        if result.finite:
            scale = clip_scale(norm, self.objective.config.clip_norm)
            self.team.run(Worker.update, rate, scale, number)
        return result

    def close(self):
        """End the workers."""
        self.team.close()

    def _in_order(self, method, *arguments):
        """Run a method of every worker that returns [(number, result)] -> all results, by number."""
        pairs = [pair for found in self.team.run(method, *arguments) for pair in found]
        return [result for _, result in sorted(pairs)]
