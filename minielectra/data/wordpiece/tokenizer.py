"""The WordPiece tokenizer of BERT and ELECTRA: text to ids and back.

A word is cut greedily, longest piece first; pieces that continue a word are written with ``##``. The ids agree with those of
``tokenizers.BertWordPieceTokenizer``. English repeats itself, so each distinct run of non-space characters is tokenised once and
then looked up: encoding a corpus costs little more than splitting it at spaces.

Source: Wu et al. 2016 (arXiv 1609.08144); ``WordpieceTokenizer`` in google-research/bert.
"""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path

import numpy as np

from minielectra.data.wordpiece.normalisation import Normaliser, split_on_spaces
from minielectra.errors import InputError
from minielectra.formats.files import read_json, write_text

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SPECIAL_PATTERN = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
_CACHE_LIMIT = 1 << 20  # distinct runs of characters remembered, some 200 MB at most

# Rules for decode(): which marks cling to the word before or after them.
_NO_SPACE_BEFORE = re.compile(r" ([.,!?;:%)\]}])")
_NO_SPACE_AFTER = re.compile(r"([(\[{]) ")
_CONTRACTION = re.compile(r"(\w) ' (s|t|m|d|re|ve|ll)\b")


class _WordCache(dict):
    """``cache[word]`` is ``encode(word)``, computed once; emptied when full so that memory stays bounded."""

    def __init__(self, encode):
        super().__init__()
        self.encode = encode

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(self.encode(word))
        if len(word) <= 100:  # longer "words" are rare, and big
            if len(self) >= _CACHE_LIMIT:
                self.clear()
            self[word] = ids
        return ids


