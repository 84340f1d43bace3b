"""Runs of --minutes: what the clock decided is recorded, repeated after a kill, and can be run again."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, TINY, cli, cli_here, train_here
from safetensors.numpy import load_file

from minielectra.cli.entry import main
from minielectra.formats.checksums import Damaged
from minielectra.pretraining import choose_schedule, clock_schedule
from minielectra.pretraining.presets import configure
from minielectra.runs.checkpoints import list_checkpoints
from minielectra.runs.metrics_log import read_metrics
from minielectra.runs.schedule_record import (
    NAME,
    Planned,
    ScheduleRecord,
    finished_schedule,
    read_schedule,
)

HEADER, SIZE = 23, 20  # bytes of schedule.bin: before the first record, and of a record
RATE = configure("tiny")[1].learning_rate
EVERY = ["--checkpoint-every", "15", "--workers", "plain"]


class Ticking(clock_schedule.ClockSchedule):
    """A clock that moves by a twentieth of a second whenever somebody looks, and a second per evaluation."""

    def __init__(self, minutes, started, *arguments):
        self.time = 0.0
        super().__init__(minutes, 0.0, *arguments, clock=self.tick)

    def tick(self):
        self.time += 0.05
        return self.time

    def evaluated(self, seconds, slowness):
        self.time += 1.0
        super().evaluated(1.0)


def ticking(patch):
    """Let runs go by that clock, and keep no time for pictures."""
    patch.setattr(choose_schedule, "ClockSchedule", Ticking)
    patch.setattr(clock_schedule, "PICTURE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    ticking(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus):
    """A finished run of --minutes."""
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        ticking(patch)
        train_here(run, corpus, "--minutes", "0.2", *EVERY)
    return run


@pytest.fixture
def run(made, tmp_path):
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "run")


def info_of(run):
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def as_killed(run, recorded, saved):
    """Make a finished run one that was killed when this many steps were recorded, and up to `saved` saved."""
    for step, folder in list_checkpoints(run):
        if step > saved:
            shutil.rmtree(folder)
    path, info = run / NAME, info_of(run)
    path.write_bytes(path.read_bytes()[: HEADER + SIZE * recorded])
    del info["steps"]
    (run / "run.json").write_text(json.dumps(info), encoding="utf-8")


def assert_same(a, b):
    """Weights, optimizer, metrics apart from times, and detection records of two finished runs."""
    (step, left), (other, right) = list_checkpoints(a)[-1], list_checkpoints(b)[-1]
    assert step == other
    for name in ("model", "optimizer"):
        x, y = load_file(left / f"{name}.safetensors"), load_file(right / f"{name}.safetensors")
        assert x.keys() == y.keys() and all(np.array_equal(x[key], y[key]) for key in x)
    times = ("seconds", "tokens_per_second")
    rows = [[{k: v for k, v in row.items() if k not in times} for row in read_metrics(r)] for r in (a, b)]
    assert rows[0] == rows[1]
    with np.load(a / "detection.npz") as x, np.load(b / "detection.npz") as y:
        assert all(np.array_equal(x[name], y[name]) for name in x.files)


def repeated(run, corpus, out):
    """The recorded schedule of a run, run again -> the new run."""
    train_here(out, corpus, "--schedule", run, *EVERY)
    return out


def refused(capsys, *arguments):
    """What a command says that ends with status 2."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    return capsys.readouterr().err.splitlines()[-1]


# A whole run.


def test_a_run_by_the_clock(made):
    rows = finished_schedule(made)
    count = len(rows)
    assert count >= 40 and info_of(made)["steps"] == count == list_checkpoints(made)[-1][0]
    metrics = read_metrics(made)
    evaluated = [0, *(np.flatnonzero(rows["flags"] & 1) + 1).tolist()]
    assert [row["step"] for row in metrics] == evaluated and len(evaluated) >= 3
    for row in metrics[1:]:
        fraction = float(rows["fraction"][row["step"] - 1])
        assert row["learning_rate"] == pytest.approx(RATE * (1 - fraction) * min(1, fraction / 0.06))
    assert metrics[-1]["learning_rate"] < 0.04 * RATE


def test_the_recorded_schedule_gives_the_same_bits_again(run, corpus, tmp_path):
    again = repeated(run, corpus, tmp_path / "again")
    assert_same(run, again)
    assert (again / NAME).read_bytes() == (run / NAME).read_bytes()
    assert info_of(again)["settings"]["schedule"] == str(run)
    shutil.rmtree(run)  # the new run has its own copy
    shutil.rmtree(list_checkpoints(again)[-1][1])
    cli_here("train", "--resume", again)
    repeated(again, corpus, tmp_path / "third")
    assert_same(again, tmp_path / "third")


