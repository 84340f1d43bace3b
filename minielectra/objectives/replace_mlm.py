"""Replace-MLM: a masked language model that reads samples instead of [MASK] (Clark et al. 2020, section 3.5).

    minimise  w_gen · L_MLM(masked; generator)  +  w_mlm · L_MLM(corrupted; corrector)

The corrector predicts the original words at the chosen positions, as BERT does. It tells how much BERT loses
because [MASK] never occurs after pre-training.
"""

from dataclasses import replace

from minielectra.backend import array_module
from minielectra.electra.products import tower_pass
from minielectra.electra.towers import ElectraForMaskedLM
from minielectra.objectives.base import generator_backward, generator_forward
from minielectra.objectives.replacing import Replacing


class ReplaceMLM(Replacing):
    """A generator, and a full-size masked language model that corrects its text."""

    loss_names = ("gen_loss", "corrector_loss")

    def _make_judges(self):
        self.corrector = self._make_judge(ElectraForMaskedLM)
        return {"corrector": self.corrector}

    def _judge_passes(self, shape, progress):
        return [tower_pass("corrector", self.corrector, shape, shape.sequences * shape.chosen)]

    def _judge(self, outcome, batch, normalizers, context):
        """The corrector's loss, written into `outcome` -> GeneratorCache."""
        corrupted = replace(batch, masked_ids=outcome.corrupted_ids)
        outcome.corrector_loss, cache = generator_forward(
            self.corrector, corrupted, normalizers.chosen, context
        )
        if not context.backward:
            p, xp = cache.loss.p, array_module(cache.loss.p)
            outcome.word_likelihood = p[xp.arange(len(p)), cache.loss.targets]
            outcome.word_guess = p.argmax(axis=1)
        return cache

    def _judge_backward(self, cache, context):
        generator_backward(self.corrector, cache, self.config.mlm_weight, context)


OBJECTIVE = ReplaceMLM
