"""The parent's side of the pipes: starting workers, asking them one at a time, and leaving none behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.contenders import parse

ROOT = Path(__file__).resolve().parents[1]
PAUSE = (
    0.25  # seconds before each turn: threads of the previous contender spin for a while after their last call
)
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
MALLOC = {  # keep freed memory instead of giving it back to the system and faulting it in again, every step
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}


class WorkerError(Exception):
    """A contender failed; the message is one line for its row."""


class Worker:
    """One contender in a process of its own."""

    def __init__(self, name, setting):
        self.name, self.failure, self.versions = name, None, {}
        environment = dict(os.environ, TOKENIZERS_PARALLELISM="false")
        environment |= dict.fromkeys(THREAD_VARIABLES, str(setting.threads))
        if parse(name)[0] == "lean":
            environment |= MALLOC
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contenders", name, json.dumps(setting.as_dict())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C reaches the parent only, which ends the whole group
        )

    def ask(self, do, **fields):
        """Send one command and wait for its answer -> dict. Raises WorkerError; then the worker is gone."""
        try:
            print(json.dumps({"do": do, **fields}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": f"process ended with code {self._process.wait()}"}
        if "error" in answer:
            self.failure = answer["error"].replace("|", "/")
            self.kill()
            raise WorkerError(self.failure)
        return answer

    def close(self):
        """Let the process end by itself; kill it if it will not."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.stdin.close()
            self._process.wait(10)
        self.kill()

    def kill(self):
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Crew:
    """The contenders of one setting. A context manager: at its end no process is left."""

    def __init__(self, names, setting):
        self.setting, self._names, self.all = setting, names, []

    def __enter__(self):
        try:
            for name in self._names:
                self.all.append(Worker(name, self.setting))
            for worker, answer in self.ask("hello"):
                worker.versions = answer["versions"]
        except BaseException:
            self._end(Worker.kill)
            raise
        return self

    def __exit__(self, kind, *_):
        self._end(Worker.close if kind is None else Worker.kill)

    def _end(self, how):
        for worker in self.all:
            how(worker)

    def ask(self, do, **fields):
        """Every worker that has not failed, in turn -> [(worker, answer)] of those that did not now."""
        return list(self._in_turn(self._alive(), do, fields))

    def _alive(self):
        return [worker for worker in self.all if worker.failure is None]

    def rounds(self, turns, do, progress, **fields):
        """`turns` turns of every worker -> {worker: [answer per turn]}. Another one goes first every time."""
        answers = {worker: [] for worker in self.all}
        for turn in range(turns):
            progress(turn)
            alive = self._alive()
            first = turn % len(alive) if alive else 0
            for worker, answer in self._in_turn(alive[first:] + alive[:first], do, fields):
                answers[worker].append(answer)
        return answers

    def _in_turn(self, workers, do, fields):
        for worker in workers:
            time.sleep(PAUSE)
            with contextlib.suppress(WorkerError):
                yield worker, worker.ask(do, **fields)


def use_cores(count):
    """Keep this process, and all that it will start, on its first `count` cores -> how many it had.

    Does nothing if the system cannot do that.
    """
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:count])
    return len(cores)


@contextlib.contextmanager
def spinning():
    """Within, another process spins on the first core; it ends by itself should this process be killed."""
    code = (
        "import os, sys\n"
        "if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "while os.getppid() == int(sys.argv[1]):\n"
        "    for _ in range(1_000_000): pass\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(os.getpid())], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()
