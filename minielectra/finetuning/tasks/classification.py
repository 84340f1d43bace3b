"""Classification and regression: a label or a number for a text or a pair of texts, as in GLUE's tasks.

A sequence is [CLS] text [SEP], or [CLS] text [SEP] second text [SEP].
"""

import itertools
import sys
from collections import Counter

import numpy as np

from minielectra.errors import InputError, shown
from minielectra.finetuning.heads import ElectraForSequenceClassification
from minielectra.finetuning.metrics import scores as metrics
from minielectra.finetuning.readers.lines import quoted, read_file
from minielectra.finetuning.readers.table_detection import detect_format, format_like, read_unlabelled
from minielectra.finetuning.readers.tables import TableFormat, numeric_labels, read_examples
from minielectra.finetuning.sequences import Encoded, truncated_pair
from minielectra.finetuning.task_losses import ClassificationLoss, RegressionLoss
from minielectra.finetuning.tasks.contract import Task, checked_labels
from minielectra.formats.json_text import is_number
from minielectra.ops import softmax_forward

# GLUE's tasks and the metrics it reports for each (Wang et al. 2018, table 1). The first one decides which
# evaluation is the best.
GLUE_METRICS = {
    "cola": ("matthews_correlation",),
    "sst-2": ("accuracy",),
    "mrpc": ("f1", "accuracy"),
    "rte": ("accuracy",),
    "sts-b": ("pearson", "spearmanr"),
    "qqp": ("f1", "accuracy"),
    "mnli": ("accuracy",),
    "qnli": ("accuracy",),
    "wnli": ("accuracy",),
}
REGRESSIONS = ("sts-b", "regression")
# GLUE's labels, as its submissions write them. Hugging Face's copies have their numbers, in this order.
GLUE_LABELS = {name: ("0", "1") for name in ("cola", "sst-2", "mrpc", "qqp", "wnli")} | {
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
}
LARGEST_SCORE = 5.0  # of STS-B; the smallest is 0


