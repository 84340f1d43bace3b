"""Workers in processes of their own, over shared memory.

Processes do not share Python's lock. On small models, where Python itself takes more of a step, they are
faster than threads.

Memory and pipes are handed over as open file descriptors. Nothing has a name in the file system, so nothing
is left behind, however a process ends. A worker whose pipe is closed has lost its parent, and ends.
"""

import os
import pickle
import select
import signal
import subprocess
import sys
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minielectra.backend import set_blas_threads
from minielectra.errors import InputError
from minielectra.training.worker import Worker

TOLD_AFTER, GIVEN_UP_AFTER = 5, 60  # seconds that a worker process has been stopped
PATIENCE = 10.0  # seconds for a worker process to end


def processes_available():
    """Whether this system can hand memory without a name to another process (Linux)."""
    return hasattr(os, "memfd_create")


class WorkerLost(InputError):
    """A worker process has ended by itself, or was stopped and does not go on."""

    def __init__(self, advice="try again with", problem="has ended, perhaps because memory ran out"):
        """advice: how to go on; "--threads 1" follows, which works without other processes."""
        super().__init__(f"a worker process {problem}; {advice} --threads 1")
        self.problem = problem

    def advising(self, advice):
        """The same error with other advice."""
        return WorkerLost(advice, self.problem)


class Child(NamedTuple):
    """Another process and the two pipes to it."""

    process: subprocess.Popen
    calls: Connection
    answers: Connection

    def receive(self):
        """The answer to a call, as soon as it is there. A slow process is waited for; one that somebody
        stopped (SIGSTOP) is named, and given up after a minute.

        Raises EOFError or OSError if the process is gone, WorkerLost if it stays stopped.
        """
        stopped = 0  # seconds, as this process has lived them: it may have been stopped, too
        pipe = select.poll()
        pipe.register(self.answers, select.POLLIN)
        while not pipe.poll(1000):
            stopped = stopped + 1 if _is_stopped(self.process.pid) else 0
            number = self.process.pid
            if stopped == TOLD_AFTER:
                told = f"worker process {number} is stopped; `kill -CONT {number}` lets it go on"
                print(told, file=sys.stderr, flush=True)
            elif stopped >= GIVEN_UP_AFTER:
                raise WorkerLost(problem=f"({number}) is stopped and does not go on")
        return pickle.loads(self.answers.recv_bytes())

    def end(self):
        """Close the pipes, which ends the process; one that cannot end by itself is killed."""
        self.calls.close()
        self.answers.close()
        try:
            if _is_stopped(self.process.pid):
                self.process.kill()
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Processes:
    """A team of workers: the first in this process, each other in one of its own. All see the same memory."""

    name = "processes"

    def __init__(self, objective, shape, dtype, xp, count):
        """As for `Threads`. The objective's structure travels to the other processes."""
        if not processes_available() or xp is not np:
            raise InputError("--workers processes needs Linux and --device cpu; use --workers threads")
        descriptor = os.memfd_create("minielectra")
        os.ftruncate(descriptor, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self.block = _map(descriptor, shape, dtype)
        self.workers = [Worker(objective, self.block, 0, count)]
        self._children = []
        try:
            for i in range(1, count):
                setting = (objective, shape, np.dtype(dtype).str, i, count)
                self._children.append(_start(descriptor, setting))
        except OSError:
            self.close()
            raise WorkerLost() from None
        finally:
            os.close(descriptor)

    def run(self, method, *arguments):
        """method(worker, *arguments), a method of `Worker`, for every worker -> list of results.

        Raises RuntimeError if it failed in another process, WorkerLost if a process is gone or stopped.
        """
        message = pickle.dumps((method, arguments))
        try:
            for child in self._children:
                child.calls.send_bytes(message)
            try:
                results = [method(self.workers[0], *arguments)]
            finally:  # an answer left in the pipe would be taken for the next one
                answers = [child.receive() for child in self._children]
        except (EOFError, OSError):
            raise WorkerLost() from None
        for error, result in answers:
            if error is not None:
                raise RuntimeError(f"in a worker process: {error}")
            results.append(result)
        return results

    def close(self):
        """End the other processes."""
        for child in self._children:
            child.end()
        self._children = []

    def __del__(self):
        if getattr(self, "_children", None):
            self.close()


def _start(descriptor, setting):
    """Start a process over the memory behind `descriptor`; setting: what its worker is made of -> Child."""
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    root = str(Path(__file__).resolve().parents[2])  # so that a checkout works that is not installed
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    ours = (descriptor, their_in, their_out)
    process = subprocess.Popen(
        [sys.executable, "-m", "minielectra.training.processes", *map(str, ours)],
        pass_fds=ours,
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    child = Child(process, Connection(our_out, readable=False), Connection(our_in, writable=False))
    try:
        child.calls.send_bytes(pickle.dumps(setting))
    except OSError:
        child.end()
        raise
    return child


def _is_stopped(number):
    """Whether a process is stopped, as by SIGSTOP or a terminal's Ctrl-Z."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["T"]


def _map(descriptor, shape, dtype):
    """The memory behind a descriptor as an array."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap(descriptor, size), dtype).reshape(shape)


def serve(descriptor, incoming, outgoing):
    """What another process does: one worker, at the parent's command, until the parent closes the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # They may go to all processes, but the parent saves first, and then ends this one.
        signal.signal(number, signal.SIG_IGN)
    set_blas_threads(1)
    incoming, outgoing = Connection(incoming, writable=False), Connection(outgoing, readable=False)
    objective, shape, dtype, index, count = pickle.loads(incoming.recv_bytes())
    worker = Worker(objective, _map(descriptor, shape, dtype), index, count)
    while True:
        try:
            method, arguments = pickle.loads(incoming.recv_bytes())
        except EOFError:
            return
        try:
            answer = (None, method(worker, *arguments))
        except Exception as error:  # the parent is told, and raises it
            answer = (f"{type(error).__name__}: {error}", None)
        try:
            outgoing.send_bytes(pickle.dumps(answer))
        except OSError:
            return


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
