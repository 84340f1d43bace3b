"""Learning a WordPiece vocabulary: start from characters, merge the most frequent pair, repeat.

This is byte-pair encoding on word counts with ``##`` on pieces that continue a word, which is how the ``tokenizers`` library
trains WordPiece (Google's own trainer was never released). A merge changes only the words that contain the pair, so pair counts
are kept up to date instead of being recounted, and a heap finds the next pair: its entries may be out of date, and one that no
longer matches the count is put back with the present one ("lazy" update).

Source: Sennrich et al. 2016 (arXiv 1508.07909), section 3.2.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from minielectra.data.wordpiece.normalisation import Normaliser, split_on_spaces
from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS
from minielectra.errors import InputError

MINIMUM_VOCABULARY = 100


def count_words(lines: Iterable[str], lowercase: bool = True) -> Counter:
    """How often each normalised word occurs."""
    chunks: Counter = Counter()
    for line in lines:
        chunks.update(split_on_spaces(line))
    normaliser, words = Normaliser(lowercase), Counter()
    for chunk, count in chunks.items():
        for word in normaliser.words(chunk):
            words[word] += count
    return words


def train_vocabulary(
    lines: Iterable[str], vocab_size: int, lowercase: bool = True, min_frequency: int = 2, limit_alphabet: int = 1000
) -> list[str]:
    """Pieces in the order special tokens, alphabet, merges; at most ``vocab_size``, fewer if the text yields no more.

    ``limit_alphabet`` keeps the most frequent characters (words with any other are left out: they would be [UNK] anyway);
    a pair seen less than ``min_frequency`` times is not merged. The result depends on word counts only: ties are broken by the
    text of the pieces. Raises InputError for a ``vocab_size`` below 100 and for text without words.
    """
    if vocab_size < MINIMUM_VOCABULARY:
        raise InputError(f"a vocabulary of {vocab_size} is too small; ask for at least {MINIMUM_VOCABULARY} pieces")
    words = count_words(lines, lowercase)
    if not words:
        raise InputError("no words to learn a vocabulary from: the text is empty or holds only control characters")

    alphabet = _alphabet(words, min(limit_alphabet, vocab_size), vocab_size - len(SPECIAL_TOKENS))
    known = set(alphabet)
    splits, counts = [], []
    for word, count in sorted(words.items()):
        pieces = [word[0], *("##" + char for char in word[1:])]
        if known.issuperset(pieces):
            splits.append(pieces)
            counts.append(count)
    vocab = {piece: None for piece in (*SPECIAL_TOKENS, *alphabet)}  # a dict keeps the order and drops repeats
    _merge(splits, counts, vocab, vocab_size, min_frequency)
    return list(vocab)


def _alphabet(words: Counter, limit: int, room: int) -> list[str]:
    """First and continuing one-character pieces of the most frequent characters, as many as have ``room``."""
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


def _merge(splits: list[list[str]], counts: list[int], vocab: dict, vocab_size: int, min_frequency: int) -> None:
    """Merge pairs in ``splits`` (changed in place) and add each new piece to ``vocab`` until it is full."""
    pair_counts: dict[tuple[str, str], int] = defaultdict(int)
    where: dict[tuple[str, str], set[int]] = defaultdict(set)  # words that (may) hold the pair
    for i, pieces in enumerate(splits):
        for pair in pairwise(pieces):
            pair_counts[pair] += counts[i]
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)

    while heap and len(vocab) < vocab_size:
        count, pair = heapq.heappop(heap)
        current = pair_counts[pair]
        if -count != current:  # out of date: try again with the count of now
            if current >= min_frequency:
                heapq.heappush(heap, (-current, pair))
            continue
        if current < min_frequency:
            break
        left, right = pair
        merged = left + right[2:]
        vocab[merged] = None
        grown = set()
        for i in where.pop(pair):
            pieces, n = splits[i], counts[i]
            k = 0
            while True:
                try:
                    k = pieces.index(left, k, -1)
                except ValueError:
                    break
                if pieces[k + 1] != right:
                    k += 1
                    continue
                # ... a left right b ...  ->  ... a merged b ...
                pieces[k : k + 2] = [merged]
                if k:
                    before = pieces[k - 1]
                    pair_counts[before, left] -= n
                    pair_counts[before, merged] += n
                    where[before, merged].add(i)
                    grown.add((before, merged))
                if k + 1 < len(pieces):
                    after = pieces[k + 1]
                    pair_counts[right, after] -= n
                    pair_counts[merged, after] += n
                    where[merged, after].add(i)
                    grown.add((merged, after))
                k += 1
        del pair_counts[pair]
        for new in grown:
            heapq.heappush(heap, (-pair_counts[new], new))
