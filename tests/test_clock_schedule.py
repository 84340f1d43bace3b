"""Runs of --minutes on simulated machines: whatever the clock does, they end on time, at a rate near 0."""

import itertools

import pytest

from minielectra.pretraining.clock_schedule import PICTURE_SECONDS, ClockSchedule
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.pretraining.run_schedule import rate_at_fraction

CONFIG = PretrainingConfig(learning_rate=1.0)


class Machine:
    """A clock that only moves when the machine works."""

    def __init__(self, step=0.07, evaluation=0.6, save=0.05, slow=lambda time: 1.0, jumps=()):
        """Seconds on a quiet machine; slow: how many times longer everything takes at a time.

        jumps: [(time, seconds)] at which the process stands still for so long.
        """
        self.costs = {
            "step": step,
            "evaluation": evaluation,
            "save": save,
            "pictures": PICTURE_SECONDS * 0.85,
        }
        self.slow, self.jumps = slow, list(jumps)
        self.time, self.busy = 0.0, dict.fromkeys(self.costs, 0.0)

    def clock(self):
        return self.time

    def work(self, kind):
        begin = self.time
        self.time += self.costs[kind] * self.slow(self.time)
        if self.jumps and self.time >= self.jumps[0][0]:
            self.time += self.jumps.pop(0)[1]
        self.busy[kind] += self.time - begin
        return self.time - begin


class Run:
    """What the trainer does with a schedule, on a simulated machine."""

    def __init__(self, machine, minutes, stop_at=None, **options):
        ratio = machine.costs["evaluation"] / machine.costs["step"]
        self.machine, self.plans = machine, []
        started, machine.time = 0.0, 2.0 * machine.slow(0.0)  # reading the text, starting workers
        schedule = ClockSchedule(minutes, started, 1.4 * ratio, clock=machine.clock, **options)
        self._evaluate(schedule)
        for step in itertools.count():
            planned = schedule.plan(step)
            self.plans.append(planned)
            machine.work("step")
            if planned.evaluate:
                self._evaluate(schedule)
            if planned.save:
                schedule.saved(machine.work("save"))
            if planned.last:
                break
            assert step < 200_000
        self.trained_until = machine.time
        machine.work("pictures")

    def _evaluate(self, schedule):
        slowness = self.machine.slow(self.machine.time)
        schedule.evaluated(self.machine.work("evaluation"), slowness)

    @property
    def rates(self):
        return [rate_at_fraction(planned.fraction, i, CONFIG) for i, planned in enumerate(self.plans)]

    def count(self, flag):
        return sum(getattr(planned, flag) for planned in self.plans)


def check(run, minutes, deadline=None):
    """What holds for every run that has time for a few hundred steps."""
    machine, deadline = run.machine, deadline or 60 * minutes
    assert machine.time <= deadline
    fractions = [planned.fraction for planned in run.plans]
    assert fractions[0] == 0.0 and fractions == sorted(fractions) and fractions[-1] <= 1.0
    assert run.rates[-1] <= 0.02
    assert max(b - a for a, b in itertools.pairwise(fractions)) <= 0.1
    assert run.count("evaluate") >= 2 and run.plans[-1].evaluate and run.plans[-1].save
    assert run.count("evaluate") <= 31 and run.count("save") <= 9
    assert machine.busy["evaluation"] + machine.busy["save"] <= 0.1 * deadline


@pytest.mark.parametrize("minutes", [1, 3, 30, 120])
def test_a_quiet_machine_uses_its_time(minutes):
    run = Run(Machine(), minutes)
    check(run, minutes)
    assert run.machine.time >= 60 * minutes - 5
    # Where nothing happens, the fraction is the time used.
    middle = run.plans[len(run.plans) // 2]
    assert middle.fraction == pytest.approx(0.5, abs=0.05) and middle.used == pytest.approx(0.5, abs=0.1)


CHANGES = {
    "slower after a third": lambda time: 3.0 if time > 60 else 1.0,
    "slower after thirty seconds": lambda time: 2.5 if time > 30 else 1.0,
    "slower near the end": lambda time: 3.0 if time > 150 else 1.0,
    "faster after a third": lambda time: 1.0 if time > 60 else 3.0,
    "busy all the time": lambda time: 2.5,
    "now and then": lambda time: 3.0 if time % 20 < 7 else 1.0,
    "slower and slower": lambda time: 1.0 + time / 60,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_machine_that_changes_its_speed(name):
    check(Run(Machine(slow=CHANGES[name]), 3), 3, 182)  # what comes while it draws, nobody can foresee


def test_a_run_with_ten_times_the_steps_of_ten_times_the_speed_decays_alike():
    fast, slow = Run(Machine(step=0.01), 3), Run(Machine(step=0.1), 3)
    assert len(fast.plans) > 8 * len(slow.plans)
    for run in (fast, slow):
        half = run.rates[len(run.rates) // 2]
        assert half == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("jump", [(60, 20), (60, 100), (20, 60), (130, 20)])
def test_a_machine_that_sleeps_still_ends_on_time(jump):
    run = Run(Machine(jumps=[jump]), 3)
    check(run, 3)
    moves = [b.fraction - a.fraction for a, b in itertools.pairwise(run.plans)]
    assert max(moves) < 0.05  # no leap in the learning rate


@pytest.mark.parametrize("jump", [(60, 125), (60, 36_000), (160, 600)])
def test_a_machine_that_sleeps_past_the_end_lets_the_rate_fall_and_ends_at_once(jump):
    run = Run(Machine(jumps=[jump]), 3)
    at, seconds = jump
    assert run.trained_until < at + seconds + 6
    assert run.rates[-1] <= 0.05
    assert max(a - b for a, b in itertools.pairwise(run.rates[len(run.rates) // 4 :])) < 0.05
    assert run.plans[-1].evaluate and run.plans[-1].save


def test_a_jump_during_an_evaluation_is_no_cost():
    run = Run(Machine(jumps=[(12.3, 40)]), 3)
    assert run.machine.time <= 180
    assert run.count("evaluate") > 5


@pytest.mark.parametrize("minutes", [0.001, 0.05, 0.1, 0.2])
def test_too_little_time_is_still_a_run(minutes):
    run = Run(Machine(), minutes)
    assert len(run.plans) >= 10
    assert run.rates[-1] <= 0.11
    assert run.trained_until < 60 * minutes + 6


def test_slow_steps():
    run = Run(Machine(step=6, evaluation=8, save=1), 3)
    assert len(run.plans) >= 10 and run.machine.time <= 180 + 10
    run = Run(Machine(step=20, evaluation=20, save=1), 60)
    check(run, 60)


def test_wanted_evaluations_and_checkpoints_follow_the_steps():
    run = Run(Machine(), 1, eval_every=100, checkpoint_every=70)
    assert [i + 1 for i, planned in enumerate(run.plans) if planned.evaluate][:3] == [100, 200, 300]
    assert [i + 1 for i, planned in enumerate(run.plans) if planned.save][:3] == [70, 140, 210]


def test_a_warmup_of_a_number_of_steps():
    config = PretrainingConfig(learning_rate=1.0, warmup_steps=100)
    assert rate_at_fraction(0.1, 50, config) == pytest.approx(0.9 * 0.5)
    assert rate_at_fraction(0.5, 5000, config) == pytest.approx(0.5)
    assert rate_at_fraction(0.03, 5000, CONFIG) == pytest.approx(0.97 * 0.5)  # 6 % of the run
