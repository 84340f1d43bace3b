"""Which examples make up step s: a pure function of the seed and s, so that a run can go on from any step without a saved state."""

import numpy as np

from minielectra.data.packing import make_batch, shuffled_index
from minielectra.electra.corruption import mask_batch

STREAM_MASKS, STREAM_EVALUATION = 2, 3  # purposes of random streams: every key is (seed, purpose, …)


class Batches:
    """Masked batches of a dataset's training part, shuffled anew every epoch."""

    def __init__(self, dataset, config, seed):
        """dataset: Dataset; config: PretrainingConfig."""
        self.dataset, self.config, self.seed = dataset, config, seed
        self.examples = dataset.train.examples(config.seq_length, seed, config.single_segment_fraction, config.short_fraction)

    def __getitem__(self, step):
        """The Batch of update number `step` (from 0), on the host."""
        count = len(self.examples)
        index = np.arange(step * self.config.batch_size, (step + 1) * self.config.batch_size)
        rows = np.empty(len(index), np.int64)
        for epoch in np.unique(index // count):
            part = index // count == epoch
            rows[part] = shuffled_index(index[part] % count, count, (self.seed, int(epoch)))
        random = np.random.default_rng([self.seed, STREAM_MASKS, step])
        return masked(self.dataset.train.tokens, self.examples[rows], self.dataset.tokenizer, self.config, random)


def masked(tokens, rows, tokenizer, config, random):
    """The Batch of the examples `rows` [B, 3] of a token stream."""
    ids, valid, segments = make_batch(tokens, rows, config.seq_length, tokenizer.special_ids)
    return mask_batch(ids, valid, segments, tokenizer.special_ids, tokenizer.mask_id, len(tokenizer), config, random)


def held_out_batch(dataset, config, seed, count):
    """The fixed evaluation set, as one Batch of at most `count` examples spread over the held-out part, with fixed masks."""
    examples = dataset.heldout.examples(config.seq_length, seed, config.single_segment_fraction, config.short_fraction)
    count = min(count, len(examples))
    rows = examples[np.arange(count) * len(examples) // count]
    random = np.random.default_rng([seed, STREAM_EVALUATION])
    return masked(dataset.heldout.tokens, rows, dataset.tokenizer, config, random)
