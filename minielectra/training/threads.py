"""Workers on threads of this process.

NumPy lets go of Python's lock inside BLAS and inside its elementwise loops. So two shards on two threads,
with BLAS limited to one thread each, beat one batch with BLAS on two.
"""

from concurrent.futures import ThreadPoolExecutor

from minielectra.training.worker import Worker


class Threads:
    """A team of workers, each on a thread of its own. A team of one works on the caller's."""

    name = "threads"

    def __init__(self, objective, shape, dtype, xp, count):
        """shape, dtype: of the shared block of memory, which is made here.

        xp: the block's array module; count: the number of workers.
        """
        self.block = xp.zeros(shape, dtype)
        self.workers = [Worker(objective, self.block, i, count) for i in range(count)]
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="shard") if count > 1 else None

    def run(self, method, *arguments):
        """method(worker, *arguments), a method of `Worker`, for every worker -> list of results."""
        if self._pool is None:
            return [method(worker, *arguments) for worker in self.workers]
        return list(self._pool.map(lambda worker: method(worker, *arguments), self.workers))

    def close(self):
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
