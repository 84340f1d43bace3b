"""MPI: `mpiexec -n N` starts a command N times; the first rank runs it, and the others do what it calls.

The first rank does all that a run without MPI does: it prepares the data, keeps the files and their lock,
asks the clock, catches signals and prints. The other ranks read no option and no file. They wait for calls
until the first one ends. So ranks cannot disagree about what comes next, and machines need not share a disk.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

from minielectra.errors import InputError, reason

HOW_TO_GET_IT = "pip install 'minielectra[mpi]' installs mpi4py and mpiexec"
CALL, ANSWER, ARRAY = 1, 2, 3  # tags of messages; arrays have tags from ARRAY on
BUSY, NAP = 0.005, 0.001  # seconds of waiting without a pause, then of each pause
TOLD_AFTER = 60  # seconds that the first rank has waited for another one

# What MPICH and Intel MPI, and what Open MPI, tell a process about itself.
_LAUNCHERS = (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"))
_LAST_WORDS = (  # a line of their own: a progress bar may stand where they are printed
    "\nminielectra: a rank was killed, perhaps because its machine's memory ran out, and mpiexec ended all; "
    "train --resume RUN goes on from the last checkpoint"
)
_world = None  # on the first rank, while the others listen


def asked_for(argv):
    """Whether a command line asks for --workers mpi, in full or shortened."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--w") else [word])]
    return any(
        value == "mpi" and len(option) > 2 and "--workers".startswith(option)
        for option, value in pairwise(words)
    )


def launched():
    """(own rank, number of ranks), as mpiexec says, without asking MPI; (0, 1) if it did not start this."""
    for rank, size in _LAUNCHERS:
        with contextlib.suppress(KeyError, ValueError):
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def check_not_started_by_mpi():
    """Raise InputError if mpiexec has started this process several times, but nobody asked for MPI.

    Only the first rank says so; the others exit with status 2.
    """
    rank, count = launched()
    if count > 1 and _world is None:
        if rank:
            sys.exit(2)
        raise InputError(f"mpiexec has started {count} of these: add --workers mpi, or leave mpiexec out")


@contextlib.contextmanager
def first_rank():
    """Within it, the ranks work together. It gives True on the first one, and False on each other rank, which
    has then done its work.

    Raises InputError on the first rank, and exits with status 2 on the others, if there is no usable MPI.
    """
    global _world
    rank, count = launched()
    if rank:
        _ignore_signals()
    with contextlib.ExitStack() as last_words:
        if rank == 0 and count > 1:
            last_words.enter_context(_LastWords())
        try:
            with _interrupt_noted() as interrupted:  # others must not wait for a rank that has gone
                comm, here = _connect(count)
        except InputError:
            if rank:
                sys.exit(2)
            raise
        if comm.rank:
            _ignore_signals()
            _serve(comm)
            yield False
            return
        _world = World(comm, here)
        try:
            if interrupted:
                raise KeyboardInterrupt
            yield True
        finally:
            if _world.unanswered:  # others may wait for this rank, and would wait for ever
                last_words.close()
                comm.Abort(2 if _world.lost else 130)  # 130: this one was interrupted
            _world.end()
            _world = None


def world():
    """The World of the first rank. Outside of `first_rank()` it is this process alone."""
    if _world is not None:
        return _world
    rank, count = launched()
    if count > 1:
        raise InputError(f"rank {rank} of {count} is not within minielectra.training.mpi.first_rank()")
    return World(*_connect(1))


class World:
    """All ranks, as the first one sees them."""

    def __init__(self, comm, here):
        """comm: MPI's communicator; here: how many of its ranks run on this machine."""
        self.comm, self.size, self.here = comm, comm.size, here
        self.desk = SimpleNamespace(comm=comm)
        self.unanswered = False  # whether another rank is, or may be, at work
        self.lost = False  # whether MPI could not reach another rank

    def call(self, function, *arguments, of_rank=None):
        """function(desk, *arguments) on every rank -> list of results.

        desk: an object with MPI's `comm`, on which functions leave what later ones need.
        of_rank(arguments, rank): what a rank gets of the arguments; default: all. Raises what was raised on
        this rank; for other ranks InputError and MemoryError, or else RuntimeError. A function that may fail
        on one rank must not wait for others afterwards.
        """
        of_rank = of_rank or (lambda all_of_them, _: all_of_them)
        ranks, comm = range(1, self.size), self.comm
        self.unanswered = self.size > 1
        calls = [comm.isend((function, of_rank(arguments, r)), r, CALL) for r in ranks]
        wait_for(calls, "other ranks")  # while this rank computes, messages may not move
        failed = None
        try:
            results = [function(self.desk, *of_rank(arguments, 0))]
        except Exception as error:  # raised below, once every other rank has answered
            if type(error).__module__.startswith("mpi4py"):
                self.lost = True
                raise InputError(f"MPI has lost another rank ({reason(error)}); --resume goes on") from None
            failed = error
        answers = [_receive(comm, r, ANSWER, f"rank {r}") for r in ranks]
        self.unanswered = False
        if failed is not None:
            raise failed
        for r, (error, result) in zip(ranks, answers, strict=True):
            if error is not None:
                _raise_as(r, *error)
            results.append(result)
        return results

    def end(self):
        """Let the other ranks end."""
        wait_for([self.comm.isend(None, r, CALL) for r in range(1, self.size)], "other ranks")


