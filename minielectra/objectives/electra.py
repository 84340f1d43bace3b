"""ELECTRA's objective: generator and discriminator, trained together (Clark et al. 2020, section 2).

    minimise  w_gen · L_MLM(masked; generator)  +  λ · L_RTD(corrupted; discriminator)

L_RTD is the binary cross-entropy of "replaced", a mean over all tokens. The generator, the samples and what
the two towers share are in `replacing.py`.
"""

from typing import NamedTuple

from minielectra import ops
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.objectives.replacing import Replacing


class DiscriminatorCache(NamedTuple):
    tower: tuple
    loss: tuple  # of ops.binary_cross_entropy_forward


class Electra(Replacing):
    """A generator, and a discriminator that says of every token whether it was replaced."""

    def _make_judges(self):
        self.discriminator = self._make_judge(ElectraForPreTraining)
        return {"discriminator": self.discriminator}

    def _judge(self, outcome, batch, normalizers, context):
        """The discriminator's logits and loss, written into `outcome` -> DiscriminatorCache."""
        logits, cache = self.discriminator.forward(
            outcome.corrupted_ids, batch.valid_or_none, batch.segments, context
        )
        labels = outcome.replaced.reshape(-1).astype(logits.dtype)
        weights, normalizer = self._counted(batch, normalizers)
        weights = weights.reshape(-1).astype(logits.dtype)
        loss, loss_cache = ops.binary_cross_entropy_forward(logits, labels, weights, normalizer)
        outcome.logits, outcome.disc_loss = logits, loss
        return DiscriminatorCache(cache, loss_cache)

    def _counted(self, batch, normalizers):
        """What the loss is a mean over -> weights [B, T], their sum over the whole batch."""
        return batch.valid, normalizers.tokens

    def _judge_backward(self, cache, context):
        dlogits = ops.binary_cross_entropy_backward(cache.loss, self.config.disc_weight)
        self.discriminator.backward(dlogits, cache.tower, context)


OBJECTIVE = Electra
