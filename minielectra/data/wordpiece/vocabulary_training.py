"""Learning a WordPiece vocabulary: start from characters, merge the most frequent pair, repeat.

This is byte-pair encoding of word counts, with `##` before pieces that continue a word. The `tokenizers`
library trains WordPiece in this way too; Google's own trainer was never released. A merge changes only the
words that contain the pair, so pair counts are updated, not counted again. A heap finds the next pair. Its
entries may be out of date; such an entry is pushed again, with the current count of its pair.

Source: Sennrich et al. 2016 (arXiv 1508.07909), section 3.2.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from minielectra.data.wordpiece.normalization import TextNormalizer, split_on_spaces
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.errors import InputError

MINIMUM_VOCABULARY = 100
_CHUNKS = 1 << 19  # distinct runs of characters that are counted before they are cut into words


def count_words(lines: Iterable[str], lowercase: bool = True, strip_accents: bool | None = None) -> Counter:
    """How often each normalized word occurs: {word: count}. The rules are those of `TextNormalizer`."""
    normalizer, chunks, words = TextNormalizer(lowercase, strip_accents), Counter(), Counter()

    def count_chunks() -> None:
        for chunk, count in chunks.items():
            for word in normalizer.words(chunk):
                words[word] += count
        chunks.clear()

    for line in lines:
        chunks.update(split_on_spaces(line))
        if len(chunks) > _CHUNKS:
            count_chunks()
    count_chunks()
    return words


def train_vocabulary(
    lines: Iterable[str],
    vocab_size: int,
    lowercase: bool = True,
    min_frequency: int = 2,
    limit_alphabet: int = 1000,
    strip_accents: bool | None = None,
) -> list[str]:
    """At most `vocab_size` pieces, in this order: special tokens, alphabet, merges.

    lowercase, strip_accents: as for `TextNormalizer`.
    min_frequency: a pair that occurs less often is not merged, so there may be fewer pieces; limit_alphabet:
    how many characters are kept, the most frequent ones. Words with any other character are left out: they
    would be [UNK] anyway.

    The result depends only on the counts of words. Ties are broken by the text of the pieces. Raises
    InputError for a `vocab_size` below 100 and for text without words.
    """
    if vocab_size < MINIMUM_VOCABULARY:
        least = MINIMUM_VOCABULARY
        raise InputError(f"a vocabulary of {vocab_size} is too small; use at least {least} pieces")
    words = count_words(lines, lowercase, strip_accents)
    if not words:
        raise InputError(
            "no words to learn a vocabulary from: the text is empty or holds only control characters"
        )

    alphabet = _alphabet(words, min(limit_alphabet, vocab_size), vocab_size - len(SPECIAL_TOKENS))
    known = set(alphabet)
    splits, frequencies = [], []
    for word, count in sorted(words.items()):
        pieces = [word[0], *("##" + char for char in word[1:])]
        if known.issuperset(pieces):
            splits.append(pieces)
            frequencies.append(count)
    pairs = _Pairs(splits, frequencies)
    vocab = dict.fromkeys((*SPECIAL_TOKENS, *alphabet))  # a dict keeps the order and drops repeats
    while len(vocab) < vocab_size and (pair := pairs.most_frequent(min_frequency)):
        vocab[pairs.merge(pair)] = None
    return list(vocab)


def _alphabet(words: Counter, limit: int, room: int) -> list[str]:
    """The most frequent pieces of one character (at the beginning of a word, or continuing it), sorted.

    words: {word: count}; limit: use only so many characters, the most frequent ones; room: return at most so
    many pieces.
    """
    characters: Counter = Counter()
    pieces: Counter = Counter()
    for word, count in words.items():
        pieces[word[0]] += count
        for char in word:
            characters[char] += count
        for char in word[1:]:
            pieces["##" + char] += count
    kept = {char for char, _ in sorted(characters.items(), key=lambda item: (-item[1], item[0]))[:limit]}
    ranked = sorted((-count, piece) for piece, count in pieces.items() if piece[-1] in kept)
    return sorted(piece for _, piece in ranked[:room])


class _Pairs:
    """Words in pieces, and how often each pair of neighboring pieces occurs, kept up to date by `merge`."""

    def __init__(self, words: list[list[str]], frequencies: list[int]):
        """words: the pieces of each word, which `merge` changes; frequencies: how often each word occurs."""
        self.words, self.frequencies = words, frequencies
        self.counts: dict[tuple[str, str], int] = defaultdict(int)
        self.places: dict[tuple[str, str], set[int]] = defaultdict(set)  # words that may contain the pair
        for i, pieces in enumerate(words):
            for pair in pairwise(pieces):
                self._add(pair, i)
        self.heap = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.heap)

    def most_frequent(self, min_frequency: int) -> tuple[str, str] | None:
        """The pair that occurs most often, or None if no pair occurs `min_frequency` times."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            current = self.counts[pair]
            if -count == current:
                return pair if current >= min_frequency else None
            if current >= min_frequency:  # the entry is out of date: try again with the current count
                heapq.heappush(self.heap, (-current, pair))
        return None

    def merge(self, pair: tuple[str, str]) -> str:
        """Make one piece of a pair wherever it occurs -> the piece."""
        merged = pair[0] + pair[1].removeprefix("##")
        changed = set()
        for i in self.places.pop(pair):
            changed |= self._merge_in_word(i, pair, merged)
        del self.counts[pair]
        for new in changed:
            heapq.heappush(self.heap, (-self.counts[new], new))
        return merged

    def _merge_in_word(self, i: int, pair: tuple[str, str], merged: str) -> set[tuple[str, str]]:
        """Merge a pair in the word `i` -> the pairs that this makes."""
        left, right = pair
        pieces, frequency, new = self.words[i], self.frequencies[i], set()
        k = 0
        while True:
            try:
                k = pieces.index(left, k, -1)
            except ValueError:
                return new
            if pieces[k + 1] == right:
                # … before left right after …  ->  … before merged after …
                pieces[k : k + 2] = [merged]
                if k:
                    before = pieces[k - 1]
                    self.counts[before, left] -= frequency
                    new.add(self._add((before, merged), i))
                if k + 1 < len(pieces):
                    after = pieces[k + 1]
                    self.counts[right, after] -= frequency
                    new.add(self._add((merged, after), i))
            k += 1

    def _add(self, pair: tuple[str, str], i: int) -> tuple[str, str]:
        """Count a pair that occurs in the word `i` -> the pair."""
        self.counts[pair] += self.frequencies[i]
        self.places[pair].add(i)
        return pair
