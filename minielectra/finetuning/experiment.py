"""An experiment: a task learnt with several seeds, from a pre-trained encoder and perhaps from scratch."""

import dataclasses
import sys
from contextlib import nullcontext

import numpy as np

from minielectra import backend
from minielectra.errors import InputError
from minielectra.finetuning import tasks, unfinished
from minielectra.finetuning.backbone import make_objective, read_backbone
from minielectra.finetuning.directory import finished, read_results, save_finetuned
from minielectra.finetuning.experiment_settings import CHANGEABLE, PATHS
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.loop import LabelledSet, finetune
from minielectra.finetuning.unfinished import Keeper, fingerprint
from minielectra.formats.locks import claimed
from minielectra.runs.checkpoints import last_step
from minielectra.runs.run_folder import other_versions
from minielectra.training.interruptions import Interrupted, interruptible
from minielectra.training.needed_memory import check_memory
from minielectra.training.processes import WorkerLost

HELD_OUT = 10  # without a development file, every tenth example is held out
PRETRAINED, FROM_SCRATCH = "pre-trained", "from scratch"  # the starts of a training, as results name them


def run_experiment(settings, options=None):
    """Fine-tune, write the directory `settings.out` -> results, as results.json holds them.

    settings: ExperimentSettings; options {field of FinetuningConfig: value}: what the user chose, in place of
    what suits the model and the task. If `settings.out` holds the same experiment, unfinished, it goes on
    there. Raises InputError for anything that cannot be used, before training, with nothing left on disk;
    Interrupted on Ctrl-C and the like, after saving.
    """
    options = options or {}
    if settings.out is None:
        return _run(settings, options)
    tasks.find(settings.task)
    unfinished.check_out(settings.out)
    with claimed(settings.out) as claim:
        unfinished.check_out(settings.out)
        if finished(settings.out):  # killed between the last file of the model and the end
            unfinished.clear(settings.out)
            return read_results(settings.out)
        record = unfinished.begin(settings, options)
        try:
            return _go_on(record, settings)
        except InputError as error:
            resumable = isinstance(error, WorkerLost) or last_step(settings.out)
            if record.new and not resumable:
                claim.undo(unfinished.FILES)
            raise


def resume_experiment(folder, given=None, options=None):
    """Take an unfinished experiment to its end -> results, as results.json holds them.

    given {field of ExperimentSettings: value}, options {field of FinetuningConfig: value}: what the user says
    again; only those in CHANGEABLE may differ from what was begun. Raises InputError and Interrupted as
    `run_experiment` does.
    """
    if not finished(folder):
        unfinished.read(folder)  # so that the lock is only looked for where there is something
    with claimed(folder):
        if finished(folder):
            unfinished.clear(folder)
            return read_results(folder)
        record = unfinished.read(folder)
        record.check_same(given or {}, options or {})
        changed = {name: value for name, value in (given or {}).items() if name in CHANGEABLE}
        return _go_on(record, dataclasses.replace(record.settings, **changed | {"out": str(folder)}))


def _go_on(record, settings):
    """Run the experiment of a Record -> results."""
    if told := other_versions(record.content.get("versions")):
        print(f"{record.folder}: {told}", file=sys.stderr)
    if step := last_step(record.folder):
        print(f"{record.folder}: goes on after step {step:,}", file=sys.stderr)
    try:
        results = _run(dataclasses.replace(record.settings, **_changeable(settings)), record.options, record)
    except WorkerLost as lost:
        raise lost.advising(f"continue with --resume {record.folder}") from None
    except KeyboardInterrupt:  # before or after the training, during which the keeper saves
        raise Interrupted(last_step(record.folder), record.folder) from None
    unfinished.clear(record.folder)
    return results


def _changeable(settings):
    return {name: getattr(settings, name) for name in CHANGEABLE}


