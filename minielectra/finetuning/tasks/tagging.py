"""Tagging: a label for every word, read off its first piece. Parts of speech, and spans (entities, chunks) in any scheme."""

from itertools import chain

import numpy as np

from minielectra.data.windows import windows
from minielectra.errors import InputError
from minielectra.finetuning.metrics import scores as metrics
from minielectra.finetuning.metrics.spans import span_scores, spans, uses_spans
from minielectra.finetuning.readers.conll import read_sentences
from minielectra.finetuning.sequences import Encoded
from minielectra.ops.reference.softmax import softmax_forward


class Tagging:
    """A tag for each word of a sentence. `settings` is all that has to be kept beside the model."""

    head = "tagging"
    columns = ("word", "tag", "separator")  # of a file, that a user may name

    def __init__(self, name, labels, word=0, tag=-1, separator=None):
        """labels: the tags, in the order of the logits; word, tag, separator: which columns of a file, as `read_sentences` has it."""
        self.name, self.labels = name, tuple(labels)
        self.reading = {"word": word, "tag": tag, "separator": separator}
        self.spans = uses_spans(self.labels)
        self.metrics = ("f1", "precision", "recall", "accuracy") if self.spans else ("accuracy",)

    @classmethod
    def from_file(cls, name, path, columns):
        """The task and its examples as the training file `path` has them. columns: arguments of `read_sentences`."""
        sentences = read_sentences(path, **columns)
        labels = sorted({tag for sentence in sentences for tag in sentence.tags})
        if len(labels) < 2:
            raise InputError(f"{path}: every tag is {labels[0]!r}; a tagger needs at least two")
        return cls(name, labels, **columns), sentences

    @property
    def settings(self):
        """What `from_settings` makes this task of again, as JSON holds it."""
        return {"name": self.name, "labels": list(self.labels), **self.reading}

    @classmethod
    def from_settings(cls, settings):
        """The task of saved settings."""
        return cls(**settings)

    def read(self, path, labelled=True):
        """The sentences of a file in columns; unlabelled ones may also be plain text, a sentence a line, words between spaces."""
        sentences = read_sentences(path, labelled=labelled, **self.reading)
        known = set(self.labels)
        for sentence in sentences if labelled else ():
            for i, tag in enumerate(sentence.tags):
                if tag not in known:
                    raise InputError(
                        f"{path}:{sentence.line + i}: tag {tag!r:.60} is not one of the {len(known)} in the training data"
                    )
        return sentences

    def encode(self, examples, tokenizer, room, labelled=True):
        """-> list of Encoded; a sentence longer than `room` tokens is read in windows that overlap by half, and every word is tagged
        where it has the most around it. `more["words"]`: (word's index, place of its first piece) of those a window answers for."""
        index = {label: i for i, label in enumerate(self.labels)}
        encoded = []
        for i, sentence in enumerate(examples):
            pieces, words = [], []  # words[k]: which word begins at piece k, or -1
            for w, word in enumerate(sentence.words):
                ids = tokenizer.encode(word, allow_special=False) or [tokenizer.unk_id]  # a word of unprintable characters
                pieces += ids
                words += [w] + [-1] * (len(ids) - 1)
            for start, stop, keep_from, keep_to in windows(len(pieces), room - 2):
                ids = [tokenizer.cls_id, *pieces[start:stop], tokenizer.sep_id]
                own = [(words[k], k - start + 1) for k in range(keep_from, keep_to) if words[k] >= 0]
                target, weights = [0] * len(ids), [0.0] * len(ids)
                for w, place in own:
                    weights[place] = 1.0
                    target[place] = index[sentence.tags[w]] if labelled else 0
                encoded.append(Encoded(ids, [0] * len(ids), i, target, weights, {"words": own}))
        return encoded

    def decode(self, logits, encoded, examples):
        """Logits, an array [T, L] for each sequence -> predictions: {"labels": [tag], "scores": [its probability]} a sentence."""
        labels = [["O"] * len(sentence.words) for sentence in examples]
        scores = [[0.0] * len(sentence.words) for sentence in examples]
        for x, sequence in zip(logits, encoded, strict=True):
            p, _ = softmax_forward(x.astype(np.float64))
            best = p.argmax(axis=1)
            for word, place in sequence.more["words"]:
                labels[sequence.owner][word] = self.labels[best[place]]
                scores[sequence.owner][word] = round(float(p[place, best[place]]), 6)
        return [{"labels": a, "scores": b} for a, b in zip(labels, scores, strict=True)]

    def score(self, examples, predictions):
        """{metric: value}: of tags the accuracy; of spans also precision, recall and F1 as conlleval counts them, in [0, 1]."""
        targets, found = [sentence.tags for sentence in examples], [p["labels"] for p in predictions]
        scores = span_scores(targets, found) if self.spans else {}
        scores["accuracy"] = metrics.accuracy(list(chain(*targets)), list(chain(*found)))
        return {name: scores[name] for name in self.metrics}

    def show(self, example, prediction):
        """A few lines for people: a word and its tag a line, a blank line after the sentence."""
        return "\n".join(f"{word}\t{tag}" for word, tag in zip(example.words, prediction["labels"], strict=True)) + "\n"

    def report(self, example, prediction):
        """One object for `--json`; where tags mark spans, these too: [type, first word, word after the last]."""
        found = {"spans": [list(span) for span in spans(prediction["labels"])]} if self.spans else {}
        return {"words": example.words, **prediction, **found}
