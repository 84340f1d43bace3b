"""What the objectives beyond BERT's have in common: samples stand at the chosen positions, and a full-size
tower judges the text that results.

    masked text ──generator──> samples ──> corrupted text ──judge──> its loss

The samples come from a generator, which is trained as a masked language model, or from word frequencies
(`sampler`). No gradient flows through them. Both losses reach the shared embeddings, and nothing else is
shared, unless `tie_encoders` gives both towers one encoder (Clark et al. 2020, section 3.2).

With `two_stage`, only the generator learns in the first share of the run, and only the judge afterwards.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minielectra import ops
from minielectra.backend import array_module, scratch
from minielectra.electra.corruption import replace_tokens, sample_categorical
from minielectra.electra.electra_config import NETWORK
from minielectra.electra.products import tower_pass
from minielectra.electra.towers import ElectraForMaskedLM
from minielectra.objectives.base import PretrainingObjective, generator_backward, generator_forward

JUDGE = "discriminator."  # prefix of the parameters of a full-size tower, or of several on one encoder


@dataclass
class ReplacingOutcome:
    """What a forward pass leaves to look at. Losses are this shard's shares of the batch's means."""

    loss_names: tuple  # which losses `losses` has
    gen_loss: object = 0.0  # 0-d
    probabilities: object = None  # [M, V] the generator's softmax at the chosen positions
    samples: object = None  # [B, K] int32, what was put there
    corrupted_ids: object = None  # [B, T] what the judge sees
    replaced: object = None  # [B, T] bool: where that differs from the original
    disc_loss: object = 0.0  # 0-d
    logits: object = None  # [B·T] the discriminator's
    corrector_loss: object = 0.0  # 0-d
    word_likelihood: object = None  # [M] what the corrector gives the original words, without a backward pass
    word_guess: object = None  # [M] int, its most probable words
    adversarial_loss: object = 0.0  # 0-d
    contrast: object = None  # of objectives/electric.py

    @property
    def losses(self):
        """What a step reports; 0 for what it did not compute."""
        return tuple(self.__dict__[name] for name in self.loss_names)

    @property
    def scores(self):
        """The probability that a token is replaced, [B, T]."""
        return ops.sigmoid(self.logits).reshape(self.corrupted_ids.shape)


class ReplacingCache(NamedTuple):
    generator: tuple | None  # None if there is no generator, or if it does not learn
    judge: tuple | None


class Replacing(PretrainingObjective):
    """A generator and a judge. Subclasses define `_make_judges`, `_judge` and `_judge_backward`."""

    loss_names = ("gen_loss", "disc_loss")

    def __init__(self, model_config, config, xp=np, dtype=np.float32):
        super().__init__(model_config, config, xp, dtype)
        if config.has_generator:
            self.generator = self.towers["generator"] = self._make_generator()
        self.towers |= self._make_judges()

    def _make_generator(self):
        if self.config.tie_encoders:  # the same names, and so the same parameters
            return ElectraForMaskedLM(self.model_config, self.parameters, JUDGE)
        config = self.model_config.generator(self.config.generator_width, self.config.generator_depth)
        return ElectraForMaskedLM(config, self.parameters, "generator.")

    def _make_judge(self, kind):
        """A full-size tower of class `kind`. Several of them have one encoder."""
        return kind(self.model_config, self.parameters, JUDGE, embeddings=self.config.embeddings)

    # --- what learns when

    def _generator_learns(self, progress):
        stage = self.config.two_stage
        return self.config.has_generator and (not stage or progress < stage)

    def _judge_learns(self, progress):
        return progress >= self.config.two_stage

    def computed(self, progress):
        """See the base class."""
        generator, *judges = self.loss_names
        names = [generator] if self.config.has_generator else []
        return (*names, *(judges if self._judge_learns(progress) else ()))

    def frozen(self, batch):
        """See the base class: in two stages, the one that does not learn, with its embeddings."""
        if not self.config.two_stage:
            return ()
        first = self._generator_learns(batch.progress)
        return self.spans(lambda name: name.startswith(JUDGE) == first)

    def begin_second_stage(self):
        """Start the judge from the generator's weights, if `discriminator_start` says so."""
        if self.config.discriminator_start != "generator":
            return
        for name in self.parameters:
            for own in (f"{JUDGE}{name}", f"{JUDGE}{name.removeprefix('generator.')}"):
                if own in self.parameters:
                    self.parameters[own].value[...] = self.parameters[name].value

    def passes(self, shape, progress=0.0):
        """See the base class."""
        made = []
        if self.config.has_generator:
            rows, learns = shape.sequences * shape.chosen, self._generator_learns(progress)
            made.append(tower_pass("generator", self.generator, shape, rows, learns))
        return made + (self._judge_passes(shape, progress) if self._judge_learns(progress) else [])

    def _judge_passes(self, shape, progress):
        return [tower_pass("discriminator", self.discriminator, shape, shape.tokens)]

    # --- the two passes

    def forward(self, batch, normalizers, context, uniform=None, samples=None):
        """Both towers -> ReplacingOutcome, ReplacingCache.

        batch: MaskedBatch, on the device; normalizers: MaskedNormalizers of the *whole* batch, of which this
        may be a shard. Samples are drawn with numbers from `context.random`; or with uniform [M], numbers in
        [0, 1); or they are given: samples [B, K].
        """
        outcome, generator = self._generate(batch, normalizers, context, uniform, samples)
        judge = None
        if self._judge_learns(batch.progress):
            judge = self._judge(outcome, batch, normalizers, context)
        return outcome, ReplacingCache(generator, judge)

    def backward(self, cache, context):
        """Add the gradient of the joint loss to every parameter's.

        The outcome's probabilities are overwritten.
        """
        if cache.generator is not None:
            generator_backward(self.generator, cache.generator, self.config.gen_weight, context)
        if cache.judge is not None:
            self._judge_backward(cache.judge, context)

    def forward_backward(self, batch, normalizers, context):
        """Both passes -> losses.

        The generator is finished before the judge begins, and leaves it its memory.
        """
        with scratch(context.workspace):
            outcome, generator = self._generate(batch, normalizers, context)
            outcome.probabilities = None  # about to be overwritten
            if generator is not None:
                generator_backward(self.generator, generator, self.config.gen_weight, context)
        if self._judge_learns(batch.progress):
            with scratch(context.workspace):
                self._judge_backward(self._judge(outcome, batch, normalizers, context), context)
        return outcome.losses

    def _generate(self, batch, normalizers, context, uniform=None, samples=None):
        """The generator's loss, and the text that is corrupted -> ReplacingOutcome without the judge's part,
        GeneratorCache (None if the generator does not learn).
        """
        outcome, cache = ReplacingOutcome(self.loss_names), None
        if samples is None and uniform is None:
            uniform = context.random.uniform(batch.positions.size, self.parameters.flat.dtype)
        if self.config.has_generator:
            learns = self._generator_learns(batch.progress)
            inner = context if learns else replace(context, backward=False)
            outcome.gen_loss, made = generator_forward(self.generator, batch, normalizers.chosen, inner)
            outcome.probabilities, cache = made.loss.p, made if learns else None
        if samples is None:
            samples = self._sample(outcome.probabilities, uniform).reshape(batch.positions.shape)
        outcome.samples = self._placed(samples, batch)
        outcome.corrupted_ids, outcome.replaced = replace_tokens(
            batch.input_ids, batch.positions, batch.weights > 0, outcome.samples
        )
        return outcome, cache

    def _sample(self, p, uniform):
        """One word per chosen position -> [M] int32. p [M, V]: the generator's, if there is one."""
        share = self.config.unigram_fraction if self.config.sampler == NETWORK else 1.0
        if share == 1.0:
            return self.noise.sample(uniform)
        if not share:
            return sample_categorical(p, uniform, self.config.sample_temperature)
        xp = array_module(uniform)
        noisy = uniform < share  # and what is left of the number draws the word
        own = xp.where(noisy, 0.0, (uniform - share) / (1.0 - share)).astype(uniform.dtype)
        drawn = self.noise.sample(xp.where(noisy, uniform / share, 0.0))
        return xp.where(noisy, drawn, sample_categorical(p, own, self.config.sample_temperature))

    def _placed(self, samples, batch):
        """What is written at the chosen positions, [B, K]: the samples."""
        return samples
