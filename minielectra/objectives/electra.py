"""The joint objective: both towers, one step forward and backward (Clark et al. 2020, section 2).

    minimise  w_gen · L_MLM(masked; generator)  +  λ · L_RTD(corrupted; discriminator)

No gradient flows through the sample. Both losses reach the shared embeddings; nothing else is shared, unless `tie_encoders` gives the
two towers one encoder (section 3.2), which then learns from both losses.
"""

from dataclasses import dataclass

import numpy as np

from minielectra.backend import array_module, scratch
from minielectra.electra.corruption import replace_tokens, sample_categorical
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining, embedding_shapes
from minielectra.nn.parameters import Parameters
from minielectra.ops.fast.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.ops.reference.losses import binary_cross_entropy_backward, binary_cross_entropy_forward, sigmoid


@dataclass
class Outcome:
    """What a forward pass of the joint model leaves to look at. Discriminator's fields are None under the mlm objective."""

    gen_loss: object  # 0-d, this shard's share of the batch's mean
    probabilities: object  # [M, V] generator's softmax at the chosen positions
    disc_loss: object = None
    samples: object = None  # [B, K] int32
    corrupted_ids: object = None  # [B, T]
    replaced: object = None  # [B, T] bool: the labels
    logits: object = None  # [B·T] discriminator

    @property
    def scores(self):
        """Probability that a token is replaced, [B, T]."""
        return sigmoid(self.logits).reshape(self.corrupted_ids.shape)


def generator_config(config, pretraining):
    """The generator's ElectraConfig: of full size where it is the only tower, or its encoder is the discriminator's too."""
    full = pretraining.objective == "mlm" or pretraining.tie_encoders
    return config if full else config.generator(pretraining.generator_width, pretraining.generator_depth)


def generator_prefix(pretraining):
    """What the names of the generator's own parameters begin with: the discriminator's name where the encoder is the same one."""
    return "discriminator." if pretraining.tie_encoders else "generator."


class ElectraPretraining:
    """Generator and discriminator over one set of parameters; under the mlm objective, one full-size masked language model."""

    def __init__(self, config, pretraining, parameters=None, xp=np, dtype=np.float32):
        """config: ElectraConfig of the discriminator; pretraining: PretrainingConfig."""
        self.config, self.pretraining = self.settings = config, pretraining
        if parameters is None:
            parameters = Parameters(self.shapes(config, pretraining), xp, dtype)
        self.parameters = parameters
        self.generator = ElectraForMaskedLM(generator_config(config, pretraining), parameters, generator_prefix(pretraining))
        joint = pretraining.objective == "electra"
        self.discriminator = ElectraForPreTraining(config, parameters, "discriminator.") if joint else None

    @staticmethod
    def shapes(config, pretraining):
        """{name: shape} of all parameters: the shared tables, then the towers' own."""
        own = ElectraForMaskedLM.shapes(
            generator_config(config, pretraining), generator_prefix(pretraining), with_embeddings=False
        )
        if pretraining.objective == "electra":
            own |= ElectraForPreTraining.shapes(config, "discriminator.", with_embeddings=False)
        return embedding_shapes(config) | own

    def replica(self):
        """The same parameters (shared memory) with gradients of its own: runs one shard of a batch."""
        return ElectraPretraining(self.config, self.pretraining, self.parameters.replica())

    def forward(self, batch, normalizers, run, uniform=None, samples=None):
        """One pass. batch: Batch, on the device; normalizers: (sum of weights, number of non-padding tokens) of the *whole*
        batch, of which this may be a shard; uniform [M] in [0, 1) to sample with, or `samples` [B, K] given.

        -> Outcome, cache. `batch.padded` decides whether attention is masked.
        """
        outcome, gen_cache = self._generate(batch, normalizers, run, uniform, samples)
        disc_cache = None if self.discriminator is None else self._discriminate(outcome, batch, normalizers, run)
        return outcome, (gen_cache, disc_cache)

    def backward(self, cache, run):
        """Adds the gradient of the joint loss to every parameter's. The probabilities of the outcome are overwritten."""
        gen_cache, disc_cache = cache
        if disc_cache is not None:
            self._discriminate_backward(disc_cache, run)
        self._generate_backward(gen_cache, run)

    def forward_backward(self, batch, normalizers, run, uniform=None, samples=None):
        """Both passes -> Outcome, without the probabilities. No gradient flows through the sample: the generator is done with before
        the discriminator begins, and leaves it its memory."""
        with scratch(run.ws):
            outcome, gen_cache = self._generate(batch, normalizers, run, uniform, samples)
            outcome.probabilities = None
            self._generate_backward(gen_cache, run)
        if self.discriminator is not None:
            with scratch(run.ws):
                self._discriminate_backward(self._discriminate(outcome, batch, normalizers, run), run)
        return outcome

    def losses(self, batch, normalizers, run):
        """`forward_backward` with samples of the run's own random numbers -> the losses, as numbers: the generator's and, unless the
        objective is mlm, the discriminator's."""
        uniform = run.random.uniform(batch.positions.size, self.parameters.flat.dtype)
        outcome = self.forward_backward(batch, normalizers, run, uniform)
        return tuple(float(loss) for loss in (outcome.gen_loss, outcome.disc_loss) if loss is not None)

    def _generate(self, batch, normalizers, run, uniform, samples):
        """The generator's loss, and what it puts in place of the chosen tokens -> Outcome, half filled, and cache."""
        xp = array_module(batch.input_ids)
        length = batch.input_ids.shape[1]
        rows = (xp.arange(batch.input_ids.shape[0])[:, None] * length + batch.positions).reshape(-1)
        valid = batch.valid if batch.padded else None
        logits, cache = self.generator.forward(batch.masked_ids, valid, batch.token_type_ids, rows, run)
        targets = batch.input_ids.reshape(-1)[rows]
        weights = batch.weights.reshape(-1).astype(logits.dtype)
        loss, ce_cache = cross_entropy_forward(logits, targets, weights, normalizers[0])
        outcome = Outcome(loss, ce_cache[0])
        if self.discriminator is not None:
            if samples is None:
                samples = sample_categorical(outcome.probabilities, uniform, self.pretraining.sample_temperature)
                samples = samples.reshape(batch.positions.shape)
            outcome.samples = samples
            replaced = replace_tokens(batch.input_ids, batch.positions, batch.weights > 0, samples)
            outcome.corrupted_ids, outcome.replaced = replaced
        return outcome, (cache, ce_cache)

    def _generate_backward(self, cache, run):
        gen_cache, ce_cache = cache
        self.generator.backward(cross_entropy_backward(ce_cache, self.pretraining.gen_weight), gen_cache, run)

    def _discriminate(self, outcome, batch, normalizers, run):
        """The discriminator's logits and loss, put into `outcome` -> cache."""
        valid = batch.valid if batch.padded else None
        outcome.logits, cache = self.discriminator.forward(outcome.corrupted_ids, valid, batch.token_type_ids, run)
        outcome.disc_loss, bce_cache = binary_cross_entropy_forward(
            outcome.logits,
            outcome.replaced.reshape(-1).astype(outcome.logits.dtype),
            batch.valid.reshape(-1).astype(outcome.logits.dtype),
            normalizers[1],
        )
        return cache, bce_cache

    def _discriminate_backward(self, cache, run):
        disc_cache, bce_cache = cache
        self.discriminator.backward(binary_cross_entropy_backward(bce_cache, self.pretraining.disc_weight), disc_cache, run)
