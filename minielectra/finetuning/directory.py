"""A fine-tuned directory: writing it, and opening it to predict and to score.

It is a directory in Hugging Face's layout (config.json, model.safetensors, vocab.txt, …) with two more files:

    task.json      what the task needs to read files and logits; written last: it marks a complete directory
    results.json   the settings of the experiment, and the development scores of every seed
"""

import json
from pathlib import Path

import numpy as np

from minielectra import backend
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.finetuning.loop import LabelledSet, evaluate, predict
from minielectra.formats.files import read_json, write_text
from minielectra.nn.parameters import replica

TASK_FILE, RESULTS_FILE = "task.json", "results.json"
_NOT_THE_TASKS = ("head", "max_length", "lowercase")  # entries of task.json that are no settings of the task


def save_finetuned(directory, task, model, result, tokenizer, max_length, results):
    """Write a fine-tuned directory: a head model with the parameters of a SeedResult.

    model: any head model of the right configuration; max_length: tokens of a sequence; results: for
    results.json. Raises InputError or OSError if it cannot be written.
    """
    directory = Path(directory)
    trained = replica(model, np, result.flat, np.zeros_like(result.flat))
    trained.save_pretrained(directory, tokenizer)
    about = {
        "head": task.head,
        "max_length": max_length,
        "lowercase": tokenizer.lowercase,
        **result.task_settings,
    }
    write_text(directory / RESULTS_FILE, json.dumps(results, indent=1) + "\n")
    write_text(directory / TASK_FILE, json.dumps(about, indent=1) + "\n")


class Finetuned:
    """A fine-tuned directory, opened.

    `task` (its Task), `model` (the head model, on the device), `tokenizer`, `max_length` (tokens of a
    sequence).
    """

    def __init__(self, directory, device="cpu"):
        """device: "cpu" or "gpu". Raises InputError if `directory` is not one that `finetune` wrote."""
        directory = Path(directory)
        xp = backend.load(device)
        self.task, max_length = _read_task(directory)
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


def _read_task(directory):
    """task.json -> Task, max_length. Raises InputError."""
    path = directory / TASK_FILE
    about = read_json(path, f"{directory}: has no task.json; make it with `minielectra finetune`")
    settings = {name: value for name, value in about.items() if name not in _NOT_THE_TASKS}
    try:
        task = tasks.find(about["name"]).from_settings(settings)
        if about["head"] != task.head:
            raise ValueError(f"the head is {about['head']!r}, that of {task.name} is {task.head!r}")
        return task, int(about["max_length"])
    except (KeyError, TypeError, ValueError) as error:  # an InputError is a ValueError
        raise InputError(f"{path}: damaged or written by another version ({error!r:.100})") from None