class Classification(Task):
    """From Example to {"label", "scores": {label: probability}}, or, in a regression, {"label": number}."""

    names = (*GLUE_METRICS, "classification", "regression")
    head = "classification"
    model_class = ElectraForSequenceClassification
    reader_options = ("text", "pair", "label", "separator")

    def __init__(self, name, table_format, labels, scale=1.0):
        """labels: in the order of the logits, a single one for a regression.

        scale: what a regression's numbers are divided by in training.
        """
        self.name, self.table_format, self.labels, self.scale = name, table_format, tuple(labels), scale
        self.regression = len(self.labels) == 1
        self.loss = RegressionLoss() if self.regression else ClassificationLoss()
        usual = ("pearson", "spearmanr") if self.regression else ("accuracy",)
        self.metrics = GLUE_METRICS.get(name, usual)
        self._index = {label: i for i, label in enumerate(self.labels)}

    @classmethod
    def from_file(cls, name, path, options):
        """The task, with the labels of the file, and its examples. options: columns, see `detect_format`."""
        file = read_file(path)
        table_format = detect_format(file, task=name if name in GLUE_METRICS else None, **options)
        examples = read_examples(file, table_format)
        if name in REGRESSIONS:
            numbers = numeric_labels(examples, file.where)
            return cls(name, table_format, ("score",), scale=float(np.abs(numbers).max()) or 1.0), examples
        labels = sorted({example.label for example in examples})
        if len(labels) < 2:
            raise InputError(
                f"{file.where}: every label is {quoted(labels[0])}; "
                "a classifier needs examples of at least two"
            )
        if len(labels) > len(GLUE_LABELS.get(name, labels)):
            raise _too_many_labels(name, examples, file.where)
        return cls(name, table_format, labels), examples

    @property
    def settings(self):
        form = self.table_format.to_dict()
        return {"name": self.name, "format": form, "labels": list(self.labels), "scale": self.scale}

    @classmethod
    def from_settings(cls, settings):
        form, scale = TableFormat.from_dict(settings["format"]), settings["scale"]
        if not is_number(scale) or scale <= 0:
            raise ValueError(f"scale is {shown(scale)}")
        return cls(settings["name"], form, checked_labels(settings["labels"], at_least=1), scale)

    def read(self, path, labelled=True, form=None):
        """The examples of a file like the training file; unlabelled ones may also be bare lines."""
        if not labelled:
            return read_unlabelled(path, self.table_format, self.labels, form)
        file = read_file(path)
        examples = read_examples(file, format_like(file, self.table_format))
        self._targets(examples, file.where)  # checks the labels
        return examples

    def encode(self, examples, tokenizer, max_length, labelled=True):
        """One Encoded per example; what is too long is cut, of a pair the longer text first."""
        targets = self._targets(examples) if labelled else [None] * len(examples)
        if labelled and self.regression:
            targets = targets / self.scale
        encoded = []
        for i, example in enumerate(examples):
            first = tokenizer.encode(example.text, allow_special=False)
            if example.pair is None:
                ids = [tokenizer.cls_id, *first[: max_length - 2], tokenizer.sep_id]
                segments = [0] * len(ids)
            else:
                second = tokenizer.encode(example.pair, allow_special=False)
                first, second = truncated_pair(first, second, max_length - 3)
                ids = [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id]
                segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
            encoded.append(Encoded(ids, segments, i, targets[i]))
        return encoded

    def decode(self, logits, encoded, examples):
        """Softmax over each sequence's logits [L], or its number times `scale`."""
        if self.regression:
            return [{"label": float(x[0]) * self.scale} for x in logits]
        predictions = []
        for x in logits:
            p, _ = softmax_forward(x.astype(np.float64))
            scores = {label: round(float(q), 6) for label, q in zip(self.labels, p, strict=True)}
            predictions.append({"label": self.labels[int(p.argmax())], "scores": scores})
        return predictions

    def score(self, examples, predictions):
        """Scores as GLUE defines them: F1 is that of the second label, which GLUE calls 1."""
        found = [p["label"] for p in predictions]
        if self.regression:
            targets = numeric_labels(examples, "-")
            return {"pearson": metrics.pearson(targets, found), "spearmanr": metrics.spearman(targets, found)}
        targets, found = self._targets(examples), np.array([self._index[label] for label in found])
        scores = {
            "accuracy": metrics.accuracy(targets, found),
            "matthews_correlation": metrics.matthews(targets, found),
        }
        if len(self.labels) == 2:
            scores["f1"] = metrics.binary_f1(targets, found, positive=1)
        return {name: scores[name] for name in (*self.metrics, *sorted(scores)) if name in scores}

    def show(self, example, prediction, gold=False):
        """One line: label, its probability, text; with `gold` the file's label first."""
        text = example.text if example.pair is None else f"{example.text}  |  {example.pair}"
        own = f"{example.label}\t" if gold and example.label is not None else ""
        label = prediction["label"]
        if self.regression:
            return f"{own}{label:.3f}\t{text}"
        return f"{own}{label}\t{prediction['scores'][label]:.3f}\t{text}"

    def report(self, example, prediction, gold=False):
        """The prediction with the text or the pair."""
        pair = {} if example.pair is None else {"pair": example.pair}
        own = {"gold": example.label} if gold else {}
        return {"text": example.text, **pair, **prediction, **own}

    def check_official(self, examples):
        """The task must be GLUE's, and no example of its test set may be missing."""
        if self.name not in GLUE_METRICS:
            return super().check_official(examples)
        official = GLUE_LABELS.get(self.name)
        if official is not None:
            self._check_labels(official)
        indices = _indices(examples)
        for example, index, due in zip(examples, indices, itertools.count(indices[0])):
            if index != due:
                raise InputError(
                    f"--official: line {example.line} has the index {index}, not {due}; GLUE takes "
                    "a prediction for each example of its test set, in order: correct the file"
                )

    def _check_labels(self, official):
        """Raise InputError unless GLUE has the labels; tell how numbers are written if it has words."""
        for label in self.labels:
            if _official_label(label, official) is None:
                raise InputError(
                    f"--official: {quoted(label)} is no label of {self.name}, which has "
                    f"{', '.join(official)}; leave the option out"
                )
        if not set(self.labels) <= set(official):
            written = ", ".join(f"{label} as {_official_label(label, official)}" for label in self.labels)
            print(f"--official: writes {written}, as Hugging Face numbers them", file=sys.stderr)

    def official_format(self, examples, predictions):
        """The table that GLUE takes as a submission: index and prediction, in the order of the test set."""
        official = GLUE_LABELS.get(self.name)
        rows = ["index\tprediction"]
        for index, prediction in zip(_indices(examples), predictions, strict=True):
            label = prediction["label"]
            if official is None:
                label = f"{min(max(label, 0.0), LARGEST_SCORE):.3f}"
            else:
                label = _official_label(label, official)
            rows.append(f"{index}\t{label}")
        return "\n".join(rows) + "\n"

    def _targets(self, examples, path="-"):
        """The labels as indices, or as numbers -> array [n]. Raises InputError for an unknown label."""
        if self.regression:
            return np.array(numeric_labels(examples, path))
        for example in examples:
            if example.label not in self._index:
                known = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
                raise InputError(
                    f"{path}:{example.line}: label {quoted(example.label)} is not one of the "
                    f"{len(self.labels)} in the training data ({known:.200}); correct it"
                )
        return np.array([self._index[example.label] for example in examples])


def _indices(examples):
    """What a test set calls its examples -> list of int; their numbers from 0 if it does not call them."""
    own = [example.index for example in examples]
    numbers = all(index and index.isdecimal() and len(index) < 19 for index in own)
    return list(map(int, own)) if numbers else list(range(len(own)))


def _official_label(label, official):
    """A label as GLUE writes it, given one of its own or its number; None if it is neither."""
    if label in official:
        return label
    return official[int(label)] if label in map(str, range(len(official))) else None


def _too_many_labels(name, examples, where):
    """The InputError for a file of GLUE's with more labels than the task has: it names a strange one."""
    counts, official = Counter(example.label for example in examples), GLUE_LABELS[name]
    label = min(counts, key=lambda label: (_official_label(label, official) is not None, counts[label]))
    line = next(example.line for example in examples if example.label == label)
    return InputError(
        f"{where}:{line}: the label {quoted(label)} is one of {len(counts)} in this file, but {name} has "
        f"{len(GLUE_LABELS[name])}; correct the line, or use the task `classification`"
    )
