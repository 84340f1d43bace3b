"""An experiment: a task learnt with several seeds, from a pre-trained encoder and perhaps from scratch."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from minielectra import backend
from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.finetuning.backbone import make_objective, read_backbone
from minielectra.finetuning.directory import save_finetuned
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.loop import LabelledSet, comparable, finetune

HELD_OUT = 10  # without a development file, every tenth example is held out
PRETRAINED, FROM_SCRATCH = "pre-trained", "from scratch"  # the starts of a training, as results name them


def run_experiment(settings, options=None):
    """Fine-tune, write the directory `settings.out` -> results, as results.json holds them.

    settings: ExperimentSettings; options {field of FinetuningConfig: value}: what the user chose, in place of
    what suits the model and the task. Raises InputError for anything that cannot be used, before training.
    """
    xp = backend.load(settings.device)
    task_class = tasks.find(settings.task)
    reader_options = settings.reader_options(task_class)
    _check_out(settings.out)
    task, examples = task_class.from_file(settings.task, settings.train, reader_options)
    backbone = read_backbone(settings.model)
    train_examples, dev_examples = _split(task, examples, settings)
    config = FinetuningConfig.suited_to(backbone.config, task.max_length, options or {})
    tokenizer = backbone.tokenizer
    train = task.encode(train_examples, tokenizer, config.max_length)
    dev = LabelledSet(dev_examples, task.encode(dev_examples, tokenizer, config.max_length))
    if settings.out is not None:
        os.makedirs(settings.out, exist_ok=True)  # if this fails, it should fail before the training
    seed_results = {start: [] for start in _starts(settings)}
    for start in seed_results:
        for seed in range(settings.seed, settings.seed + settings.seeds):
            objective = make_objective(backbone, task, config, seed, start == FROM_SCRATCH, xp)
            label = f"{settings.task}, {start}, seed {seed}"
            result = finetune(objective, task, train, dev, tokenizer, seed, settings.threads, label=label)
            seed_results[start].append(result)
    results = {
        "task": settings.task,
        "model": settings.model,
        "train": settings.train,
        "dev": settings.dev,
        "n_train": len(train_examples),
        "n_dev": len(dev_examples),
        "metrics": list(task.metrics),
        "settings": {"head": task.head, **dataclasses.asdict(config)},
        "starts": {start: _summary(task, found) for start, found in seed_results.items()},
    }
    if settings.out is not None:
        first_start, main_metric = next(iter(seed_results.values())), task.metrics[0]
        best = max(first_start, key=lambda result: comparable(result.best[main_metric]))
        save_finetuned(settings.out, task, objective.model, best, tokenizer, config.max_length, results)
    return results


def format_results(results):
    """The results as a table for a terminal -> str: a row per start, with mean and deviation over seeds."""
    names = results["metrics"]
    lines = [f"{'on the development set':24}" + "".join(f"{name:>26}" for name in names)]
    for start, summary in results["starts"].items():
        cells = ""
        for name in names:
            deviation = summary["deviation"][name]
            spread = "" if deviation is None else f" ± {deviation:.4f}"
            cells += f"{summary['mean'][name]:.4f}{spread}".rjust(26)
        lines.append(f"{start:24}{cells}")
    count = len(next(iter(results["starts"].values()))["seeds"])
    seeds = "one seed, at its best evaluation"
    if count > 1:
        seeds = f"mean and standard deviation over {count} seeds, each at its best evaluation"
    sizes = f"{results['n_train']:,} training examples, {results['n_dev']:,} development examples"
    return "\n".join([*lines, f"({sizes}; {seeds})"])


def _check_out(out):
    if out is not None and Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise InputError(f"{out}: exists and is not an empty folder; choose another --out")


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
