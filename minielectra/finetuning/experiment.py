"""What `finetune`, `predict` and `evaluate` do: from files to a fine-tuned directory, and from it to predictions and scores.

A fine-tuned directory is one in Hugging Face's layout (config.json, model.safetensors, vocab.txt) with `task.json`, what the task
needs to read files and logits, and `results.json`, what came out on the development set for every seed.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from minielectra import backend
from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.finetuning.backbone import make_model, read_backbone
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.loop import evaluate, finetune, predict
from minielectra.finetuning.objective import HEADS
from minielectra.finetuning.tasks.answering import Answering
from minielectra.finetuning.tasks.classification import GLUE_METRICS, Classification
from minielectra.finetuning.tasks.tagging import Tagging
from minielectra.formats.files import read_json, write_text
from minielectra.nn.parameters import Parameters
from minielectra.plots.finetuning import draw

TASKS = {
    **{name: Classification for name in (*GLUE_METRICS, "classification", "regression")},
    "tagging": Tagging,
    "squad": Answering,
}
HELD_OUT = 10  # without a development file, every tenth example is one
LONGEST = {"answering": 384}  # tokens of a sequence, where the model has room (others: FinetuningConfig's)
# hidden size at least -> learning rate and layer decay: the paper's; the last, of few layers, measured (docs/LOG.md)
RATES = ((1024, 5e-5, 0.9), (768, 1e-4, 0.8), (256, 3e-4, 0.8), (0, 1e-3, 0.9))


def launch(name, source, train_path, dev_path, out, options, columns, seeds=1, first_seed=0, from_scratch=False, control=False,
           threads=None, device="cpu"):  # fmt: skip
    """Fine-tune and write the directory `out` -> results, as results.json holds them.

    name: a key of TASKS; source: what `read_backbone` reads; options {field of FinetuningConfig: value}; columns: which columns of
    the files, as the task's `from_file` has it; from_scratch: leave the pre-training out; control: train that beside it.
    """
    xp = backend.load(device)
    kind = TASKS.get(name)
    if kind is None:
        raise InputError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}")
    for option in columns:
        if option not in kind.columns:
            raise InputError(f"--{option}: says nothing to {name}; leave it out")
    _check_out(out)
    task, examples = kind.from_file(name, train_path, columns)
    backbone = read_backbone(source)
    if dev_path is None:
        dev = examples[HELD_OUT - 1 :: HELD_OUT]
        examples = [example for i, example in enumerate(examples, 1) if i % HELD_OUT]
        if not dev:
            raise InputError(f"{train_path}: {len(examples)} examples are too few to set some aside; give --dev FILE")
    else:
        dev = task.read(dev_path)
    finetuning = _settings(task, backbone, options)
    room, tokenizer = finetuning.max_length, backbone.tokenizer
    encoded = task.encode(examples, tokenizer, room)
    dev = dev, task.encode(dev, tokenizer, room)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is better known before the training
    outcomes = {}
    starts = {"from scratch": True} if from_scratch else {"pre-trained": False} | ({"from scratch": True} if control else {})
    for start, fresh in starts.items():
        outcomes[start] = []
        for seed in range(first_seed, first_seed + seeds):
            model = make_model(backbone, task.labels, finetuning, seed, fresh, xp)
            label = f"{name}, {start}, seed {seed}"
            outcomes[start].append(finetune(model, task, encoded, dev, tokenizer, seed, threads, label=label))
    results = {
        "task": name, "model": str(source), "train": str(train_path), "dev": None if dev_path is None else str(dev_path),
        "n_train": len(examples), "n_dev": len(dev[0]), "metrics": list(task.metrics), "settings": dataclasses.asdict(finetuning),
        "starts": {start: _summary(task, found) for start, found in outcomes.items()},
    }  # fmt: skip
    main = task.metrics[0]
    best = max(next(iter(outcomes.values())), key=lambda outcome: np.nan_to_num(outcome.best[main], nan=-np.inf))
    _save(out, model, best, tokenizer, finetuning, results)
    return results


def _settings(task, backbone, options):
    """The FinetuningConfig of a task: the options given, and for the others what suits the model's size."""
    hidden, longest = backbone.config.hidden_size, backbone.config.max_position_embeddings
    rate, decay = next(others for size, *others in RATES if hidden >= size)
    fields = {"learning_rate": rate, "layer_decay": decay}
    fields["max_length"] = min(longest, LONGEST.get(task.head, FinetuningConfig.max_length))
    fields |= {name: value for name, value in options.items() if value is not None}
    if fields["max_length"] > longest:
        raise InputError(
            f"--max-length {fields['max_length']}: the model reads {longest} tokens at most (max_position_embeddings)"
        )
    finetuning, layers = FinetuningConfig(head=task.head, **fields), backbone.config.num_hidden_layers
    if finetuning.reinitialized_layers > layers:
        raise InputError(f"--reinitialized-layers {finetuning.reinitialized_layers}: the model has {layers}")
    return finetuning


