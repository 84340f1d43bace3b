"""ELECTRA's objective: generator and discriminator, trained together (Clark et al. 2020, section 2).

    minimise  w_gen · L_MLM(masked; generator)  +  λ · L_RTD(corrupted; discriminator)

No gradient flows through the sample. Both losses reach the shared embeddings. Nothing else is shared, unless
`tie_encoders` gives the two towers one encoder (section 3.2), which then learns from both losses.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minielectra import ops
from minielectra.backend import scratch
from minielectra.electra.corruption import replace_tokens, sample_categorical
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.objectives.base import (
    GeneratorCache,
    PretrainingObjective,
    generator_backward,
    generator_forward,
)


@dataclass
class ElectraOutcome:
    """What a forward pass leaves to look at. Losses are this shard's shares of the batch's means."""

    gen_loss: object  # 0-d
    probabilities: object  # [M, V] the generator's softmax at the chosen positions
    samples: object  # [B, K] int32, what the generator put there
    corrupted_ids: object  # [B, T] what the discriminator sees
    replaced: object  # [B, T] bool, the labels: where that differs from the original
    disc_loss: object = None  # 0-d
    logits: object = None  # [B·T] the discriminator's

    @property
    def losses(self):
        """What a step reports."""
        return self.gen_loss, self.disc_loss

    @property
    def scores(self):
        """The probability that a token is replaced, [B, T]."""
        return ops.sigmoid(self.logits).reshape(self.corrupted_ids.shape)


class DiscriminatorCache(NamedTuple):
    tower: tuple
    loss: tuple  # of ops.binary_cross_entropy_forward


class ElectraCache(NamedTuple):
    generator: GeneratorCache
    discriminator: DiscriminatorCache


class Electra(PretrainingObjective):
    """Generator and discriminator over one set of parameters."""

    def __init__(self, model_config, config, xp=np, dtype=np.float32):
        super().__init__(model_config, config, xp, dtype)
        if config.tie_encoders:  # the same names, and so the same parameters
            gen_config, prefix = model_config, "discriminator."
        else:
            gen_config = model_config.generator(config.generator_width, config.generator_depth)
            prefix = "generator."
        self.generator = ElectraForMaskedLM(gen_config, self.parameters, prefix)
        self.discriminator = ElectraForPreTraining(model_config, self.parameters, "discriminator.")
        self.towers = {"generator": self.generator, "discriminator": self.discriminator}

    def forward(self, batch, normalizers, context, uniform=None, samples=None):
        """Both towers -> ElectraOutcome, ElectraCache.

        batch: MaskedBatch, on the device; normalizers: MaskedNormalizers of the *whole* batch, of which this
        may be a shard. The generator's samples come from `context.random`; or from uniform [M], numbers in
        [0, 1); or they are given: samples [B, K].
        """
        outcome, generator = self._generate(batch, normalizers, context, uniform, samples)
        discriminator = self._discriminate(outcome, batch, normalizers, context)
        return outcome, ElectraCache(generator, discriminator)

    def backward(self, cache, context):
        """Add the gradient of the joint loss to every parameter's.

        The outcome's probabilities are overwritten.
        """
        generator_backward(self.generator, cache.generator, self.config.gen_weight, context)
        self._discriminate_backward(cache.discriminator, context)

    def forward_backward(self, batch, normalizers, context):
        """Both passes -> losses.

        The generator is finished before the discriminator begins, and leaves it its memory.
        """
        with scratch(context.workspace):
            outcome, generator = self._generate(batch, normalizers, context)
            outcome.probabilities = None  # about to be overwritten
            generator_backward(self.generator, generator, self.config.gen_weight, context)
        with scratch(context.workspace):
            discriminator = self._discriminate(outcome, batch, normalizers, context)
            self._discriminate_backward(discriminator, context)
        return outcome.losses

    def _generate(self, batch, normalizers, context, uniform=None, samples=None):
        """The generator's loss, and the batch that it corrupts -> ElectraOutcome without the discriminator's
        part, cache.
        """
        if samples is None and uniform is None:
            uniform = context.random.uniform(batch.positions.size, self.parameters.flat.dtype)
        loss, cache = generator_forward(self.generator, batch, normalizers.chosen, context)
        p = cache.loss.p
        if samples is None:
            drawn = sample_categorical(p, uniform, self.config.sample_temperature)
            samples = drawn.reshape(batch.positions.shape)
        corrupted_ids, replaced = replace_tokens(batch.input_ids, batch.positions, batch.weights > 0, samples)
        return ElectraOutcome(loss, p, samples, corrupted_ids, replaced), cache

    def _discriminate(self, outcome, batch, normalizers, context):
        """The discriminator's logits and loss, written into `outcome` -> DiscriminatorCache."""
        logits, cache = self.discriminator.forward(
            outcome.corrupted_ids, batch.valid_or_none, batch.segments, context
        )
        labels = outcome.replaced.reshape(-1).astype(logits.dtype)
        weights = batch.valid.reshape(-1).astype(logits.dtype)
        loss, loss_cache = ops.binary_cross_entropy_forward(logits, labels, weights, normalizers.tokens)
        outcome.logits, outcome.disc_loss = logits, loss
        return DiscriminatorCache(cache, loss_cache)

    def _discriminate_backward(self, cache, context):
        dlogits = ops.binary_cross_entropy_backward(cache.loss, self.config.disc_weight)
        self.discriminator.backward(dlogits, cache.tower, context)


OBJECTIVE = Electra
