"""What a resumed run may change, what it keeps, and what becomes of a run that fails at its start."""

import json
import shutil
import sys

import numpy as np
import pytest
from conftest import TINY, cli_here, train_here
from safetensors.numpy import load_file

from minielectra.cli.entry import main
from minielectra.errors import InputError
from minielectra.pretraining import presets, run_schedule, start, trainer
from minielectra.pretraining.run_settings import RunSettings
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import list_checkpoints
from minielectra.runs.detection_records import DetectionRecords
from minielectra.runs.metrics_log import read_metrics
from minielectra.training.processes import Processes, WorkerLost

STEPS = ["--steps", "8", "--eval-every", "2", "--checkpoint-every", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpus):
    run = tmp_path_factory.mktemp("runs") / "run"
    train_here(run, corpus, *STEPS)
    return run


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def info_of(run):
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def change(run, **entries):
    (run / "run.json").write_text(json.dumps(info_of(run) | entries), encoding="utf-8")


def forget(run, after):
    """Remove the checkpoints after a step, as if the run had been killed then."""
    for step, folder in list_checkpoints(run):
        if step > after:
            shutil.rmtree(folder)


def weights(run, step):
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def same(a, b, step):
    left, right = weights(a, step), weights(b, step)
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def refusal(run, *words):
    with pytest.raises(InputError) as error:
        arguments = start_arguments(*words)
        start.resume_run(run, *arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def start_arguments(*words):
    from minielectra.cli.entry import parse

    arguments = parse(["train", *words])
    return [options.read(arguments) for options in arguments.command.options][1:]


# More steps.


def test_more_steps_go_on_like_a_longer_run(run, capsys):
    cli_here("train", "--resume", run, "--steps", "20")
    message = next(line for line in capsys.readouterr().err.splitlines() if "instead of" in line)
    assert "20 steps instead of 8. From step 8 on, it is trained like a run of 20 steps" in message
    rate = info_of(run)["pretraining"]["learning_rate"]
    assert f"the learning rate goes from 0 to {rate * 12 / 20:.2g}, and falls to 0 at the end" in message
    rows = {row["step"]: row for row in read_metrics(run)}
    assert max(rows) == 20 and rows[20]["learning_rate"] == pytest.approx(rate * 1 / 20)
    assert rows[10]["learning_rate"] == pytest.approx(rate * 11 / 20)
    info = info_of(run)
    assert info["steps"] == 20
    assert info["extensions"] == [{"after": 8, "steps_before": 8, "steps": 20}]


def test_a_longer_run_that_is_killed_ends_with_the_same_bits(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    for folder in (run, other):
        cli_here("train", "--resume", folder, "--steps", "20")
    forget(other, 12)
    cli_here("train", "--resume", other)
    assert same(run, other, 20)
    assert read_metrics(run)[-1]["gen_loss"] == read_metrics(other)[-1]["gen_loss"]


def test_from_an_earlier_checkpoint_more_steps_are_a_longer_run_from_there(run, corpus, tmp_path):
    """A run that was killed during its warm-up, where both schedules agree, becomes the longer run."""
    whole = tmp_path / "whole"
    warm = ["--set", "warmup_steps=4", "--checkpoint-every", "4"]
    train_here(whole, corpus, "--steps", "16", *warm)
    run = tmp_path / "short"
    train_here(run, corpus, "--steps", "8", *warm)
    forget(run, 0)
    cli_here("train", "--resume", run, "--steps", "16")
    assert same(run, whole, 16)


def test_fewer_steps_and_minutes_are_refused(run):
    before = (run / "run.json").read_bytes()
    assert "was started with 8 steps, not 5; --steps may only be more" in refusal(run, "--steps", "5")
    assert "--minutes does not apply to --resume" in refusal(run, "--minutes", "5")
    assert "was started with eval_every 2, not 3" in refusal(run, "--eval-every", "3")
    rate = info_of(run)["pretraining"]["learning_rate"]
    assert f"was started with learning_rate {rate}" in refusal(run, "--set", "learning_rate=1")
    assert (run / "run.json").read_bytes() == before
    cli_here("train", "--resume", run, "--steps", "8", "--seed", "0")
    assert info_of(run).get("extensions") is None


def test_a_run_of_minutes_that_took_no_step_takes_those_given(tmp_path, corpus, monkeypatch):
    run = tmp_path / "run"

    def stop(*_):
        raise WorkerLost()

    with monkeypatch.context() as dying, pytest.raises(WorkerLost, match=f"--resume {run} --threads 1"):
        dying.setattr(trainer.Trainer, "_train", stop)
        overrides = dict(word.split("=") for word in TINY if "=" in word)
        overrides = {name: float(x) if "." in x else int(x) for name, x in overrides.items()}
        settings = RunSettings(corpus=[str(corpus)], minutes=1.0, overrides=overrides)
        start.start_run(settings, run)
    cli_here("train", "--resume", run, "--steps", "3")
    assert [step for step, _ in list_checkpoints(run)] == [1, 2, 3]


def test_out_is_refused_with_resume(run, tmp_path, capsys):
    assert main(["train", "--resume", str(run), "--out", str(tmp_path / "x")]) == 2
    assert "--out does not apply to --resume" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


# What is recorded is what runs.


def test_checkpoints_may_be_written_more_often(run, finished):
    forget(run, 4)
    cli_here("train", "--resume", run, "--checkpoint-every", "3")
    assert [step for step, _ in list_checkpoints(run)] == [4, 6, 8]
    assert same(run, finished, 8)
    assert info_of(run)["settings"]["checkpoint_every"] == 3
    forget(run, 6)
    cli_here("train", "--resume", run)
    assert [step for step, _ in list_checkpoints(run)] == [4, 6, 8]


def test_a_preset_that_has_changed_does_not_change_a_run(run, finished, monkeypatch):
    model, training = presets.PRESETS["tiny"]
    changed = (model | {"num_hidden_layers": 1}, training | {"learning_rate": 1.0, "disc_weight": 7.0})
    monkeypatch.setitem(presets.PRESETS, "tiny", changed)
    forget(run, 4)
    monkeypatch.setattr(run_schedule, "MOST_EVALUATIONS", 1)
    cli_here("train", "--resume", run)
    assert same(run, finished, 8)


def test_not_even_if_it_was_killed_before_its_data_was_ready(run, finished, monkeypatch):
    for path in run.iterdir():
        if path.name != "run.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    info = info_of(run)
    del info["settings"]["overrides"]["vocab_size"]  # as if it were the preset's; "fields" has it
    (run / "run.json").write_text(
        json.dumps({name: info[name] for name in ("format", "settings", "versions", "fields")})
    )
    model, training = presets.PRESETS["tiny"]
    changed = (model | {"vocab_size": 90}, training | {"learning_rate": 1.0})
    monkeypatch.setitem(presets.PRESETS, "tiny", changed)
    cli_here("train", "--resume", run)
    assert same(run, finished, 8)


@pytest.mark.parametrize("name", ["minielectra", "numpy"])
def test_other_versions_are_told(run, name, capsys):
    change(run, versions=run_folder.versions() | {name: "0.0.9"})
    cli_here("train", "--resume", run)
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(f"{run}: begun with minielectra ") and f"{name} 0.0.9" in line
    change(run, versions=run_folder.versions() | {"python": "3.0.0"})
    cli_here("train", "--resume", run)
    assert "begun with" not in capsys.readouterr().err


def test_a_setting_of_a_newer_version_is_refused(run):
    change(run, settings=info_of(run)["settings"] | {"colour": "red"})
    assert "the setting 'colour', which this version does not know" in refusal(run)


def test_another_vocabulary_is_refused(run):
    pieces = (run / "data" / "vocab.txt").read_text(encoding="utf-8").split("\n")
    pieces[-2], pieces[-3] = pieces[-3], pieces[-2]
    (run / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    assert "has a vocabulary other than" in refusal(run)


# Failures at the start.


def new_run(out, corpus, *words):
    return main(["train", "--out", str(out), "--corpus", str(corpus), "--steps", "2", *TINY, *words])


def test_an_empty_folder_of_the_users_own_stays(tmp_path, capsys):
    out, bad = tmp_path / "out", tmp_path / "text.txt"
    bad.write_text("Too short.\n")
    for existing in (True, False):
        if existing:
            out.mkdir()
        assert new_run(out, bad) == 2
        assert out.exists() == existing and not (existing and list(out.iterdir()))
        if existing:
            out.rmdir()


def test_a_worker_that_dies_while_starting_leaves_the_run(tmp_path, corpus, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as dying:
        dying.setattr(sys, "executable", "/bin/false")  # what worker processes are started with
        assert new_run(out, corpus, "--workers", "processes") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("minielectra: a worker process has ended")
    assert line.endswith(f"continue with --resume {out} --threads 1")
    assert (out / "run.json").exists()
    cli_here("train", "--resume", out, "--threads", "1")  # the advice can be followed
    assert list_checkpoints(out)


@pytest.mark.parametrize("moment", ["first step", "later"])
def test_a_worker_that_dies_later_leaves_the_run(tmp_path, corpus, monkeypatch, capsys, finished, moment):
    out, step, calls = tmp_path / "out", Processes.run, []

    def killed(team, method, *arguments):
        calls.append(method)
        if len(calls) == (1 if moment == "first step" else 17):
            team._children[0].process.kill()
        return step(team, method, *arguments)

    with monkeypatch.context() as dying:
        dying.setattr(Processes, "run", killed)
        words = ["train", "--out", str(out), "--corpus", str(corpus), *STEPS, *TINY]
        assert main([*words, "--workers", "processes", "--threads", "2"]) == 2
    assert f"--resume {out} --threads 1" in capsys.readouterr().err
    cli_here("train", "--resume", out, "--threads", "1")
    assert same(out, finished, 8)


def test_ctrl_c_before_the_first_step_says_how_to_go_on(tmp_path, corpus, monkeypatch, capsys):
    out = tmp_path / "out"

    def stop(*_):
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as pressing:
            pressing.setattr(trainer, "open_dataset", stop)
            words = ["--resume", str(out)] if out.exists() else ["--out", str(out), "--steps", "2", *TINY]
            words += [] if "--resume" in words else ["--corpus", str(corpus)]
            assert main(["train", *words]) == 130
        printed = capsys.readouterr().out
        assert printed == f"stopped after step 0; everything is saved in {out}; continue with:\n" + (
            f"  minielectra train --resume {out}\n"
        )
    cli_here("train", "--resume", out)


def test_bench_says_what_it_can_do_about_a_lost_worker(monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert main(["bench", "--steps", "1", "--workers", "processes", *TINY]) == 2
    assert capsys.readouterr().err.endswith("try again with --threads 1\n")


def test_default_folders_of_the_same_second_differ(tmp_path, corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Now(start.datetime.datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(start.datetime, "datetime", Now)
    for _ in range(2):
        cli_here("train", "--corpus", corpus, "--steps", "1", *TINY)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "tiny-20260102-030405",
        "tiny-20260102-030405-2",
    ]


# Damaged records.

TIMES = ("seconds", "tokens_per_second")


def rows_of(run):
    """The lines of metrics.jsonl without times."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in row.items() if name not in TIMES} for row in lines]


def test_lost_records_are_made_again_where_the_run_goes_on(run, finished, capsys):
    forget(run, 4)
    (run / "detection.npz").write_bytes(b"damaged")
    cli_here("train", "--resume", run)
    assert "set aside as detection.npz.damaged" in capsys.readouterr().err
    assert rows_of(run) == rows_of(finished)  # no row is written twice
    whole, rest = DetectionRecords.load(finished), DetectionRecords.load(run)
    assert whole.steps.tolist() == [0, 2, 4, 6, 8] and rest.steps.tolist() == [4, 6, 8]
    for name in ("scores", "samples", "gen_correct_prob"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(whole, name)[2:])


@pytest.mark.parametrize("name", ["detection.npz", "metrics.jsonl"])
def test_an_evaluation_between_two_others_is_labelled_with_its_own_step(tmp_path, corpus, name):
    """It says what one would have said there: losses since the last, the rate of the last step."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    for folder, every in ((run, "3"), (whole, "1")):
        train_here(folder, corpus, "--steps", "8", "--eval-every", every, "--checkpoint-every", "4")
    forget(run, 4)
    (run / name).write_bytes(b"damaged")
    cli_here("train", "--resume", run)
    kept = [0, 3] if name == "detection.npz" else []
    found, expected = rows_of(run), {row["step"]: row for row in rows_of(whole)}
    assert [row["step"] for row in found] == [*kept, 4, 6, 8]
    for row in found:
        like = expected[row["step"]]
        if row["step"] != 4:  # the others' losses are means over several steps
            like |= {name: row[name] for name in ("train_gen_loss", "train_disc_loss")}
        assert row == like
    steps = DetectionRecords.load(run).steps.tolist()
    assert steps == ([4, 6, 8] if name == "detection.npz" else [0, 3, 4, 6, 8])
