"""Which step comes next in a run, at which learning rate, and what follows it: evaluation, checkpoint, end.

A StepSchedule or a ClockSchedule (clock_schedule.py) decides about each step before it is taken. What the
clock decided is recorded, and a RecordedSchedule repeats it.
"""

import math

from minielectra.errors import InputError
from minielectra.optim.schedule import learning_rate
from minielectra.pretraining.run_settings import MOST_CHECKPOINTS, MOST_EVALUATIONS
from minielectra.runs.schedule_record import Planned

FEWEST_EVALUATIONS = 2  # in a run, besides the one before the first step
EVALUATING = 0.08  # evaluations take at most this share of the training
FORWARD = 1 / 3  # of a training step, which also goes backward


def rate_at(step, steps, config):
    """The learning rate of update number `step` (from 0) in a run of `steps`. config: PretrainingConfig."""
    warmup = config.warmup_steps or math.ceil(config.warmup_fraction * steps)
    return learning_rate(step, steps, config.learning_rate, warmup) * _rewarming(step / steps, config)


def rate_at_fraction(fraction, step, config):
    """The same, of update number `step` in a run of unknown length, after this fraction of its schedule."""
    rewarming = _rewarming(fraction, config)
    if config.warmup_steps:
        warming = min(1.0, step / config.warmup_steps) * rewarming
        return learning_rate(fraction, 1.0, config.learning_rate, 0) * warming
    return learning_rate(fraction, 1.0, config.learning_rate, config.warmup_fraction) * rewarming


def _rewarming(fraction, config):
    """What the rate is multiplied by after the share `two_stage` of the run, if it is to rise once more."""
    if not config.rewarm or fraction < config.two_stage or not config.warmup_fraction:
        return 1.0
    return min(1.0, (fraction - config.two_stage) / (config.warmup_fraction * (1.0 - config.two_stage)))


def steps_between_evaluations(steps, cost):
    """How often a run of `steps` is evaluated. cost: how many steps an evaluation is worth, by its tokens."""
    affordable = int(EVALUATING * steps / cost)
    return math.ceil(steps / min(max(affordable, FEWEST_EVALUATIONS), MOST_EVALUATIONS))


def steps_between_checkpoints(steps):
    """How often a run of `steps` is saved."""
    return math.ceil(steps / MOST_CHECKPOINTS)


class StepSchedule:
    """A run of a number of steps."""

    def __init__(self, steps, eval_every, checkpoint_every):
        """eval_every, checkpoint_every: steps between evaluations and between checkpoints."""
        self.steps, self.eval_every, self.checkpoint_every = steps, eval_every, checkpoint_every

    def plan(self, step):
        """What to do in update number `step` (from 0) -> Planned."""
        done = step + 1
        last = done == self.steps
        evaluate, save = done % self.eval_every == 0, done % self.checkpoint_every == 0
        return Planned(step / self.steps, evaluate or last, save or last, last)


class RecordedSchedule:
    """The schedule of a run: first the steps that schedule.bin holds, then those that another one adds."""

    def __init__(self, record, config, following=None):
        """record: ScheduleRecord, empty if no clock was asked; following: a StepSchedule, a ClockSchedule
        whose decisions are recorded too, or None if the record is complete. config: PretrainingConfig.
        """
        self.record, self.config, self.following = record, config, following
        self.steps = len(record) if following is None else following.steps  # None: the clock decides

    def plan(self, step):
        """What to do in update number `step` (from 0), once it is recorded -> Planned. Raises OSError."""
        if step < len(self.record):
            planned = self.record[step]
            if self.steps is None:
                return planned
            last = step + 1 == self.steps  # a longer run goes on after what was the last step
            return planned._replace(evaluate=planned.evaluate or last, save=planned.save or last, last=last)
        planned = self.following.plan(step)
        if self.following.steps is None:
            self.record.append(planned)
        return planned

    def rate(self, step, planned):
        """The learning rate."""
        if step < len(self.record) or self.steps is None:
            return rate_at_fraction(planned.fraction, step, self.config)
        return rate_at(step, self.steps, self.config)

    def evaluations_after(self, step):
        """How many evaluations there will be after `step` steps, if that is known."""
        recorded = self.record.evaluations_after(step)
        following = self.following
        if following is None or following.steps is None:
            return recorded
        return recorded + math.ceil((following.steps - max(step, len(self.record))) / following.eval_every)

    def evaluated(self, seconds, slowness):
        """An evaluation took so long: see `ClockSchedule.evaluated`."""
        if self.steps is None:
            self.following.evaluated(seconds, slowness)

    def saved(self, seconds):
        """A checkpoint took so long."""
        if self.steps is None:
            self.following.saved(seconds)

    def close(self):
        """Close the record."""
        self.record.close()

    def check_reaches(self, step):
        """Raise InputError if the record lacks steps before the checkpoint of `step`."""
        if self.steps is None and len(self.record) < step:
            raise InputError(
                f"{self.record.path}: holds {len(self.record):,} steps, but there is a checkpoint of step "
                f"{step:,}; restore it from a copy, or give the run a number of steps with --steps"
            )
