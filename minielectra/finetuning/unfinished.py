"""An experiment that is not finished: what its folder holds until the model is there.

    unfinished.json     the settings, the configuration that follows from them, what the examples were
    checkpoints/        the last two checkpoints: see runs/checkpoints.py
    .lock               while a process works in the folder: its name

So a fine-tuning that was killed, or stopped with Ctrl-C, goes on where it was, and ends with the same bits.
"""

import dataclasses
import hashlib
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from minielectra.errors import InputError, reason, shown
from minielectra.finetuning.experiment_settings import CHANGEABLE, PATHS, ExperimentSettings
from minielectra.finetuning.loop import SeedResult, Standing, better
from minielectra.formats.files import remove_folder, write_text
from minielectra.formats.json_text import is_number, json_text
from minielectra.formats.locks import vacant
from minielectra.formats.reading import read_json
from minielectra.pretrained.shipped import is_shipped
from minielectra.runs.checkpoints import (
    list_checkpoints,
    load_checkpoint,
    load_more,
    load_state,
    newest_whole,
    prune,
    save_checkpoint,
)
from minielectra.runs.run_folder import versions
from minielectra.training.interruptions import Interrupted

FORMAT = "minielectra-unfinished-1"
FILE, FILES = "unfinished.json", ("unfinished.json", "checkpoints")
KEPT = 2  # checkpoints: if the newest is damaged, there is one more
SECONDS = 60.0  # between checkpoints, unless the user says how many steps
SHARE = 100  # … and at least this many times as long as the last checkpoint took


class Record:
    """unfinished.json of a folder."""

    def __init__(self, folder, content, new=False):
        """content: the JSON object; new: whether this process wrote the first one."""
        self.folder, self.content, self.new = Path(folder), content, new

    @property
    def settings(self):
        """ExperimentSettings, with absolute paths. Raises InputError if another version wrote them."""
        try:
            return ExperimentSettings.from_record(self.content["settings"])
        except InputError as error:
            raise InputError(f"{self.folder / FILE}: {error}") from None

    @property
    def options(self):
        """{field of FinetuningConfig: value} that the user gave."""
        return self.content["options"]

    @property
    def shown(self):
        """{name: path} as the user gave them, for results.json."""
        return self.content["shown"]

    def note(self, **entries):
        """Add entries and save."""
        self.content |= entries
        write_text(self.folder / FILE, json_text(self.content, indent=1) + "\n")

    def check_same(self, settings, options):
        """Raise InputError if the user asks for something else than what was begun."""
        own = self.content["settings"] | self.options
        for name, value in (with_absolute_paths(settings) | options).items():
            later = name in settings and name not in own  # a setting that the record's version did not know
            if name not in CHANGEABLE and not later and own.get(name) != value:
                began = f"{name} {shown(own.get(name))}"
                raise InputError(
                    f"{self.folder}: holds an unfinished fine-tuning that began with {began}, "
                    f"not {value}; continue it with --resume {self.folder}, or choose another --out"
                )


def begin(settings, options):
    """The Record of the folder `settings.out`, which is locked: the one that is there, or a new one.

    settings: ExperimentSettings; options: see Record. Raises InputError if an experiment with other settings
    has a checkpoint there.
    """
    values, folder = dataclasses.asdict(settings), Path(settings.out)
    if (folder / FILE).exists() and list_checkpoints(folder):
        record = read(folder)
        record.check_same(values, options | dict.fromkeys(record.options.keys() - options.keys()))
        return record
    record = Record(folder, {}, new=True)
    record.note(
        format=FORMAT,
        settings=with_absolute_paths(values),
        shown={name: values[name] for name in PATHS},
        options=options,
        versions=versions(),
    )
    return record


def read(folder):
    """The Record in a folder. Raises InputError if there is none, or none that can be used."""
    path = Path(folder) / FILE
    content = read_json(path, f"{folder}: no unfinished fine-tuning there; give the whole command")
    if content.get("format") != FORMAT:
        raise InputError(f"{path}: not the record of a fine-tuning")
    for name in ("settings", "options", "shown", *({"config"} & content.keys())):
        if not isinstance(content.get(name), dict):
            raise InputError(f"{path}: damaged ({name} is missing); remove the folder, and start again")
    return Record(folder, content)


def check_out(out):
    """Raise InputError unless an experiment may begin, or go on, in the folder `out`."""
    if not vacant(out) and not (Path(out) / FILE).exists():
        raise InputError(f"{out}: exists and is not an empty folder; choose another --out")


def clear(folder):
    """Remove what belongs to the unfinished experiment, once the model is there."""
    with suppress(OSError):
        remove_folder(Path(folder) / "checkpoints")
    with suppress(OSError):
        (Path(folder) / FILE).unlink()


def with_absolute_paths(values):
    """{setting: value} with absolute paths, so that it does not matter where the process goes on."""
    found = {name: values[name] for name in PATHS if values.get(name) not in (None, "-")}
    if is_shipped(found.get("model")):  # a name, not a path
        del found["model"]
    # not resolve(): /dev/fd/63 is a link to a pipe, which has no path of its own
    return values | {name: os.path.abspath(path) for name, path in found.items()}


def fingerprint(encoded, dev_examples, state):
    """What a training starts from, in one number -> hexadecimal.

    encoded: all sequences, a list of Encoded; dev_examples: what the predictions are compared with; state
    {name: array}: the encoder.
    """
    digest = hashlib.blake2b(digest_size=16)
    for example in dev_examples:
        digest.update(repr(example).encode("utf-8", "backslashreplace"))
    for sequence in encoded:
        target = np.asarray(-1 if sequence.target is None else sequence.target, np.float64)
        for part in (np.asarray(sequence.ids, np.int32), np.asarray(sequence.segments, np.int8), target):
            digest.update(part.tobytes())
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(state[name], np.float32))
    return digest.hexdigest()


