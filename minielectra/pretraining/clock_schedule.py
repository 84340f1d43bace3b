"""The schedule of a run of --minutes: it follows the clock, so that the run ends on time on any machine.

The learning rate falls with the *fraction* of the schedule that has passed. Before each step, the time since
the step before is compared with the time left until training must end:

    fraction ← fraction + (1 − fraction) · passed / (passed + left)

While nothing unforeseen happens, this is simply the time used. If the end moves (because the machine slows
down, and evaluation and pictures at the end will take longer), the rest of the schedule is spread over the
rest of the time. The same happens after a jump, when the machine slept or the process was stopped: the time
that was lost is not counted as passed, so the learning rate goes on from where it was and still falls to
almost 0.

All costs are kept in units of steps, because then they follow the machine.
"""

from collections import deque
from statistics import median, median_low

from minielectra.pretraining.run_clock import now
from minielectra.pretraining.run_settings import MOST_CHECKPOINTS, MOST_EVALUATIONS
from minielectra.runs.schedule_record import Planned

PICTURE_SECONDS = 7.0  # what drawing takes on a quiet machine: 5.7 s on one core of an AMD EPYC
BETWEEN_EVALUATIONS, BETWEEN_CHECKPOINTS = 15, 50  # times their cost: together 9 % of the time
JUMP = 0.02  # a step that takes this share of the run longer than expected is a jump …
UNUSUAL = 4.0  # … if that is also so many times longer
LARGEST_MOVE = 0.1  # of the schedule in one step, so that every run has at least ten
GRACE = 0.02, 2.0  # share of the run, seconds: what a jump over the end leaves for the rest of the schedule
_KNOWN = 3  # steps after which it is known how long one takes


class Cost:
    """What an evaluation or a checkpoint takes, in steps."""

    def __init__(self, guess):
        """guess: what it takes as long as nothing is measured."""
        self._found = deque([guess], 5)

    def add(self, steps):
        """It took so long."""
        self._found.append(steps)

    @property
    def steps(self):
        """What it usually takes: one that was held up does not count."""
        return median_low(self._found)


class ClockSchedule:
    """Decides about each step by the clock: see `run_schedule.py`."""

    steps = None  # it is not known how many there will be

    def __init__(self, minutes, started, evaluation, eval_every=None, checkpoint_every=None, clock=now):
        """minutes: of the whole command, pictures included; started: when it began, by `clock`.

        evaluation: about how many steps an evaluation takes. eval_every, checkpoint_every: fixed numbers of
        steps, or None.
        """
        self.total = minutes * 60
        self.deadline = started + self.total
        self.eval_every, self.checkpoint_every = eval_every, checkpoint_every
        self._clock = clock
        self._fraction, self._used_before = 0.0, None
        self._evaluated_at = self._saved_at = 0.0  # share of the minutes used then
        self._evaluations = 0
        self._steps = deque(maxlen=9)  # seconds of the newest steps
        self._evaluation, self._checkpoint = Cost(evaluation), Cost(5)
        self._slowness, self._step_then = 1.0, 0.0  # of the newest evaluation, and seconds of a step then
        self._before = None  # when the last step was planned
        self._between = 0.0  # seconds of evaluation and checkpoint since then
        self._expected = 0.0  # the same, as it was expected

    def go_on(self, record):
        """Continue a run. It has the minutes left that it had at its last recorded step (ScheduleRecord)."""
        if len(record):
            self._fraction, self._used_before = record[-1].fraction, record[-1].used
            self._evaluated_at, self._saved_at = record.used_at("evaluate"), record.used_at("save")
            self._evaluations = int(self._evaluated_at > 0)

    def evaluated(self, seconds, slowness=1.0):
        """An evaluation took so long. slowness: how many times longer than on a quiet machine."""
        self._spent(self._evaluation, seconds)
        self._slowness, self._step_then = max(1.0, slowness), self._step

    def saved(self, seconds):
        """A checkpoint took so long."""
        self._spent(self._checkpoint, seconds)

    def seconds_left(self):
        """Seconds until everything should be done."""
        if self._used_before is not None:
            return (1.0 - self._used_before) * self.total
        return self.deadline - self._clock()

    def plan(self, step):
        """Decide about update number `step` (from 0) -> Planned. Called once, when the step begins."""
        now = self._clock()
        if self._used_before is not None:  # the repeated steps are over: from here on, time counts
            self.deadline = now + (1.0 - self._used_before) * self.total
            self._used_before = None
        left = self._advance(now)
        used = 1.0 - (self.deadline - now) / self.total
        if step == 0:
            self._evaluated_at = self._saved_at = used
        last = bool(self._steps) and left < 1.5 * self._step and self._fraction >= 1.0 - LARGEST_MOVE - 1e-9
        evaluate = last or self._evaluation_due(step, used, left)
        save = last or self._checkpoint_due(step, used)
        if evaluate:
            self._evaluated_at, self._evaluations = used, self._evaluations + 1
        if save:
            self._saved_at = used
        self._before, self._between = now, 0.0
        self._expected = self._step * (evaluate * self._evaluation.steps + save * self._checkpoint.steps)
        return Planned(self._fraction, evaluate, save, last, used)

    @property
    def _step(self):
        """Seconds that a step takes at present; 0.0: not known."""
        return median(self._steps) if self._steps else 0.0

    def _spent(self, cost, seconds):
        self._between += seconds
        if len(self._steps) >= _KNOWN and self._step > 0:
            cost.add(seconds / self._step)

    def _advance(self, now):
        """Move the fraction to the present -> seconds left for training."""
        passed = 0.0
        if self._before is not None:
            passed, expected = now - self._before, self._step + self._expected
            known = len(self._steps) >= _KNOWN
            self._steps.append(max(passed - self._between, 1e-6))
            if known and passed - expected > max(JUMP * self.total, UNUSUAL * expected):
                passed = expected
        rest = 1.0 - self._fraction
        share, least = GRACE
        left = max(self.deadline - self._closing() - now, rest * max(share * self.total, least))
        if passed > 0.0:
            self._fraction += min(rest * passed / (passed + left), LARGEST_MOVE)
        return left

    def _closing(self):
        """Seconds to keep for the last evaluation, the last checkpoint and the pictures."""
        if not self._step_then and len(self._steps) >= _KNOWN:
            self._step_then = self._step
        changed = self._step / self._step_then if self._step_then else 1.0
        costs = self._step * (self._evaluation.steps + self._checkpoint.steps)
        return 1.25 * costs + max(1.0, self._slowness * changed) * PICTURE_SECONDS + 1.0

    def _evaluation_due(self, step, used, left):
        if self.eval_every:
            return (step + 1) % self.eval_every == 0
        cost = self._step * self._evaluation.steps
        interval = max(self.total / MOST_EVALUATIONS, BETWEEN_EVALUATIONS * cost)
        if not self._evaluations and self._fraction >= 0.5 and left > 2 * cost:
            return True  # at least one between the first and the last
        return (used - self._evaluated_at) * self.total >= interval and left >= interval / 2

    def _checkpoint_due(self, step, used):
        if self.checkpoint_every:
            return (step + 1) % self.checkpoint_every == 0
        cost = self._step * self._checkpoint.steps
        interval = max(self.total / MOST_CHECKPOINTS, BETWEEN_CHECKPOINTS * cost)
        return (used - self._saved_at) * self.total >= interval