class WordPieceTokenizer:
    """A vocabulary and the greedy longest-match rule.

    Attributes: ``vocab`` (list: id -> piece), ``ids`` (dict: piece -> id), ``lowercase``, ``pad_id``, ``unk_id``, ``cls_id``,
    ``sep_id``, ``mask_id`` and ``special_ids`` (those five, in that order).
    """

    max_input_chars_per_word = 100  # a longer word is [UNK], as in BERT

    def __init__(self, vocab: Sequence[str], lowercase: bool = True, source: str | PathLike = "the vocabulary"):
        """``vocab[i]`` is the piece with id ``i``; ``source`` names it in error messages. Raises InputError."""
        self.vocab, self.lowercase = list(vocab), bool(lowercase)
        self.ids = {}
        for i, piece in enumerate(self.vocab):
            if not piece:
                raise InputError(f"{source}: line {i + 1} is empty; a vocabulary has one piece a line")
            if piece in self.ids:
                raise InputError(f"{source}: line {i + 1} repeats {piece!r} of line {self.ids[piece] + 1}; remove one of them")
            self.ids[piece] = i
        missing = [token for token in SPECIAL_TOKENS if token not in self.ids]
        if missing:
            raise InputError(f"{source}: special token(s) {', '.join(missing)} missing; add them, or use a BERT vocabulary")
        self.special_ids = tuple(self.ids[token] for token in SPECIAL_TOKENS)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids
        self._longest = max(map(len, self.vocab))
        self._normaliser = Normaliser(self.lowercase)
        self._cache = _WordCache(self._encode_uncached)

    @classmethod
    def from_file(cls, path: str | PathLike, lowercase: bool = True) -> "WordPieceTokenizer":
        """Read a ``vocab.txt``: UTF-8, one piece a line, the line number is the id. Raises InputError."""
        path = Path(path)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: no such vocabulary file; give the path of a vocab.txt") from None
        except OSError as error:
            raise InputError(f"{path}: cannot read the vocabulary ({error.strerror}); check path and permissions") from None
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise InputError(f"{path}: line {line}, byte {error.start} is not UTF-8; convert it, e.g. with iconv") from None
        # not splitlines(): a piece may itself be one of Unicode's exotic line separators
        pieces = [line.rstrip("\r") for line in text.rstrip("\r\n").split("\n")]
        if pieces == [""]:
            raise InputError(f"{path}: the vocabulary is empty; a vocab.txt has one piece a line")
        return cls(pieces, lowercase, source=path)

    @classmethod
    def from_pretrained(cls, directory: str | PathLike) -> "WordPieceTokenizer":
        """Read a model directory's tokenizer: ``vocab.txt`` with ``do_lower_case`` of ``tokenizer_config.json`` (true where
        unsaid), or the ``tokenizer.json`` that newer versions of transformers write in its place. Raises InputError."""
        directory = Path(directory)
        vocab, whole, config = (directory / name for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"))
        if whole.is_file() and not vocab.exists():
            return cls._from_tokenizer_json(whole)
        lowercase = read_json(config, "").get("do_lower_case", True) if config.is_file() else True
        return cls.from_file(vocab, lowercase)

    @classmethod
    def _from_tokenizer_json(cls, path: Path) -> "WordPieceTokenizer":
        content = read_json(path, f"{path}: missing")
        parts = [content.get(name) for name in ("model", "normalizer")]
        model, normalizer = (part if isinstance(part, dict) else {} for part in parts)
        vocab = model.get("vocab")
        if (
            not isinstance(vocab, dict)
            or model.get("continuing_subword_prefix") != "##"
            or normalizer.get("type") != "BertNormalizer"
        ):
            raise InputError(f"{path}: not a WordPiece tokenizer as BERT's; give the directory a vocab.txt")
        lowercase = normalizer.get("lowercase", True)
        if normalizer.get("strip_accents") not in (None, lowercase) or not normalizer.get("handle_chinese_chars", True):
            raise InputError(f"{path}: its normalizer keeps accents or Chinese words together, which this tokenizer does not")
        pieces = {i: piece for piece, i in vocab.items() if isinstance(i, int)}
        if sorted(pieces) != list(range(len(vocab))):
            raise InputError(f"{path}: the ids of its {len(vocab)} pieces are not 0 … {len(vocab) - 1}, each once")
        return cls([pieces[i] for i in range(len(pieces))], lowercase, source=path)

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int, lowercase: bool = True, **options) -> "WordPieceTokenizer":
        """Learn a vocabulary of at most ``vocab_size`` pieces; ``options`` as in `wordpiece_training.train_vocabulary`."""
        from minielectra.data.wordpiece.vocabulary_training import train_vocabulary

        return cls(train_vocabulary(lines, vocab_size, lowercase=lowercase, **options), lowercase, "the trained vocabulary")

    def save(self, path: str | PathLike) -> None:
        """Write ``vocab.txt`` (``path`` may be a folder, which then gets both files of `from_pretrained`)."""
        path = Path(path)
        if path.is_dir():
            config = {"do_lower_case": self.lowercase, "tokenizer_class": "ElectraTokenizer"}
            write_text(path / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
            path = path / "vocab.txt"
        write_text(path, "".join(piece + "\n" for piece in self.vocab))

    def __len__(self) -> int:
        return len(self.vocab)

    # Text -> ids.

    def _pieces(self, word: str) -> list[tuple[int, int, int]]:
        """Cut one normalised word into (id, start, end) pieces; the whole word becomes [UNK] if any part has no piece."""
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
        return [piece for word in self._normaliser.words(text) for piece, _, _ in self._pieces(word)]

    def _encode_plain(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._cache.__getitem__, split_on_spaces(text))))

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        """Ids of ``text``, without [CLS] and [SEP] around it.

        ``[MASK]`` and the other special tokens written in the text become their ids, as in ``tokenizers``; with
        ``allow_special=False`` they are text like any other (right for a corpus, where nobody meant them).
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
        """Encode many lines, special tokens as plain text: (ids int32 [sum of lengths], lengths int64 [number of lines])."""
        encoded = [self._encode_plain(line) for line in lines]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths.sum())), lengths

    def encode_with_offsets(self, text: str, allow_special: bool = True) -> tuple[list[int], list[str], list[tuple[int, int]]]:
        """(ids, pieces, offsets): piece k came from ``text[start:end]`` with ``(start, end) = offsets[k]``.

        Positions count characters of the text as given: lower-casing, dropped characters and stripped accents do not shift
        them. A combining accent at the end of a piece is left outside it, as in ``tokenizers``.
        """
        ids, offsets = [], []

        def add_plain(begin: int, end: int) -> None:
            for word, origins in self._normaliser.words_with_origins(text[begin:end]):
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
        """The pieces of ``text``: ``"unaffable!" -> ["una", "##ffa", "##ble", "!"]``."""
        return [self.vocab[i] for i in self.encode(text, allow_special)]

    # Ids -> text.

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Readable text: pieces joined, marks put next to their word. Raises InputError for an id outside the vocabulary."""
        words: list[str] = []
        for i in map(int, ids):
            if not 0 <= i < len(self.vocab):
                raise InputError(f"id {i} is outside the vocabulary of {len(self.vocab)} pieces; decode with the right vocab.txt")
            if skip_special and i in self.special_ids:
                continue
            piece = self.vocab[i]
            if piece.startswith("##") and len(piece) > 2 and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        text = _NO_SPACE_BEFORE.sub(r"\1", " ".join(words))
        return _CONTRACTION.sub(r"\1'\2", _NO_SPACE_AFTER.sub(r"\1", text))
