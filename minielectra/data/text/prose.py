"""Finding English prose in documentation: docstrings and comments in, clean paragraphs out.

Documentation is prose mixed with code, tables, lists of parameters and markup. Lines that belong together are
a candidate paragraph. Markup is removed, and whatever still does not look like sentences is dropped. The
filter would rather lose good text than keep bad text.
"""

import re
from collections.abc import Iterator

# What ends a candidate paragraph or begins a new one.
_RULE = re.compile(r"""^[-=~^"*#+_.|\s]{3,}$""")  # the underline of a heading, a table's border
_DIRECTIVE = re.compile(r"^\.\. |^:[\w-]+:\s*\S*$|^@")
_FIELD = re.compile(r"^:(?:param|arg|type|returns?|rtype|raises?|ivar|var|keyword)\b[^:]*:\s+")
_BULLET = re.compile(r"^(?:[-*+•]|\(?(?:\d{1,2}|[a-z])[.)])\s+(?=\S)")
_TYPE_LINE = re.compile(r"^[\w*\\.,\s`'\"()|]{1,60} : \S")  # x : array_like, optional
_CODE = re.compile(
    r"^(?:>>>|\.\.\. |In \[|\$ |%|import |from \w+ import |def |class \w+[:(]|return\b|if .*:$|for .*:$"
    r"|print\()"
)

_MARKUP = [
    (re.compile(r":[\w:.+-]+:`[~!]?\.?([^`<]+?)(?: <[^`>]*>)?`"), r"\1"),  # :func:`x`, :ref:`text <target>`
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([\w.]+)'"), r"'\1'"),
    (re.compile(r"`[~!]?\.?([^`<]+?)(?: <[^`>]*>)?`_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*{1,2}([\w][^*]*?)\*{1,2}(?![\w*])"), r"\1"),  # *emphasis*
    (re.compile(r"\s*\[(?:\d+|[A-Z]\w+)\]_?(?=[\s.,;:)]|$)"), ""),  # citations
    (re.compile(r"\\ ?(?=\W)"), ""),
    (re.compile(r"(?<![\w~])~?\.(?=[A-Za-z]\w+\b)"), ""),  # .Artist
    (re.compile(r"\s+"), " "),
]

_FUNCTION_WORDS = frozenset(
    """
    a about after all also an and any are as at be because been before being both but by can cannot could do
    does each either every for from had has have how if in into is it its may might more most must no not of
    on one only or other out over same should since so some such than that the their them then there these
    they this those to two under until up upon us use used was we were what when where which while who will
    with within without would you your
    """.split()  # noqa: SIM905
)
_PLAIN_WORD = re.compile(r"""^['"(\[]*[A-Za-z]+(?:['’-][A-Za-z]+)*['")\]]*[.,;:!?]*['")]*$""")
_OPENING = re.compile(r"""^["'(]?[A-Z]""")
_CLOSING = re.compile(r"""[.!?]['")]*$""")
_UNFINISHED = re.compile(rf"(?i) (?!(?:{'|'.join(_FUNCTION_WORDS)})\b)[a-z]+$")
_UNWANTED = re.compile(
    r"https?:|www\.|[{}<>|=\\@^~`$]|::|\]\[|--+>|[^\x00-\xff‘’“”–—]|(?i:copyright|licen[cs]|warrant)|\b(?:XXX|TODO|FIXME)"
)


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of `text`, such as a docstring, that read as English: each on one line, no markup."""
    for lines in _candidates(text):
        paragraph = clean_markup(" ".join(lines))
        if _UNFINISHED.search(paragraph) and paragraph.count(" ") >= 8:  # many comments have no full stop
            paragraph += "."
        if is_prose(paragraph):
            yield paragraph


def _candidates(text: str) -> Iterator[list[str]]:
    """Lines that belong together: one indentation, and no blank line, heading, bullet or field between."""
    block: list[str] = []
    indent = 0  # of the block's last line
    hanging = False  # the block began with a bullet or a field, so its next line may be indented differently
    literal = -1  # after "::" or a directive, everything that is indented deeper than this is code
    for line in [*text.expandtabs().split("\n"), ""]:
        body = line.strip()
        here = len(line) - len(line.lstrip())
        if literal >= 0 and body:
            if here > literal:
                continue
            literal = -1
        if not body or any(pattern.match(body) for pattern in (_RULE, _DIRECTIVE, _TYPE_LINE, _CODE)):
            if block and not _RULE.match(body):  # a rule makes the line above it a heading
                yield block
            block, hanging = [], False
            if body.startswith(".. "):
                literal = here  # the directive's content
            continue
        marker = _BULLET.match(body) or _FIELD.match(body)
        if block and (marker or (here != indent and not hanging)):
            yield block
            block = []
        if marker:
            body, hanging = body[marker.end() :], True
        elif here != indent:
            hanging = False
        indent = here
        block.append(body)
        if body.endswith("::"):
            literal = here
            block = []


def clean_markup(text: str) -> str:
    """`text` without the common markup of reStructuredText and Markdown, and with single spaces.

    A reference such as :func:`~os.walk` becomes os.walk.
    """
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph looks like English sentences.

    It must open and close like a sentence. At least 82 % of its words must be plain words, and function words
    ("the", "of") must be at least 19 % of its length.
    """
    words = paragraph.split()
    if len(words) < 6 or _UNWANTED.search(paragraph):
        return False
    if not _OPENING.match(paragraph) or not _CLOSING.search(paragraph):
        return False
    plain = [word for word in words if _PLAIN_WORD.match(word)]
    known = sum(word.strip("'\"()[].,;:!?").lower() in _FUNCTION_WORDS for word in plain)
    return len(plain) >= 0.82 * len(words) and known >= 0.19 * len(words)
