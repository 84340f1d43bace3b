"""Words drawn without a network: by their frequency (unigram), or all alike (uniform).

Sources: Clark et al. 2020, section 3.2, which tries the first as an extremely simple generator; Di Liello et
al. 2022, who do without a network.
"""

import numpy as np

from minielectra.backend import array_module, to_device
from minielectra.electra.electra_config import UNIFORM


class Noise:
    """One distribution over the vocabulary, the same at every position. Special tokens have probability 0."""

    def __init__(self, sampler, counts, special_ids, temperature=1.0, xp=np):
        """sampler: "unigram" or "uniform"; counts [V]: how often each word occurs in the training text.

        temperature: p becomes p^(1/temperature), rescaled; xp: where samples are drawn. In a text of nothing
        but special tokens, every word is as likely as any other.
        """
        counts = np.array(counts, np.float64)
        counts[list(special_ids)] = 0.0
        if sampler == UNIFORM or not counts.any():
            counts[:] = 1.0
            counts[list(special_ids)] = 0.0
        p = (counts / max(counts.max(), 1.0)) ** (1.0 / temperature)
        self.p = p / p.sum()  # [V] float64
        self._cumulative = to_device(self.p.cumsum(), xp)
        with np.errstate(divide="ignore"):
            self._log_p = to_device(np.log(self.p), xp)
        self._last = int(np.flatnonzero(self.p)[-1])

    def sample(self, u):
        """u [M], uniform in [0, 1) -> word ids [M] int32, by inverting the distribution function."""
        xp = array_module(u)
        target = u.astype(np.float64) * self._cumulative[-1]
        found = xp.searchsorted(self._cumulative, target, side="right")
        return xp.minimum(found, self._last).astype(np.int32)

    def log_probabilities(self, ids):
        """ids [...] -> log p [...] float64; −∞ for special tokens and for words that never occur."""
        return self._log_p[ids]
