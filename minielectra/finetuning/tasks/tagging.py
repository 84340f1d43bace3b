"""Tagging: a tag for each word of a sentence. Parts of speech, and spans (entities, chunks) in any scheme.

A sequence is [CLS] the pieces of the words [SEP]; a word's tag is read at its first piece.
"""

from itertools import chain

import numpy as np

from minielectra.data.windows import windows
from minielectra.errors import InputError
from minielectra.finetuning.heads import ElectraForTokenClassification
from minielectra.finetuning.losses import TaggingLoss
from minielectra.finetuning.metrics import scores as metrics
from minielectra.finetuning.metrics.spans import span_scores, spans, uses_spans
from minielectra.finetuning.readers.conll import read_sentences
from minielectra.finetuning.sequences import Encoded
from minielectra.finetuning.tasks.contract import Task
from minielectra.ops import softmax_forward


class Tagging(Task):
    """From Sentence to {"labels": [tag per word], "scores": [its probability]}."""

    names = ("tagging",)
    head = "tagging"
    model_class = ElectraForTokenClassification
    reader_options = ("word", "tag", "separator")
    loss = TaggingLoss()

    def __init__(self, name, labels, word=0, tag=-1, separator=None):
        """labels: the tags, in the order of the logits; word, tag, separator: see `read_sentences`."""
        self.name, self.labels = name, tuple(labels)
        self.reading = {"word": word, "tag": tag, "separator": separator}
        self.spans = uses_spans(self.labels)
        self.metrics = ("f1", "precision", "recall", "accuracy") if self.spans else ("accuracy",)

    @classmethod
    def from_file(cls, name, path, options):
        """The task, with the tags of the file, and its sentences. options: columns, see `read_sentences`."""
        sentences = read_sentences(path, **options)
        labels = sorted({tag for sentence in sentences for tag in sentence.tags})
        if len(labels) < 2:
            raise InputError(f"{path}: every tag is {labels[0]!r}; a tagger needs at least two")
        return cls(name, labels, **options), sentences

    @property
    def settings(self):
        return {"name": self.name, "labels": list(self.labels), **self.reading}

    @classmethod
    def from_settings(cls, settings):
        return cls(**settings)

    def read(self, path, labelled=True):
        """The sentences of a file in columns; unlabelled ones may also be one sentence per line."""
        sentences = read_sentences(path, labelled=labelled, **self.reading)
        known = set(self.labels)
        for sentence in sentences if labelled else ():
            for i, tag in enumerate(sentence.tags):
                if tag not in known:
                    raise InputError(
                        f"{path}:{sentence.line + i}: tag {tag!r:.60} is not one of the {len(known)} "
                        "in the training data; correct it"
                    )
        return sentences

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
                    target[position] = index[sentence.tags[word]] if labelled else 0
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
        scores = span_scores(targets, found) if self.spans else {}
        scores["accuracy"] = metrics.accuracy(list(chain(*targets)), list(chain(*found)))
        return {name: scores[name] for name in self.metrics}

    def show(self, example, prediction):
        """One line per word: word, tag; then a blank line."""
        lines = (f"{word}\t{tag}" for word, tag in zip(example.words, prediction["labels"], strict=True))
        return "\n".join(lines) + "\n"

    def report(self, example, prediction):
        """The prediction with the words and any spans: [type, first word, word after the last]."""
        found = {"spans": [list(span) for span in spans(prediction["labels"])]} if self.spans else {}
        return {"words": example.words, **prediction, **found}


def _pieces(words, tokenizer):
    """The words' pieces -> ids, and for each of them the index of the word that it starts, or None."""
    pieces, starts = [], []
    for w, word in enumerate(words):
        ids = tokenizer.encode(word, allow_special=False) or [
            tokenizer.unk_id
        ]  # a word of unprintable characters
        pieces += ids
        starts += [w] + [None] * (len(ids) - 1)
    return pieces, starts
