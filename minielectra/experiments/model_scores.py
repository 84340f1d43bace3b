"""Scoring one pre-trained encoder: linear probes on every layer, fine-tuning, and minimal pairs."""

import numpy as np

from minielectra.experiments.minimal_pairs import make_pairs
from minielectra.experiments.sentence_scores import score_pairs
from minielectra.experiments.task_data import task_file
from minielectra.finetuning import tasks
from minielectra.finetuning.backbone import make_objective
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.loop import LabelledSet, evaluate, finetune
from minielectra.finetuning.probes import probe_layers

PROBE_ROWS = 8_000  # feature vectors that a linear probe is fitted on, at most


def finetuned_score(backbone, name, settings, folder, options, seed):
    """Fine-tune for a task, and score on its test examples -> {metric: value}, the main metric first.

    name, settings: of the task (TaskSettings); folder: what `write_tasks` wrote; options {field of
    FinetuningConfig: value}. The development examples choose the evaluation whose weights are scored.
    """
    task, train = tasks.find(settings.task).from_file(settings.task, task_file(folder, name, "train"), {})
    config = FinetuningConfig.suited_to(backbone.config, task.max_length, options)

    def labelled(part):
        examples = task.read(task_file(folder, name, part))
        return LabelledSet(examples, task.encode(examples, backbone.tokenizer, config.max_length))

    objective = make_objective(backbone, task, config, seed)
    encoded = task.encode(train, backbone.tokenizer, config.max_length)
    found = finetune(
        objective, task, encoded, labelled("development"), backbone.tokenizer, seed, threads=1, progress=False
    )
    objective.parameters.flat[...] = found.flat
    scores = evaluate(objective.model, task, labelled("test"), backbone.tokenizer)
    return {metric: scores[metric] for metric in task.metrics}


def frozen_scores(backbone, name, settings, folder):
    """What a linear probe reads in each layer -> the task's main metric, list of a score for each layer."""
    files = [str(task_file(folder, name, part)) for part in ("train", "test")]
    found = probe_layers(backbone, settings.task, *files, most_rows=PROBE_ROWS)
    metric = found.metrics[0]
    return metric, [layer[metric] for layer in found.layers]


def pair_scores(objective, tokenizer, per_kind):
    """Minimal pairs -> {"method", "accuracy": {kind: share, …}, "mean"}: see sentence_scores.py."""
    pairs = make_pairs(per_kind)
    method, shares = score_pairs(objective, tokenizer, pairs)
    return {"method": method, "accuracy": shares, "mean": float(np.mean(list(shares.values())))}
