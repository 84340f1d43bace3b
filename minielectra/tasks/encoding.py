"""From token ids to batches: sequences of like length together, padded only to the longest of their batch."""

from dataclasses import dataclass, field

import numpy as np

from minielectra.tasks.objective import TaskBatch

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
