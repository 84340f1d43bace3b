"""From sentences to training examples, and from examples to arrays.

An example is a span of a part's tokens and a place to split it, three numbers (start, split, end):

    two segments    [CLS] tokens[start:split] [SEP] tokens[split:end] [SEP]
    one segment     [CLS] tokens[start:end] [SEP]                               (split == end)

The rules are those of ELECTRA's `ExampleBuilder` (google-research/electra, `build_pretraining_dataset.py`).
Sentences are gathered until they reach the target length or the document ends. The first segment gets about
half of them. One example in ten has a single segment. One in twenty gets a random, shorter target.

Two points differ, so that an example is three numbers and no text is lost. The original cuts off what exceeds
the length; here the next example continues with it. The original may put a sentence into the first segment
after one that went into the second; here segments are contiguous.
"""

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from minielectra.data.dataset.array_files import in_pieces, release
from minielectra.errors import InputError

SINGLE_SEGMENT, SHORT_TARGET = 0.1, 0.05  # shares of all examples
MINIMUM_TOKENS = 5  # what is left of a document is dropped if it is shorter
_PIECE = 1 << 16  # sentences that are read, and examples that are handed on, at a time


def pack(*arguments, **options) -> np.ndarray:
    """All that `pack_pieces` yields for the same arguments, as one array: int64 [examples, 3]."""
    return np.concatenate(list(pack_pieces(*arguments, **options)))


def pack_pieces(
    sentence_lengths: np.ndarray,
    document_starts: np.ndarray,
    seq_length: int,
    seed: int = 0,
    single_segment: float = SINGLE_SEGMENT,
    short_target: float = SHORT_TARGET,
) -> Iterator[np.ndarray]:
    """Cut a part into examples: arrays of rows (start, split, end), int64 [about 65 536, 3], in text order.

    sentence_lengths: [sentences] int, tokens in each; document_starts: [documents] int, the index of each
    document's first sentence (both may be memory maps); seq_length: the most tokens in an example, special
    ones included; seed: the result depends on the arguments alone; single_segment, short_target: shares of
    examples with one segment, and with a shorter target.

    Every token is in exactly one example, except for ends of documents of fewer than 5 tokens. Memory does
    not grow with the corpus, even if all of it is one document. Raises InputError if `seq_length` is below 8
    or not a single example comes out.
    """
    if seq_length < MINIMUM_TOKENS + 3:
        raise InputError(f"sequence length {seq_length} is too short; use at least {MINIMUM_TOKENS + 3}")
    rng = random.Random(seed)
    rows, any_yielded = array("q"), False
    target, position = seq_length, 0
    ends = []  # where sentences of the current document end: those that are read and not yet used up
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
                rows, any_yielded = array("q"), True
        if complete:
            position = ends[-1]
        del ends[: bisect_right(ends, position)]
    if not rows and not any_yielded:
        found = f"{position} tokens in {len(document_starts)} documents"
        raise InputError(f"{found} make no example of up to {seq_length} tokens; give more text")
    if rows:
        yield np.array(rows, np.int64).reshape(-1, 3)


def _sentence_ends(
    sentence_lengths: np.ndarray, document_starts: np.ndarray
) -> Iterator[tuple[list[int], bool]]:
    """Stretches of documents, one after the other: (where sentences end, whether the document ends there
    too).

    Positions count tokens from the beginning of the part.
    """
    first, position = 0, 0
    for lengths in in_pieces(sentence_lengths, _PIECE):
        last = first + len(lengths)
        ends = (position + np.cumsum(lengths, dtype=np.int64)).tolist()
        position = ends[-1]
        # Documents that begin in (first, last]
        a, b = np.searchsorted(document_starts, (first + 1, last + 1))
        cuts = [0, *(np.asarray(document_starts[a:b]) - first).tolist()]
        for i, j in pairwise(cuts):
            if j > i:
                yield ends[i:j], True
        if cuts[-1] < last - first:
            yield ends[cuts[-1] :], last == len(sentence_lengths)
        first = last
        release(document_starts)


def _cut(
    ends: list[int], start: int, seq_length: int, target: int, single_segment: float, rng: random.Random
) -> tuple[int, int]:
    """(split, end) of the example that begins at `start`; ends: where the document's sentences end."""
    # where the target is reached, or the document ends
    end = ends[min(bisect_left(ends, start + target), len(ends) - 1)]
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


def assemble(
    tokens: np.ndarray, rows: np.ndarray, seq_length: int, special_ids: tuple[int, int, int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples as arrays [B, T] with T = seq_length: (input_ids int32, valid bool, segments int32).

    tokens: all tokens of the part (a memory map is fine); rows: [B, 3] of `pack`; special_ids: the
    tokenizer's (pad, unk, cls, sep, mask). `valid` is False at padding; `segments` is 1 in the second
    segment, else 0. Raises ValueError for a row that needs more than T positions.
    """
    pad, _, cls, sep, _ = special_ids
    start, split, end = np.asarray(rows, np.int64).reshape(-1, 3).T[:, :, None]  # each [B, 1]
    first_sep = split - start + 1
    last = np.where(end > split, end - start + 2, first_sep)  # the last position in use
    if last.size and last.max() >= seq_length:
        raise ValueError(f"an example needs {int(last.max()) + 1} positions, but seq_length is {seq_length}")

    position = np.arange(seq_length)  # [T]
    valid = position <= last  # [B, T]
    second = (position > first_sep) & valid
    source = start + position - 1 - second  # [CLS] and, in the second segment, [SEP] come before the tokens
    ids = np.asarray(tokens).take(source, mode="clip").astype(np.int32)
    ids[:, 0] = cls
    ids[(position == first_sep) | (position == last)] = sep
    ids[~valid] = pad
    return ids, valid, second.astype(np.int32)
