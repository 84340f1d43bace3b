"""The WordPiece tokenizer: text to ids and back.

A word is cut greedily, longest piece first. The ids agree with those of `tokenizers.BertWordPieceTokenizer`.
English repeats itself, so each distinct run of non-space characters is tokenized once and then looked up:
encoding a corpus costs little more than splitting it at spaces.

Source: Wu et al. 2016 (arXiv 1609.08144); `WordpieceTokenizer` in google-research/bert.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path

import numpy as np

from minielectra.data.wordpiece import vocabulary
from minielectra.data.wordpiece.normalization import TextNormalizer, split_on_spaces
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.data.wordpiece.vocabulary_training import train_vocabulary
from minielectra.errors import InputError

_SPECIAL_PATTERN = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
_CACHE_LIMIT = 1 << 20  # distinct runs of characters that are remembered, at most some 200 MB

# Rules for decode(): which marks cling to the word before or after them.
_NO_SPACE_BEFORE = re.compile(r" ([.,!?;:%)\]}])")
_NO_SPACE_AFTER = re.compile(r"([(\[{]) ")
_CONTRACTION = re.compile(r"(\w) ' (s|t|m|d|re|ve|ll)\b")


class WordPieceTokenizer:
    """A vocabulary and the rule of the longest match.

    Attributes: `vocab` (list: id -> piece), `ids` (dict: piece -> id), `lowercase`, `pad_id`, `unk_id`,
    `cls_id`, `sep_id`, `mask_id`, and `special_ids` (those five, in that order).
    """

    max_input_chars_per_word = 100  # a longer word is [UNK], as in BERT

    def __init__(
        self, vocab: Sequence[str], lowercase: bool = True, source: str | PathLike = "the vocabulary"
    ):
        """vocab: the pieces, in the order of their ids; lowercase: lower-case text and strip accents, as
        BERT's uncased models do; source: what error messages call the vocabulary. Raises InputError."""
        self.vocab, self.lowercase = list(vocab), bool(lowercase)
        self.ids = vocabulary.index_pieces(self.vocab, source)
        self.special_ids = tuple(self.ids[token] for token in SPECIAL_TOKENS)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids
        self._longest = max(map(len, self.vocab))
        self._normalizer = TextNormalizer(self.lowercase)
        self._cache = _WordCache(self._encode_uncached)

    @classmethod
    def from_file(cls, path: str | PathLike, lowercase: bool = True) -> "WordPieceTokenizer":
        """Read a `vocab.txt`: UTF-8, one piece per line, in the order of their ids. Raises InputError."""
        return cls(vocabulary.read_vocab_txt(path), lowercase, source=path)

    @classmethod
    def from_pretrained(cls, directory: str | PathLike) -> "WordPieceTokenizer":
        """Read the tokenizer of a model's directory, in Hugging Face's layout. Raises InputError."""
        return cls(*vocabulary.read_model_directory(directory))

    @classmethod
    def train(
        cls, lines: Iterable[str], vocab_size: int, lowercase: bool = True, **options
    ) -> "WordPieceTokenizer":
        """Learn a vocabulary of at most `vocab_size` pieces. Options and errors as for `train_vocabulary`."""
        pieces = train_vocabulary(lines, vocab_size, lowercase=lowercase, **options)
        return cls(pieces, lowercase, "the trained vocabulary")

    def save(self, path: str | PathLike) -> None:
        """Write a `vocab.txt`, or into a folder what `from_pretrained` reads from it. Raises OSError."""
        if Path(path).is_dir():
            vocabulary.write_model_directory(path, self.vocab, self.lowercase)
        else:
            vocabulary.write_vocab_txt(path, self.vocab)

    def __len__(self) -> int:
        return len(self.vocab)

    # Text -> ids.

    def _pieces(self, word: str) -> list[tuple[int, int, int]]:
        """Cut a normalized word into pieces, each (id, start, end). If that fails, all of it is one [UNK]."""
        unknown = [(self.unk_id, 0, len(word))]
        if len(word) > self.max_input_chars_per_word:
            return unknown
        pieces, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = self.ids.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return unknown
            pieces.append((piece, start, end))
            start = end
        return pieces

    def _encode_uncached(self, text: str) -> list[int]:
        return [piece for word in self._normalizer.words(text) for piece, _, _ in self._pieces(word)]

    def _encode_plain(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._cache.__getitem__, split_on_spaces(text))))

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        """The ids of `text`, without [CLS] and [SEP] around them.

        If `[MASK]` or another special token is written in the text, it becomes its id, as in `tokenizers`.
        With `allow_special=False` it is text like any other, as it should be in a corpus.
        """
        if not allow_special or "[" not in text:
            return self._encode_plain(text)
        ids, position = [], 0
        for match in _SPECIAL_PATTERN.finditer(text):
            ids += self._encode_plain(text[position : match.start()])
            ids.append(self.ids[match.group()])
            position = match.end()
        return ids + self._encode_plain(text[position:])

    def encode_lines(self, lines: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """(the ids of all lines in a row, int32 [sum of lengths]; the number of ids in each, int64 [lines]).

        Special tokens in the lines are text like any other.
        """
        encoded = [self._encode_plain(line) for line in lines]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths.sum())), lengths

    def encode_with_offsets(
        self, text: str, allow_special: bool = True
    ) -> tuple[list[int], list[str], list[tuple[int, int]]]:
        """(ids, pieces, offsets): piece k comes from `text[start:end]` with `(start, end) = offsets[k]`.

        Offsets count characters of the text as given: lower-casing, dropped characters and stripped accents
        do not shift them. A combining accent at the end of a piece is left outside it, as in `tokenizers`.
        """
        ids, offsets = [], []

        def add_plain(begin: int, end: int) -> None:
            for word, origins in self._normalizer.words_with_origins(text[begin:end]):
                for piece, first, last in self._pieces(word):
                    ids.append(piece)
                    offsets.append((begin + origins[first], begin + origins[last - 1] + 1))

        position = 0
        for match in _SPECIAL_PATTERN.finditer(text) if allow_special else ():
            add_plain(position, match.start())
            ids.append(self.ids[match.group()])
            offsets.append(match.span())
            position = match.end()
        add_plain(position, len(text))
        return ids, [self.vocab[i] for i in ids], offsets

    def tokenize(self, text: str, allow_special: bool = True) -> list[str]:
        """The pieces of `text`: `"unaffable!" -> ["una", "##ffa", "##ble", "!"]`."""
        return [self.vocab[i] for i in self.encode(text, allow_special)]

    # Ids -> text.

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Readable text: pieces joined, punctuation next to its word. Raises InputError for an unknown id."""
        words: list[str] = []
        for i in map(int, ids):
            if not 0 <= i < len(self.vocab):
                size = len(self.vocab)
                raise InputError(f"id {i} is not in the vocabulary of {size} pieces; use the right vocab.txt")
            if skip_special and i in self.special_ids:
                continue
            piece = self.vocab[i]
            if piece.startswith("##") and len(piece) > 2 and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        text = _NO_SPACE_BEFORE.sub(r"\1", " ".join(words))
        return _CONTRACTION.sub(r"\1'\2", _NO_SPACE_AFTER.sub(r"\1", text))


class _WordCache(dict):
    """`cache[word]` is `encode(word)`, computed once. When the cache is full, it is emptied."""

    def __init__(self, encode: Callable[[str], Iterable[int]]):
        super().__init__()
        self.encode = encode

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(self.encode(word))
        if len(word) <= 100:  # longer "words" are rare, and large
            if len(self) >= _CACHE_LIMIT:
                self.clear()
            self[word] = ids
        return ids
