"""Fine-tuning that is stopped and goes on: after Ctrl-C, after a kill, by --resume or by the same command."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from conftest import ROOT, cli, cli_here, train_here

from minielectra.cli.entry import main
from minielectra.errors import InputError
from minielectra.finetuning import loop, unfinished
from minielectra.finetuning.experiment import resume_experiment, run_experiment
from minielectra.finetuning.experiment_settings import ExperimentSettings
from minielectra.runs.checkpoints import list_checkpoints
from minielectra.training.processes import WorkerLost

WORDS = ("cat", "river", "house", "teacher", "engine", "garden", "letter", "window")
OPTIONS = {"epochs": 2.0, "max_length": 24, "batch_size": 4}
SEEDS = {"seeds": 2, "control": True}  # 4 trainings of 12 steps


@pytest.fixture(scope="module")
def files(tmp_path_factory, corpus):
    """A run, and examples to fine-tune it on."""
    folder = tmp_path_factory.mktemp("files")
    train_here(folder / "run", corpus, "--steps", "2", "--set", "max_position_embeddings=64")
    rows = [f"the {'old' if i % 2 else 'happy'} cat sees {WORDS[i % 8]}\t{i % 2}\n" for i in range(24)]
    (folder / "sst.tsv").write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    (folder / "squad.json").write_text(squad(24), encoding="utf-8")
    return folder


def squad(count):
    """Questions, some without an answer, so that a threshold is tuned."""
    context = "The old cat sees the river. The small teacher likes every garden today."
    questions = []
    for i in range(count):
        answer = ("river", "garden", "cat", "teacher")[i % 4]
        found = [] if i % 3 == 0 else [{"text": answer, "answer_start": context.index(answer)}]
        about = {"id": f"q{i}", "question": f"the {answer} ?", "answers": found}
        questions.append(about | {"is_impossible": not found})
    data = [{"title": "t", "paragraphs": [{"context": context, "qas": questions}]}]
    return json.dumps({"version": "v2.0", "data": data})


def experiment(files, out, task="sst-2", **settings):
    file = files / ("squad.json" if task == "squad" else "sst.tsv")
    return ExperimentSettings(task=task, model=files / "run", train=file, dev=file, out=out, **settings)


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """What the experiments lead to if nothing stops them: {task: {name of a file: its bytes}}."""
    outs = {task: tmp_path_factory.mktemp("whole") / task for task in ("sst-2", "squad")}
    run_experiment(experiment(files, outs["sst-2"], **SEEDS), OPTIONS)
    run_experiment(experiment(files, outs["squad"], task="squad"), OPTIONS)
    return {task: content(out) for task, out in outs.items()}


def content(out):
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.suffix != ".png"}


class Killed(BaseException):
    """Nothing catches it, so nothing is cleaned up, as far as that is possible within one process."""


def kill_at(monkeypatch, step):
    """The process is killed before its step number `step`, counted over all trainings."""
    before = unfinished.Keeper.save_if_due

    def save_if_due(keeper, engine, now, steps):
        before(keeper, engine, now, steps)
        if len(keeper.finished) * steps + now.step == step:
            raise Killed

    monkeypatch.setattr(unfinished.Keeper, "save_if_due", save_if_due)


@pytest.mark.parametrize(("every", "step"), [(1, 5), (4, 7), (5, 14), (1, 12), (9, 30), (None, 20), (7, 44)])
def test_killed_and_resumed_the_model_has_the_same_bits(files, whole, tmp_path, monkeypatch, every, step):
    out = tmp_path / "out"
    with monkeypatch.context() as killing, pytest.raises(Killed):
        kill_at(killing, step)
        run_experiment(experiment(files, out, checkpoint_every=every, **SEEDS), OPTIONS)
    saved = range(every, step + 1, every) if every else []
    assert [found for found, _ in list_checkpoints(out)] == list(saved)[-2:]
    monkeypatch.chdir(tmp_path)
    resume_experiment("out", {"threads": 1})
    assert content(out) == whole["sst-2"]


def test_what_was_tuned_comes_back_too(files, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for step in (4, 9):  # killed twice
        with monkeypatch.context() as killing, pytest.raises(Killed):
            kill_at(killing, step)
            run_experiment(experiment(files, out, task="squad", checkpoint_every=3), OPTIONS)
    run_experiment(experiment(files, out, task="squad"), OPTIONS)
    assert content(out) == whole["squad"]


def test_the_same_command_goes_on_and_another_one_does_not(files, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as killing, pytest.raises(Killed):
        kill_at(killing, 6)
        run_experiment(experiment(files, out, checkpoint_every=2, **SEEDS), OPTIONS)
    for settings, options, message in (
        ({"seed": 5, **SEEDS}, OPTIONS, "began with seed 0, not 5; continue it with --resume"),
        (SEEDS, OPTIONS | {"epochs": 3.0}, "began with epochs 2.0, not 3.0"),
        (SEEDS, {"epochs": 2.0, "max_length": 24}, "began with batch_size 4, not None"),
    ):
        with pytest.raises(InputError, match=message):
            run_experiment(experiment(files, out, **settings), options)
    trained = []
    monkeypatch.setattr(loop.tqdm, "update", lambda bar, n=1: trained.append(n))
    run_experiment(experiment(files, out, **SEEDS), OPTIONS)
    assert sum(trained) == 48 - 6
    assert content(out) == whole["sst-2"]


def test_leftovers_without_a_checkpoint_stand_in_nobodys_way(files, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as killing, pytest.raises(Killed):
        kill_at(killing, 3)
        run_experiment(experiment(files, out, seed=7), OPTIONS)
    assert (out / "unfinished.json").exists()
    run_experiment(experiment(files, out, seed=8), OPTIONS)
    assert json.loads((out / "results.json").read_text())["starts"]["pre-trained"]["seeds"][0]["seed"] == 8


def test_killed_after_the_last_file_it_is_finished(files, whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def killed(folder):
        raise Killed

    with monkeypatch.context() as killing, pytest.raises(Killed):
        killing.setattr(unfinished, "clear", killed)
        run_experiment(experiment(files, out, checkpoint_every=40, **SEEDS), OPTIONS)
    assert (out / "checkpoints").exists()
    monkeypatch.setattr("minielectra.cli.finetuning_commands._draw", lambda folder: None)
    for _ in range(2):
        assert main(["finetune", "--resume", str(out)]) == 0
        assert "± " in capsys.readouterr().out
        assert content(out) == whole["sst-2"]


def test_examples_or_a_model_that_changed_are_noticed(files, tmp_path, monkeypatch):
    out, table = tmp_path / "out", tmp_path / "sst.tsv"
    table.write_bytes((files / "sst.tsv").read_bytes())
    settings = ExperimentSettings(task="sst-2", model=files / "run", train=table, out=out, checkpoint_every=2)
    with monkeypatch.context() as killing, pytest.raises(Killed):
        kill_at(killing, 4)
        run_experiment(settings, OPTIONS)
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("happy", "small"), encoding="utf-8")
    with pytest.raises(InputError, match="the examples or the model have changed"):
        resume_experiment(out)
    table.write_text(text, encoding="utf-8")
    resume_experiment(out)
    assert not (out / "checkpoints").exists()


def test_bad_input_and_a_loss_that_is_not_finite_leave_nothing(files, tmp_path):
    out = tmp_path / "out"
    for options, message in (
        ({"max_length": 5000}, "reads at most"),
        ({"learning_rate": 1e30}, "not finite"),
    ):
        with pytest.raises(InputError, match=message):
            run_experiment(experiment(files, out), OPTIONS | options)
        assert not out.exists()
    out.mkdir()  # the user's own empty folder stays
    with pytest.raises(InputError, match="reads at most"):
        run_experiment(experiment(files, out), {"max_length": 5000})
    assert list(out.iterdir()) == []


def test_ctrl_c_while_reading_says_how_to_go_on(files, whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as pressing:
        pressing.setattr("minielectra.finetuning.experiment.read_backbone", stop)
        assert main(command(files, out)) == 130
    assert capsys.readouterr().out.endswith(f"continue with:\n  minielectra finetune --resume {out}\n")
    resume_experiment(out)
    assert content(out) == whole["sst-2"]


def test_a_worker_that_dies_leaves_what_can_be_resumed(files, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def gone(*_, **__):
        raise WorkerLost()

    with monkeypatch.context() as dying:
        dying.setattr("minielectra.finetuning.experiment.finetune", gone)
        with pytest.raises(InputError, match=f"a worker process has ended.*--resume {out} --threads 1"):
            run_experiment(experiment(files, out, **SEEDS), OPTIONS)
    resume_experiment(out, {"threads": 1})
    assert content(out) == whole["sst-2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no unfinished fine-tuning there; give the whole command"),
        (["--out", "x"], "--out does not apply to --resume"),
    ],
)
def test_resuming_nothing_is_one_line(tmp_path, capsys, given, message):
    assert main(["finetune", "--resume", str(tmp_path), *given]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["unfinished.json", "state.json", "best.safetensors", "model.safetensors"])
def test_a_damaged_file_is_one_line(files, tmp_path, monkeypatch, damage):
    out = tmp_path / "out"
    with monkeypatch.context() as killing, pytest.raises(Killed):
        kill_at(killing, 6)
        run_experiment(experiment(files, out, checkpoint_every=2), OPTIONS)
    shutil.rmtree(list_checkpoints(out)[0][1])  # else an earlier one takes the place of a damaged one
    path = next(out.rglob(damage))
    whole = path.read_bytes()
    for bad in (b"", whole[:-20], b"{}", whole.replace(b'"step"', b'"stop"')):
        path.write_bytes(bad)
        if bad != whole:
            with pytest.raises(InputError, match=damage.replace(".", r"\.") + "|damaged"):
                resume_experiment(out)
    path.write_bytes(whole)
    resume_experiment(out)


def command(files, out):
    """The experiment `whole`, as typed."""
    model, table = str(files / "run"), str(files / "sst.tsv")
    options = ["--epochs", "2", "--max-length", "24", "--batch-size", "4", "--seeds", "2", "--control"]
    return [
        "finetune",
        "sst-2",
        "--model",
        model,
        "--train",
        table,
        "--dev",
        table,
        *options,
        "--out",
        str(out),
    ]


def start(files, out):
    words = [sys.executable, "-m", "minielectra", *command(files, out), "--checkpoint-every", "1"]
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        preexec_fn=partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    )


def wait_for(process, reached):
    deadline = time.monotonic() + 60
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_say_how_to_go_on(files, whole, tmp_path, number):
    out = tmp_path / "out"
    process = start(files, out)
    wait_for(process, lambda: list_checkpoints(out))
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.splitlines()[-1] == f"  minielectra finetune --resume {out}"
    cli_here("finetune", "--resume", out)
    assert content(out) == whole["sst-2"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0, 1, 2, 11, 13, 30, 40, 47, "config", "task.json"])
def test_killed_at_any_moment_it_ends_with_the_same_bits(files, whole, tmp_path, moment):
    """moment: a checkpoint's step, or a file or an entry of unfinished.json that has to be there."""
    out = tmp_path / "out"

    def reached():
        if moment == "config":
            return (out / "unfinished.json").exists() and '"config"' in (out / "unfinished.json").read_text()
        if moment == "task.json":
            return (out / moment).exists()
        if moment == 0:
            return (out / "unfinished.json").exists()
        return any(step >= moment for step, _ in list_checkpoints(out))

    process = start(files, out)
    wait_for(process, reached)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    if (out / "unfinished.json").exists():
        cli(*command(files, out)) if moment in (2, 30) else cli("finetune", "--resume", out)
    assert content(out) == whole["sst-2"]
    assert {path.name for path in out.iterdir()} == {
        *whole["sst-2"],
        "finetuning.png",
    } or moment == "task.json"