@pytest.mark.parametrize("moment", ["before a checkpoint", "after one", "between step and end"])
def test_a_killed_run_repeats_its_steps_and_goes_on_by_the_clock(run, corpus, tmp_path, moment):
    count = len(read_schedule(run))
    recorded, saved = {
        "before a checkpoint": (12, 0),
        "after one": (25, 15),
        "between step and end": (count, 15),
    }[moment]
    before = read_schedule(run)[:recorded]
    as_killed(run, recorded, saved)
    cli_here("train", "--resume", run)
    rows = finished_schedule(run)
    assert np.array_equal(rows[:recorded], before)
    assert len(rows) == recorded if moment == "between step and end" else len(rows) > recorded
    assert np.all(np.diff(rows["used"]) >= 0) and np.all(np.diff(rows["fraction"]) >= 0)
    assert info_of(run)["steps"] == len(rows)
    assert_same(run, repeated(run, corpus, tmp_path / "again"))


def test_a_resumed_run_has_the_minutes_that_were_left(run):
    record = ScheduleRecord(run)
    time_now = [1000.0]
    schedule = clock_schedule.ClockSchedule(10, 990.0, 5, clock=lambda: time_now[0])
    schedule.go_on(record)
    left = (1.0 - record[-1].used) * 600
    assert schedule.seconds_left() == pytest.approx(left)
    time_now[0] = 2000.0  # repeating took long
    planned = schedule.plan(len(record))
    assert planned.fraction == record[-1].fraction and planned.used == pytest.approx(record[-1].used)
    assert schedule.seconds_left() == pytest.approx(left)


# Killed for real.


def start(*arguments):
    command = [sys.executable, "-m", "minielectra", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_and_resumed_it_can_be_run_again_to_the_same_bits(tmp_path, corpus, number):
    run = tmp_path / "run"
    process = start("--out", run, "--corpus", corpus, "--minutes", "0.2", *TINY, *EVERY)
    deadline = time.monotonic() + 60
    while len(list_checkpoints(run)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode == (130 if number != signal.SIGKILL else -signal.SIGKILL)
    before = read_schedule(run)
    assert "steps" not in info_of(run) and len(before) >= list_checkpoints(run)[-1][0]
    cli("train", "--resume", run)
    assert np.array_equal(finished_schedule(run)[: len(before)], before)
    assert_same(run, repeated(run, corpus, tmp_path / "again"))


@pytest.mark.slow
def test_a_stopped_process_goes_on_and_ends(tmp_path, corpus):
    run = tmp_path / "run"
    process = start("--out", run, "--corpus", corpus, "--minutes", "0.2", *TINY, *EVERY)
    while not list_checkpoints(run):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    time.sleep(15)  # past the end
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == str(run)
    rows = finished_schedule(run)
    assert rows["used"][-1] > 1.0  # and yet
    assert read_metrics(run)[-1]["learning_rate"] < 0.11 * RATE
    assert_same(run, repeated(run, corpus, tmp_path / "again"))


# Longer.


def test_more_steps_keep_the_fractions_so_far(run, corpus, tmp_path, capsys):
    count, rows = len(read_schedule(run)), (run / NAME).read_bytes()
    other = shutil.copytree(run, tmp_path / "other")
    for folder in (run, other):
        cli_here("train", "--resume", folder, "--steps", 2 * count)
    assert f"{2 * count:,} steps instead of {count:,}" in capsys.readouterr().err
    assert read_metrics(run)[-1]["learning_rate"] == pytest.approx(RATE / (2 * count))
    assert (run / NAME).read_bytes() == rows and info_of(run)["steps"] == 2 * count
    for step, folder in list_checkpoints(other):  # all the way again, past what was the last step
        if step > 15:
            shutil.rmtree(folder)
    cli_here("train", "--resume", other)
    assert_same(run, other)
    said = refused(capsys, "train", "--schedule", run, "--corpus", corpus, "--out", tmp_path / "x", *TINY)
    assert "was made longer with --steps" in said and not (tmp_path / "x").exists()


def test_an_unfinished_run_may_get_a_number_of_steps(run, tmp_path, capsys):
    as_killed(run, 20, 15)
    assert "has taken 20 steps already" in refused(capsys, "train", "--resume", run, "--steps", "19")
    other = shutil.copytree(run, tmp_path / "other")
    cli_here("train", "--resume", run, "--steps", "20")
    assert list_checkpoints(run)[-1][0] == 20 and read_metrics(run)[-1]["step"] == 20
    cli_here("train", "--resume", other, "--steps", "40")
    assert read_metrics(other)[-1]["learning_rate"] == pytest.approx(RATE / 40)


def test_a_finished_run_can_be_resumed_without_harm(run):
    before = (run / NAME).read_bytes(), info_of(run), list_checkpoints(run)
    cli_here("train", "--resume", run, "--minutes", "0.2")
    assert before == ((run / NAME).read_bytes(), info_of(run), list_checkpoints(run))


# The file.


def write(run, plans):
    record = ScheduleRecord(run)
    for planned in plans:
        record.append(planned)
    record.flush()
    record.close()


PLANS = [Planned(i / 10, i % 3 == 0, i % 4 == 0, False, np.float32(i / 8).item()) for i in range(9)]
PLANS.append(Planned(0.95, True, True, True, 1.0))


def test_records_come_back_and_go_on(tmp_path):
    assert len(read_schedule(tmp_path)) == 0
    write(tmp_path, PLANS[:4])
    write(tmp_path, PLANS[4:])
    record = ScheduleRecord(tmp_path)
    assert [record[i] for i in range(len(record))] == PLANS and record.finished
    assert (tmp_path / NAME).stat().st_size == HEADER + SIZE * len(PLANS)
    assert record.used_at("evaluate") == 1.0 and record.evaluations_after(4) == 2


@pytest.mark.parametrize(
    "size", [0, 1, HEADER - 1, HEADER, HEADER + 1, HEADER + 3 * SIZE - 1, HEADER + 7 * SIZE]
)
def test_a_torn_end_is_left_out_and_replaced(tmp_path, size):
    write(tmp_path, PLANS)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:size])
    whole = max(0, size - HEADER) // SIZE
    assert len(read_schedule(tmp_path)) == whole
    write(tmp_path, PLANS[whole:])
    record = ScheduleRecord(tmp_path)
    assert [record[i] for i in range(len(record))] == PLANS


