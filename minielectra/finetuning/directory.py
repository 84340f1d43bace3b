"""A fine-tuned directory: writing it, and opening it to predict and to score.

It is a directory in Hugging Face's layout (config.json, model.safetensors, vocab.txt, …) with two more files:

    task.json      what the task needs to read files and logits; written last: it marks a complete directory
    results.json   the settings of the experiment, and the development scores of every seed
"""

from pathlib import Path

import numpy as np

from minielectra import backend
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError, reason, shown
from minielectra.finetuning import tasks
from minielectra.finetuning.foreign import read_foreign_task
from minielectra.finetuning.loop import LabelledSet, evaluate, predict
from minielectra.formats.files import write_text
from minielectra.formats.json_text import is_integer, is_number, is_texts, json_text
from minielectra.formats.reading import read_json
from minielectra.nn.parameters import replica

TASK_FILE, RESULTS_FILE = "task.json", "results.json"
MINIMUM_LENGTH = 8  # tokens of a sequence, as in FinetuningConfig
_NOT_THE_TASKS = ("head", "max_length", "lowercase")  # entries of task.json that are no settings of the task


def save_finetuned(directory, task, model, result, tokenizer, max_length, results):
    """Write a fine-tuned directory: a head model with the parameters of a SeedResult.

    model: any head model of the right configuration; max_length: tokens of a sequence; results: for
    results.json. Raises InputError or OSError if it cannot be written.
    """
    directory = Path(directory)
    trained = replica(model, np, result.flat.copy(), np.zeros_like(result.flat))
    settings = _fold_scale(trained, result.task_settings)
    trained.save_pretrained(directory, tokenizer)
    about = {
        "head": task.head,
        "max_length": max_length,
        "lowercase": tokenizer.lowercase,
        **settings,
    }
    write_text(directory / RESULTS_FILE, json_text(results, indent=1) + "\n")
    write_text(directory / TASK_FILE, json_text(about, indent=1) + "\n")


def _fold_scale(model, settings):
    """Multiply the last layer of a regression by its scale -> the settings that go with it, of scale 1.

    A regression learns numbers divided by `scale`, of which other libraries know nothing: their logits should
    be the predictions themselves.
    """
    scale = settings.get("scale", 1.0)
    if scale == 1.0:
        return settings
    model.out.weight.value[...] *= scale
    model.out.bias.value[...] *= scale
    return settings | {"scale": 1.0}


def finished(directory):
    """Whether `directory` holds a whole fine-tuned model."""
    return (Path(directory) / TASK_FILE).is_file()


def read_results(directory):
    """results.json of a fine-tuned directory. Raises InputError if it is missing or damaged."""
    path = Path(directory) / RESULTS_FILE
    results = read_json(path, f"{path}: missing")
    for name, usable in _RESULTS.items():
        if not usable(results.get(name)):
            raise InputError(f"{path}: damaged ({name} is {shown(results.get(name))})")
    for start, summary in results["starts"].items():
        if not _is_summary(summary, results["metrics"]):
            raise InputError(f"{path}: damaged (the scores of {shown(start)} are not complete)")
    return results


# What is read of results.json: {entry: whether a value can be one}.
_RESULTS = {
    "task": lambda value: isinstance(value, str),
    "metrics": lambda value: is_texts(value) and value,
    "n_train": is_integer,
    "n_dev": is_integer,
    "starts": lambda value: isinstance(value, dict) and value,
}


def _is_summary(summary, metrics):
    """Whether a value is the scores of one start: see `experiment.run_experiment`."""

    def is_scores(value, *more):
        names = (*metrics, *more)
        entries = isinstance(value, dict) and set(names) <= value.keys() and [value[name] for name in names]
        return entries and all(entry is None or is_number(entry) for entry in entries)

    def is_seed(value):
        parts = isinstance(value, dict) and isinstance(value.get("history"), list)
        return parts and all(is_scores(entry, "epoch") for entry in [value.get("best"), *value["history"]])

    seeds = isinstance(summary, dict) and summary.get("seeds")
    parts = isinstance(seeds, list) and seeds and all(map(is_seed, seeds))
    parts = parts and len({len(seed["history"]) for seed in seeds}) == 1
    return parts and is_scores(summary.get("mean")) and is_scores(summary.get("deviation"))


class Finetuned:
    """A fine-tuned directory, opened.

    `task` (its Task), `model` (the head model, on the device), `tokenizer`, `max_length` (tokens of a
    sequence).
    """

    def __init__(self, directory, device="cpu", reader_options=None):
        """device: "cpu" or "gpu".

        reader_options {option of `finetune`: value}: how files are written, if no task.json says so, because
        transformers wrote the directory. Raises InputError if it holds no classifier.
        """
        directory = Path(directory)
        xp = backend.load(device)
        self.task, max_length = _read_task(directory, reader_options or {})
        model = self.task.model_class.from_pretrained(directory)
        if len(model.config.labels) != len(self.task.labels):
            raise InputError(
                f"{directory}: task.json names {len(self.task.labels)} labels, "
                f"the head in config.json has {len(model.config.labels)}; copy both from the same directory"
            )
        flat = backend.to_device(model.parameters.flat, xp)
        self.model = replica(model, xp, flat, xp.zeros_like(flat))
        self.tokenizer = WordPieceTokenizer.from_pretrained(directory)
        self.max_length = min(max_length, model.config.max_position_embeddings)

    def predict(self, examples):
        """Predictions for examples of the task (see its `read`) -> list, one per example (see `decode`)."""
        return predict(self.model, self.task, examples, self._encode(examples), self.tokenizer)

    def evaluate(self, path):
        """The task's scores on a labelled file -> {metric: value, "n": number of examples}."""
        examples = self.task.read(path)
        scores = evaluate(
            self.model, self.task, LabelledSet(examples, self._encode(examples)), self.tokenizer
        )
        return {**scores, "n": len(examples)}

    def _encode(self, examples):
        return self.task.encode(examples, self.tokenizer, self.max_length, labelled=False)


def _read_task(directory, reader_options):
    """task.json, or what config.json says without it -> Task, max_length. Raises InputError."""
    path = directory / TASK_FILE
    if not path.exists() and (directory / "config.json").exists():
        return read_foreign_task(directory, reader_options)
    about = read_json(path, f"{directory}: has no task.json; make it with `minielectra finetune`")
    for name in reader_options:
        raise InputError(f"--{name}: {path} says how files are written; leave it out")
    settings = {name: value for name, value in about.items() if name not in _NOT_THE_TASKS}
    try:
        task = tasks.find(about["name"]).from_settings(settings)
        if about["head"] != task.head:
            raise ValueError(f"the head is {shown(about['head'])}, that of {task.name} is {task.head!r}")
        if not is_integer(about["max_length"], at_least=MINIMUM_LENGTH):
            raise ValueError(f"max_length is {shown(about['max_length'])}")
        return task, about["max_length"]
    except (KeyError, TypeError, ValueError) as error:  # an InputError is a ValueError
        problem = f"no {error}" if isinstance(error, KeyError) else reason(error)
        raise InputError(f"{path}: damaged or written by another version ({problem})") from None
