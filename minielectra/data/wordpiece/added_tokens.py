"""Tokens that were added to a vocabulary later: each is one id wherever it stands in a text.

WordPiece never cuts such a token. It is looked for before the text is cut into words, longest first from left
to right: in the text as given or, if the token is `normalized`, in the normalized text. BERT's five special
tokens are of the first kind.

Source: `AddedVocabulary` of the `tokenizers` library, which transformers uses.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

from minielectra.data.wordpiece.normalization import TextNormalizer
from minielectra.errors import InputError, shown

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
# Circled and squared letters, which Unicode calls alphabetic.
_CIRCLED = (
    (0x24B6, 0x24E9),
    (0x1F130, 0x1F149),
    (0x1F150, 0x1F169),
    (0x1F170, 0x1F189),
)


@dataclass(frozen=True)
class AddedToken:
    """One added token, with the fields that Hugging Face's files give it.

    single_word: only where no letter or digit touches it; lstrip, rstrip: it takes the white space before or
    after it; normalized: it is looked for in the normalized text; special: transformers may leave it out of
    decoded text.
    """

    content: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False

    @classmethod
    def from_file(cls, source, content, number: int, flags: dict) -> "AddedToken":
        """From the values of a JSON file, which `source` names. Raises InputError for a wrong type."""
        if not isinstance(content, str) or not isinstance(number, int) or isinstance(number, bool):
            raise InputError(f"{source}: an added token needs a text and an id, got {shown(repr(content))}")
        if not storable(content):
            raise InputError(f"{source}: the added token {shown(content)} is not one line of text; remove it")
        known = {name: flags[name] for name in _FLAGS if name in flags}
        for name, value in known.items():
            if not isinstance(value, bool):
                raise InputError(f"{source}: {name} of the token {shown(content)} must be true or false")
        return cls(content, number, **{"normalized": not known.get("special", False)} | known)

    def to_file(self) -> dict:
        """The entry of `added_tokens_decoder` in a tokenizer_config.json."""
        return {name: value for name, value in asdict(self).items() if name != "id"}


def storable(piece: str) -> bool:
    """Whether a text file can hold a piece as a line: without line feeds and without halves of characters."""
    return "\n" not in piece and not any("\ud800" <= char <= "\udfff" for char in piece)


class Part(NamedTuple):
    """A part of a text: an added token, or what lies between two of them."""

    id: int | None  # of the token; None: plain text
    start: int  # the part is text[start:end]
    end: int
    found: str | None = (
        None  # the token as it stands in the text; of plain text, the normalized one if it is known
    )
    origins: list[int] | None = None  # of normalized plain text: the position in the text of each character


class AddedTokens:
    """Finds added tokens in a text."""

    def __init__(self, tokens: Iterable[AddedToken], normalizer: TextNormalizer, source="the vocabulary"):
        """Raises InputError, which names `source`, for tokens that normalization empties or makes equal."""
        self._normalizer = normalizer
        raw, normalized = {}, {}
        for token in tokens:
            if not token.normalized:
                raw[token.content] = token
                continue
            text = normalizer.normalize(token.content)[0]
            if not text:
                raise InputError(
                    f"{source}: added token {token.content!a} becomes nothing by normalization; remove it"
                )
            if text in normalized:
                names = f"{normalized[text].content!a} and {token.content!a}"
                raise InputError(
                    f"{source}: added tokens {names} become the same by normalization; remove one"
                )
            normalized[text] = token
        self._raw, self._normalized = _Finder(raw), _Finder(normalized)

    def split(self, text: str) -> Iterator[Part]:
        """The parts of a text, in order."""
        for part in self._raw.split(text):
            if part.id is None and self._normalized:
                yield from self._split_normalized(text, part)
            else:
                yield part

    def _split_normalized(self, text: str, plain: Part) -> Iterator[Part]:
        """The parts of a part that is plain so far, after normalization."""
        normalized, origins = self._normalizer.normalize(text[plain.start : plain.end])
        parts = list(self._normalized.split(normalized))
        if all(part.id is None for part in parts):
            yield plain
            return
        origins = [plain.start + origin for origin in origins]
        for part in parts:
            span = origins[part.start : part.end]
            found = normalized[part.start : part.end]
            yield Part(part.id, span[0], span[-1] + 1, found, None if part.id is not None else span)


class _Finder:
    """Looks for tokens of one kind."""

    def __init__(self, tokens: dict[str, AddedToken]):
        """tokens: {what to look for: the token}."""
        self._tokens = {text: token for text, token in tokens.items() if text}
        longest_first = sorted(self._tokens, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def split(self, text: str) -> Iterator[Part]:
        """The parts of a text, in order."""
        position = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            token, start, end = self._tokens[match.group()], *match.span()
            if token.single_word and (_is_word(text[start - 1 : start]) or _is_word(text[end : end + 1])):
                continue
            if token.lstrip:
                start = max(len(text[:start].rstrip(_WHITE_SPACE)), position)
            if token.rstrip:
                end = len(text) - len(text[end:].lstrip(_WHITE_SPACE))
            if position < start:
                yield Part(None, position, start)
            yield Part(token.id, start, end, text[start:end])
            position = end
        if position < len(text):
            yield Part(None, position, len(text))


def _is_word(char: str) -> bool:
    """Whether a character, or none, is one of a word, as Unicode's regular expressions define it."""
    if not char:
        return False
    category = unicodedata.category(char)
    return (
        category[0] in "LM"
        or category in ("Nd", "Nl", "Pc")
        or char in "\u200c\u200d"
        or any(first <= ord(char) <= last for first, last in _CIRCLED)
    )