def _serve(comm):
    """What every rank but the first does: what it is called for, until the first one ends."""
    desk = SimpleNamespace(comm=comm)
    try:
        while (call := _receive(comm, 0, CALL)) is not None:
            function, arguments = call
            try:
                answer = (None, function(desk, *arguments))
            except Exception as error:  # the first rank is told, and raises it
                answer = ((type(error).__name__, str(error)), None)
            comm.send(answer, 0, ANSWER)
    except BaseException as error:
        print(f"minielectra: rank {comm.rank}: {reason(error)}", file=sys.stderr, flush=True)
        comm.Abort(2)


def _raise_as(rank, name, text):
    """Raise what another rank has raised: an exception of this name and text."""
    if name == "InputError":
        raise InputError(text)
    if name == "MemoryError":
        raise MemoryError
    raise RuntimeError(f"on rank {rank}: {name}: {text}")


def _receive(comm, source, tag, who=None):
    """The next message of a rank, as soon as it is there."""
    wait_until(lambda: comm.iprobe(source, tag), who)
    return comm.recv(source=source, tag=tag)


def wait_for(requests, who=None):
    """Wait until requests of MPI are done, as `wait_until` does."""
    wait_until(lambda: all([request.Test() for request in requests]), who)


def wait_until(done, who=None):
    """Wait until done() is true. Unlike MPI's own waiting, it soon leaves the processor to others, and lets
    Python handle signals.

    who: whom it waits for; named on standard error after a minute.
    """
    begin, told = time.monotonic(), who is None
    while not done():
        waited = time.monotonic() - begin
        if waited > BUSY:
            time.sleep(NAP)
        elif hasattr(os, "sched_yield"):
            os.sched_yield()
        if not told and waited > TOLD_AFTER:
            print(f"still waiting for {who} (pressing Ctrl-C twice ends all)", file=sys.stderr, flush=True)
            told = True


def _connect(count):
    """Start MPI, on all ranks -> the communicator, how many of its ranks run on this machine.

    count: how many ranks there should be. Raises InputError if there is no MPI, or not the one that has
    started this process.
    """
    try:
        from mpi4py import MPI
    except ModuleNotFoundError:
        raise InputError(f"--workers mpi needs mpi4py, which is not installed: {HOW_TO_GET_IT}") from None
    except Exception as error:  # no library of MPI, or one that cannot start
        raise InputError(f"--workers mpi: mpi4py cannot use MPI ({reason(error)}): {HOW_TO_GET_IT}") from None
    comm = MPI.COMM_WORLD
    if comm.size < count:
        library = MPI.Get_library_version().split("\n")[0].strip()
        raise InputError(
            f"--workers mpi: mpiexec started {count} ranks, but mpi4py sees {comm.size}: it uses {library}, "
            f"and this mpiexec belongs to another MPI; {HOW_TO_GET_IT}, which fit"
        )
    return comm, comm.Split_type(MPI.COMM_TYPE_SHARED).size


@contextlib.contextmanager
def _interrupt_noted():
    """Within it, Ctrl-C only puts something into the list that it gives."""
    noted = []
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        yield noted
        return
    signal.signal(signal.SIGINT, lambda *_: noted.append(True))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _ignore_signals():
    """mpiexec hands signals to all ranks, but the first one saves, and then ends the others."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class _LastWords:
    """A process that says why, should this one be killed.

    If a rank is killed, mpiexec kills the others at once, so that none of them could say anything. This
    process is no rank. It ends with the first rank.
    """

    _process = None

    def __enter__(self):
        program = f"import sys; sys.stdin.read() or print({_LAST_WORDS!r}, file=sys.stderr)"
        with contextlib.suppress(OSError):  # it can be done without
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_):
        """End it without a word."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.communicate(b"all is well")
