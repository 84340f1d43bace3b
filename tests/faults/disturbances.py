"""Disturbing a command, running it again, and comparing the result with an undisturbed one."""

import contextlib
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from . import scenarios
from .scenarios import INTERRUPTED, SCENARIOS, content
from .shim import Shim

LIMIT = 120  # seconds until a command counts as hanging
ACTIONS = {
    "kill": "kill",
    "Ctrl-C": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
    "SIGHUP": getattr(signal, "SIGHUP", None),
    "full disk": "full",
}


class Outcome(NamedTuple):
    """How a command ended: status (minus the signal's number if one ended it), and what it printed."""

    status: int
    printed: str
    count: int  # calls to the file system
    record: list


class Bench:
    """A folder in which scenarios run. The same path each time, because runs record paths."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.base, self.work, self.starts = self.folder / "base", self.folder / "work", self.folder / "starts"
        self.starts.mkdir()
        for name in ("NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        os.environ["MINIELECTRA_CACHE"] = str(self.folder / "cache")
        _import_everything()
        with (
            (self.folder / "base.log").open("w") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            scenarios.make_base(self.base)
        self.expected, self.counts, self.records = {}, {}, {}
        for scenario in SCENARIOS:
            self._measure(scenario)

    def close(self):
        """Remove the folder."""
        os.chdir("/")
        shutil.rmtree(self.folder)

    def _measure(self, scenario):
        """Run a scenario undisturbed: its result, its number of calls and their record."""
        start = self.starts / scenario.name.replace(" ", "_")
        if scenario.name in INTERRUPTED:
            other = next(one for one in SCENARIOS if one.name == INTERRUPTED[scenario.name])
            self.begin(other)
            self.attempt(other.words, "kill", self.counts[other.name] * 6 // 10)
            shutil.copytree(self.work, start, symlinks=True)
        else:
            scenario.start(self.base, start)
        self.begin(scenario)
        done = self.attempt(scenario.words, record=True)
        assert done.status == 0, f"{scenario.name}: {done.status}\n{done.printed}"
        self.counts[scenario.name], self.records[scenario.name] = done.count, done.record
        self.expected[scenario.name] = content(self.work)

    def start_of(self, scenario):
        """The folder that a scenario starts from."""
        return self.starts / scenario.name.replace(" ", "_")

    def begin(self, scenario):
        """Fill the working folder with what the scenario starts from."""
        os.chdir("/")
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.start_of(scenario), self.work, symlinks=True)

    def attempt(self, words, action=None, at=0, record=False):
        """Run words in a process of its own, in the working folder -> Outcome."""
        log, found = self.folder / "log", self.folder / "found"
        found.unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _live(words, self.work, log, found, action, at, record)
        status = _wait(child)
        count, recorded = pickle.loads(found.read_bytes()) if found.exists() else (0, [])
        return Outcome(status, log.read_text(encoding="utf-8", errors="replace"), count, recorded)

    def disturb(self, scenario, kind, at):
        """Disturb a scenario at call number `at`, and go on -> what is wrong, or ""."""
        self.begin(scenario)
        first = self.attempt(scenario.words, ACTIONS[kind], at)
        return _fault_of(first, kind) or self.go_on(scenario)

    def go_on(self, scenario):
        """Run the command once more, and compare -> what is wrong, or ""."""
        os.chdir(self.work)
        words = scenario.again()
        os.chdir("/")
        second = self.attempt(words)
        done = second.status == 0 or any(text in second.printed for text in scenario.allowed)
        if not done:
            return f"the second command ends with {second.status}: {_end(second)}"
        found, expected = content(self.work), self.expected[scenario.name]
        if left := sorted(found.keys() - expected.keys()):
            return f"left behind: {', '.join(left)}"
        if lost := sorted(expected.keys() - found.keys()):
            return f"missing: {', '.join(lost)}"
        other = [name for name in found if found[name] != expected[name]]
        return f"other content: {', '.join(other)}" if other else ""


def evenly(count, number=None):
    """The numbers from 1 to `count`, or `number` of them that lie evenly."""
    if number is None or number >= count:
        return list(range(1, count + 1))
    return sorted({1 + round((i + 0.5) * count / number - 0.5) for i in range(number)})


def _fault_of(outcome, kind):
    """What is wrong with how a disturbed command ended, or ""."""
    if "Traceback" in outcome.printed:
        return f"traceback: {_end(outcome)}"
    fine = {
        "kill": (-signal.SIGKILL, 0),  # 0: the call came from somewhere that a kill does not matter to
        "Ctrl-C": (130, 0),
        "SIGTERM": (130, -signal.SIGTERM, 0),
        "SIGHUP": (130, -ACTIONS["SIGHUP"], 0) if ACTIONS["SIGHUP"] else (),
        "full disk": (2, 0),  # 0: what could not be written does not matter, such as a lesson's progress
    }[kind]
    if outcome.status not in fine:
        return f"ends with {outcome.status}: {_end(outcome)}"
    return ""


def _end(outcome):
    return " | ".join(outcome.printed.replace("\r", "\n").strip().splitlines()[-3:])[-600:]


def _wait(child):
    """Wait for a process -> its status, minus the signal's number if one ended it."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 124


def _live(words, work, log, found, action, at, record):
    """What the other process does; it never returns."""
    status, shim = 1, None
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(work)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        calls = [] if record else None
        shim = Shim(work, action, at, calls)
        if record:
            from .power_cuts import announce

            announce(shim)
        try:
            status = scenarios.run(words)
        except KeyboardInterrupt:  # as Python itself does, but main() should not let it come here
            traceback.print_exc()
        shim.action = None
        found.write_bytes(pickle.dumps((shim.count, calls)))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _import_everything():
    """Import what commands import when they run, so that each fork need not."""
    import matplotlib.backends.backend_agg
    import tqdm

    import minielectra.detect
    import minielectra.finetuning.experiment
    import minielectra.lessons
    import minielectra.plots.development_scores
    import minielectra.plots.draw
    import minielectra.pretraining.load
    import minielectra.pretraining.start
    import minielectra.report

    tqdm.tqdm.monitor_interval = 0  # no thread of its own, which a fork would lose
    return matplotlib, minielectra
