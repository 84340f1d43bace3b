"""Electric: an energy for every token, learned by telling text from noise (Clark et al. 2020, "Pre-training
transformers as energy-based cloze models").

The full-size tower gives every position an energy E, and exp(−E) stands for p(word | the other words). k of
the n tokens are noise, drawn from a known distribution q. The probability that a token is noise is then

    k q / (k q + (n − k) exp(−E)) = sigmoid(E + log q − log((n − k) / k))

    minimise  λ · the binary cross-entropy of that        (noise-contrastive estimation)

A word that noise happens to draw right still counts as noise: that is what makes exp(−E) a probability.

With `sampler=unigram` or `uniform`, q is known everywhere, and the loss is a mean over all tokens: algorithm
1 of the paper. A masked language model knows q only where it saw [MASK]. With `sampler=generator`, every
second chosen position therefore keeps its original word, and the loss is a mean over the chosen positions.
(The paper trains a two-tower cloze model, which knows q everywhere, but reads the text twice.)

The discriminator's logit is E. It orders tokens by how unlikely they are, but sigmoid(E) is no probability.
"""

from dataclasses import dataclass
from typing import NamedTuple

from minielectra import ops
from minielectra.backend import array_module
from minielectra.electra.electra_config import NETWORK
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.objectives.replacing import Replacing


@dataclass
class Contrast:
    """What the energies of a batch are compared with."""

    log_q: object  # [B, T] of the tokens that stand there, 0 where it is not known
    noise: object  # [B, T] bool: which tokens are noise
    counted: object  # [B, T] weights of the loss; 0 where q is not known


class EnergyCache(NamedTuple):
    tower: tuple
    loss: tuple  # of ops.binary_cross_entropy_forward


class Electric(Replacing):
    """Noise, and a full-size tower that gives every token an energy."""

    def _make_judges(self):
        self.discriminator = self._make_judge(ElectraForPreTraining)
        return {"discriminator": self.discriminator}

    def _generate(self, batch, normalizers, context, uniform=None, samples=None):
        outcome, cache = super()._generate(batch, normalizers, context, uniform, samples)
        # Now, because the generator's backward pass overwrites its probabilities
        outcome.contrast = self._contrast(outcome, batch)
        return outcome, cache

    def _placed(self, samples, batch):
        """The samples; from a generator, only at every second chosen position."""
        if self.config.sampler != NETWORK:
            return samples
        xp = array_module(samples)
        original = xp.take_along_axis(batch.input_ids, batch.positions, axis=1)
        return xp.where(xp.arange(samples.shape[1]) % 2 == 0, samples, original)

    def _contrast(self, outcome, batch):
        """-> Contrast"""
        xp = array_module(batch.input_ids)
        rows, dtype = xp.arange(len(batch.input_ids))[:, None], self.parameters.flat.dtype

        def at_chosen(values):
            array = xp.zeros(batch.input_ids.shape, dtype)
            array[rows, batch.positions] = values
            return array

        if self.config.sampler == NETWORK:
            drawn = xp.arange(batch.positions.shape[1]) % 2 == 0
            log_q = at_chosen(self._log_q(outcome, batch) * (batch.weights > 0))
            return Contrast(log_q, at_chosen(drawn * (batch.weights > 0)) > 0, at_chosen(batch.weights))
        log_q = self.noise.log_probabilities(outcome.corrupted_ids)
        known = batch.valid & xp.isfinite(log_q)
        log_q = xp.where(known, log_q, 0.0).astype(dtype)
        return Contrast(log_q, (at_chosen(batch.weights > 0) > 0) & known, known.astype(dtype))

    def _log_q(self, outcome, batch):
        """The generator's log-probability, at its temperature, of the words at chosen positions -> [B, K]"""
        p, xp = outcome.probabilities, array_module(outcome.probabilities)
        words = outcome.samples.reshape(-1)
        log_p = xp.log(xp.maximum(p, xp.finfo(p.dtype).tiny)) / self.config.sample_temperature
        total = xp.exp(log_p).sum(axis=1)
        return (log_p[xp.arange(len(p)), words] - xp.log(total)).reshape(batch.positions.shape)

    def _judge(self, outcome, batch, normalizers, context):
        """The energies and the loss, written into `outcome` -> EnergyCache."""
        energy, cache = self.discriminator.forward(
            outcome.corrupted_ids, batch.valid_or_none, batch.segments, context
        )
        outcome.logits, contrast = energy, outcome.contrast
        xp, dtype = array_module(energy), energy.dtype
        counted = contrast.counted > 0
        n_noise = (contrast.noise & counted).sum(axis=1)
        n_text = counted.sum(axis=1) - n_noise
        odds = xp.log(xp.maximum(n_text, 1) / xp.maximum(n_noise, 1))[:, None]
        logits = energy + (contrast.log_q - odds).astype(dtype).reshape(-1)
        labels, weights = contrast.noise.reshape(-1).astype(dtype), contrast.counted.reshape(-1).astype(dtype)
        normalizer = normalizers.chosen if self.config.sampler == NETWORK else normalizers.tokens
        outcome.disc_loss, loss = ops.binary_cross_entropy_forward(logits, labels, weights, normalizer)
        return EnergyCache(cache, loss)

    def _judge_backward(self, cache, context):
        dlogits = ops.binary_cross_entropy_backward(cache.loss, self.config.disc_weight)
        self.discriminator.backward(dlogits, cache.tower, context)


OBJECTIVE = Electric
