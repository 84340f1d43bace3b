"""Random numbers as a pure function of a key."""

import numpy as np

from minielectra.backend.arrays import to_device


class RandomStream:
    """Random numbers for one shard of one step, a pure function of its `key` (a tuple of non-negative integers).

    Nothing has to be saved to continue a run: step 1 000 of seed 7 draws the same numbers whether or not steps 1–999 were run
    by this process.
    """

    def __init__(self, key, xp=np):
        self.xp = xp
        seed = np.random.SeedSequence(key)
        if hasattr(xp, "cuda"):
            words = seed.generate_state(2, np.uint64)
            self._generator = xp.random.Generator(xp.random.Philox4x3210(seed=int(words[0] >> np.uint64(1))))
        else:
            self._generator = np.random.Generator(np.random.SFC64(seed))

    def uniform(self, shape, dtype=np.float32):
        """Uniform numbers in [0, 1), of `shape` and `dtype`."""
        if hasattr(self.xp, "cuda"):
            return self._generator.random(shape, dtype=dtype)
        return to_device(self._generator.random(shape, dtype=dtype), self.xp)

    def keep_mask(self, shape, drop):
        """Boolean mask, True with probability 1 − `drop` to within 2⁻¹⁶ (see `keep_probability`): two random bytes an element."""
        limit = round((1.0 - drop) * 65536)
        count = int(np.prod(shape))
        if hasattr(self.xp, "cuda"):
            return (self._generator.integers(0, 65536, size=shape, dtype=self.xp.uint16)) < limit
        words = self._generator.bit_generator.random_raw((count + 3) // 4)  # four numbers of 16 bits in each
        return to_device((words.view(np.uint16)[:count] < limit).reshape(shape), self.xp)


def keep_probability(drop):
    """The probability, exact, with which `RandomStream.keep_mask` keeps an element: the scale of dropout is its inverse."""
    return round((1.0 - drop) * 65536) / 65536
