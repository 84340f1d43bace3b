"""Random numbers as a pure function of a key, so that a run can go on from any step without a saved
generator.
"""

from enum import IntEnum

import numpy as np

from minielectra.backend.arrays import to_device


class Purpose(IntEnum):
    """What random numbers are drawn for: the second part of every key (seed, purpose, …).

    The numbers are part of every result. Never change one, and give a new purpose a new number.
    """

    INITIALIZATION = 1  # a model's first weights
    MASKS = 2  # (…, step): which positions of a training batch are hidden
    EVALUATION = 3  # masks of the held-out set; (…, chunk): the generator's samples on it
    STEP = 5  # (…, step, shard): dropout and the generator's samples
    HEAD = 6  # a fine-tuning head's first weights
    EPOCH_ORDER = 7  # (…, epoch): the order of the examples in fine-tuning


class RandomStream:
    """Random numbers for one shard of one step, determined by a key alone.

    Step 1 000 of seed 7 draws the same numbers whether or not this process ran steps 1 to 999.
    """

    def __init__(self, key, xp=np):
        """key: a tuple of non-negative integers, (seed, Purpose, …).

        xp: the array module that wants the numbers.
        """
        self.xp = xp
        seed = np.random.SeedSequence(key)
        if hasattr(xp, "cuda"):
            words = seed.generate_state(2, np.uint64)
            self._generator = xp.random.Generator(xp.random.Philox4x3210(seed=int(words[0] >> np.uint64(1))))
        else:
            self._generator = np.random.Generator(np.random.SFC64(seed))

    def uniform(self, shape, dtype=np.float32):
        """Uniform numbers in [0, 1), an array [*shape] of `dtype`."""
        if hasattr(self.xp, "cuda"):
            return self._generator.random(shape, dtype=dtype)
        return to_device(self._generator.random(shape, dtype=dtype), self.xp)

    def keep_mask(self, shape, drop):
        """A boolean mask [*shape] that is True with probability `keep_probability(drop)`.

        Each element costs two random bytes instead of a random float, which is eight times as fast.
        """
        limit = _kept_of_65536(drop)
        if hasattr(self.xp, "cuda"):
            return self._generator.integers(0, 65536, size=shape, dtype=self.xp.uint16) < limit
        count = int(np.prod(shape))
        # Each word holds four numbers of 16 bits.
        words = self._generator.bit_generator.random_raw((count + 3) // 4)
        return to_device((words.view(np.uint16)[:count] < limit).reshape(shape), self.xp)


def keep_probability(drop):
    """The exact probability with which `RandomStream.keep_mask` keeps an element: 1 − `drop` to within 2⁻¹⁷.

    Dropout scales what it keeps by the inverse of this number.
    """
    return _kept_of_65536(drop) / 65536


def _kept_of_65536(drop):
    return round((1.0 - drop) * 65536)
