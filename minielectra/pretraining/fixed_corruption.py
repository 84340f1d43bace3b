"""A yardstick that a weak generator cannot flatter: held-out sentences with one wrong word each, always the
same.

AUC and recall measure the discriminator against its own generator, so they rise when the generator gets
worse. Here the corruption is fixed: in each sentence one whole word is replaced by a random word of similar
frequency and as many pieces. It depends on the text and the vocabulary alone, so runs with other models,
settings and seeds can be compared.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from minielectra.backend import Workspace, to_device, to_host
from minielectra.nn.layers import PassContext
from minielectra.runs.detection_counts import auc

SENTENCES = 512  # at most; they are spread over the held-out part
SHORTEST, LONGEST = 5, 62  # tokens of a sentence
COUNTED = 1 << 19  # tokens of the training part from which word frequencies are known
NEIGHBOURS = 64  # words of the most similar frequency, one of which is the replacement
SEED = 0  # never another one: all runs must see the same sentences
CHUNK = 64  # sentences in one forward pass


class FixedCorruption(NamedTuple):
    """S sentences of at most T tokens, [CLS] and [SEP] included."""

    input_ids: np.ndarray  # [S, T] int32, with the wrong word
    valid: np.ndarray  # [S, T] bool, False at padding
    word_of: np.ndarray  # [S, T] int32: number of the word that a token belongs to, from 0 on; -1: none
    wrong: np.ndarray  # [S] number of the wrong word


def make_fixed_corruption(dataset, longest):
    """The corruption of a prepared corpus -> FixedCorruption, or None if its held-out part has no sentence
    for it.

    dataset: Dataset; longest: the longest sequence that the model reads.
    """
    tokenizer, part = dataset.tokenizer, dataset.heldout
    continues = np.array([piece.startswith("##") for piece in tokenizer.vocab])
    alphabetic = np.array([piece.isalpha() for piece in tokenizer.vocab])
    ranked = _words_by_frequency(dataset.train.tokens[:COUNTED], continues, alphabetic)
    rank = {length: {word: i for i, word in enumerate(words)} for length, words in ranked.items()}
    random = np.random.default_rng(SEED)
    rows = []
    for ids in _sentences(part, min(LONGEST, longest - 2)):
        words = _words(ids, continues)
        known = [
            i
            for i, (start, stop) in enumerate(words)
            if alphabetic[ids[start]] and len(ranked.get(stop - start, ())) > 1
        ]
        if len(words) < 2 or not known:
            continue
        wrong = int(random.choice(known))
        start, stop = words[wrong]
        own = tuple(ids[start:stop].tolist())
        ids[start:stop] = _replacement(own, ranked[stop - start], rank[stop - start], random)
        rows.append((ids, words, wrong))
    return _arrays(rows, tokenizer) if rows else None


def score_fixed_corruption(tower, fixed, threads=1):
    """How well a discriminator finds the wrong words.

    tower: ElectraForPreTraining; fixed: FixedCorruption; threads: how many chunks of it run at once. A word's
    score is the mean of its tokens' logits.
    -> {"fixed_auc": area under the ROC curve over all words, "fixed_top1": share of the sentences in which
    the wrong word has the highest score of all}.
    """
    starts = range(0, len(fixed.wrong), CHUNK)
    with ThreadPoolExecutor(threads) as pool:
        scores = [row for rows in pool.map(lambda at: _word_scores(tower, fixed, at), starts) for row in rows]
    wrong = [np.arange(len(row)) == number for row, number in zip(scores, fixed.wrong, strict=True)]
    first = [row.argmax() == number for row, number in zip(scores, fixed.wrong, strict=True)]
    return {
        "fixed_auc": auc(np.concatenate(scores), np.concatenate(wrong)),
        "fixed_top1": float(np.mean(first)),
    }


def _word_scores(tower, fixed, start):
    """The words' scores in the CHUNK sentences from `start` on -> list of arrays."""
    xp, part = tower.parameters.xp, slice(start, start + CHUNK)
    length = int(fixed.valid[part].sum(axis=1).max())
    ids, valid, word_of = (x[part, :length] for x in fixed[:3])
    context = PassContext(Workspace(xp), backward=False)
    segments = xp.zeros(ids.shape, xp.int32)
    logits, _ = tower.forward(to_device(ids, xp), to_device(valid, xp), segments, context)
    rows = zip(to_host(logits).reshape(ids.shape).astype(np.float64), word_of, strict=True)
    return [np.bincount(w[w >= 0], x[w >= 0]) / np.bincount(w[w >= 0]) for x, w in rows]


def _sentences(part, longest):
    """Sentences of a DatasetPart, each an array of ids of its own, spread evenly over it."""
    ends = np.cumsum(part.sentence_lengths, dtype=np.int64)
    lengths = np.asarray(part.sentence_lengths)
    usable = np.flatnonzero((lengths >= SHORTEST) & (lengths <= longest))
    count = min(SENTENCES, len(usable))
    for i in usable[np.arange(count) * len(usable) // max(count, 1)]:
        yield np.array(part.tokens[ends[i] - lengths[i] : ends[i]], np.int32)


def _words(ids, continues):
    """[(start, stop)] of the words in a sentence: a piece with ## continues the word before it."""
    starts = np.flatnonzero(~continues[ids])
    edges = [*starts.tolist(), len(ids)]
    return list(pairwise([0, *edges] if edges[0] else edges))


def _words_by_frequency(ids, continues, alphabetic):
    """{number of pieces: [word as a tuple of ids, the most frequent first]} of the alphabetic words in a
    stream of ids.
    """
    ids = np.asarray(ids, np.int64)
    starts = np.flatnonzero(~continues[ids])
    counts = Counter()
    for length in np.unique(np.diff(starts)):
        at = starts[:-1][np.diff(starts) == length]
        at = at[alphabetic[ids[at]]]
        pieces = ids[at[:, None] + np.arange(length)]
        found, times = np.unique(pieces, axis=0, return_counts=True)
        counts.update(dict(zip(map(tuple, found.tolist()), times.tolist(), strict=True)))
    ranked = {}
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        ranked.setdefault(len(word), []).append(word)
    return ranked


def _replacement(own, ranked, rank, random):
    """Another word of as many pieces and similar frequency.

    A word that the training part lacks counts as the rarest.
    """
    place = rank.get(own, len(ranked))
    start = min(max(0, place - NEIGHBOURS // 2), max(0, len(ranked) - NEIGHBOURS - 1))
    candidates = [word for word in ranked[start : start + NEIGHBOURS + 1] if word != own]
    return candidates[random.integers(len(candidates))]


def _arrays(rows, tokenizer):
    """Rows (ids, words, wrong word) -> FixedCorruption."""
    shape = len(rows), max(len(ids) for ids, _, _ in rows) + 2
    input_ids = np.full(shape, tokenizer.pad_id, np.int32)
    valid, word_of = np.zeros(shape, bool), np.full(shape, -1, np.int32)
    for row, (ids, words, _) in enumerate(rows):
        n = len(ids) + 2
        input_ids[row, :n] = [tokenizer.cls_id, *ids, tokenizer.sep_id]
        valid[row, :n] = True
        for number, (start, stop) in enumerate(words):
            word_of[row, 1 + start : 1 + stop] = number
    return FixedCorruption(input_ids, valid, word_of, np.array([wrong for _, _, wrong in rows]))
