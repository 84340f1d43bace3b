"""BERT's text normalization, as a table of characters that fills as it is used.

BERT cleans text in five passes: drop control characters, put spaces around Chinese characters, lower-case,
strip accents (decompose, then drop the marks), and split at punctuation. Each pass looks at one character at
a time, so all five together are a function from a character to a short string:

    é -> "e"        中 -> " 中 "        ! -> " ! "        a zero-width space -> ""

`str.translate` applies such a function at C speed. White space then separates the words.

Source: `BasicTokenizer` in google-research/bert, `tokenization.py`. The reference for every character is the
`tokenizers` library, which knows the categories of Unicode 8. The characters whose category Python knows
differently are listed below.
"""

import unicodedata
from collections.abc import Iterable


def _code_points(ranges: str) -> frozenset[int]:
    """`"61d 1b7d-1b7e"` -> {0x61d, 0x1b7d, 0x1b7e}."""
    result = set()
    for item in ranges.split():
        first, _, last = item.partition("-")
        result.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(result)


# Punctuation, accents and format characters that joined or left their category after Unicode 8.
_NOT_PUNCTUATION = _code_points(
    "61d 9fd a76 c77 c84 1b7d-1b7e 2e43-2e4f 2e52-2e5d 10ead 10f55-10f59 10f86-10f89 1144b-1144f "
    "1145a-1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46 11a9a-11a9c 11a9e-11aa2 "
    "11b00-11b09 11c41-11c45 11c70-11c71 11ef7-11ef8 11f43-11f4f 11fff 12ff1-12ff2 16e97-16e9a 16fe2 "
    "1e95e-1e95f"
)
_ALSO_PUNCTUATION = _code_points("166d 111c9")
_NOT_ACCENT = _code_points(
    "7fd 898-89f 8ca-8e1 9fe afa-aff b55 c04 c3c d00 d3b-d3c d81 eba ece 180f 1885-1886 1abf-1ace "
    "1df6-1dfb a82c a8c5 a8ff a9bd 10d24-10d27 10eab-10eac 10efd-10eff 10f46-10f50 10f82-10f85 11070 "
    "11073-11074 110c2 111c9 111cf 1123e 11241 1133b 11438-1143f 11442-11444 11446 1145e 1182f-11837 "
    "11839-1183a 1193b-1193c 1193e 11943 119d4-119d7 119da-119db 119e0 11a01-11a0a 11a33-11a38 "
    "11a3b-11a3e 11a47 11a51-11a56 11a59-11a5b 11a8a-11a96 11a98-11a99 11c30-11c36 11c38-11c3d 11c3f "
    "11c92-11ca7 11caa-11cb0 11cb2-11cb3 11cb5-11cb6 11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 "
    "11d90-11d91 11d95 11d97 11ef3-11ef4 11f00-11f01 11f36-11f3a 11f40 11f42 13440 13447-13455 16f4f "
    "16fe4 1cf00-1cf2d 1cf30-1cf46 1e000-1e006 1e008-1e018 1e01b-1e021 1e023-1e024 1e026-1e02a 1e08f "
    "1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e944-1e94a"
)
_ALSO_ACCENT = _code_points("1734")
_NOT_CONTROL = _code_points("890-891 8e2 110cd 13430-1343f")
_NOT_DECOMPOSED = _code_points("11938")

# The blocks of Chinese characters. The reference has a gap before 2b920, kept here so that the ids agree.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)

# Python's str.split() takes these control characters for white space. BERT drops them, which joins words.
_DROPPED_SPACES = {ord(c): None for c in "\x0b\x0c\x1c\x1d\x1e\x1f\x85"}


def is_control(char: str) -> bool:
    """A control, format, private-use or surrogate character, but not a tab or line end. BERT drops it."""
    if char in "\t\n\r":
        return False
    return char == "\ufffd" or (
        unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs") and ord(char) not in _NOT_CONTROL
    )


def is_punctuation(char: str) -> bool:
    """Unicode's category P*, and every ASCII symbol (`$ + < ^` …), which BERT counts as punctuation too."""
    if char.isascii():
        return char.isprintable() and not char.isalnum() and char != " "
    code = ord(char)
    return code in _ALSO_PUNCTUATION or (
        unicodedata.category(char)[0] == "P" and code not in _NOT_PUNCTUATION
    )


def is_accent(char: str) -> bool:
    """A combining mark that takes no space of its own (category Mn)."""
    code = ord(char)
    return code in _ALSO_ACCENT or (unicodedata.category(char) == "Mn" and code not in _NOT_ACCENT)


class TextNormalizer(dict):
    """The table `code point -> string` of BERT's normalization. Entries are made when they are first needed.

    lowercase: lower-case the text; strip_accents: drop accents (None: if `lowercase`, as BERT's uncased
    models do); chinese: put spaces around Chinese characters.
    """

    def __init__(self, lowercase: bool = True, strip_accents: bool | None = None, chinese: bool = True):
        super().__init__()
        self.lowercase, self.chinese = lowercase, chinese
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self._plain: dict[str, str] = {}

    def __missing__(self, code: int) -> str:
        plain = self.plain(chr(code))
        self[code] = result = "".join(f" {c} " if is_punctuation(c) else c for c in plain)
        return result

    def plain(self, char: str) -> str:
        """What one character becomes before words are split at punctuation."""
        if char not in self._plain:
            self._plain[char] = self._expand(char)
        return self._plain[char]

    def _expand(self, char: str) -> str:
        if is_control(char):
            return ""
        if char.isspace():
            return " "
        code, text = ord(char), char
        if self.strip_accents:
            if code not in _NOT_DECOMPOSED:
                text = unicodedata.normalize("NFD", text)
            text = "".join(c for c in text if not is_accent(c))
        if self.lowercase:
            text = "".join(c.lower() for c in text)
        is_chinese = self.chinese and any(first <= code <= last for first, last in _CHINESE)
        return f" {text} " if is_chinese else text

    def words(self, text: str) -> list[str]:
        """The normalized words and punctuation marks of a text: `"Don't!" -> ["don", "'", "t", "!"]`."""
        return text.translate(self).split()

    def words_with_origins(self, text: str) -> list[tuple[str, list[int]]]:
        """The same words, each with the positions in `text` that its characters come from."""
        return _gather((c, position) for position, char in enumerate(text) for c in self[ord(char)])

    def normalize(self, text: str) -> tuple[str, list[int]]:
        """A text before words are split at punctuation, and the position in `text` of each character."""
        plain = [self.plain(char) for char in text]
        return "".join(plain), [position for position, part in enumerate(plain) for _ in part]


def words_of_normalized(text: str, origins: list[int]) -> list[tuple[str, list[int]]]:
    """The words of what `TextNormalizer.normalize` returns, each with the origins of its characters."""
    return _gather(
        (c, origin)
        for char, origin in zip(text, origins, strict=True)
        for c in (f" {char} " if is_punctuation(char) else char)
    )


def _gather(characters: Iterable[tuple[str, int]]) -> list[tuple[str, list[int]]]:
    """Words out of (character, its origin), separated by spaces."""
    words, word, origins = [], [], []
    for char, origin in characters:
        if char != " ":
            word.append(char)
            origins.append(origin)
        elif word:
            words.append(("".join(word), origins))
            word, origins = [], []
    if word:
        words.append(("".join(word), origins))
    return words


def split_on_spaces(text: str) -> list[str]:
    """`text.split()` at BERT's white space. The normalized words of the parts are those of the text."""
    if any(chr(code) in text for code in _DROPPED_SPACES):
        text = text.translate(_DROPPED_SPACES)
    return text.split()
