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

from minielectra.data.wordpiece import tokenizer_files, vocabulary
from minielectra.data.wordpiece.added_tokens import AddedToken, AddedTokens, Part
from minielectra.data.wordpiece.normalization import TextNormalizer, split_on_spaces, words_of_normalized
from minielectra.data.wordpiece.rules import Rules
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.data.wordpiece.vocabulary_training import train_vocabulary
from minielectra.errors import InputError

_CACHE_LIMIT = 1 << 20  # distinct runs of characters that are remembered, at most some 200 MB

# Rules for decode(): which marks cling to the word before or after them.
_NO_SPACE_BEFORE = re.compile(r" ([.,!?;:%)\]}])")
_NO_SPACE_AFTER = re.compile(r"([(\[{]) ")
_CONTRACTION = re.compile(r"(\w) ' (s|t|m|d|re|ve|ll)\b")


class WordPieceTokenizer:
    """A vocabulary and the rule of the longest match.

    Attributes: `vocab` (list: id -> piece), `ids` (dict: piece -> id), `rules` (how text is normalized, and
    the tokens that were added later), `lowercase`, `pad_id`, `unk_id`, `cls_id`, `sep_id`, `mask_id`, and
    `special_ids` (those five, in that order).
    """

    max_input_chars_per_word = 100  # a longer word is [UNK], as in BERT

    def __init__(
        self,
        vocab: Sequence[str],
        lowercase: bool = True,
        source: str | PathLike = "the vocabulary",
        *,
        strip_accents: bool | None = None,
        chinese: bool = True,
        added: Iterable[AddedToken] = (),
    ):
        """vocab: the pieces, in the order of their ids; source: what error messages call the vocabulary.

        lowercase: lower-case text; strip_accents: drop accents (None: if `lowercase`, as BERT's uncased
        models do); chinese: every Chinese character is a word; added: tokens that are single ids wherever
        they stand. Those that are not pieces follow the pieces, without gaps. Raises InputError.
        """
        pieces, self.rules = list(vocab), Rules(bool(lowercase), strip_accents, chinese, tuple(added))
        self._piece_ids = vocabulary.index_pieces(pieces, source)
        new = sorted((t for t in self.rules.added if t.content not in self._piece_ids), key=lambda t: t.id)
        if [token.id for token in new] != list(range(len(pieces), len(pieces) + len(new))):
            raise InputError(f"{source}: the ids of its added tokens do not follow those of its pieces")
        self.vocab = [*pieces, *(token.content for token in new)]
        self.ids = self._piece_ids | {token.content: token.id for token in new}
        self._n_pieces = len(pieces)
        self.lowercase = self.rules.lowercase
        self.special_ids = tuple(self.ids[token] for token in SPECIAL_TOKENS)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids
        self._longest = max(map(len, pieces))
        self._normalizer = TextNormalizer(self.rules.lowercase, strip_accents, chinese)
        self._cache = _WordCache(self._encode_uncached)
        later = [token for token in self.rules.added if token.content not in SPECIAL_TOKENS]
        changed = {token.content: token for token in self.rules.added if token.content in SPECIAL_TOKENS}
        special = [
            changed.get(token, AddedToken(token, self.ids[token], normalized=False, special=True))
            for token in SPECIAL_TOKENS
        ]
        self._added = AddedTokens(later, self._normalizer, source) if later else None
        self._added_and_special = AddedTokens([*special, *later], self._normalizer, source)

    @classmethod
    def from_file(cls, path: str | PathLike, lowercase: bool | None = None) -> "WordPieceTokenizer":
        """Read a `vocab.txt`: UTF-8, one piece per line, in the order of their ids. Raises InputError.

        The files beside it say how text is normalized, as in `from_pretrained`. Only if there are none,
        `lowercase` does (None: true).
        """
        pieces = vocabulary.read_vocab_txt(path)
        rules = tokenizer_files.read_rules(Path(path).parent, pieces)
        return cls._from_rules(pieces, rules or Rules(lowercase is not False), path)

    @classmethod
    def from_pretrained(cls, directory: str | PathLike) -> "WordPieceTokenizer":
        """Read the tokenizer of a model's directory, in Hugging Face's layout. Raises InputError."""
        pieces, rules, source = tokenizer_files.read_model_directory(directory)
        return cls._from_rules(pieces, rules or Rules(), source)

    @classmethod
    def open(
        cls, path: str | PathLike, cased: bool = False, keep_accents: bool = False
    ) -> "WordPieceTokenizer":
        """Read the vocabulary that a user names: a `vocab.txt`, or a folder that holds a tokenizer.

        cased, keep_accents: what the user asks for. It decides if no file beside the vocabulary says how text
        is normalized, and must agree with such a file. Raises InputError.
        """
        path = Path(path)
        if path.is_dir():
            found = tokenizer_files.find_directory(path)
            pieces, rules, source = tokenizer_files.read_model_directory(found)
        else:
            pieces, source = vocabulary.read_vocab_txt(path), path
            rules = tokenizer_files.read_rules(path.parent, pieces)
        if rules is None:
            rules = Rules(not cased, False if keep_accents else None)
        for asked, refused, what in (
            (cased, rules.lowercase, "is for lower-cased text; leave --cased out"),
            (keep_accents, rules.strips_accents, "is for text without accents; leave --keep-accents out"),
        ):
            if asked and refused:
                raise InputError(f"{source}: {what}, or change the tokenizer_config.json beside it")
        return cls._from_rules(pieces, rules, source)

    @classmethod
    def _from_rules(cls, pieces: list[str], rules: Rules, source: str | PathLike) -> "WordPieceTokenizer":
        options = {"strip_accents": rules.strip_accents, "chinese": rules.chinese, "added": rules.added}
        return cls(pieces, rules.lowercase, source, **options)

    @classmethod
    def train(
        cls,
        lines: Iterable[str],
        vocab_size: int,
        lowercase: bool = True,
        *,
        strip_accents: bool | None = None,
        **options,
    ) -> "WordPieceTokenizer":
        """Learn a vocabulary of at most `vocab_size` pieces. Options and errors as for `train_vocabulary`."""
        pieces = train_vocabulary(lines, vocab_size, lowercase, strip_accents=strip_accents, **options)
        return cls(pieces, lowercase, "the trained vocabulary", strip_accents=strip_accents)

    def save(self, path: str | PathLike, model_max_length: int | None = None) -> None:
        """Write a `vocab.txt`, or into a folder what `from_pretrained` reads from it. Raises OSError.

        A `vocab.txt` alone holds neither the rules nor added tokens. model_max_length: the longest sequence
        of the model in the folder.
        """
        pieces = self.vocab[: self._n_pieces]
        if Path(path).is_dir():
            tokenizer_files.write_model_directory(path, pieces, self.rules, model_max_length)
        else:
            vocabulary.write_vocab_txt(path, pieces)

    def same_as(self, other: "WordPieceTokenizer") -> bool:
        """Whether both make the same ids of every text."""
        return self.vocab == other.vocab and self.rules == other.rules

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
                piece = self._piece_ids.get(prefix + word[start:end])
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
        With `allow_special=False` it is text like any other, as it should be in a corpus. Tokens that were
        added to the vocabulary later always become their ids.
        """
        added = self._added_and_special if allow_special else self._added
        if added is None:
            return self._encode_plain(text)
        ids: list[int] = []
        for part in added.split(text):
            if part.id is not None:
                ids.append(part.id)
            elif part.found is None:
                ids += self._encode_plain(text[part.start : part.end])
            else:
                words = words_of_normalized(part.found, part.origins)
                ids += (i for word, _ in words for i, _, _ in self._pieces(word))
        return ids

    def encode_lines(self, lines: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """(the ids of all lines in a row, int32 [sum of lengths]; the number of ids in each, int64 [lines]).

        Special tokens in the lines are text like any other.
        """
        encoded = [self.encode(line, allow_special=False) for line in lines]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths.sum())), lengths

    def encode_with_offsets(
        self, text: str, allow_special: bool = True
    ) -> tuple[list[int], list[str], list[tuple[int, int]]]:
        """(ids, pieces, offsets): piece k comes from `text[start:end]` with `(start, end) = offsets[k]`.

        Offsets count characters of the text as given: lower-casing, dropped characters and stripped accents
        do not shift them. A combining accent at the end of a piece is left outside it, as in `tokenizers`. A
        token that was added later appears as it stands in the text or, if it is `normalized`, in the
        normalized text.
        """
        ids, found, offsets = [], [], []
        added = self._added_and_special if allow_special else self._added
        for part in added.split(text) if added else [Part(None, 0, len(text))]:
            if part.id is not None:
                ids.append(part.id)
                found.append(part.found)
                offsets.append((part.start, part.end))
                continue
            if part.found is None:
                words, shift = self._normalizer.words_with_origins(text[part.start : part.end]), part.start
            else:
                words, shift = words_of_normalized(part.found, part.origins), 0
            for word, origins in words:
                for piece, first, last in self._pieces(word):
                    ids.append(piece)
                    found.append(self.vocab[piece])
                    offsets.append((shift + origins[first], shift + origins[last - 1] + 1))
        return ids, found, offsets

    def tokenize(self, text: str, allow_special: bool = True) -> list[str]:
        """The pieces of `text`: `"unaffable!" -> ["una", "##ffa", "##ble", "!"]`."""
        return self.encode_with_offsets(text, allow_special)[1]

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
