"""A tiny experiment from its file to its table; what happens if it is stopped, killed, or changed."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from unittest import mock

import pytest
from experiment_case import TINY, make_case

from minielectra.cli.entry import main
from minielectra.experiments import grid_runner, one_run
from minielectra.experiments.experiment_file import read_experiment
from minielectra.experiments.grid import report_runs
from minielectra.experiments.grid_runner import _Runner
from minielectra.experiments.one_run import job_of
from minielectra.formats.reading import read_json
from minielectra.plots import style
from minielectra.runs.checkpoints import last_step, list_checkpoints

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="reading TOML needs Python 3.11")

# One budget, one seed, no tuning: three runs.
TUNING = TINY[TINY.index("[tuning]") : TINY.index("[tasks.pos]")]
SMALL = TINY.replace(TUNING, "").replace("selection = true\n", "").replace("seeds = [1, 2]", "seeds = [1]")
SMALL = SMALL.replace("[2e8, 6e8]", "[2e8]").replace('"bert"\n', '"bert"\nuntrained = false\n', 1)
NAMES = ["bert-2e08-seed1", "electra-2e08-seed1", "electra-mix-2e08-seed1"]


def run(folder, *words):
    """`experiment` in this process, its runs in their own -> exit status."""
    with mock.patch.object(style, "DPI", 20):
        return main(["experiment", str(folder / "tiny.toml"), "--out", str(folder / "out"), *words])


def result(folder, name):
    return read_json(folder / "out" / "results" / f"{name}.json", "missing")


def without_processes():
    """Within it, starting a run is a failure."""
    return mock.patch.object(subprocess, "Popen", side_effect=AssertionError("a run was started"))


def job(folder, name):
    """What the process of a run is told, with the vocabulary that the text really has."""
    experiment = read_experiment(folder / "tiny.toml")
    own = json.loads((folder / "out" / "results" / f"{name}.json").read_text(encoding="utf-8"))["settings"]
    plan = next(run for run in report_runs(experiment, {}) if run.name == name)
    found = job_of(folder / "out", plan, experiment.tasks, experiment.finetuning_seeds, experiment.pairs)
    return found | {"run": own["run"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished experiment."""
    folder = tmp_path_factory.mktemp("experiment")
    make_case(folder, SMALL)
    assert run(folder, "--jobs", "2") == 0
    return folder


@pytest.fixture
def own(finished, tmp_path):
    """A copy of it that a test may change."""
    shutil.copytree(finished, tmp_path / "own")
    path = tmp_path / "own" / "out" / "experiment.json"
    record = read_json(path, "missing")
    shown = {"file": str(tmp_path / "own" / "tiny.toml"), "corpus": [str(tmp_path / "own" / "text.txt")]}
    path.write_text(json.dumps(record | shown), encoding="utf-8")
    return tmp_path / "own"


def test_a_grid_runs_to_its_table_and_pictures(finished):
    out = finished / "out"
    assert sorted(path.stem for path in (out / "results").iterdir()) == NAMES
    assert (
        sorted(path.name for path in (out / "runs").iterdir()) == NAMES[:2]
    )  # the mix has no run of its own
    for name in ("scores.png", "differences.png", "layers.png", "results.json"):
        assert (out / name).stat().st_size
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "3 of 3 runs" in table
    for heading in ("fine-tuned: pos", "fine-tuned: topic", "frozen, last layer: pos", "minimal pairs"):
        assert f"## {heading}" in table
    scores = {name: result(finished, name)["scores"] for name in NAMES}
    assert [len(scores[NAMES[0]]["frozen"][task]["layers"]) for task in ("pos", "topic")] == [2, 2]
    assert "pairs" not in scores[NAMES[2]] and not scores[NAMES[2]]["frozen"]
    assert list(scores[NAMES[0]]["finetuned"]["pos"][0]) == ["accuracy"]


def test_runs_spend_the_same_and_see_the_same_data(finished):
    records = [read_json(finished / "out" / "runs" / name / "run.json", "missing") for name in NAMES[:2]]
    assert len({record["corpus"]["fingerprint"] for record in records}) == 1
    assert len({record["settings"]["seed"] for record in records}) == 1
    for name in NAMES[:2]:
        planned, spent = result(finished, name)["settings"]["run"], result(finished, name)["metrics"]["flops"]
        assert spent == planned["flops"] <= 2e8
        assert last_step(finished / "out" / "runs" / name) == planned["steps"]
        assert result(finished, name)["metrics"]["learning_rate"] < 1e-3  # decayed to almost zero


def test_what_is_finished_is_not_repeated(own, capsys):
    before = (own / "out" / "table.md").read_bytes()
    with without_processes():
        assert run(own) == 0
    assert (own / "out" / "table.md").read_bytes() == before
    assert capsys.readouterr().out.splitlines()[-1] == str(own / "out")


