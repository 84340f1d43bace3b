"""Classification and regression of single texts and pairs: examples → sequences, logits → predictions, predictions → scores."""

from pathlib import Path

import numpy as np

from minielectra.errors import InputError
from minielectra.finetuning.metrics import scores as metrics
from minielectra.finetuning.readers.lines import read_lines
from minielectra.finetuning.readers.tables import TableFormat, detect_format, numeric_labels, read_examples
from minielectra.finetuning.sequences import Encoded, truncated_pair
from minielectra.ops.reference.softmax import softmax_forward

# GLUE's tasks and what it reports of each (Wang et al. 2018, table 1), the first of them deciding which model is the best
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


class Classification:
    """A label, or a number, for each text or pair of texts. `settings` is all that has to be kept beside the model."""

    head = "classification"
    columns = ("text", "pair", "label")  # of a file, that a user may name

    def __init__(self, name, table_format, labels, scale=1.0):
        """name: of a GLUE task, or "classification" or "regression"; labels: names, in the order of the logits; scale: what the
        numbers of a regression were divided by in training."""
        self.name, self.table_format, self.labels, self.scale = name, table_format, tuple(labels), scale
        self.regression = len(self.labels) == 1
        self.metrics = GLUE_METRICS.get(name) or (("pearson", "spearmanr") if self.regression else ("accuracy",))

    @classmethod
    def from_file(cls, name, path, columns):
        """The task and its examples, labels and all, as the training file `path` has them. columns: of `detect_format`."""
        table_format = detect_format(path, task=name if name in GLUE_METRICS else None, **columns)
        examples = read_examples(path, table_format)
        if name in ("sts-b", "regression"):
            numbers = numeric_labels(examples, path)
            return cls(name, table_format, ("score",), scale=float(np.abs(numbers).max()) or 1.0), examples
        labels = sorted({example.label for example in examples})
        if len(labels) < 2:
            raise InputError(f"{path}: every label is {labels[0]!r}; a classifier needs examples of at least two")
        return cls(name, table_format, labels), examples

    @property
    def settings(self):
        """What `from_settings` makes this task of again, as JSON holds it."""
        return {"name": self.name, "format": self.table_format.to_dict(), "labels": list(self.labels), "scale": self.scale}

    @classmethod
    def from_settings(cls, settings):
        """The task of saved settings."""
        return cls(settings["name"], TableFormat.from_dict(settings["format"]), settings["labels"], settings["scale"])

    def read(self, path, labelled=True):
        """The examples of a file in this task's format; unlabelled ones may also be plain lines, a TAB between the texts of a pair."""
        table_format = self.table_format if labelled else self._unlabelled_format(path)
        examples = read_examples(path, table_format, labelled)
        if labelled:
            self.targets(examples, path)
        return examples

    def _unlabelled_format(self, path):
        trained = self.table_format
        plain = TableFormat("lines", name=trained.name)
        if str(path) == "-":
            return plain
        if trained.kind != "columns":
            starts = [line.split(maxsplit=1) for line in read_lines(path) if line.strip()]
            labelled = all(len(parts) == 2 and parts[0] in self.labels for parts in starts)
            return trained if labelled else plain
        try:
            if trained.name is not None:
                return detect_format(path, task=trained.name, labelled=False)
            return detect_format(path, text=trained.text, pair=trained.pair, labelled=False)
        except InputError:
            if Path(path).suffix.lower() in (".tsv", ".csv"):
                raise
            return plain

    def targets(self, examples, path="-"):
        """The labels of examples as indices, or as numbers -> array [n]. Raises InputError for a label the head does not have."""
        if self.regression:
            return np.array(numeric_labels(examples, path))
        index = {label: i for i, label in enumerate(self.labels)}
        for example in examples:
            if example.label not in index:
                known = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
                raise InputError(
                    f"{path}:{example.line}: label {example.label!r:.60} is not one of the {len(index)} in the training data ({known})"
                )
        return np.array([index[example.label] for example in examples])

    def encode(self, examples, tokenizer, room, labelled=True):
        """-> list of Encoded, one an example; `room`: tokens of a sequence."""
        targets = self.targets(examples) / self.scale if self.regression and labelled else None
        if labelled and not self.regression:
            targets = self.targets(examples)
        encoded = []
        for i, example in enumerate(examples):
            first = tokenizer.encode(example.text, allow_special=False)
            if example.pair is None:
                ids = [tokenizer.cls_id, *first[: room - 2], tokenizer.sep_id]
                segments = [0] * len(ids)
            else:
                first, second = truncated_pair(first, tokenizer.encode(example.pair, allow_special=False), room - 3)
                ids = [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id]
                segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
            encoded.append(Encoded(ids, segments, i, None if targets is None else targets[i]))
        return encoded

    def decode(self, logits, encoded, examples):
        """Logits, an array [L] for each sequence -> predictions: {"label", "scores": {label: probability}}, or {"label": number}."""
        if self.regression:
            return [{"label": float(x[0]) * self.scale} for x in logits]
        predictions = []
        for x in logits:
            p, _ = softmax_forward(x.astype(np.float64))
            scores = {label: round(float(q), 6) for label, q in zip(self.labels, p, strict=True)}
            predictions.append({"label": self.labels[int(p.argmax())], "scores": scores})
        return predictions

    def score(self, examples, predictions):
        """{metric: value} with GLUE's definitions: F1 is of the label 1 (the second), correlations are of the numbers."""
        if self.regression:
            found = [p["label"] for p in predictions]
            targets = numeric_labels(examples, "-")
            return {"pearson": metrics.pearson(targets, found), "spearmanr": metrics.spearman(targets, found)}
        targets = self.targets(examples)
        index = {label: i for i, label in enumerate(self.labels)}
        found = np.array([index[p["label"]] for p in predictions])
        scores = {"accuracy": metrics.accuracy(targets, found), "matthews_correlation": metrics.matthews(targets, found)}
        if len(self.labels) == 2:
            scores["f1"] = metrics.binary_f1(targets, found, positive=1)
        return {name: scores[name] for name in (*self.metrics, *sorted(scores)) if name in scores}

    def show(self, example, prediction):
        """One line for people."""
        text = example.text if example.pair is None else f"{example.text}  |  {example.pair}"
        label = prediction["label"]
        if self.regression:
            return f"{label:.3f}\t{text}"
        return f"{label}\t{prediction['scores'][label]:.3f}\t{text}"

    def report(self, example, prediction):
        """One object for `--json`."""
        pair = {} if example.pair is None else {"pair": example.pair}
        return {"text": example.text, **pair, **prediction}
