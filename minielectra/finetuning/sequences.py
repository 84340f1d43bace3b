"""From token ids to batches: sequences of similar length together, padded only to the longest of their batch.

B sequences, T tokens. Weights say what a loss looks at: see `TaskBatch`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minielectra.backend import array_module, to_device

SORTED_TOGETHER = 50  # batches: few enough that sorting within them leaves the order of an epoch random


@dataclass
class Encoded:
    """One sequence for a model. A long example has several, its windows."""

    ids: list  # [CLS] … [SEP]
    segments: list  # 0 or 1 for each token
    owner: int  # index of the example it was made from
    target: object = None  # a row of TaskBatch.targets: a label, a number, a list or a pair; None if unknown
    weights: list | None = None  # per token, if the task needs them (see TaskBatch)
    more: object = None  # what the task needs to decode the logits


class Normalizers(NamedTuple):
    """What a loss is a mean over, counted on the whole batch."""

    words: float  # sum of the weights, at least 1
    sequences: float


@dataclass
class TaskBatch:
    """B sequences with what they should give. Integer arrays are int32, weights float32.

                      targets                             weights
    classification    [B] labels                          [B] ones
    regression        [B] numbers                         [B] ones
    tagging           [B, T] labels                       [B, T] 1 at the first piece of each word
    answering         [B, 2] first and last token         [B, T] 1 where an answer can be
    """

    input_ids: object  # [B, T]
    segments: object  # [B, T]
    valid: object  # [B, T] bool
    targets: object
    weights: object

    @property
    def valid_or_none(self):
        """`valid`, or None if nothing is padding, so that attention needs no mask. A device is not asked."""
        return None if array_module(self.valid) is np and self.valid.all() else self.valid

    def shard(self, part):
        """The sequences of the slice `part`, without the padding that all of them share."""
        valid = self.valid[part]
        length = int(valid.sum(axis=1).max(initial=1))

        def cut(x):
            per_token = x.shape == self.valid.shape  # [B, T]; not targets [B, 2], since T > 2
            return x[part, :length] if per_token else x[part]

        return TaskBatch(*map(cut, self._arrays()))

    def to_device(self, xp):
        """The same batch with every array on `xp`'s device."""
        return TaskBatch(*(to_device(x, xp) for x in self._arrays()))

    def normalizers(self):
        """The batch's Normalizers; to be asked on the host."""
        return Normalizers(max(1.0, float(self.weights.sum())), float(len(self.input_ids)))

    def _arrays(self):
        return self.input_ids, self.segments, self.valid, self.targets, self.weights


def pad_batch(sequences, pad_id):
    """A non-empty list of Encoded as a TaskBatch, padded to the longest."""
    shape = len(sequences), max(len(s.ids) for s in sequences)
    ids, segments = np.full(shape, pad_id, np.int32), np.zeros(shape, np.int32)
    valid = np.zeros(shape, bool)
    per_token = sequences[0].weights is not None
    weights = np.zeros(shape, np.float32) if per_token else np.ones(len(sequences), np.float32)
    tagged = isinstance(sequences[0].target, list)
    targets = np.zeros(shape, np.int32) if tagged else np.array([s.target for s in sequences])
    for row, s in enumerate(sequences):
        n = len(s.ids)
        ids[row, :n], segments[row, :n], valid[row, :n] = s.ids, s.segments, True
        if per_token:
            weights[row, :n] = s.weights
        if tagged:
            targets[row, :n] = s.target
    targets = targets.astype(np.float32 if targets.dtype.kind == "f" else np.int32)
    return TaskBatch(ids, segments, valid, targets, weights)


def epoch_batches(lengths, batch_size, random):
    """The batches of one epoch, in random order, each of sequences of similar length -> list of index arrays.

    lengths [n]: of the sequences; random: np.random.Generator.
    """
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), SORTED_TOGETHER * batch_size):
        group = order[start : start + SORTED_TOGETHER * batch_size]
        group = group[np.argsort(np.asarray(lengths)[group], kind="stable")]
        batches += np.split(group, range(batch_size, len(group), batch_size))
    return [batches[i] for i in random.permutation(len(batches))]


def truncated_pair(first, second, room):
    """Two lists of ids cut to `room` together: the longer one loses its last id until they fit."""
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second
