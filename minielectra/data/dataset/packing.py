"""From sentences to training examples: packing, batching and shuffling.

An example is a span of the token stream and a place to cut it, a row ``(start, split, end)``:

    two segments    [CLS] tokens[start:split] [SEP] tokens[split:end] [SEP]
    one segment     [CLS] tokens[start:end] [SEP]                               (split == end)

The rules are those of ELECTRA's ``ExampleBuilder`` (google-research/electra ``build_pretraining_dataset.py``): sentences gather
until they reach the target length or the document ends; the first segment gets about half of them; one example in ten has one
segment; one in twenty gets a random, shorter target. It differs on two points, so that an example is three numbers and no text
is lost: the original cuts off what exceeds the length, here the next example goes on with it; and the original may put
a sentence into the first segment after one that went into the second, here segments are contiguous.
"""

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from minielectra.data.dataset.array_files import in_pieces, release
from minielectra.errors import InputError

SINGLE_SEGMENT, SHORT_TARGET = 0.1, 0.05  # shares of examples
MINIMUM_TOKENS = 5  # a shorter rest of a document is dropped
_PIECE = 1 << 16  # sentences read, and examples handed on, at a time


def pack(*arguments, **options) -> np.ndarray:
    """All that `pack_pieces` yields, as one array."""
    return np.concatenate(list(pack_pieces(*arguments, **options)))


def pack_pieces(
    sentence_lengths: np.ndarray,
    document_starts: np.ndarray,
    seq_length: int,
    seed: int = 0,
    single_segment: float = SINGLE_SEGMENT,
    short_target: float = SHORT_TARGET,
) -> Iterator[np.ndarray]:
    """Examples of at most ``seq_length`` tokens, specials included: rows int64 [m, 3] of (start, split, end) in stream order.

    ``sentence_lengths`` [S] are tokens per sentence, ``document_starts`` [D] the index of each document's first sentence;
    ``single_segment`` and ``short_target`` are the shares of examples with one segment and with a shorter target. The
    result depends on the arguments alone. Every token is in exactly one example, save ends of documents under 5 tokens. The rows
    come in pieces of about 65 536, in memory that does not grow with the corpus (memory maps are fine), not even where all of it is
    one document. Raises InputError where no example comes out.
    """
    if seq_length < MINIMUM_TOKENS + 3:
        raise InputError(f"sequence length {seq_length} is too short; use at least {MINIMUM_TOKENS + 3}")
    rng = random.Random(seed)
    rows, found = array("q"), False
    target, position = seq_length, 0
    ends = []  # where the current document's sentences end, as far as read and not yet used up
    for more, complete in _sentence_ends(np.asanyarray(sentence_lengths), np.asanyarray(document_starts)):
        ends += more
        enough = MINIMUM_TOKENS if complete else seq_length  # `_cut` looks no further than one target ahead
        while ends[-1] - position >= enough:
            split, end = _cut(ends, position, seq_length, target, single_segment, rng)
            rows.extend((position, split, end))
            position = end
            target = rng.randint(MINIMUM_TOKENS, seq_length) if rng.random() < short_target else seq_length
            if len(rows) >= 3 * _PIECE:
                yield np.array(rows, np.int64).reshape(-1, 3)
                rows, found = array("q"), True
        if complete:
            position = ends[-1]
        del ends[: bisect_right(ends, position)]
    if not rows and not found:
        raise InputError(
            f"{position} tokens in {len(document_starts)} documents make no example of up to {seq_length} tokens; give more text"
        )
    if rows:
        yield np.array(rows, np.int64).reshape(-1, 3)


def _sentence_ends(sentence_lengths: np.ndarray, document_starts: np.ndarray) -> Iterator[tuple[list[int], bool]]:
    """(positions in the stream where sentences of one document end, whether they are its last) for stretches of the corpus."""
    first, position = 0, 0
    for lengths in in_pieces(sentence_lengths, _PIECE):
        last = first + len(lengths)
        ends = (position + np.cumsum(lengths, dtype=np.int64)).tolist()
        position = ends[-1]
        a, b = np.searchsorted(document_starts, (first + 1, last + 1))  # documents that begin after `first`, up to `last`
        cuts = [0, *(np.asarray(document_starts[a:b]) - first).tolist()]
        for i, j in pairwise(cuts):
            if j > i:
                yield ends[i:j], True
        if cuts[-1] < last - first:
            yield ends[cuts[-1] :], last == len(sentence_lengths)
        first = last
        release(document_starts)


