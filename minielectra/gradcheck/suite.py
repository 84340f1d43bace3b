"""Everything there is to check: each operation, layer, tower and objective of the library."""

from itertools import chain

import numpy as np

from minielectra.gradcheck.head_checks import heads_and_losses
from minielectra.gradcheck.model_checks import layers, objectives, towers
from minielectra.gradcheck.operation_checks import operations


def check_all(seed=0):
    """Check everything, by the protocol of `checker` -> list of Row. Takes a few seconds."""
    random = np.random.default_rng(seed)
    parts = (operations, layers, towers, objectives, heads_and_losses)
    return list(chain.from_iterable(part(random) for part in parts))