def _run(settings, options, record=None):
    """Read, train, and write the directory `settings.out`, if any -> results.

    record: of the folder; None: nothing is saved on the way.
    """
    xp = backend.load(settings.device)
    task_class = tasks.find(settings.task)
    reader_options = settings.reader_options(task_class)
    task, examples = task_class.from_file(settings.task, settings.train, reader_options)
    backbone = read_backbone(settings.model)
    train_examples, dev_examples = _split(task, examples, settings)
    config = _config(backbone, task, options, record)
    tokenizer = backbone.tokenizer
    train = task.encode(train_examples, tokenizer, config.max_length)
    dev = LabelledSet(dev_examples, task.encode(dev_examples, tokenizer, config.max_length))
    if record is not None:
        _check_unchanged(record, config, fingerprint([*train, *dev.encoded], dev_examples, backbone.state))
    shown = {name: getattr(settings, name) for name in PATHS} if record is None else record.shown
    first, last = settings.seed, settings.seed + settings.seeds
    trainings = [(start, seed) for start in _starts(settings) for seed in range(first, last)]
    with nullcontext() if record is None else interruptible() as stop:
        keeper = Keeper(record and record.folder, settings.checkpoint_every, stop)
        for start, seed in trainings[len(keeper.finished) :]:
            objective = make_objective(backbone, task, config, seed, start == FROM_SCRATCH, xp)
            longest = max(len(sequence.ids) for sequence in train)
            batch = min(config.batch_size, len(train))
            check_memory(objective, [objective.model.config], batch, longest, workers=settings.threads)
            label = f"{settings.task}, {start}, seed {seed}"
            result = finetune(
                objective, task, train, dev, tokenizer, seed, settings.threads, label=label, keeper=keeper
            )
            keeper.finish(start, result, task.metrics[0])
        results = {
            "task": settings.task,
            "model": shown["model"],
            "train": shown["train"],
            "dev": shown["dev"],
            "n_train": len(train_examples),
            "n_dev": len(dev_examples),
            "metrics": list(task.metrics),
            "settings": {"head": task.head, **dataclasses.asdict(config)},
            "starts": {
                start: _summary(task, [result for own, result in keeper.finished if own == start])
                for start in _starts(settings)
            },
        }
        if settings.out is not None:
            best, model = keeper.chosen, objective.model
            save_finetuned(settings.out, task, model, best, tokenizer, config.max_length, results)
    return results


def _config(backbone, task, options, record):
    """The FinetuningConfig: the recorded one or, before there is one, what suits the model and the task."""
    if record is None or "config" not in record.content:
        return FinetuningConfig.suited_to(backbone.config, task.max_length, options)
    try:
        return FinetuningConfig.from_record(record.content["config"])
    except InputError as error:
        raise InputError(f"{record.folder}: {error}") from None


def _check_unchanged(record, config, now):
    """Record the configuration and the fingerprint `now`, or raise InputError if that is another one."""
    if record.content.get("fingerprint", now) != now:
        raise InputError(
            f"{record.folder}: the examples or the model have changed since this fine-tuning began; "
            "bring them back, or start again with another --out"
        )
    if "config" not in record.content:
        record.note(config=dataclasses.asdict(config), fingerprint=now)


def format_results(results):
    """The results as a table for a terminal -> str: a row per start, with mean and deviation over seeds."""
    names = results["metrics"]
    lines = [f"{'on the development set':24}" + "".join(f"{name:>26}" for name in names)]
    for start, summary in results["starts"].items():
        cells = ""
        for name in names:
            deviation = summary["deviation"][name]
            spread = "" if deviation is None else f" ± {deviation:.4f}"
            mean = summary["mean"][name]  # null in results.json is NaN
            cells += f"{float('nan') if mean is None else mean:.4f}{spread}".rjust(26)
        lines.append(f"{start:24}{cells}")
    count = len(next(iter(results["starts"].values()))["seeds"])
    seeds = "one seed, at its best evaluation"
    if count > 1:
        seeds = f"mean and standard deviation over {count} seeds, each at its best evaluation"
    sizes = f"{results['n_train']:,} training examples, {results['n_dev']:,} development examples"
    return "\n".join([*lines, f"({sizes}; {seeds})"])


def _split(task, examples, settings):
    """-> training examples, development examples: those of --dev, or every tenth of the training file."""
    if settings.dev is not None:
        return examples, task.read(settings.dev)
    dev = examples[HELD_OUT - 1 :: HELD_OUT]
    if not dev:
        raise InputError(
            f"{settings.train}: {len(examples)} examples are too few to hold some out; give --dev FILE"
        )
    return [example for i, example in enumerate(examples, 1) if i % HELD_OUT], dev


def _starts(settings):
    if settings.from_scratch:
        return (FROM_SCRATCH,)
    return (PRETRAINED, FROM_SCRATCH) if settings.control else (PRETRAINED,)


def _summary(task, found):
    """SeedResults of one start -> {"seeds": [{"seed", "best", "history"}], "mean": {metric: value}, …}"""
    values = {metric: [result.best[metric] for result in found] for metric in task.metrics}
    return {
        "seeds": [{"seed": r.seed, "best": r.best, "history": r.history} for r in found],
        "mean": {metric: float(np.mean(x)) for metric, x in values.items()},
        "deviation": {
            metric: float(np.std(x, ddof=1)) if len(x) > 1 else None for metric, x in values.items()
        },
    }