def test_a_half_run_goes_on_from_its_checkpoint(own):
    """The result is lost, and so is the end of the run: what comes of it is the same."""
    name = NAMES[1]
    expected = result(own, name)
    steps = expected["settings"]["run"]["steps"]
    (own / "out" / "results" / f"{name}.json").unlink()
    folder = own / "out" / "runs" / name
    shutil.rmtree(folder)
    told = job(finished_copy(own, expected), name)
    told["folder"] = str(own / "out")
    seen = []
    evaluate = mock.patch("minielectra.pretraining.trainer.Trainer._evaluate", killed_after(2, seen))
    with evaluate, contextlib.suppress(Killed):
        one_run.do(told)
    assert seen and list_checkpoints(folder) and last_step(folder) < steps
    with mock.patch.object(one_run, "start_run", side_effect=AssertionError("started again")):
        one_run.do(told)
    assert result(own, name)["scores"] == expected["scores"]


class Killed(BaseException):
    """In the place of a signal that nobody can catch."""


def killed_after(count, seen):
    """A Trainer._evaluate that ends the process, as it were, at its call number `count` after the first."""
    from minielectra.pretraining.trainer import Trainer

    original = Trainer._evaluate

    def evaluate(self, step, bar):
        seen.append(step)
        if len(seen) > count:
            raise Killed
        original(self, step, bar)

    return evaluate


def finished_copy(folder, expected):
    """The folder with the result put back, from which `job` reads its settings."""
    path = folder / "out" / "results" / f"{NAMES[1]}.json"
    path.write_text(json.dumps(expected), encoding="utf-8")
    return folder


CHANGES = {
    "a setting of a finished run": (
        'objective = "mlm"',
        'objective = "mlm"\nmask_fraction = 0.3',
        "another value of mask_fraction",
    ),
    "fine-tuning": ("epochs = 1", "epochs = 2", "another value of epochs"),
    "the examples": ("examples = 40", "examples = 45", "its tasks are not those"),
    "the budget of nothing": ("[2e8]", "[20]", "do not pay for one step"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_told(own, capsys, change):
    before, after, message = CHANGES[change]
    make_case(own, SMALL.replace(before, after))
    with without_processes():
        assert run(own) == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1] and said[-1].startswith("minielectra: ")


def test_two_files_for_one_output(own, capsys):
    make_case(own, SMALL.replace("A tiny comparison", "Another")).rename(own / "other.toml")
    with without_processes():
        assert main(["experiment", str(own / "other.toml"), "--out", str(own / "out")]) == 2
    assert "holds the experiment of" in capsys.readouterr().err


def test_a_folder_that_holds_something_else(own, capsys):
    shutil.rmtree(own / "out")
    (own / "out").mkdir()
    (own / "out" / "letter.txt").write_text("dear", encoding="utf-8")
    assert run(own) == 2
    assert "holds no experiment" in capsys.readouterr().err
    assert [path.name for path in (own / "out").iterdir()] == ["letter.txt"]


def test_stopping_says_how_to_go_on(own, capsys):
    (own / "out" / "results" / f"{NAMES[0]}.json").unlink()
    stop = threading.Event()
    stop.set()
    with mock.patch.object(grid_runner, "interruptible", lambda: contextlib.nullcontext(stop)):
        assert run(own) == 130
    assert "the same command goes on" in capsys.readouterr().out


def test_a_run_that_fails_does_not_stop_the_others(own, capsys):
    """One line at the end, and a table of the others. Its dependants are not started."""
    (own / "out" / "results" / f"{NAMES[1]}.json").unlink()
    (own / "out" / "results" / f"{NAMES[2]}.json").unlink()
    started = []

    def start(runner, plan):
        started.append(plan.name)
        told = json.dumps({"problem": "a loss is not finite", "everywhere": False})
        code = f"import sys; print({told!r}); sys.exit(2)"
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)

    with mock.patch.object(_Runner, "_start", start):
        assert run(own) == 2
    assert started == [NAMES[1]]
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{NAMES[1]}: a loss is not finite (2 runs failed); the same command tries again" in said
    assert "1 of 3 runs" in (own / "out" / "table.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_whose_parent_is_gone_saves_and_ends(own):
    """Its standard input closes, whatever happened to the parent."""
    told = job(own, NAMES[0])
    told["run"] |= {"name": "long", "steps": 1_000_000}
    command = [sys.executable, "-m", "minielectra.experiments.one_run"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps(told) + "\n")
    process.stdin.flush()
    folder = own / "out" / "runs" / "long"
    while process.poll() is None and not (folder / "metrics.jsonl").exists():
        time.sleep(0.05)
    time.sleep(1.0)
    process.stdin.close()
    assert process.wait(timeout=120) == 130
    assert last_step(folder) > 0
    assert not (folder / ".lock").exists()