def _check_out(out):
    if out is not None and Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise InputError(f"{out}: exists and is not an empty folder; choose another --out")


def _summary(task, outcomes):
    """Scores over seeds: {"seeds": [{"seed", "best", "history"}], "mean": {metric: value}, "deviation": {metric: value}}."""
    values = {metric: [outcome.best[metric] for outcome in outcomes] for metric in task.metrics}
    return {
        "seeds": [{"seed": o.seed, "best": o.best, "history": o.history} for o in outcomes],
        "mean": {metric: float(np.mean(x)) for metric, x in values.items()},
        "deviation": {metric: float(np.std(x, ddof=1)) if len(x) > 1 else None for metric, x in values.items()},
    }


def _save(out, model, best, tokenizer, finetuning, results):
    if out is None:
        return
    out = Path(out)
    parameters = Parameters(model.parameters.shapes, flat=best.state)
    HEADS[finetuning.head](model.settings[0], parameters).save_pretrained(out, tokenizer)
    about = {"head": finetuning.head, "max_length": finetuning.max_length, "lowercase": tokenizer.lowercase, **best.settings}
    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    draw(out)
    write_text(out / "task.json", json.dumps(about, indent=1) + "\n")  # last: a directory that has it is whole


class Finetuned:
    """A fine-tuned directory, opened: reads files, predicts, scores."""

    def __init__(self, directory, device="cpu"):
        """Raises InputError where `directory` is not one that `finetune` wrote."""
        directory = Path(directory)
        xp = backend.load(device)
        about = read_json(directory / "task.json", f"{directory}: has no task.json; make it with `minielectra finetune`")
        settings = {key: value for key, value in about.items() if key not in ("head", "max_length", "lowercase")}
        try:
            self.task = TASKS[about["name"]].from_settings(settings)
            head, self.max_length = HEADS[about["head"]], int(about["max_length"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{directory / 'task.json'}: damaged or of another version ({error!r:.100})") from None
        model = head.from_pretrained(directory)
        if len(model.config.labels) != len(self.task.labels):
            raise InputError(
                f"{directory}: task.json names {len(self.task.labels)} labels, the head in config.json has {len(model.config.labels)}"
            )
        self.max_length = min(self.max_length, model.config.max_position_embeddings)
        parameters = Parameters(model.parameters.shapes, xp, flat=backend.to_device(model.parameters.flat, xp))
        self.model = head(model.config, parameters)
        self.tokenizer = WordPieceTokenizer.from_pretrained(directory)

    def predict(self, examples):
        """Predictions for examples of the task (see its `read`)."""
        encoded = self.task.encode(examples, self.tokenizer, self.max_length, labelled=False)
        return predict(self.model, self.task, examples, encoded, self.tokenizer)

    def evaluate(self, path):
        """The task's scores on a labelled file -> {metric: value, "n": number of examples}."""
        examples = self.task.read(path)
        encoded = self.task.encode(examples, self.tokenizer, self.max_length, labelled=False)
        return {**evaluate(self.model, self.task, examples, encoded, self.tokenizer)[0], "n": len(examples)}


def format_results(results):
    """The results as a table for a terminal."""
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
    spread = (
        f"mean and deviation over {count} seeds, each at its best evaluation" if count > 1 else "one seed, at its best evaluation"
    )
    return "\n".join([*lines, f"({results['n_train']:,} examples to train on, {results['n_dev']:,} to choose by; {spread})"])
