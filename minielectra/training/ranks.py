"""Workers on ranks of MPI: processes, one worker each, that share no memory and may be on other machines.

Each rank has all weights, and updates a part of them: a stretch of the buffer, with the optimizer's moments
for it. A step has two exchanges. After the backward pass, every shard's gradient is cut, and each piece goes
to the rank that updates these weights. That rank adds the pieces in the order of the shards, as threads do,
so the bits are those of threads. (MPI's own sums would depend on the number of ranks.) After the update, each
rank sends its weights to all others.
"""

from itertools import pairwise

import numpy as np

from minielectra.backend import set_blas_threads, usable_cores
from minielectra.optim.buffer_blocks import contiguous_shares
from minielectra.training.mpi import ARRAY, wait_for, world
from minielectra.training.worker import Worker


class Rank:
    """The worker of one rank, and its side of the exchanges.

    Its memory has the shape of the block that threads share. Of the parts that it has nothing to do with, it
    never touches a byte, so the system gives no memory to them.
    """

    def __init__(self, comm, objective, shape, dtype):
        """shape, dtype: of the block of memory."""
        self.comm, self.block = comm, np.zeros(shape, dtype)
        self.worker = Worker(objective, self.block, comm.rank, comm.size)
        blocks = self.worker.optimizer.blocks
        shares = contiguous_shares(blocks, comm.size)
        self.worker.own(shares[comm.rank])
        edges = [blocks[share.start].start if share.start < len(blocks) else shape[1] for share in shares]
        edges = [0, *edges[1:], shape[1]]
        self.parts = [slice(a, b) for a, b in pairwise(edges)]  # of the buffer [P]: what each rank updates

    def collect(self):
        """Send the moments to the first rank, which then has all of them."""
        for moments in self.worker.memory.moments:
            self._exchange(*self._to_first(moments))

    def spread(self):
        """Take weights and moments from the first rank, after it has changed them."""
        memory = self.worker.memory
        self._wait(self.comm.Ibcast(memory.values))
        for moments in memory.moments:
            incoming, outgoing = self._to_first(moments)
            self._exchange(outgoing, incoming)

    def exchange_gradients(self):
        """Every piece of every shard's gradient goes to the rank that updates these weights."""
        outgoing, incoming = [], []
        for i, gradient in enumerate(self.worker.memory.gradients):
            if i in self.worker.replicas:
                outgoing += [(gradient[part], r, i) for r, part in enumerate(self.parts)]
            else:
                incoming.append((gradient[self.parts[self.comm.rank]], i % self.comm.size, i))
        self._exchange(outgoing, incoming)

    def exchange_values(self):
        """Every rank's part of the weights goes to all others."""
        counts = [part.stop - part.start for part in self.parts]
        starts = [part.start for part in self.parts]
        values = self.worker.memory.values
        in_place = None  # what MPI.IN_PLACE is to mpi4py
        self._wait(self.comm.Iallgatherv(in_place, [values, (counts, starts)]))

    def _to_first(self, row):
        """What this rank sends, and receives, if the parts of `row` [P] go to the first one -> two lists."""
        own = self.comm.rank
        if own:
            return [(row[self.parts[own]], 0, 0)], []
        return [], [(row[part], r, 0) for r, part in enumerate(self.parts)]

    def _exchange(self, outgoing, incoming):
        """Send and receive arrays, all at the same time; both: [(array, the other rank, number)]."""
        others = [[x for x in side if x[0].size and x[1] != self.comm.rank] for side in (outgoing, incoming)]
        requests = [self.comm.Irecv(array, r, ARRAY + number) for array, r, number in others[1]]
        requests += [self.comm.Isend(array, r, ARRAY + number) for array, r, number in others[0]]
        self._wait(*requests)

    def _wait(self, *requests):
        """Wait for requests of MPI."""
        wait_for(requests, "other ranks" if self.comm.rank == 0 else None)


class Ranks:
    """The team of workers on all ranks, as the first one sees it."""

    name = "mpi"

    def __init__(self, objective, shape, dtype, xp, count):
        """As for `Threads`; count: that of the ranks. The objective's structure travels to the others."""
        self.world = world()
        self.here = max(1, min(self.world.here, usable_cores()))
        self.world.call(_begin, objective, shape, np.dtype(dtype).str)
        self.block = self.world.desk.rank.block

    def run(self, method, *arguments):
        """method(worker, *arguments), a method of `Worker`, for every worker -> list of results."""
        if method is Worker.sum_gradients:
            self.world.call(_on_rank, Rank.exchange_gradients)
        of_rank = self._own_shards if method is Worker.run_shards else None
        results = self.world.call(_on_worker, method, *arguments, of_rank=of_rank)
        if method is Worker.update:
            self.world.call(_on_rank, Rank.exchange_values)
        return results

    def _own_shards(self, arguments, rank):
        """The arguments of `run_shards`, of whose batches a rank gets only its own."""
        method, parts, *others = arguments
        own = [part if i % self.world.size == rank else None for i, part in enumerate(parts)]
        return method, own, *others

    def collect(self):
        """Bring all moments to this rank."""
        self.world.call(_on_rank, Rank.collect)

    def spread(self):
        """Give this rank's weights and moments to all."""
        self.world.call(_on_rank, Rank.spread)

    def close(self):
        """Let all ranks forget their memory."""
        if not self.world.unanswered:  # after a second Ctrl-C they do not listen, and will be ended
            self.world.call(_forget)


# What ranks are called for. `desk.rank` is a Rank.


def _begin(desk, objective, shape, dtype):
    set_blas_threads(1)
    desk.rank = Rank(desk.comm, objective, shape, dtype)


def _on_worker(desk, method, *arguments):
    return method(desk.rank.worker, *arguments)


def _on_rank(desk, method):
    method(desk.rank)


def _forget(desk):
    desk.rank = None
