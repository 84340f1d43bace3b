"""Which examples make up step s: a pure function of the seed and s, so that a run can go on from any step without a saved state."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minielectra.data.dataset.packing import make_batch, shuffled_index
from minielectra.electra.corruption import mask_batch

STREAM_MASKS, STREAM_EVALUATION = 2, 3  # purposes of random streams: every key is (seed, purpose, …)
_STEPS = 64  # shuffled at a time: two thousand examples cost little more than 32, so that most steps find theirs done
_AHEAD = 8  # batches made in a row: each then takes half as long as alone between two steps, which empty the processor's caches


class Batches:
    """Masked batches of a dataset's training part, shuffled anew every epoch."""

    def __init__(self, dataset, config, seed, folder=None):
        """dataset: Dataset; config: PretrainingConfig; folder: where the index of examples is kept (see `DatasetPart.examples`)."""
        self.dataset, self.config, self.seed = dataset, config, seed
        self.examples = _examples(dataset.train, config, seed, folder)
        self._shuffled = -1, None  # number of a group of steps, and its examples: what `_order` returned last

    def __getitem__(self, step):
        """The Batch of update number `step` (from 0), on the host."""
        rows = self.examples[self._order(step)]
        random = np.random.default_rng([self.seed, STREAM_MASKS, step])
        batch = masked(self.dataset.train.tokens, rows, self.dataset.tokenizer, self.config, random)
        self.examples.release()
        self.dataset.train.release()
        return batch

    def _order(self, step):
        """Indices [B] of the examples of a step."""
        size, count = self.config.batch_size, len(self.examples)
        group, place = divmod(step, _STEPS)
        known, order = self._shuffled
        if known != group:
            index = np.arange(group * _STEPS * size, (group + 1) * _STEPS * size)
            epochs, order = index // count, np.empty(len(index), np.int64)
            for epoch in range(epochs[0], epochs[-1] + 1):
                part = slice(*np.searchsorted(epochs, (epoch, epoch + 1)))
                order[part] = shuffled_index(index[part] % count, count, (self.seed, int(epoch)))
            self._shuffled = group, order
        return order[place * size : (place + 1) * size]


def prefetched(batches, start, stop):
    """batches[start], …, batches[stop - 1]: made on a thread of its own, while the caller works on those before.

    What making a batch raises is raised where that batch is asked for. Close the generator (`contextlib.closing`) when it is
    left early: that ends the thread.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="input")
    waiting = deque()
    try:
        for step in range(start, stop):
            if len(waiting) < 2:
                following = range(step + len(waiting), min(step + len(waiting) + _AHEAD, stop))
                waiting.extend(thread.submit(batches.__getitem__, number) for number in following)
            yield waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def masked(tokens, rows, tokenizer, config, random):
    """The Batch of the examples `rows` [B, 3] of a token stream."""
    ids, valid, segments = make_batch(tokens, rows, config.seq_length, tokenizer.special_ids)
    return mask_batch(ids, valid, segments, tokenizer.special_ids, tokenizer.mask_id, len(tokenizer), config, random)


def held_out_batch(dataset, config, seed, count, folder=None):
    """The fixed evaluation set, as one Batch of at most `count` examples spread over the held-out part, with fixed masks."""
    examples = _examples(dataset.heldout, config, seed, folder)
    count = min(count, len(examples))
    rows = examples[np.arange(count) * len(examples) // count]
    random = np.random.default_rng([seed, STREAM_EVALUATION])
    batch = masked(dataset.heldout.tokens, rows, dataset.tokenizer, config, random)
    dataset.heldout.release()
    return batch


def _examples(part, config, seed, folder):
    return part.examples(config.seq_length, seed, config.single_segment_fraction, config.short_fraction, folder)
