"""What is measured: two sizes, their batches, and how a setting travels to a worker process."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from minielectra import objectives
from minielectra.electra.corruption import mask_batch
from minielectra.pretraining.flops import product_flops
from minielectra.pretraining.presets import configure

SEED = 0
RATE = 1e-4  # learning rate: minielectra/pretraining/bench.py's; its size does not change the time
SPECIAL, MASK = (0, 1, 2, 3, 4), 4  # ids that are never chosen; the last one is [MASK]
SIZES = {  # name: what differs from the preset `small`
    "S": {"batch_size": 16, "seq_length": 128},
    "T": {
        "vocab_size": 8192,
        "embedding_size": 128,
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "generator_width": 0.5,
        "batch_size": 32,
        "seq_length": 64,
    },
}


@dataclass(frozen=True)
class Setting:
    """One thing to measure: a size of SIZES, a dropout probability, how many cores, and "cpu" or "gpu"."""

    size: str
    dropout: float = 0.0
    threads: int = 2
    device: str = "cpu"

    @property
    def title(self):
        """The setting in a table."""
        return f"{self.size}, dropout {self.dropout:g}"

    def configs(self):
        """-> ElectraConfig, PretrainingConfig"""
        drop = {"hidden_dropout_prob": self.dropout, "attention_probs_dropout_prob": self.dropout}
        return configure("small", SIZES[self.size] | drop)

    def flops(self):
        """Floating-point operations of the matrix products that one step needs."""
        return product_flops(objectives.make(*self.configs()))

    def as_dict(self):
        """For JSON; `Setting(**…)` is the way back."""
        return dataclasses.asdict(self)


def training_batch(setting, padded=False):
    """Random tokens, the same for every contender -> MaskedBatch, on the host.

    padded: sentences of a quarter to the whole of T, in two segments, as only `--check` needs them; else full
    and in one segment, as in minielectra/pretraining/bench.py.
    """
    config, pretraining = setting.configs()
    random = np.random.default_rng(SEED)
    shape = (pretraining.batch_size, pretraining.seq_length)
    ids = random.integers(5, config.vocab_size, shape).astype(np.int32)
    valid, segments = np.ones(shape, bool), np.zeros_like(ids)
    if padded:
        lengths = random.integers(shape[1] // 4, shape[1] + 1, shape[0])
        valid = np.arange(shape[1]) < lengths[:, None]
        segments = (valid & (np.arange(shape[1]) >= lengths[:, None] // 2)).astype(np.int32)
        ids[~valid] = 0
    return mask_batch(ids, valid, segments, SPECIAL, MASK, config.vocab_size, pretraining, random)


def sentences(case, vocab_size):
    """The inputs of an inference case -> ids [B, T] int32, 0 at padding, and lengths [B].

    case: "batch" (32 of 128 tokens), "mixed" (32 of 8–128, evenly spread, shuffled), "single" (one of 32).
    """
    random = np.random.default_rng(SEED)
    lengths = {
        "batch": np.full(32, 128),
        "mixed": random.permutation(np.linspace(8, 128, 32).astype(int)),
        "single": np.full(1, 32),
    }[case]
    ids = random.integers(5, vocab_size, (len(lengths), lengths.max())).astype(np.int32)
    ids[np.arange(ids.shape[1]) >= lengths[:, None]] = 0
    return ids, lengths


INFERENCE_CASES = {
    "batch": "32 sentences of 128",
    "mixed": "32 sentences of 8–128",
    "single": "one sentence of 32",
}