class Keeper:
    """Saves an experiment as it goes on, knows what of it is done, and brings back what was saved."""

    def __init__(self, folder=None, every=None, stop=None):
        """folder: of the experiment; None: nothing is saved. every: steps between checkpoints; by default,
        one is written about every minute. stop: an event; once it is set, everything is saved and Interrupted
        is raised. Raises InputError if there are checkpoints, but none that is whole.
        """
        self.folder, self.every, self.stop = folder, every, stop or threading.Event()
        self.finished = []  # (start, SeedResult without parameters) of the trainings that are done, in order
        self.chosen = None  # the best SeedResult of the first start, with its parameters
        self._checkpoint, self._last_step = None, 0
        self._saved_at, self._cost = time.monotonic(), 0.0  # seconds
        checkpoint = None if folder is None else newest_whole(folder)
        if checkpoint:
            self._last_step, self._checkpoint = checkpoint
            prune(folder, KEPT)  # a process that was killed may not have come to it
            self._state = load_state(self._checkpoint)
            self._read_finished()

    def finish(self, start, result, main_metric):
        """Note the SeedResult of a training. Only the best one of the first start keeps its parameters."""
        counts = not self.finished or start == self.finished[0][0]
        if counts and (self.chosen is None or better(result.best, self.chosen.best, main_metric)):
            self.chosen = result
        self.finished.append((start, dataclasses.replace(result, flat=None)))

    def restore(self, engine, now):
        """Where the training stands that comes next -> Standing. now: its beginning."""
        if self._checkpoint is None:
            return now
        folder, self._checkpoint = self._checkpoint, None
        load_checkpoint(folder, engine.objective.parameters, engine.optimizer)
        with _damage(folder):
            saved = self._state["current"]
            step, history = int(saved["step"]), _history(saved["history"])
            losses = [float(loss) for loss in saved["losses"]]
            best = None
            if saved["best"] is not None:
                flat = self._parameters(folder, "best", engine.objective.parameters.size)
                best = _result(saved["best"] | {"seed": now.seed, "history": history}, flat)
        return Standing(now.seed, step, history, losses, best)

    def save_if_due(self, engine, now, steps):
        """Save, if it is time to. steps: of each training. Raises Interrupted if the process is to end."""
        if self.folder is None:
            return
        step = len(self.finished) * steps + now.step
        if self.stop.is_set():
            self._save(step, engine, now)
            raise Interrupted(step, self.folder)
        waited = time.monotonic() - self._saved_at
        due = step % self.every == 0 if self.every else waited >= max(SECONDS, SHARE * self._cost)
        if due and step > self._last_step:
            self._save(step, engine, now)

    def _save(self, step, engine, now):
        begin = time.monotonic()
        more = {"best": now.best, "chosen": self.chosen}
        state = {
            "finished": [{"start": start, **_plain(result)} for start, result in self.finished],
            "chosen": self.chosen and self.chosen.seed,
            "current": {
                "step": now.step,
                "history": now.history,
                "losses": now.losses,
                "best": now.best and _plain(now.best, history=False),
            },
        }
        arrays = {name: {"parameters": result.flat} for name, result in more.items() if result is not None}
        parameters, optimizer = engine.objective.parameters, engine.optimizer
        save_checkpoint(self.folder, step, parameters, optimizer, state, arrays)
        prune(self.folder, KEPT)
        self._last_step, self._saved_at = step, time.monotonic()
        self._cost = self._saved_at - begin

    def _read_finished(self):
        with _damage(self._checkpoint):
            for saved in self._state["finished"]:
                history = _history(saved["history"])
                self.finished.append((saved["start"], _result(saved | {"history": history}, None)))
            chosen = self._state["chosen"]
            if chosen is not None:
                first = self.finished[0][0]
                results = [result for start, result in self.finished if start == first]
                result = next(result for result in results if result.seed == chosen)
                self.chosen = dataclasses.replace(result, flat=self._parameters(self._checkpoint, "chosen"))

    def _parameters(self, folder, name, size=None):
        """The parameters of a SeedResult in a checkpoint: [P]."""
        arrays = load_more(folder, name, None if size is None else {"parameters": (size,)})
        if arrays is None:
            raise KeyError(f"{name}.safetensors")
        return arrays["parameters"]


class _damage:
    """Turns what damaged files raise into an InputError."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        kinds = (LookupError, TypeError, ValueError, AttributeError, OverflowError, StopIteration)
        if isinstance(error, kinds) and not isinstance(error, InputError):
            problem = f"damaged ({type(error).__name__}: {reason(error)})"
            raise InputError(f"{self.folder}: {problem}; remove the folder to start again") from None
        return False


def _plain(result, history=True):
    """A SeedResult without its parameters, for JSON. The best entry of the history is named by its step."""
    plain = {"seed": result.seed, "best": result.best["step"], "task_settings": result.task_settings}
    return plain | ({"history": result.history} if history else {})


def _result(plain, flat):
    """The inverse of `_plain`."""
    history = plain["history"]
    best = next(entry for entry in history if entry["step"] == plain["best"])
    return SeedResult(plain["seed"], history, best, flat, plain["task_settings"])


def _history(entries):
    """A history from JSON, where NaN is null. Raises ValueError for what is no number."""
    for entry in entries:
        for name, value in entry.items():
            if value is not None and not is_number(value):
                raise ValueError(f"{shown(name)} is {shown(value)}")
    return [{name: float("nan") if x is None else x for name, x in entry.items()} for entry in entries]
