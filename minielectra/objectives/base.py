"""What objectives of pre-training are built from: towers over one set of parameters, the generator's loss."""

from typing import NamedTuple

import numpy as np

from minielectra import ops
from minielectra.backend import array_module
from minielectra.nn.parameters import Parameters


class PretrainingObjective:
    """Towers over one set of parameters. Subclasses make the towers and say what is minimised."""

    def __init__(self, model_config, config, xp=np, dtype=np.float32):
        """model_config: ElectraConfig of the full-size tower; config: PretrainingConfig."""
        self.model_config, self.config = model_config, config
        self.parameters = Parameters(xp, dtype)
        self.towers = {}  # "generator": ElectraForMaskedLM and, if there is one, "discriminator"

    @property
    def encoder_tower(self):
        """The tower that is worth fine-tuning.

        That is the discriminator or, if there is none, the full-size generator.
        """
        return self.towers.get("discriminator") or self.towers["generator"]

    def rate_factor(self, name):
        """All parameters learn at one rate."""
        return 1.0

    def forward_backward(self, batch, normalizers, context):
        """Forward and backward in one -> losses."""
        outcome, cache = self.forward(batch, normalizers, context)
        self.backward(cache, context)
        return outcome.losses


class GeneratorCache(NamedTuple):
    tower: tuple
    loss: tuple  # of ops.cross_entropy_forward; its p [M, V] are the generator's probabilities


def generator_forward(tower, batch, normalizer, context):
    """The masked-language-modelling loss of a generator: the mean over the chosen positions -> loss (0-d),
    GeneratorCache.

    batch: MaskedBatch, on the device; normalizer: the number of chosen positions of the *whole* batch, of
    which this may be a shard. If the model has more rows than the vocabulary has words, the others get the
    probability 0: they are never sampled, and have no gradient.
    """
    xp = array_module(batch.input_ids)
    n_sequences, length = batch.input_ids.shape
    rows = (xp.arange(n_sequences)[:, None] * length + batch.positions).reshape(-1)
    logits, cache = tower.forward(batch.masked_ids, batch.valid_or_none, batch.segments, rows, context)
    if batch.vocab_size is not None and batch.vocab_size < logits.shape[1]:
        logits[:, batch.vocab_size :] = -xp.inf
    targets = batch.input_ids.reshape(-1)[rows]
    weights = batch.weights.reshape(-1).astype(logits.dtype)
    loss, loss_cache = ops.cross_entropy_forward(logits, targets, weights, normalizer)
    return loss, GeneratorCache(cache, loss_cache)


def generator_backward(tower, cache, weight, context):
    """Add the gradient of `weight` times that loss. The probabilities in the cache are overwritten."""
    tower.backward(ops.cross_entropy_backward(cache.loss, weight), cache.tower, context)
