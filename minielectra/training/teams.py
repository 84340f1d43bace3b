"""Two ways to run the parts of a step at once, behind one interface: threads, and processes over shared memory.

NumPy lets go of Python's lock inside BLAS and inside its elementwise loops, so two shards on two threads, with BLAS limited to one
thread each, beat one batch with BLAS on two. Processes do not share the lock at all: on small models, where Python's own share of
a step is larger, they are faster still. Both work in one block of memory and give the same bits.
"""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from minielectra.errors import InputError


def processes_available():
    """Whether this system can hand memory without a name to another process (Linux)."""
    return hasattr(os, "memfd_create")


class Threads:
    """Workers on threads of this process; one worker needs none."""

    def __init__(self, make, arguments, shape, dtype, xp, count):
        """make(*arguments, memory, index, count) -> worker; memory: zeros of `shape` and `dtype` from the array module `xp`."""
        self.memory = xp.zeros(shape, dtype)
        self.workers = [make(*arguments, self.memory, i, count) for i in range(count)]
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="shard") if count > 1 else None

    def run(self, method, *arguments):
        """Call a method of every worker -> list of results."""
        calls = [getattr(worker, method) for worker in self.workers]
        if self._pool is None:
            return [call(*arguments) for call in calls]
        return list(self._pool.map(lambda call: call(*arguments), calls))

    def close(self):
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class Processes:
    """The first worker in this process, each other in one of its own; all see the same memory.

    Memory and pipes are handed over as open file descriptors: nothing has a name in the file system, so that nothing is left behind,
    however a process ends. A worker whose pipe is closed has lost its parent, and ends.
    """

    def __init__(self, make, arguments, shape, dtype, xp, count):
        """As of `Threads`; make and arguments travel to the other processes."""
        if not processes_available() or xp is not np:
            raise InputError("--workers processes needs Linux and --device cpu; use --workers threads")
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        descriptor = os.memfd_create("minielectra")
        os.ftruncate(descriptor, size)
        self.memory = _map(descriptor, shape, dtype)
        self.workers = [make(*arguments, self.memory, 0, count)]
        self._children = [
            self._start(descriptor, (make, arguments, shape, np.dtype(dtype).str, i, count)) for i in range(1, count)
        ]
        os.close(descriptor)

    def _start(self, descriptor, setting):
        (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
        root = str(Path(__file__).resolve().parents[2])  # so that a checkout that is not installed works too
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        command = [sys.executable, "-m", "minielectra.training.teams", *map(str, (descriptor, their_in, their_out))]
        process = subprocess.Popen(command, pass_fds=(descriptor, their_in, their_out), env=environment, stdin=subprocess.DEVNULL)
        os.close(their_in)
        os.close(their_out)
        child = (process, Connection(our_out, readable=False), Connection(our_in, writable=False))
        child[1].send_bytes(pickle.dumps(setting))
        return child

    def run(self, method, *arguments):
        """Call a method of every worker -> list of results. Raises RuntimeError where another process failed, InputError where one
        is gone."""
        message = pickle.dumps((method, arguments))
        try:
            for _, out, _ in self._children:
                out.send_bytes(message)
            try:
                results = [getattr(self.workers[0], method)(*arguments)]
            finally:  # an answer left in the pipe would be taken for the next one
                answers = [pickle.loads(answer.recv_bytes()) for _, _, answer in self._children]
        except (EOFError, OSError):
            raise InputError(
                "a worker process has ended, killed perhaps for want of memory; resume with --workers threads"
            ) from None
        for error, result in answers:
            if error is not None:
                raise RuntimeError(f"in a worker process: {error}")
            results.append(result)
        return results

    def close(self):
        """End the other processes."""
        for process, out, answer in self._children:
            out.close()
            answer.close()
            process.wait()
        self._children = []

    def __del__(self):
        if getattr(self, "_children", None):
            self.close()


def _map(descriptor, shape, dtype):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap(descriptor, size), dtype).reshape(shape)


def serve(descriptor, incoming, outgoing):
    """What another process does: one worker, at the parent's command, until the parent closes the pipe."""
    from minielectra.backend import set_blas_threads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the parent saves, then ends this one
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    set_blas_threads(1)
    incoming, outgoing = Connection(incoming, writable=False), Connection(outgoing, readable=False)
    make, arguments, shape, dtype, index, count = pickle.loads(incoming.recv_bytes())
    worker = make(*arguments, _map(descriptor, shape, dtype), index, count)
    while True:
        try:
            method, values = pickle.loads(incoming.recv_bytes())
        except EOFError:
            return
        try:
            answer = (None, getattr(worker, method)(*values))
        except Exception as error:  # told to the parent, who raises it
            answer = (f"{type(error).__name__}: {error}", None)
        try:
            outgoing.send_bytes(pickle.dumps(answer))
        except OSError:
            return


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
