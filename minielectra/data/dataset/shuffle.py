"""A shuffle without memory: a pseudo-random permutation that is a function of an index and a key.

A Feistel network is a bijection of the numbers of 2k bits, whatever its round function is. Applying it again
to results that are not below n ("cycle walking") makes it a bijection of range(n).
"""

import numpy as np

_ROUNDS = 6
_U64 = (1 << 64) - 1


def shuffled_index(i: np.ndarray | int, n: int, key: int | tuple[int, ...]) -> np.ndarray:
    """Where a permutation of `range(n)` sends `i` (of any shape): int64 of the same shape.

    key: picks the permutation, for example (seed, epoch). The order of an epoch is a function, so any place
    in it can be reached at once and nothing has to be stored. Raises ValueError for an `i` outside
    `range(n)`.
    """
    x = np.asarray(i, np.int64)
    if x.size and (x.min() < 0 or x.max() >= n):
        raise ValueError(f"index outside range({n})")
    state = 0
    for part in key if isinstance(key, tuple) else (key,):
        state = _mix(state ^ (part & _U64))
    round_keys = [_mix(state + r) for r in range(_ROUNDS)]
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))  # k
    low = np.uint64((1 << int(half)) - 1)

    def permute(value: np.ndarray) -> np.ndarray:
        left, right = value >> half, value & low
        for round_key in round_keys:
            left, right = right, left ^ (_mix_array(right + np.uint64(round_key)) & low)
        return (left << half) | right

    y = permute(x.reshape(-1).astype(np.uint64))
    while (outside := np.flatnonzero(y >= np.uint64(n))).size:
        y[outside] = permute(y[outside])
    return y.astype(np.int64).reshape(x.shape)


def _mix(x: int) -> int:
    """A step of splitmix64 (Steele et al. 2014), which scrambles a number of 64 bits."""
    x = (x + 0x9E3779B97F4A7C15) & _U64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _U64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _U64
    return x ^ (x >> 31)


def _mix_array(x: np.ndarray) -> np.ndarray:
    """The same without the addition, for arrays of uint64, which wrap around by themselves."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
