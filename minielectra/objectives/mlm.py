"""BERT's objective, for comparison: one full-size masked language model (Devlin et al. 2019)."""

from dataclasses import dataclass

import numpy as np

from minielectra.electra.towers import ElectraForMaskedLM
from minielectra.objectives.base import PretrainingObjective, generator_backward, generator_forward


@dataclass
class MaskedLMOutcome:
    """What a forward pass leaves to look at."""

    gen_loss: object  # 0-d, this shard's share of the batch's mean
    probabilities: object  # [M, V] softmax at the chosen positions
    word_likelihood = None  # there is no corrector

    @property
    def losses(self):
        """What a step reports."""
        return (self.gen_loss,)


class MaskedLM(PretrainingObjective):
    """minimise  w_gen · L_MLM(masked)"""

    def __init__(self, model_config, config, xp=np, dtype=np.float32):
        super().__init__(model_config, config, xp, dtype)
        prefix = "discriminator." if config.tie_encoders else "generator."
        self.generator = ElectraForMaskedLM(model_config, self.parameters, prefix)
        self.towers = {"generator": self.generator}

    def forward(self, batch, normalizers, context, uniform=None, samples=None):
        """-> MaskedLMOutcome, cache. Arguments as for `objectives.electra.Electra`; nothing is sampled."""
        loss, cache = generator_forward(self.generator, batch, normalizers.chosen, context)
        return MaskedLMOutcome(loss, cache.loss.p), cache

    def backward(self, cache, context):
        """Add the gradient of the loss to every parameter's. The outcome's probabilities are overwritten."""
        generator_backward(self.generator, cache, self.config.gen_weight, context)


OBJECTIVE = MaskedLM
