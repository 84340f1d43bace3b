"""What a run says while it goes on: a first line, and a bar with the time that is left."""

import datetime
import sys
import time

from tqdm import tqdm

from minielectra.pretraining.clock_schedule import PICTURE_SECONDS

_TIMED, _PATIENCE = 10, 3.0  # steps, or seconds, after which it is said how long a run takes


class RunBar:
    """The progress bar of a run. Use it as a context manager."""

    def __init__(self, about, step, schedule):
        """about: what is trained, in words; step: where the run is; schedule: RecordedSchedule."""
        self._about, self._step, self._schedule = about, step, schedule
        self._figures, self._evaluation = {}, 0.0  # of the last evaluation: what it gave, and its seconds
        self._begin = None  # time and number of the first step that counts for the estimate
        common = {"desc": "train", "dynamic_ncols": True, "smoothing": 0.05}
        if schedule.steps is None:
            self._announce()
            self._bar = tqdm(total=1.0, bar_format="{l_bar}{bar}|{postfix}", **common)
        else:
            self._bar = tqdm(total=schedule.steps, initial=step, unit="step", **common)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def _announce(self):
        """Say what is about to happen, if the clock ends the run."""
        seconds = self._schedule.following.seconds_left()
        repeated = len(self._schedule.record) - self._step
        if repeated > 0:
            self._say(f"{self._about}; repeats {repeated:,} steps, then goes on for {duration(seconds)}")
        else:
            done = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
            self._say(f"{self._about}, done at {done:%H:%M:%S} ({duration(seconds)} from now)")

    def moved(self, planned):
        """A step was taken. planned: Planned."""
        self._step += 1
        if self._schedule.steps is None:
            left = max(0, round(self._schedule.following.seconds_left()))
            self._show({"left": f"{left // 60}:{left % 60:02}", "step": f"{self._step:,}"} | self._figures)
            self._bar.update(max(0.0, planned.fraction - self._bar.n))
            return
        self._bar.update()
        if self._about:
            self._estimate()

    def evaluated(self, row, seconds):
        """An evaluation gave these figures, and took so long."""
        self._figures, self._evaluation = figures(row), seconds
        if self._begin is not None:
            self._begin = self._begin[0] + seconds, self._begin[1]
        self._show(self._figures)

    def _show(self, named):
        self._bar.set_postfix(named, refresh=False)

    def _estimate(self):
        """Say what is about to happen as soon as some steps show how long it takes."""
        now = time.monotonic()
        if self._begin is None:  # the first step is slower than the others
            self._begin = now, self._step
            return
        begin, first = self._begin
        if self._step - first >= _TIMED or now - begin > _PATIENCE:
            steps = (self._schedule.steps - self._step) * (now - begin) / (self._step - first)
            evaluations = self._schedule.evaluations_after(self._step)
            rest = steps + evaluations * self._evaluation + PICTURE_SECONDS
            self._say(f"{self._about}, about {duration(rest)}")
            self._about = ""

    def _say(self, text):
        tqdm.write(text, file=sys.stderr)


def describe(preset, engine, config, length):
    """What a run trains, in words. length: "2,400 steps", or just "steps"."""
    parameters = engine.objective.parameters
    where = f"{engine.n_workers} worker{'s' if engine.n_workers > 1 else ''}"
    return (
        f"{preset}: {parameters.size:,} parameters, {length} of {config.batch_size} × {config.seq_length} "
        f"tokens on {where}"
    )


def duration(seconds):
    """A time in words, rounded: "40 seconds", "4 minutes", "3 hours"."""
    units = (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 36), ("day", 86400, float("inf")))
    unit, size, _ = next(x for x in units if seconds / x[1] < x[2])
    count = max(1, round(seconds / size))
    return f"{count:,} {unit}{'s' if count > 1 else ''}"


def figures(row):
    """The figures of an evaluation that matter most, as the bar shows them -> {name: text}."""
    shown = {"MLM": row.get("gen_loss"), "AUC": row.get("disc_auc"), "recall": row.get("disc_recall")}
    text = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
    if row["tokens_per_second"]:
        text["tok/s"] = f"{row['tokens_per_second']:,.0f}"
    return text
