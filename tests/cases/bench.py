"""What every case is checked with: its registration, a copy of its folder, and commands run there."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
BASE = "../_base"  # as seen from a case's folder


class Wrong(AssertionError):
    """A case does not behave as it should."""


class Skipped(Exception):
    """A case cannot be tried here."""


def expect(condition, message):
    """Raise Wrong if something does not hold."""
    if not condition:
        raise Wrong(message)


@dataclass(frozen=True)
class Case:
    """How a case is checked: a function of its Bench; and the suite's tests of the same, `file::test`."""

    check: object
    own_tests: tuple


CASES = {}  # {name of the folder: Case}


def case(name, *own_tests):
    """Register a function as the check of a case."""

    def register(check):
        CASES[name] = Case(check, own_tests)
        return check

    return register


class Bench:
    """A copy of a folder of cases, in which one case is run.

    `folder` holds the case's inputs and is the working folder of its commands; `out` is an empty folder
    beside it; `notes` says what could not be compared.
    """

    def __init__(self, cases, name, place):
        """cases: the folder of cases, which may be read-only; place: an empty folder."""
        place = Path(place)
        for path in sorted(Path(cases).rglob("*")):
            copy = place / path.relative_to(cases)
            if path.is_dir():
                copy.mkdir()
            else:
                shutil.copyfile(path, copy)  # without its mode
        self.folder, self.out = place / name, place / "OUT"
        self.notes, self._started = [], []
        self.out.mkdir()

    def start(self, *words, code=None, environment=None, **options):
        """Start `minielectra WORDS`, or Python code with these arguments -> Popen."""
        program = ["-m", "minielectra"] if code is None else ["-c", code]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        kept |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]), "PYTHONIOENCODING": "utf-8"}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        command = [sys.executable, *program, *map(str, words)]
        process = subprocess.Popen(command, cwd=self.folder, env=kept | (environment or {}), **streams)
        self._started.append(process)
        return process

    def finish(self, process, status=0, text=b""):
        """Wait for a process -> its `status` and text (`out`, `err`).

        status: what it must end with, or a tuple of such. Whatever happens, no traceback may be shown, and
        an error is one line.
        """
        out, err = (part.decode("utf-8", "replace") for part in process.communicate(text, timeout=300))
        words = " ".join(process.args[2 if "-m" in process.args[:2] else 3 :])
        last = (err.strip() or out.strip()).splitlines()[-1:] or [""]
        allowed = status if isinstance(status, tuple) else (status,)
        expect("Traceback" not in err, f"`{words:.150}`: a traceback that ends with {last[0]:.200}")
        expect(
            process.returncode in allowed,
            f"`{words:.150}`: exit status {process.returncode}, expected {status}: {last[0]:.300}",
        )
        if process.returncode == 2:
            expect(err.count("\n") == 1, f"`{words:.150}`: an error of several lines: {err:.300}")
        return SimpleNamespace(status=process.returncode, out=out, err=err)

    def run(self, *words, status=0, text=b"", **options):
        """Run `minielectra WORDS` to its end (see `start` and `finish`)."""
        return self.finish(self.start(*words, **options), status, text)

    def finetune(self, task, file, out, *words, model=f"{BASE}/discriminator"):
        """Fine-tune for an epoch -> what `run` returns, and `counts` (training and development examples)."""
        directory = self.out / out
        done = self.run(
            "finetune", task, "--model", model, "--train", file, "--epochs", 1, "--out", directory, *words
        )
        expect((directory / "task.json").is_file(), f"{out}: no model was written")
        found = re.search(r"\((\d+) training examples, (\d+) development examples", done.out)
        expect(found, f"{out}: no table of scores")
        done.counts = tuple(map(int, found.groups()))
        return done

    def predict(self, directory, file, *words, **options):
        """Predict -> a list of dicts, one for each line of output."""
        done = self.run("predict", self.out / directory, file, "--json", *words, **options)
        return [json.loads(line) for line in done.out.splitlines()]

    def close(self):
        """End what was started and goes on, after a failure."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def transformers(self):
        """The module, quiet and offline, or None if it or PyTorch is not installed."""
        if not (find_spec("transformers") and find_spec("torch")):
            self.notes.append("transformers or torch is not installed: not compared with it")
            return None
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        return transformers


def read(path):
    """A JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def rows(path):
    """The rows of a table with tabs, split, without its header -> header, rows."""
    header, *others = (line.split("\t") for line in Path(path).read_text(encoding="utf-8").split("\n"))
    return header, [row for row in others if row != [""]]


def arrays(directory):
    """The arrays of a model directory -> {name: array}."""
    from safetensors.numpy import load_file

    return load_file(Path(directory) / "model.safetensors")


def same_weights(one, other):
    """Whether two directories hold the same weights to the bit."""
    return (Path(one) / "model.safetensors").read_bytes() == (Path(other) / "model.safetensors").read_bytes()


def checkpoint(run, step):
    """The folder of a run's checkpoint."""
    path = Path(run) / "checkpoints" / f"step-{step:08d}"
    expect((path / "state.json").is_file(), f"{Path(run).name}: no checkpoint of step {step}")
    return path
