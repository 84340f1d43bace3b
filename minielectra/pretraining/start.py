"""Starting a run, and resuming one. Everything is checked before anything is written."""

import dataclasses
import datetime
import sys
from pathlib import Path

from minielectra import backend
from minielectra.data.text.corpus_files import find_corpus_files
from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError
from minielectra.formats.locks import claimed, unused
from minielectra.pretraining.exported_pair import INDEPENDENT_OF_WEIGHTS, read_towers
from minielectra.pretraining.load import load_tokenizer
from minielectra.pretraining.memory_check import check_pretraining_memory
from minielectra.pretraining.presets import DEFAULT_STEPS, configure
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.pretraining.run_data import is_prepared, read_tokenizer
from minielectra.pretraining.run_schedule import rate_at
from minielectra.pretraining.run_settings import (
    CHANGEABLE,
    MACHINE,
    RunSettings,
    with_absolute_paths,
)
from minielectra.pretraining.trainer import Trainer
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import last_step
from minielectra.runs.schedule_record import finished_schedule, read_schedule
from minielectra.training.engine import check_ranks
from minielectra.training.interruptions import Interrupted
from minielectra.training.mpi import check_not_started_by_mpi
from minielectra.training.processes import WorkerLost


def start_run(settings, out=None, started=None):
    """Start a run and take it to its end -> (folder, last metrics).

    settings: RunSettings; out: the folder, by default runs/PRESET-DATE; started: `run_clock.now()` when a
    budget of --minutes began, by default now.
    Raises InputError, with nothing left on disk, for settings or text that cannot be used, or for a folder
    that is not empty or in which another process works.
    """
    _, config = configure(settings.preset, settings.overrides)
    if settings.workers == "mpi":
        check_ranks(config, settings.device, settings.threads)
    else:
        check_not_started_by_mpi()
    backend.load(settings.device)
    initial = None
    if settings.init:
        settings, initial = _with_initial_weights(settings, config)
    configs = configure(settings.preset, settings.overrides)
    check_pretraining_memory(*configs, settings.device, settings.threads, settings.workers)
    read_tokenizer(settings, tell=True)
    if settings.corpus and not is_prepared(settings.corpus):
        find_corpus_files(settings.corpus)
    if settings.schedule:
        _check_repeatable(settings.schedule)
    elif not settings.steps and not settings.minutes:
        settings = dataclasses.replace(settings, steps=DEFAULT_STEPS[settings.preset])
    if out is None:
        out = unused(Path("runs") / f"{settings.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    run_folder.check_vacant(out)
    fields = {}
    for config in configure(settings.preset, settings.overrides):
        fields |= dataclasses.asdict(config)
    with claimed(out) as claim:
        run_folder.create(out, with_absolute_paths(settings.to_dict()), fields)
        try:
            trainer = Trainer(out, started, initial=initial)
            del initial  # the trainer lets go of it, too, once it has its own copy
            return Path(out), trainer.run()
        except WorkerLost as lost:
            raise lost.advising(f"continue with --resume {out}") from None
        except KeyboardInterrupt:  # before the first step; during the training, the trainer saves
            raise Interrupted(0, out) from None
        except InputError:
            if "config" not in run_folder.load(out):  # most likely, the text cannot be used
                claim.undo(run_folder.FILES)
            raise


def resume_run(folder, given, overrides, started=None):
    """Take a run from its last checkpoint to its end -> (folder, last metrics).

    given {setting: value} and overrides {configuration field: value}: what the user says again. These may
    differ from the run's own settings: the number and kind of workers; checkpoint_every and keep; and
    steps, if they are more. The rest of the training is then that of a run of so many steps. Raises
    InputError if more differs, or if another process works in the folder.
    """
    run_folder.load(folder)  # so that the lock is only looked for in a run
    with claimed(folder):
        info = run_folder.load(folder)
        own = RunSettings.from_dict(info["settings"])
        machine = _machine(own, given)
        _check_same(folder, info, own, with_absolute_paths(given) | overrides)
        if told := run_folder.other_versions(info.get("versions")):
            _say(folder, told)
        changed = _changed(folder, info, own, given)
        if changed != info:
            run_folder.save(folder, changed)
        try:
            return Path(folder), Trainer(folder, started, machine).run()
        except WorkerLost as lost:
            raise lost.advising(f"continue with --resume {folder}") from None
        except KeyboardInterrupt:
            raise Interrupted(last_step(folder), folder) from None


def _machine(own, given):
    """{setting: value} that a resumed run uses instead of its own, because it may be on another machine."""
    machine = {name: given[name] for name in MACHINE if name in given}
    if own.workers == "mpi":  # which mpiexec may not have started this time
        machine = {"workers": None} | machine
    if machine.get("workers") == "mpi":
        return {"threads": None} | machine
    check_not_started_by_mpi()
    return machine


def _check_same(folder, info, own, values):
    """Raise InputError for a value {name: value} that contradicts what the run was started with."""
    known = own.to_dict() | info.get("fields", {}) | info.get("config", {}) | info.get("pretraining", {})
    known |= own.overrides
    if values.get("minutes", own.minutes) != own.minutes:
        raise InputError("--minutes does not apply to --resume; leave it out, or give more --steps")
    for name, value in values.items():
        changeable = name in MACHINE or name in CHANGEABLE
        if not changeable and name in known and known[name] != value:
            raise InputError(
                f"{folder}: was started with {name} {known[name]}, not {value}; "
                "resume it without that option, or start a new run"
            )


def _changed(folder, info, own, given):
    """The contents of run.json with what the user changes: more steps, and how often to save."""
    every, settings = info.get("every", {}), info["settings"]
    if "checkpoint_every" in given:
        settings = settings | {"checkpoint_every": given["checkpoint_every"]}
        every = {name: value for name, value in every.items() if name != "checkpoint"}
    if "keep" in given:
        settings = settings | {"keep": given["keep"]}
    steps, before = given.get("steps"), info.get("steps", own.steps)
    if steps not in (None, before) and info.get("pretraining", {}).get("two_stage"):
        raise InputError(
            f"{folder}: its two stages are shares of the run, which therefore cannot be made longer; "
            "start a new run"
        )
    extended = {}
    if steps is not None and before is None:  # its --minutes are not over
        taken = max(len(read_schedule(folder)), last_step(folder))
        if steps < taken:
            raise InputError(f"{folder}: has taken {taken:,} steps already; --steps may only be more")
        if taken:
            _say(
                folder, f"after step {taken:,}, no clock ends it: it is trained like a run of {steps:,} steps"
            )
        settings = settings | {"steps": steps, "minutes": None, "schedule": None}
    elif steps is not None and steps < before:
        raise InputError(f"{folder}: was started with {before} steps, not {steps}; --steps may only be more")
    elif steps is not None and steps > before:
        if "config" in info:
            done = last_step(folder)
            _, config = run_folder.configs(info, ElectraConfig, PretrainingConfig, folder)
            rates = [rate_at(done, count, config) for count in (before, steps)]
            _say(
                folder,
                f"{steps:,} steps instead of {before:,}. From step {done:,} on, it is trained like a run of "
                f"{steps:,} steps: the learning rate goes from {rates[0]:.3g} to {rates[1]:.3g}, "
                "and falls to 0 at the end",
            )
            extended["extensions"] = [
                *info.get("extensions", []),
                {"after": done, "steps_before": before, "steps": steps},
            ]
            extended["steps"] = steps
        settings = settings | ({"steps": steps} if settings.get("steps") else {})
        every = {}
    return info | extended | {"settings": settings} | ({"every": every} if "every" in info else {})


def _check_repeatable(run):
    """Raise InputError unless the run took all its steps by the clock."""
    info = run_folder.load(run)
    finished_schedule(run)
    if info.get("extensions"):
        raise InputError(
            f"{run}: was made longer with --steps, which its schedule does not hold, so it cannot be repeated"
        )


def _say(folder, text):
    """Tell the user something that is no error."""
    print(f"{folder}: {text}", file=sys.stderr)


def _with_initial_weights(settings, config):
    """What --init means -> RunSettings with the weights' sizes and vocabulary, the weights {name: array}.

    config: the PretrainingConfig that the run would have without --init.
    Raises InputError if there are no such weights, or if other settings contradict them.
    """
    source, overrides = settings.init, settings.overrides
    fields, weights, tower = read_towers(source, config)
    tokenizer = load_tokenizer(tower, fields["vocab_size"])
    fields["pad_token_id"] = tokenizer.pad_id
    for name, value in overrides.items():
        if name not in INDEPENDENT_OF_WEIGHTS and fields.get(name, value) != value:
            raise InputError(f"--init {source}: has {name} {fields[name]}, not {value}; leave {name} out")
    if settings.vocab and not read_tokenizer(settings).same_as(tokenizer):
        raise InputError(
            f"--init {source}: was trained with a vocabulary other than {settings.vocab}; leave --vocab out"
        )
    settings = dataclasses.replace(settings, vocab=str(tower), overrides=fields | overrides)
    configure(settings.preset, settings.overrides)
    return settings, weights
