"""ELECTRA 15 %: the discriminator's loss at the chosen positions only (Clark et al. 2020, section 3.5).

It tells how much of ELECTRA's gain comes from learning from all tokens.
"""

from minielectra.backend import array_module
from minielectra.objectives.electra import Electra


class Electra15(Electra):
    """ELECTRA whose discriminator learns from as few tokens as a masked language model."""

    def _counted(self, batch, normalizers):
        """The chosen positions -> weights [B, T], their sum over the whole batch."""
        xp = array_module(batch.valid)
        weights = xp.zeros(batch.valid.shape, batch.weights.dtype)
        weights[xp.arange(len(weights))[:, None], batch.positions] = batch.weights
        return weights, normalizers.chosen


OBJECTIVE = Electra15
