"""Corruption: which positions are chosen, what the generator sees there, what it samples, and what is
labelled replaced.

Choosing and masking happen on the host, with the rest of the input. Sampling happens where the generator's
softmax is. Source: Clark et al. 2020, section 2. What the released code does differently is an option of
`PretrainingConfig`.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minielectra.backend import array_module, to_device


class MaskedNormalizers(NamedTuple):
    """What the two losses are means over, counted over the whole batch."""

    chosen: float  # positions that the generator predicts, at least 1
    tokens: float  # tokens that are not padding, at least 1


@dataclass
class MaskedBatch:
    """B examples of T tokens, with K chosen positions each. Integer arrays are int32."""

    input_ids: object  # [B, T] original tokens
    masked_ids: object  # [B, T] what the generator sees
    segments: object  # [B, T] 0 or 1: which of the two segments
    valid: object  # [B, T] bool, False at padding
    positions: object  # [B, K] chosen positions
    weights: object  # [B, K] float32: 1 if the slot is used, 0 if the example is too short for it
    padded: bool = True  # whether any position is padding: known on the host, so no device need be asked
    vocab_size: int | None = None  # word pieces; the model may have more rows, which are no words
    progress: float = 1.0  # share of the run that is done; objectives in stages do what they do then

    @property
    def valid_or_none(self):
        """`valid`, or None if nothing is padding, so that attention need not be masked."""
        return self.valid if self.padded else None

    def shard(self, part):
        """The examples of the slice `part`."""
        return self._map(lambda array: array[part])

    def to_device(self, xp):
        """The same batch with every array on `xp`'s device."""
        return self._map(lambda array: to_device(array, xp))

    def normalizers(self):
        """The batch's MaskedNormalizers. On the host only."""
        return MaskedNormalizers(max(1.0, float(self.weights.sum())), max(1.0, float(self.valid.sum())))

    def _map(self, change):
        names = ("input_ids", "masked_ids", "segments", "valid", "positions", "weights")
        return replace(self, **{name: change(self.__dict__[name]) for name in names})


def choose_positions(candidates, lengths, slots, fraction, random, with_replacement=False):
    """Which positions to predict: k = max(1, round(fraction · length)) per example, uniformly among its
    candidates.

    candidates [B, T] bool; lengths [B]: non-padding tokens; slots: K; random: np.random.Generator;
    with_replacement: as in the released code, where some of the k draws hit the same position. -> positions
    [B, K] int32, distinct within a row; used [B, K] bool.
    """
    wanted = np.maximum(1, np.rint(fraction * lengths)).astype(np.int64)
    wanted = np.minimum(np.minimum(wanted, slots), candidates.sum(axis=1))
    keys = random.random(candidates.shape)
    keys[~candidates] += 1.0  # sorted after every candidate
    order = np.argsort(keys, axis=1)
    if with_replacement:  # k draws hit this many different positions; the other slots stay empty
        for row, k in enumerate(wanted):
            if k:
                wanted[row] = np.unique(random.integers(0, candidates[row].sum(), size=k)).size
    used = np.arange(slots) < wanted[:, None]
    return order[:, :slots].astype(np.int32), used


def mask_batch(input_ids, valid, segments, special_ids, mask_id, vocab_size, config, random):
    """Choose positions and mask them -> MaskedBatch, on the host.

    input_ids, segments [B, T] int32, valid [B, T] bool; special_ids: ids that are never chosen; mask_id: that
    of [MASK]; vocab_size: number of word pieces, which may be less than the model's; config:
    PretrainingConfig; random: np.random.Generator.
    """
    candidates = valid.copy()
    for special in special_ids:
        candidates &= input_ids != special
    slots = min(config.masked_per_example, input_ids.shape[1])
    positions, used = choose_positions(
        candidates, valid.sum(axis=1), slots, config.mask_fraction, random, config.mask_with_replacement
    )
    original = np.take_along_axis(input_ids, positions, axis=1)
    shown = np.full_like(original, mask_id)
    if config.mask_keep_fraction or config.mask_random_fraction:
        draw = random.random(shown.shape)
        shown = np.where(draw < config.mask_keep_fraction, original, shown)
        randomised = (draw >= config.mask_keep_fraction) & (
            draw < config.mask_keep_fraction + config.mask_random_fraction
        )
        shown = np.where(randomised, random.integers(0, vocab_size, shown.shape, dtype=np.int32), shown)
    masked_ids = input_ids.copy()
    np.put_along_axis(masked_ids, positions, np.where(used, shown, original), axis=1)
    weights = used.astype(np.float32)
    padded = not valid.all()
    return MaskedBatch(input_ids, masked_ids, segments, valid, positions, weights, padded, vocab_size)


def sample_categorical(p, u, temperature=1.0):
    """One sample per row of p, by inverting its distribution function in two levels.

    p [M, V] probabilities, u [M] uniform in [0, 1) -> ids [M] int32. Sums over blocks of about √V words find
    the block, and the words inside it the sample. That is V additions per row, instead of the V random
    numbers and logarithms of the Gumbel-max method, for the same distribution.
    """
    xp = array_module(p)
    if temperature != 1.0:
        # The largest becomes 1, so that no row can vanish.
        p = (p / p.max(axis=1, keepdims=True)) ** (1.0 / temperature)
    rows, words = p.shape
    block = max(1, int(words**0.5))
    starts = xp.arange(0, words, block)
    sums = xp.add.reduceat(p, starts, axis=1)
    below = xp.cumsum(sums, axis=1)
    target = _inside(u * below[:, -1], below)
    chosen = (below <= target[:, None]).sum(axis=1)
    every = xp.arange(rows)
    target = target - (below[every, chosen] - sums[every, chosen])
    columns = chosen[:, None] * block + xp.arange(block)
    inside = p[every[:, None], xp.minimum(columns, words - 1)] * (columns < words)
    within = xp.cumsum(inside, axis=1)
    offset = (within <= _inside(target, within)[:, None]).sum(axis=1)
    return xp.minimum(chosen * block + offset, words - 1).astype(xp.int32)


def _inside(target, cumulative):
    """target [M], moved back into [0, last of cumulative [M, …]) if rounding took it out.

    So no word of probability 0 is drawn.
    """
    xp = array_module(target)
    return xp.minimum(xp.maximum(target, 0.0), xp.nextafter(cumulative[:, -1], xp.zeros_like(target)))


def replace_tokens(input_ids, positions, used, samples):
    """What the discriminator sees, and its labels.

    input_ids [B, T], positions, samples [B, K] int, used [B, K] bool -> corrupted [B, T] int32, replaced [B,
    T] bool: True only where the sample *differs* from the original. If the generator guesses the original
    word, the token is original.
    """
    xp = array_module(input_ids)
    rows = xp.arange(input_ids.shape[0])[:, None]
    corrupted = input_ids.copy()
    corrupted[rows, positions] = xp.where(used, samples, input_ids[rows, positions])
    return corrupted, corrupted != input_ids
