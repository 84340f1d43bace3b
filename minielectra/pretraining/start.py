"""Starting a run, and resuming one. Everything is checked before anything is written."""

import dataclasses
import datetime
import shutil
from pathlib import Path

from minielectra import backend
from minielectra.data.text.corpus import find_corpus_files
from minielectra.errors import InputError
from minielectra.pretraining.exported_pair import INDEPENDENT_OF_WEIGHTS, read_towers
from minielectra.pretraining.presets import configure
from minielectra.pretraining.run_data import is_prepared, read_tokenizer
from minielectra.pretraining.run_settings import DEFAULT_MINUTES, MACHINE, RunSettings, with_absolute_paths
from minielectra.pretraining.trainer import Trainer
from minielectra.runs import run_folder


def start_run(settings, out=None, started=None):
    """Start a run and take it to its end -> (folder, last metrics).

    settings: RunSettings; out: the folder, by default runs/PRESET-DATE; started: time.monotonic() at which a
    budget of --minutes began, by default now.
    Raises InputError, with nothing left on disk, for settings or text that cannot be used.
    """
    _, config = configure(settings.preset, settings.overrides)
    backend.load(settings.device)
    initial = None
    if settings.init:
        settings, initial = _with_initial_weights(settings, config)
    if settings.vocab:
        read_tokenizer(settings.vocab)
    if settings.corpus and not is_prepared(settings.corpus):
        find_corpus_files(settings.corpus)
    if not settings.steps and not settings.minutes:
        settings = dataclasses.replace(settings, minutes=DEFAULT_MINUTES)
    if out is None:
        out = Path("runs") / f"{settings.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    run_folder.create(out, with_absolute_paths(settings.to_dict()))
    try:
        trainer = Trainer(out, started, initial=initial)
        del initial  # the trainer lets go of it, too, once it has its own copy
        return Path(out), trainer.run()
    except InputError:
        if "config" not in run_folder.load(out):  # the text cannot be used, most likely: leave no empty run
            shutil.rmtree(out)
        raise


def resume_run(folder, given, overrides, started=None):
    """Take a run from its last checkpoint to its end -> (folder, last metrics).

    given {setting: value} and overrides {configuration field: value}: what the user says again. Only the
    number and kind of workers may differ from the run's own settings. Raises InputError if more does.
    """
    info = run_folder.load(folder)
    own = RunSettings.from_dict(info["settings"])
    known = own.to_dict() | {"steps": info.get("steps", own.steps)}
    known |= info.get("config", {}) | info.get("pretraining", {}) | own.overrides
    for name, value in (with_absolute_paths(given) | overrides).items():
        if name not in MACHINE and name in known and known[name] != value:
            raise InputError(
                f"{folder}: was started with {name} {known[name]}, not {value}; "
                "resume it without that option, or start a new run"
            )
    machine = {name: given[name] for name in MACHINE if name in given}
    return Path(folder), Trainer(folder, started, machine).run()


def _with_initial_weights(settings, config):
    """What --init means -> RunSettings with the weights' sizes and vocabulary, the weights {name: array}.

    config: the PretrainingConfig that the run would have without --init.
    Raises InputError if there are no such weights, or if other settings contradict them.
    """
    source, overrides = settings.init, settings.overrides
    fields, weights, tower = read_towers(source, config.objective, config.tie_encoders)
    for name, value in overrides.items():
        if name not in INDEPENDENT_OF_WEIGHTS and fields.get(name, value) != value:
            raise InputError(f"--init {source}: has {name} {fields[name]}, not {value}; leave {name} out")
    vocab = read_tokenizer(tower).vocab
    if len(vocab) != fields["vocab_size"]:
        raise InputError(
            f"{tower}: the vocabulary has {len(vocab)} pieces, but the model {fields['vocab_size']}"
        )
    if settings.vocab and read_tokenizer(settings.vocab).vocab != vocab:
        raise InputError(
            f"--init {source}: was trained with a vocabulary other than {settings.vocab}; leave --vocab out"
        )
    settings = dataclasses.replace(settings, vocab=str(tower), overrides=fields | overrides)
    configure(settings.preset, settings.overrides)
    return settings, weights
