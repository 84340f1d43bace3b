"""Choosing the schedule of a run: by steps, by the clock, or as it is recorded."""

from minielectra.pretraining.clock_schedule import ClockSchedule
from minielectra.pretraining.run_schedule import (
    FORWARD,
    RecordedSchedule,
    StepSchedule,
    steps_between_checkpoints,
    steps_between_evaluations,
)
from minielectra.runs.schedule_record import ScheduleRecord, copy_schedule


def choose_schedule(folder, info, settings, config, evaluation, started):
    """The schedule of the run in `folder`: as many steps as are known, or as many as the clock lets it take.

    info: the contents of run.json; settings: RunSettings; config: PretrainingConfig; evaluation: tokens that
    an evaluation takes through the model; started: `run_clock.now()` when a budget of --minutes began.
    -> RecordedSchedule, what is to be recorded of it in run.json. Raises InputError if a schedule that was
    recorded cannot be read.
    """
    record = ScheduleRecord(folder)
    if settings.schedule and not len(record):
        copy_schedule(settings.schedule, folder)
        record = ScheduleRecord(folder)
    steps = info.get("steps") or settings.steps or (len(record) if record.finished else None)
    cost = FORWARD * evaluation / (config.batch_size * config.seq_length)  # in steps
    if steps is None:
        wanted = settings.eval_every, settings.checkpoint_every
        clock = ClockSchedule(settings.minutes, started, cost, *wanted)
        clock.go_on(record)
        return RecordedSchedule(record, config, clock), {}
    if steps <= len(record):
        return RecordedSchedule(record, config), {"steps": steps}
    every = _every(info, settings, steps, cost)
    following = StepSchedule(steps, every["evaluation"], every["checkpoint"])
    return RecordedSchedule(record, config, following), {"steps": steps, "every": every}


def _every(info, settings, steps, cost):
    """Steps between evaluations and between checkpoints: recorded, wanted, or chosen now."""
    if "steps" in info and "every" not in info:  # as version 0.1 chose
        chosen = {"evaluation": max(1, steps // 30), "checkpoint": max(1, steps // 8)}
    else:
        chosen = {
            "evaluation": steps_between_evaluations(steps, cost),
            "checkpoint": steps_between_checkpoints(steps),
        }
    wanted = {"evaluation": settings.eval_every, "checkpoint": settings.checkpoint_every}
    return chosen | {name: value for name, value in wanted.items() if value} | info.get("every", {})