def _cut(ends: list[int], start: int, seq_length: int, target: int, single_segment: float, rng: random.Random) -> tuple[int, int]:
    """(split, end) of the example at ``start``; ``ends`` are the positions where the document's sentences end."""
    end = ends[min(bisect_left(ends, start + target), len(ends) - 1)]  # where the target is reached, or the document's end
    if rng.random() >= single_segment:
        half = start + (target - 3) // 2
        k = bisect_left(ends, start + 1)  # the first sentence is always in the first segment,
        k = max(k, bisect_left(ends, half) - 1)  # with all others that end before the half;
        if ends[k] < half and ends[k] < end and rng.random() < 0.5:  # the one across the half goes either way
            k += 1
        if ends[k] < min(end, start + seq_length - 3):
            return ends[k], min(end, start + seq_length - 3)
        end = min(end, ends[k])
    end = min(end, start + seq_length - 2)
    return end, end


def make_batch(
    tokens: np.ndarray, rows: np.ndarray, seq_length: int, special_ids: tuple[int, int, int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(input_ids int32 [B, L], attention_mask bool [B, L], token_type_ids int32 [B, L]) for rows [B, 3] of `pack`.

    ``tokens`` is the stream (a memory map is fine), ``special_ids`` the tokenizer's (pad, unk, cls, sep, mask). Raises ValueError
    for a row that needs more than ``seq_length`` positions.
    """
    pad, _, cls, sep, _ = special_ids
    start, split, end = np.asarray(rows, np.int64).reshape(-1, 3).T[:, :, None]  # each [B, 1]
    first_sep = split - start + 1
    last = np.where(end > split, end - start + 2, first_sep)  # the last position in use
    if last.size and last.max() >= seq_length:
        raise ValueError(f"an example needs {int(last.max()) + 1} positions, but seq_length is {seq_length}")

    position = np.arange(seq_length)  # [L]
    second = (position > first_sep) & (position <= last)  # [B, L]
    source = start + position - 1 - second
    ids = np.asarray(tokens).take(source, mode="clip").astype(np.int32)
    ids[:, 0] = cls
    ids[(position == first_sep) | (position == last)] = sep
    mask = position <= last
    ids[~mask] = pad
    return ids, mask, second.astype(np.int32)


# A shuffle without memory: a Feistel network is a bijection of the 2k-bit numbers whatever its round function is; applying it
# again to results >= n ("cycle walking") makes it one of range(n).

_ROUNDS = 6
_U64 = (1 << 64) - 1


def _mix(x: int) -> int:
    """splitmix64's scrambling of one 64-bit number (Steele et al. 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _U64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _U64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _U64
    return x ^ (x >> 31)


def _mix_array(x: np.ndarray) -> np.ndarray:
    """The same on uint64 arrays, which wrap around by themselves."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shuffled_index(i: np.ndarray | int, n: int, key: int | tuple[int, ...]) -> np.ndarray:
    """Where a pseudo-random permutation of ``range(n)`` sends ``i`` (any shape): int64 of the same shape.

    ``key`` picks the permutation, e.g. ``(seed, epoch)``: the order of an epoch is a function, so any place in it can be
    reached at once and nothing need be stored. Raises ValueError for an ``i`` outside ``range(n)``.
    """
    x = np.asarray(i, np.int64)
    if x.size and (x.min() < 0 or x.max() >= n):
        raise ValueError(f"index outside range({n})")
    state = 0
    for part in key if isinstance(key, tuple) else (key,):
        state = _mix(state ^ (part & _U64))
    round_keys = [_mix(state + r) for r in range(_ROUNDS)]
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
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
