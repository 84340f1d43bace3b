"""Probes: what every layer of a frozen encoder knows about a task, read by a linear classifier.

    scores = probe_layers("runs/books", "tagging", "train.conll", "test.conll", options={"tag": 1})
    scores.metrics              ("accuracy",), as the task names them; the first is the main one
    scores.layers[2]            {"accuracy": 0.861, "penalty": 0.01}, the scores of layer 2

Layer 0 is what the encoder starts from, the embeddings (projected to its width, if the two differ); layer i
is the output of block i. Nothing of the encoder is trained and there is no dropout, so the same arguments
give the same scores. The encoder of a run is its discriminator's or, if there is none, that of its masked
language model (`backbone.read_backbone`), so both arms of a comparison are called alike.

What a probe reads: of a sequence the mean over its tokens, [CLS] and [SEP] included (nothing in pre-training
teaches [CLS] to stand for its sequence); for tagging, the first piece of each word. Features are centred, and
divided by their deviation over the training rows. The classifier is multinomial logistic regression
(logistic_regression.py) with ½ · penalty · |W|² added to its loss. The penalty is chosen for each layer among
PENALTIES, by the task's main metric on every fifth training example; then the classifier is fitted again, on
all of them. The scores are the task's own (`Task.score`) on examples that have chosen nothing.
"""

from typing import NamedTuple

import numpy as np

from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.finetuning.backbone import Backbone, read_backbone, untrained
from minielectra.finetuning.layer_features import layer_features, used_rows
from minielectra.finetuning.logistic_regression import fit, logits
from minielectra.finetuning.task_losses import ClassificationLoss, TaggingLoss

PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)
CHOOSING = 5  # every fifth training example chooses the penalty
MOST_ROWS = 20_000  # feature vectors to fit on, by default


class LayerScores(NamedTuple):
    """What `probe_layers` found."""

    metrics: tuple  # the task's, the main one first
    layers: list  # L + 1 of {metric: value, …, "penalty": value}, from the embeddings up
    n_train: int  # examples
    n_test: int
    n_rows: int  # feature vectors that the probes were fitted on


def probe_layers(
    model, task, train, test, options=None, max_length=None, most_rows=MOST_ROWS, seed=0, from_scratch=False
):
    """Fit a probe on every layer, and score it -> LayerScores.

    model: a run, a directory in Hugging Face's layout, or "mini"; or a `Backbone`, which saves reading it
    again for the next task. task: its name, as for `finetune`; train, test: labelled files. options {reader
    option: value}: as for `finetune` ("text", "label", "tag", …). max_length: tokens of a sequence; default:
    the task's, or the model's if that is less. most_rows: if there are more feature vectors to fit on, some
    training examples are left out, chosen by `seed`. from_scratch: probe the same network with the weights
    that pre-training starts from, drawn by `seed`: the control. Raises InputError for files that cannot be
    used, and for regressions and question answering, which have no such probe.
    """
    backbone = model if isinstance(model, Backbone) else read_backbone(model)
    if from_scratch:
        backbone = untrained(backbone, seed)
    task, examples = tasks.find(task).from_file(task, train, options or {})
    if not isinstance(task.loss, ClassificationLoss | TaggingLoss):
        raise InputError(f"{task.name}: has no linear probe; use a classification or tagging task")
    length = min(max_length or task.max_length, backbone.config.max_position_embeddings)
    examples = _some(examples, task, backbone.tokenizer, length, most_rows, seed)
    if len(examples) < CHOOSING:
        raise InputError(f"{train}: {len(examples)} examples are too few; a probe needs {CHOOSING} or more")
    choosing = examples[CHOOSING - 1 :: CHOOSING]
    fitting = [example for i, example in enumerate(examples, 1) if i % CHOOSING]
    fitted, chosen, tested = (
        _Part(backbone, task, own, length) for own in (fitting, choosing, task.read(test))
    )
    layers = []
    for layer in range(backbone.config.num_hidden_layers + 1):
        penalty = _best_penalty(task, fitted, chosen, layer)
        w, standard = _fit(task, [fitted, chosen], layer, penalty)
        layers.append(tested.scores(layer, w, standard) | {"penalty": penalty})
    rows = len(fitted.targets) + len(chosen.targets)
    return LayerScores(task.metrics, layers, len(examples), len(tested.examples), rows)


def _some(examples, task, tokenizer, length, most_rows, seed):
    """As many of the examples, in order, as give at most `most_rows` feature vectors, but at least one."""
    encoded = task.encode(examples, tokenizer, length)
    rows = np.zeros(len(examples), np.int64)
    for sequence in encoded:
        rows[sequence.owner] += 1 if sequence.weights is None else len(used_rows(sequence))
    order = np.random.default_rng(seed).permutation(len(examples))
    count = int(np.searchsorted(np.cumsum(rows[order]), most_rows, side="right"))
    return [examples[i] for i in sorted(order[: max(1, count)])]


class _Part:
    """Examples with their features in every layer."""

    def __init__(self, backbone, task, examples, length):
        self.task, self.examples = task, examples
        self.encoded = task.encode(examples, backbone.tokenizer, length)
        self.features = layer_features(backbone, self.encoded, backbone.tokenizer.pad_id)  # [n, L + 1, H]
        self.per_token = self.encoded[0].weights is not None
        if self.per_token:
            used = [np.asarray(s.target)[used_rows(s)] for s in self.encoded]
            self.targets = np.concatenate(used)  # [n]
        else:
            self.targets = np.array([sequence.target for sequence in self.encoded])

    def scores(self, layer, w, standard):
        """{metric: value} of a probe with the weights `w`; standard: mean and deviation of the features."""
        mean, deviation = standard
        found = logits((self.features[:, layer] - mean) / deviation, w)
        if self.per_token:
            found = self._at_their_tokens(found)
        predictions = self.task.decode(found, self.encoded, self.examples)
        scores = self.task.score(self.examples, predictions)
        return {metric: scores[metric] for metric in self.task.metrics}

    def _at_their_tokens(self, rows):
        """Logits [n, C] of the tokens that count -> a list of [T, C], one per sequence, 0 at other tokens."""
        places = [used_rows(sequence) for sequence in self.encoded]
        parts = np.split(rows, np.cumsum([len(own) for own in places])[:-1])
        found = [np.zeros((len(sequence.ids), rows.shape[1])) for sequence in self.encoded]
        for logits_of_tokens, own, part in zip(found, places, parts, strict=True):
            logits_of_tokens[own] = part
        return found


def _best_penalty(task, fitted, chosen, layer):
    """The one of PENALTIES with the best main score on `chosen`; the largest of several."""
    found, w = [], None
    for penalty in PENALTIES:
        w, standard = _fit(task, [fitted], layer, penalty, w)
        found.append(chosen.scores(layer, w, standard)[task.metrics[0]])
    return PENALTIES[int(np.argmax(found))]


def _fit(task, parts, layer, penalty, start=None):
    """A probe on the features of one layer -> its weights, (mean, deviation) of the features."""
    x = np.concatenate([part.features[:, layer] for part in parts]).astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0.0] = 1.0
    targets = np.concatenate([part.targets for part in parts])
    return fit((x - mean) / deviation, targets, len(task.labels), penalty, start), (mean, deviation)
