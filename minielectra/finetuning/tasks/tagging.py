"""Tagging: a tag for each word of a sentence. Parts of speech, and spans (entities, chunks) in any scheme.

A sequence is [CLS] the pieces of the words [SEP]; a word's tag is read at its first piece.
"""

from itertools import chain

import numpy as np

from minielectra.data.windows import windows
from minielectra.errors import InputError, shown
from minielectra.finetuning.heads import ElectraForTokenClassification
from minielectra.finetuning.metrics import scores as metrics
from minielectra.finetuning.metrics.spans import find_scheme, span_scores, spans
from minielectra.finetuning.readers.column_detection import is_in_columns
from minielectra.finetuning.readers.conll import count_columns, read_plain_sentences, read_sentences
from minielectra.finetuning.readers.lines import quoted, read_file
from minielectra.finetuning.sequences import Encoded
from minielectra.finetuning.task_losses import TaggingLoss
from minielectra.finetuning.tasks.contract import Task, checked_labels
from minielectra.formats.json_text import is_integer
from minielectra.ops import softmax_forward

FIELDS = 10**6  # more than any line has


class Tagging(Task):
    """From Sentence to {"labels": [tag per word], "scores": [its probability]}."""

    names = ("tagging",)
    head = "tagging"
    model_class = ElectraForTokenClassification
    reader_options = ("word", "tag", "separator")
    loss = TaggingLoss()

    def __init__(self, name, labels, word=0, tag=-1, separator=None, columns=None):
        """labels: the tags, in the order of the logits; the others: see `read_sentences`."""
        self.name, self.labels = name, tuple(labels)
        self.reading = {"word": word, "tag": tag, "separator": separator}
        self.columns = columns
        self.scheme = find_scheme(self.labels)
        self.metrics = ("f1", "precision", "recall", "accuracy") if self.scheme else ("accuracy",)

    @classmethod
    def from_file(cls, name, path, options):
        """The task, with the tags of the file, and its sentences. options: columns, see `read_sentences`."""
        file = read_file(path)
        sentences = read_sentences(file, **options)
        labels = sorted({tag for sentence in sentences for tag in sentence.tags})
        if len(labels) < 2:
            raise InputError(f"{file.where}: every tag is {quoted(labels[0])}; a tagger needs at least two")
        return cls(name, labels, **options, columns=count_columns(file, options.get("separator"))), sentences

    @property
    def settings(self):
        return {"name": self.name, "labels": list(self.labels), **self.reading, "columns": self.columns}

    @classmethod
    def from_settings(cls, settings):
        checked_labels(settings["labels"], at_least=2)
        for name in ("word", "tag", "columns"):
            value = settings.get(name)
            if not is_integer(value, -FIELDS, FIELDS) and not (name == "columns" and value is None):
                raise ValueError(f"{name} is {shown(value)}")
        separator = settings.get("separator")
        if separator is not None and (not isinstance(separator, str) or not separator):
            raise ValueError(f"separator is {shown(separator)}")
        return cls(**settings)

    def read(self, path, labelled=True, form=None):
        """The sentences of a file in columns, or, unlabelled, of one with a sentence on each line."""
        file = read_file(path, blank=not labelled)
        if not labelled:
            if form == "lines" or (form is None and not self._is_in_columns(file)):
                return read_plain_sentences(file)
            return read_sentences(file, labelled=False, columns=self.columns, **self.reading)
        sentences = read_sentences(file, **self.reading)
        self._check_tags(sentences, file)
        return sentences

    def _check_tags(self, sentences, file):
        """Count the tags that no training example has. Raises InputError if they are half of all, or more.

        They cannot be predicted, so they count as errors. Released files have a few.
        """
        known = set(self.labels)
        step = 0 if file.holds_json else 1  # lines from one word to the next
        tags = [(s.line + i * step, tag) for s in sentences for i, tag in enumerate(s.tags)]
        unknown = [(line, tag) for line, tag in tags if tag not in known]
        if 2 * len(unknown) >= len(tags):
            line, tag = unknown[0]
            raise InputError(
                f"{file.where}:{line}: tag {quoted(tag)} is not one of the {len(self.labels)} "
                "in the training data; correct it"
            )
        for line, _ in unknown:
            file.count("tag(s) that the training data lacks count as errors", f"line {line}")
        file.tell()

    def _is_in_columns(self, file):
        def is_tag(text):
            return text in self.labels or (self.scheme is not None and self.scheme.writes(text))

        return is_in_columns(file, self.columns, self.reading["tag"], self.reading["separator"], is_tag)

    def encode(self, examples, tokenizer, max_length, labelled=True):
        """One Encoded per window. A long sentence is read in windows that overlap by half.

        `more`: list of (word's index, position of its first piece) of the words that are tagged in this
        window, which is the one that shows the most context around them. `weights`: 1 at these positions.
        """
        index = {label: i for i, label in enumerate(self.labels)}
        encoded = []
        for i, sentence in enumerate(examples):
            pieces, starts = _pieces(sentence.words, tokenizer)
            for start, stop, keep_from, keep_to in windows(len(pieces), max_length - 2):
                ids = [tokenizer.cls_id, *pieces[start:stop], tokenizer.sep_id]
                words = [
                    (starts[k], k - start + 1) for k in range(keep_from, keep_to) if starts[k] is not None
                ]
                target, weights = [0] * len(ids), [0.0] * len(ids)
                for word, position in words:
                    weights[position] = 1.0
                    target[position] = index.get(sentence.tags[word], 0) if labelled else 0  # see _check_tags
                encoded.append(Encoded(ids, [0] * len(ids), i, target, weights, words))
        return encoded

    def decode(self, logits, encoded, examples):
        """Softmax over the logits [T, L] of each window, at the words that it tags."""
        labels = [["O"] * len(sentence.words) for sentence in examples]
        scores = [[0.0] * len(sentence.words) for sentence in examples]
        for x, sequence in zip(logits, encoded, strict=True):
            p, _ = softmax_forward(x.astype(np.float64))
            best = p.argmax(axis=1)
            for word, position in sequence.more:
                labels[sequence.owner][word] = self.labels[best[position]]
                scores[sequence.owner][word] = round(float(p[position, best[position]]), 6)
        return [{"labels": a, "scores": b} for a, b in zip(labels, scores, strict=True)]

    def score(self, examples, predictions):
        """Accuracy of the tags; if they mark spans, first precision, recall and F1 of these (conlleval's)."""
        targets, found = [sentence.tags for sentence in examples], [p["labels"] for p in predictions]
        scores = span_scores(targets, found, self.scheme) if self.scheme else {}
        scores["accuracy"] = metrics.accuracy(list(chain(*targets)), list(chain(*found)))
        return {name: scores[name] for name in self.metrics}

    def show(self, example, prediction, gold=False):
        """One line per word: word, tag, with `gold` the file's tag between them; then a blank line."""
        columns = [example.words, prediction["labels"]]
        if gold and example.tags is not None:
            columns.insert(1, example.tags)
        return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))

    def report(self, example, prediction, gold=False):
        """The prediction with the words and any spans: [type, first word, word after the last]."""
        labels = prediction["labels"]
        found = {"spans": [list(span) for span in spans(labels, self.scheme)]} if self.scheme else {}
        own = {"gold": example.tags} if gold else {}
        return {"words": example.words, **prediction, **found, **own}

    def check_official(self, examples):
        """The sentences need tags, which conlleval compares."""
        for sentence in examples:
            if sentence.words and sentence.tags is None:
                raise InputError(
                    f"--official: the sentence of line {sentence.line} has no tags for conlleval to compare; "
                    "give a file with tags"
                )

    def official_format(self, examples, predictions):
        """Columns for CoNLL's own script, conlleval: word, tag, predicted tag; spaces between them."""
        pairs = zip(examples, predictions, strict=True)
        return "".join(self.show(e, p, gold=True).replace("\t", " ") + "\n" for e, p in pairs)


def _pieces(words, tokenizer):
    """The words' pieces -> ids, and for each of them the index of the word that it starts, or None."""
    pieces, starts = [], []
    for w, word in enumerate(words):
        # A word of unprintable characters has no pieces.
        ids = tokenizer.encode(word, allow_special=False) or [tokenizer.unk_id]
        pieces += ids
        starts += [w] + [None] * (len(ids) - 1)
    return pieces, starts
