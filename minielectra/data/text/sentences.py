"""Splitting a paragraph into sentences: one rule for English, Unicode's rules for all other scripts.

English: a full stop, ! or ? ends a sentence if white space follows, and then a capital letter or a digit. An
abbreviation does not. In other scripts, a letter without case may begin a sentence too, and marks such as 。
and ؟ end one whatever follows. Text without any of this is cut between words, or characters if it has no
words, once it is longer than a sentence can be.

Source: Unicode Standard Annex #29, "Sentence Boundaries".
"""

import re
import unicodedata
from collections.abc import Iterator

LONGEST_SENTENCE = 8192  # characters; the longest sentences of literature have some 6,000
_LONGEST_LOWER = 1024  # characters, in text without capitals or with many lower-case sentences
_LONGEST_OTHER = 512  # bytes that a stretch needs beyond one per character; 256 Chinese characters
_DENSE = 200  # characters per lower-case sentence at most, for text to count as lower-cased
_PIECE, _PIECE_WITHOUT_SPACES = 120, 30  # characters, if a longer stretch must be cut: usual sentences

# A full stop, ! or ? (and closing marks), white space, then something that can open a sentence.
_BOUNDARY = re.compile(r"""[.!?]['")\]’”]*(\s+)(?=['"(\[‘“]?[A-Z0-9])""")
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof rev hon st sr jr gen col capt lt sgt gov sen rep messrs vs etc e.g i.e cf al fig figs
    eq eqs sec ch vol no nos pp p ed eds approx resp inc co ltd corp dept jan feb mar apr jun jul aug sept
    sep oct nov dec u.s u.k
    """.split()  # noqa: SIM905
)

# Sentence_Terminal=Yes outside ASCII; the last three are full stops, which a number may contain.
_TERMINALS = (
    "\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362\u1367"
    "\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a\u1b5b\u1b5e"
    "\u1b5f\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047-\u2049\u2cf9-\u2cfb\u2e2e\u2e3c\u2e53\u2e54"
    "\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1"
    "\uabeb\ufe12\ufe15\ufe16\ufe56\ufe57\uff01\uff1f\uff61\U00010a56\U00010a57\U00011047\U00011048"
    "\U000110be-\U000110c1\U00011141-\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df"
    "\u2024\ufe52\uff0e"
)
_CLOSING = "'\")\\]’”»›）】》〉」』｝］〕〗〙〛｣"
_OPENING = "'\"(\\[‘“«‹„‚¿¡（【《〈「『"
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CONTINUES = ",，、､;；﹐﹑﹔:：-－–—،؍;᠂᠈"  # after it, the sentence goes on: SContinue

# Where a sentence may end: after ASCII's marks, before white space or Chinese; after the others, anywhere.
_CANDIDATE = re.compile(
    rf"(?P<ascii>[.!?])[{_CLOSING}]*(?P<gap>\s+)(?=\S)"
    rf"|[!?]+[{_CLOSING}]*(?=[{_UNSPACED}])|(?<=[{_UNSPACED}])[.][{_CLOSING}]*(?=[{_UNSPACED}])"
    rf"|(?P<other>[{_TERMINALS}])[{_TERMINALS}.!?]*[{_CLOSING}]*(?P<space>\s*)(?=\S)"
)
_GEORGIAN = ("\u10d0", "\u10ff")  # letters that Unicode calls small though sentences begin with them
_LOWER_CASE_END = re.compile(r"""(?<=\w)[.!?]['")\]’”]*(\s+)(?=\S)""")
_PAUSE = re.compile(r"[,;:.!?，、；：。…]\s*")


def split_sentences(paragraph: str) -> list[str]:
    """`"Mr. Fox ran. He fell!" -> ["Mr. Fox ran.", "He fell!"]`. Only the space between sentences is lost."""
    return [paragraph[start:end] for start, end in sentence_spans(paragraph)]


def sentence_spans(paragraph: str) -> list[tuple[int, int]]:
    """Where the sentences of a paragraph are: (start, end) of each."""
    spans, start = [], 0
    for end, following in _boundaries(paragraph):
        spans.append((start, end))
        start = following
    if start < len(paragraph):
        spans.append((start, len(paragraph)))
    return [part for span in spans for part in _short_enough(paragraph, *span)]


def cut_before(text: str, limit: int) -> int:
    """Where to cut a longer text at `limit` characters, or somewhat earlier after a sentence or a word.

    The result is greater than 0.
    """
    begin = max(0, limit - 2 * LONGEST_SENTENCE)
    ends = [following for _, following in _boundaries(text[begin : limit + 1]) if begin + following <= limit]
    if ends and begin + ends[-1] > 0:
        return begin + ends[-1]
    if spaced := _last_break(text[begin:limit]):
        return begin + spaced
    cut = limit
    while cut > begin + 1 and unicodedata.category(text[cut])[0] == "M":
        cut -= 1  # a mark on the character before
    return cut


def _boundaries(paragraph: str) -> Iterator[tuple[int, int]]:
    """(end of a sentence, start of the next) for every boundary in a paragraph."""
    start, ascii_only = 0, paragraph.isascii()
    for match in (_BOUNDARY if ascii_only else _CANDIDATE).finditer(paragraph):
        if not ascii_only and not _is_boundary(paragraph, match):
            continue
        mark = match.start()
        if paragraph[mark] == "." and _is_abbreviation(paragraph[max(start, mark - 20) : mark]):
            continue
        yield mark + len(match.group().rstrip()), match.end()
        start = match.end()


def _is_boundary(paragraph: str, match: re.Match) -> bool:
    """Whether a match of _CANDIDATE ends a sentence."""
    following = paragraph[match.end()]
    if match["other"]:
        number = match["other"] in "\u2024\ufe52\uff0e" and unicodedata.category(following) == "Nd"
        return following not in _CONTINUES and not number
    if not match["ascii"]:
        return True
    if following in _OPENING:
        following = paragraph[match.end() + 1 : match.end() + 2]
    if following.isascii():
        return following.isupper() or following.isdigit()
    return (
        unicodedata.category(following) in ("Lu", "Lt", "Lo", "Nd")
        or _GEORGIAN[0] <= following <= _GEORGIAN[1]
    )


def _is_abbreviation(before: str) -> bool:
    """Whether a full stop after `before` belongs to an abbreviation: "Dr. Fox", "J. Smith"."""
    word = before.rpartition(" ")[2].lstrip("'\"([‘“").lower()
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")


# Text without ends of sentences.


def _short_enough(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A span as it is or, if it is longer than a sentence can be, cut into shorter ones."""
    length = end - start
    if length <= _LONGEST_OTHER // 2:
        yield start, end
        return
    stretch = text[start:end]
    extra = len(stretch.encode("utf-8", "surrogatepass")) - length
    lower_cased = stretch.islower()
    lower = list(_LOWER_CASE_END.finditer(stretch)) if lower_cased or length > _LONGEST_LOWER else []
    dense = len(lower) * _DENSE > length
    longest = _LONGEST_LOWER if lower_cased or dense else LONGEST_SENTENCE
    if length <= longest and extra <= _LONGEST_OTHER and not (lower_cased and dense):
        yield start, end
        return
    position = 0
    for stop, following in [*((m.start(1), m.end()) for m in lower), (length, length)]:
        yield from ((start + a, start + b) for a, b in _pieces(stretch, position, stop))
        position = following


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut text[start:end] between words, or characters if there are none, into spans like sentences."""
    while start < end:
        window = text[start : min(end, start + _PIECE)]
        spaced = _last_break(window)
        if len(window) == end - start and (spaced or len(window) <= _PIECE_WITHOUT_SPACES):
            yield start, end
            return
        cut = start + (spaced or _PIECE_WITHOUT_SPACES)
        while not spaced and cut < end and unicodedata.category(text[cut])[0] == "M":
            cut += 1  # a mark on the character before
        if stop := len(text[start:cut].rstrip()):
            yield start, start + stop
        start = cut


def _last_break(window: str) -> int:
    """Where to cut a piece of text: after the last pause of its second half, or the last word; else 0."""
    half = len(window) // 2
    pauses = [m.end() for m in _PAUSE.finditer(window, half) if m.end() < len(window)]
    if pauses:
        return pauses[-1]
    space = max(map(window.rfind, " \t\u3000\xa0"))
    return space + 1
