"""Which examples make up step s.

That is a pure function of the seed and s, so a run can go on from any step without a saved state.
"""

import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minielectra.backend import Purpose
from minielectra.data.dataset.packing import assemble
from minielectra.data.dataset.shuffle import shuffled_index
from minielectra.electra.corruption import mask_batch

_STEPS = 64  # shuffled at a time: two thousand examples cost little more than 32
_AHEAD = (
    8  # batches made in a row, each in half the time it takes alone between two steps, which empty the caches
)


class Batches:
    """Masked batches of a dataset's training part, shuffled anew every epoch."""

    def __init__(self, dataset, config, seed, folder=None):
        """dataset: Dataset; config: PretrainingConfig.

        folder: where to keep the index of examples, as for `DatasetPart.examples`.
        """
        self.dataset, self.config, self.seed = dataset, config, seed
        self.examples = _examples(dataset.train, config, seed, folder)
        self._shuffled = -1, None  # the number of a group of steps and its examples: what `_order` found last

    def __getitem__(self, step):
        """The MaskedBatch of update number `step` (from 0), on the host."""
        rows = self.examples[self._order(step)]
        random = np.random.default_rng([self.seed, Purpose.MASKS, step])
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


def prefetched(batches, start, stop=sys.maxsize):
    """batches[start], …, batches[stop - 1], made on another thread while the caller works on earlier ones.

    Without `stop`, they go on until the generator is closed.
    What making a batch raises is raised when that batch is asked for. Close the generator
    (`contextlib.closing`) if you leave it early: that ends the thread.
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
    """The MaskedBatch of the examples `rows` [B, 3] of a token stream; random: np.random.Generator."""
    ids, valid, segments = assemble(tokens, rows, config.seq_length, tokenizer.special_ids)
    special = tokenizer.special_ids
    return mask_batch(ids, valid, segments, special, tokenizer.mask_id, len(tokenizer), config, random)


def held_out_batch(dataset, config, seed, count, folder=None):
    """The fixed evaluation set, as a MaskedBatch.

    At most `count` examples, spread over the held-out part, with fixed masks.
    """
    examples = _examples(dataset.heldout, config, seed, folder)
    count = min(count, len(examples))
    rows = examples[np.arange(count) * len(examples) // count]
    random = np.random.default_rng([seed, Purpose.EVALUATION])
    batch = masked(dataset.heldout.tokens, rows, dataset.tokenizer, config, random)
    dataset.heldout.release()
    return batch


def _examples(part, config, seed, folder):
    return part.examples(
        config.seq_length, seed, config.single_segment_fraction, config.short_fraction, folder
    )
