"""Both losses on one encoder: which tokens were replaced, and which words stood at the chosen positions.

    minimise  w_gen · L_MLM(masked; generator)  +  λ · L_RTD(corrupted; discriminator)
              +  w(t) · L_MLM(corrupted; corrector)

Discriminator and corrector are two heads on one encoder, which reads the text once (SpacTor-T5, Ye et al.
2024, combines the two losses likewise). w falls from `mlm_weight` to 0 within the share `mlm_anneal` of the
run, or stays if that is 0.

With `two_stage`, the encoder is first trained as BERT is, on masked text, with its generator beside it. Then
the *same* encoder becomes the discriminator. Nothing is frozen.
"""

from typing import NamedTuple

from minielectra import ops
from minielectra.backend import array_module
from minielectra.electra.products import TowerPass, encoder_products, head_products
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining, EncodedCache
from minielectra.objectives.base import chosen_rows, words_loss
from minielectra.objectives.replacing import Replacing


class TwoHeadsCache(NamedTuple):
    encoded: EncodedCache
    detection: tuple | None  # None in the first stage
    detection_loss: tuple | None
    words: tuple | None  # None if its weight is 0
    words_loss: tuple | None
    words_weight: float


class RtdAndMlm(Replacing):
    """A generator, and two heads on one encoder of full size."""

    loss_names = ("gen_loss", "disc_loss", "corrector_loss")

    def _make_judges(self):
        self.discriminator = self._make_judge(ElectraForPreTraining)
        self.corrector = self._make_judge(ElectraForMaskedLM)
        return {"discriminator": self.discriminator, "corrector": self.corrector}

    def _generator_learns(self, progress):
        return self.config.has_generator

    def _judge_learns(self, progress):
        return True

    def _detects(self, progress):
        return progress >= self.config.two_stage

    def _words_weight(self, progress):
        """w after this share of the run."""
        done, span = progress - self.config.two_stage, self.config.mlm_anneal
        left = 1.0 if done < 0.0 or not span else max(0.0, 1.0 - done / span)
        return self.config.mlm_weight * left

    def frozen(self, batch):
        """Nothing."""
        return ()

    def begin_second_stage(self):
        """There is nothing to do: the encoder is the same one."""

    def computed(self, progress):
        """See the base class."""
        there = (self.config.has_generator, self._detects(progress), self._words_weight(progress) > 0)
        return tuple(name for name, yes in zip(self.loss_names, there, strict=True) if yes)

    def _judge_passes(self, shape, progress):
        made = [TowerPass("discriminator", encoder_products(self.discriminator.encoder, shape), 0)]
        if self._detects(progress):
            made.append(TowerPass("discriminator", 0, head_products(self.discriminator, shape.tokens)))
        if self._words_weight(progress):
            rows = shape.sequences * shape.chosen
            made.append(TowerPass("corrector", 0, head_products(self.corrector, rows)))
        return made

    def _judge(self, outcome, batch, normalizers, context):
        """Both losses, written into `outcome` -> TwoHeadsCache."""
        detects, weight = self._detects(batch.progress), self._words_weight(batch.progress)
        ids = outcome.corrupted_ids if detects else batch.masked_ids
        hidden, encoded = self.discriminator.encode(ids, batch.valid_or_none, batch.segments, context)
        detection = detection_loss = words = loss = None
        if detects:
            outcome.logits, detection = self.discriminator.detect(hidden, context)
            dtype = outcome.logits.dtype
            labels, valid = outcome.replaced.reshape(-1).astype(dtype), batch.valid.reshape(-1).astype(dtype)
            outcome.disc_loss, detection_loss = ops.binary_cross_entropy_forward(
                outcome.logits, labels, valid, normalizers.tokens
            )
        if weight:
            logits, words = self.corrector.words(hidden, chosen_rows(batch), context)
            outcome.corrector_loss, loss = words_loss(logits, batch, normalizers.chosen)
            if not context.backward:
                p, xp = loss.p, array_module(loss.p)
                outcome.word_likelihood = p[xp.arange(len(p)), loss.targets]
                outcome.word_guess = p.argmax(axis=1)
        return TwoHeadsCache(encoded, detection, detection_loss, words, loss, weight)

    def _judge_backward(self, cache, context):
        parts = []
        if cache.detection is not None:
            dlogits = ops.binary_cross_entropy_backward(cache.detection_loss, self.config.disc_weight)
            parts.append(self.discriminator.detect_backward(dlogits, cache.detection, context))
        if cache.words is not None:
            dlogits = ops.cross_entropy_backward(cache.words_loss, cache.words_weight)
            parts.append(self.corrector.words_backward(dlogits, cache.words, context))
        dhidden, *others = parts
        for other in others:
            dhidden += other
        self.discriminator.encode_backward(dhidden, cache.encoded, context)


OBJECTIVE = RtdAndMlm