def test_zeros_that_a_power_cut_left_are_left_out(tmp_path):
    write(tmp_path, PLANS[:4])
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes() + bytes(3 * SIZE + 5))
    assert len(read_schedule(tmp_path)) == 4
    path.write_bytes(bytes(100))
    assert len(read_schedule(tmp_path)) == 0


def test_every_flipped_bit_is_noticed_or_only_costs_the_last_record(tmp_path):
    write(tmp_path, PLANS)
    path = tmp_path / NAME
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            assert len(read_schedule(tmp_path)) == len(PLANS) - 1 and place >= len(content) - SIZE
        except Damaged as error:
            assert str(path) in str(error) and "--steps N" in str(error)


def test_records_in_another_order_or_of_another_run_are_damage(tmp_path):
    write(tmp_path, PLANS)
    path = tmp_path / NAME
    content = path.read_bytes()
    a, b = HEADER + 2 * SIZE, HEADER + 3 * SIZE
    path.write_bytes(content[:a] + content[b : b + SIZE] + content[a:b] + content[b + SIZE :])
    with pytest.raises(Damaged, match="record of step 3"):
        read_schedule(tmp_path)
    path.unlink()
    write(tmp_path, [PLANS[3], PLANS[2]])  # as nobody would write it
    with pytest.raises(Damaged, match="not the schedule of a run"):
        read_schedule(tmp_path)


def test_damage_is_one_line_and_the_advice_can_be_followed(run, capsys):
    as_killed(run, 20, 15)
    path = run / NAME
    content = path.read_bytes()
    path.write_bytes(content[:60] + struct.pack("<d", 0.5) + content[68:])
    said = refused(capsys, "train", "--resume", run)
    assert said.startswith(f"minielectra: {path}: damaged (the record of step 2)")
    path.rename(run / "aside")
    assert f"{path}: holds 0 steps, but there is a checkpoint of step 15" in refused(
        capsys, "train", "--resume", run
    )
    cli_here("train", "--resume", run, "--steps", "30")
    assert list_checkpoints(run)[-1][0] == 30


def test_what_cannot_be_repeated(run, corpus, tmp_path, capsys):
    arguments = ["train", "--corpus", corpus, "--out", tmp_path / "out", *TINY, "--schedule"]
    assert "no run there" in refused(capsys, *arguments, tmp_path / "nothing")
    steps = tmp_path / "steps"
    train_here(steps, corpus, "--steps", "2", "--workers", "plain")
    assert "repeat it with the same --steps" in refused(capsys, *arguments, steps)
    as_killed(run, 20, 15)
    assert f"was stopped before its end; finish it with --resume {run}" in refused(capsys, *arguments, run)
    with pytest.raises(SystemExit):
        main([*map(str, arguments), str(run), "--steps", "3"])
    assert "not allowed with argument" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
