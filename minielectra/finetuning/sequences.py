"""From token ids to batches: sequences of like length together, padded only to the longest of their batch."""

from dataclasses import dataclass, field

import numpy as np

from minielectra.backend import to_device

SORTED_TOGETHER = 50  # batches: sorting within so many keeps the order of an epoch random enough


@dataclass
class Encoded:
    """One sequence for a model. An example can have several (windows)."""

    ids: list  # [CLS] … [SEP]
    segments: list
    owner: int  # index of the example it was made from
    target: object = None  # a label or a number; a label for every token; (first token, last token); None where not known
    weights: list | None = None  # for every token, where a task needs it (see TaskBatch)
    more: dict = field(default_factory=dict)  # what the task needs to read the logits


def make_batch(sequences, pad_id):
    """A list of Encoded as a TaskBatch, padded to the longest."""
    shape = len(sequences), max(len(s.ids) for s in sequences)
    ids, segments = np.full(shape, pad_id, np.int32), np.zeros(shape, np.int32)
    valid = np.zeros(shape, bool)
    per_token = sequences[0].weights is not None
    weights = np.zeros(shape, np.float32) if per_token else np.ones(len(sequences), np.float32)
    tags = isinstance(sequences[0].target, list)
    targets = np.zeros(shape, np.int32) if tags else np.array([s.target for s in sequences])
    for row, s in enumerate(sequences):
        n = len(s.ids)
        ids[row, :n], segments[row, :n], valid[row, :n] = s.ids, s.segments, True
        if per_token:
            weights[row, :n] = s.weights
        if tags:
            targets[row, :n] = s.target
    return TaskBatch(ids, segments, valid, targets.astype(np.float32 if targets.dtype.kind == "f" else np.int32), weights)


def epoch_batches(lengths, batch_size, random):
    """The batches of one epoch, in random order, each of sequences of like length -> list of index arrays.

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
    """Two lists of ids cut to `room` together: always the longer one loses its last."""
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


@dataclass
class TaskBatch:
    """B sequences with what they should give. Integer arrays are int32."""

    input_ids: object  # [B, T]
    token_type_ids: object  # [B, T]
    valid: object  # [B, T] bool
    targets: object  # classification [B] labels, or numbers; tagging [B, T] labels; answering [B, 2] first and last token
    weights: (
        object  # float32: classification [B] ones; tagging [B, T] 1 at words' first pieces; answering [B, T] 1 at possible tokens
    )

    def shard(self, part):
        """The sequences of the slice `part`, without the padding that all of them have."""
        valid = self.valid[part]
        length = int(valid.sum(axis=1).max(initial=1))

        def cut(x):
            return x[part, :length] if x.shape == self.valid.shape else x[part]

        return TaskBatch(*map(cut, (self.input_ids, self.token_type_ids, self.valid, self.targets, self.weights)))

    def to_device(self, xp):
        """The same batch with every array on `xp`'s device."""
        arrays = (self.input_ids, self.token_type_ids, self.valid, self.targets, self.weights)
        return TaskBatch(*(to_device(x, xp) for x in arrays))

    def normalizers(self):
        """What the loss is a mean over, asked on the host: (words to tag, sequences)."""
        return max(1.0, float(self.weights.sum())), float(len(self.input_ids))
