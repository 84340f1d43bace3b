"""Small models and batches that several tests use."""

import numpy as np

from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.objectives.electra import ElectraPretraining
from minielectra.pretraining.pretraining_config import PretrainingConfig, configure

SPECIAL, MASK, VOCAB = (0, 1, 2, 3, 4), 4, 61
SMALL = {"vocab_size": VOCAB, "embedding_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24, "max_position_embeddings": 20, "seq_length": 14, "batch_size": 7,
         "mask_fraction": 0.3}  # fmt: skip


def make_batch(seed, count=7, length=14, config=None, special=True):
    random = np.random.default_rng(seed)
    ids = random.integers(5, VOCAB, (count, length), dtype=np.int32)
    lengths = random.integers(5, length + 1, count)
    valid = np.arange(length) < lengths[:, None]
    if special:
        ids[:, 0], ids[np.arange(count), lengths - 1] = 2, 3
    ids[~valid] = 0
    segments = (np.arange(length) >= lengths[:, None] // 2).astype(np.int32)
    config = config or PretrainingConfig(seq_length=length, mask_fraction=0.3)
    return mask_batch(ids, valid, segments, SPECIAL, MASK, VOCAB, config, random)


def small_model(dtype=np.float32, seed=1, **overrides):
    model = ElectraPretraining(*configure("tiny", SMALL | overrides), dtype=dtype)
    initialize(model, seed)
    return model
