"""The ways to run a step, with the same bits: plainly, on threads, in processes, or on ranks of MPI."""

import math

import numpy as np

from minielectra.backend import Workspace, set_blas_threads
from minielectra.errors import InputError
from minielectra.nn.parameters import replica
from minielectra.optim.clipping import clip_scale
from minielectra.training.memory import make_optimizer, memory_of, memory_shape
from minielectra.training.mpi import world
from minielectra.training.processes import Processes, processes_available
from minielectra.training.ranks import Ranks
from minielectra.training.step import StepResult, shard_slices, training_step
from minielectra.training.threads import Threads
from minielectra.training.worker import Worker

WORKERS = ("threads", "processes", "plain", "mpi")


def make_engine(objective, threads=None, workers=None):
    """The engine that trains `objective`, an initialised `Objective`, from its present weights -> Engine.

    threads: number of workers; at most, and by default, one per shard. workers: "processes" (the default on
    Linux), "threads", "plain", which runs one shard after the other, as the course shows it, or "mpi": one
    per rank. Raises InputError for ranks that would have nothing to do.
    """
    if workers not in (None, *WORKERS):
        raise InputError(f"unknown workers {workers!r}: choose {', '.join(WORKERS[:-1])} or {WORKERS[-1]}")
    on_host = objective.parameters.xp is np
    if on_host:
        set_blas_threads(1)
    if workers == "plain":
        return PlainEngine(objective)
    if workers == "mpi":
        check_ranks(objective.config, "cpu" if on_host else "gpu", threads)
        return RanksEngine(objective)
    count = min(threads or objective.config.shards, n_shards(objective))
    if workers is None:
        workers = "processes" if processes_available() else "threads"
    return ParallelEngine(objective, Processes if workers == "processes" and count > 1 else Threads, count)


def n_shards(objective):
    """How many shards its batches are cut into. A device gets the whole batch at once."""
    if objective.parameters.xp is not np:
        return 1
    return min(objective.config.shards, objective.config.batch_size)


def check_ranks(config, device="cpu", threads=None):
    """Raise InputError if ranks of MPI cannot share the training of a TrainingConfig.

    device, threads: what the user wants besides.
    """
    if device != "cpu":
        raise InputError("--workers mpi needs --device cpu: on GPUs, a run uses one; leave --workers out")
    if threads is not None:
        raise InputError("--threads does not apply to --workers mpi; mpiexec -n N starts N workers")
    ranks, shards = world().size, min(config.shards, config.batch_size)
    if ranks > shards:
        raise InputError(
            f"mpiexec started {ranks} ranks, but batches are cut into {shards} shards, and each rank "
            f"needs one: use mpiexec -n {shards}, or start a run with --set shards={ranks}"
        )


class _SharedMemory:
    """An engine whose workers all use the memory of this process."""

    @property
    def n_here(self):
        """How many workers run on this machine: as many threads may be busy between two steps."""
        return self.n_workers

    def collect(self):
        """Make `optimizer.moments` whole, before they are read. There is nothing to do."""

    def spread(self):
        """Tell all workers that weights or moments were changed here. There is nothing to do."""


class PlainEngine(_SharedMemory):
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


class ParallelEngine(_SharedMemory):
    """The parts of `training_step` on a team of workers."""

    def __init__(self, objective, team, n_workers):
        """team: `Threads`, `Processes` or `Ranks`."""
        parameters = objective.parameters
        self.workers = team.name
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
            self.team.run(Worker.update, rate, scale, number, self.objective.frozen(batch))
        return result

    def close(self):
        """End the workers."""
        self.team.close()

    def _in_order(self, method, *arguments):
        """Run a method of every worker that returns [(number, result)] -> all results, by number."""
        pairs = [pair for found in self.team.run(method, *arguments) for pair in found]
        return [result for _, result in sorted(pairs)]


class RanksEngine(ParallelEngine):
    """The same on ranks of MPI, each with memory of its own."""

    def __init__(self, objective):
        super().__init__(objective, Ranks, world().size)
        self.spread()

    @property
    def n_here(self):
        """How many ranks run on this machine, or processors if it has fewer."""
        return self.team.here

    def collect(self):
        """Bring all moments to this process: each rank has those of the weights that it updates."""
        self.team.collect()

    def spread(self):
        """Give all ranks the weights and moments of this process."""
        self.team.spread()
