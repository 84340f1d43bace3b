"""Classification and regression: a label or a number for a text or a pair of texts, as in GLUE's tasks.

A sequence is [CLS] text [SEP], or [CLS] text [SEP] second text [SEP].
"""

import numpy as np

from minielectra.errors import InputError
from minielectra.finetuning.heads import ElectraForSequenceClassification
from minielectra.finetuning.losses import ClassificationLoss, RegressionLoss
from minielectra.finetuning.metrics import scores as metrics
from minielectra.finetuning.readers.table_detection import detect_format, unlabelled_format
from minielectra.finetuning.readers.tables import TableFormat, numeric_labels, read_examples
from minielectra.finetuning.sequences import Encoded, truncated_pair
from minielectra.finetuning.tasks.contract import Task
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


class Classification(Task):
    """From Example to {"label", "scores": {label: probability}}, or, in a regression, {"label": number}."""

    names = (*GLUE_METRICS, "classification", "regression")
    head = "classification"
    model_class = ElectraForSequenceClassification
    reader_options = ("text", "pair", "label")

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
        table_format = detect_format(path, task=name if name in GLUE_METRICS else None, **options)
        examples = read_examples(path, table_format)
        if name in REGRESSIONS:
            numbers = numeric_labels(examples, path)
            return cls(name, table_format, ("score",), scale=float(np.abs(numbers).max()) or 1.0), examples
        labels = sorted({example.label for example in examples})
        if len(labels) < 2:
            raise InputError(
                f"{path}: every label is {labels[0]!r}; a classifier needs examples of at least two"
            )
        return cls(name, table_format, labels), examples

    @property
    def settings(self):
        form = self.table_format.to_dict()
        return {"name": self.name, "format": form, "labels": list(self.labels), "scale": self.scale}

    @classmethod
    def from_settings(cls, settings):
        form = TableFormat.from_dict(settings["format"])
        return cls(settings["name"], form, settings["labels"], settings["scale"])

    def read(self, path, labelled=True):
        """The examples of a file like the training file; unlabelled ones may also be bare lines."""
        if labelled:
            examples = read_examples(path, self.table_format)
            self._targets(examples, path)  # checks the labels
            return examples
        return read_examples(path, unlabelled_format(path, self.table_format, self.labels), labelled=False)

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

    def show(self, example, prediction):
        """One line: label, its probability, text."""
        text = example.text if example.pair is None else f"{example.text}  |  {example.pair}"
        label = prediction["label"]
        if self.regression:
            return f"{label:.3f}\t{text}"
        return f"{label}\t{prediction['scores'][label]:.3f}\t{text}"

    def report(self, example, prediction):
        """The prediction with the text or the pair."""
        pair = {} if example.pair is None else {"pair": example.pair}
        return {"text": example.text, **pair, **prediction}

    def _targets(self, examples, path="-"):
        """The labels as indices, or as numbers -> array [n]. Raises InputError for an unknown label."""
        if self.regression:
            return np.array(numeric_labels(examples, path))
        for example in examples:
            if example.label not in self._index:
                known = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
                raise InputError(
                    f"{path}:{example.line}: label {example.label!r:.60} is not one of the "
                    f"{len(self.labels)} in the training data ({known}); correct it"
                )
        return np.array([self._index[example.label] for example in examples])
