"""Finding English prose in documentation: docstrings and comments in, clean paragraphs out.

Documentation is prose mixed with code, tables, lists of parameters and markup. A run of lines with one indentation is a candidate
paragraph; markup is taken off; what still does not look like sentences is dropped. The filter would rather lose good text than
keep bad.
"""

import re
from collections.abc import Iterator

# What ends a run of lines, or opens a new one.
_RULE = re.compile(r"""^[-=~^"*#+_.|\s]{3,}$""")  # the underline of a heading, a table's border
_DIRECTIVE = re.compile(r"^\.\. |^:[\w-]+:\s*\S*$|^@")
_FIELD = re.compile(r"^:(?:param|arg|type|returns?|rtype|raises?|ivar|var|keyword)\b[^:]*:\s+")
_BULLET = re.compile(r"^(?:[-*+•]|\(?(?:\d{1,2}|[a-z])[.)])\s+(?=\S)")
_TYPE_LINE = re.compile(r"^[\w*\\.,\s`'\"()|]{1,60} : \S")  # x : array_like, optional
_CODE = re.compile(r"^(?:>>>|\.\.\. |In \[|\$ |%|import |from \w+ import |def |class \w+[:(]|return\b|if .*:$|for .*:$|print\()")

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
    """a about after all also an and any are as at be because been before being both but by can cannot could do does each either
    every for from had has have how if in into is it its may might more most must no not of on one only or other out over same
    should since so some such than that the their them then there these they this those to two under until up upon us use used
    was we were what when where which while who will with within without would you your""".split()  # noqa: SIM905
)
_PLAIN_WORD = re.compile(r"""^['"(\[]*[A-Za-z]+(?:['’-][A-Za-z]+)*['")\]]*[.,;:!?]*['")]*$""")
_OPENING = re.compile(r"""^["'(]?[A-Z]""")
_CLOSING = re.compile(r"""[.!?]['")]*$""")
_UNFINISHED = re.compile(rf"(?i) (?!(?:{'|'.join(_FUNCTION_WORDS)})\b)[a-z]+$")
_UNWANTED = re.compile(
    r"https?:|www\.|[{}<>|=\\@^~`$]|::|\]\[|--+>|[^\x00-\xff‘’“”–—]|(?i:copyright|licen[cs]|warrant)|\b(?:XXX|TODO|FIXME)"
)


def paragraphs(text: str) -> Iterator[str]:
    """Each paragraph of ``text`` (a docstring without its indentation, say) that reads as English prose, on one line."""
    for lines in _runs(text):
        paragraph = clean_markup(" ".join(lines))
        if _UNFINISHED.search(paragraph) and paragraph.count(" ") >= 8:  # many comments go without the full stop
            paragraph += "."
        if is_prose(paragraph):
            yield paragraph


def _runs(text: str) -> Iterator[list[str]]:
    """Lines that belong together: same indentation, no blank line, heading, bullet or field between them."""
    run: list[str] = []
    indent, hanging, literal = 0, False, -1  # literal: after "::", what is indented deeper than this is code
    for line in [*text.expandtabs().split("\n"), ""]:
        body = line.strip()
        here = len(line) - len(line.lstrip())
        if literal >= 0 and body:
            if here > literal:
                continue
            literal = -1
        if not body or _RULE.match(body) or _DIRECTIVE.match(body) or _TYPE_LINE.match(body) or _CODE.match(body):
            if run and not _RULE.match(body):  # a rule makes the line above it a heading
                yield run
            run, hanging = [], False
            if body.startswith(".. "):
                literal = here  # the directive's content
            continue
        marker = _BULLET.match(body) or _FIELD.match(body)
        if run and (marker or (here != indent and not hanging)):
            yield run
            run = []
        if marker:
            body, hanging = body[marker.end() :], True
        elif here != indent:
            hanging = False
        indent = here
        run.append(body)
        if body.endswith("::"):
            literal = here
            run = []


def clean_markup(text: str) -> str:
    """reST and Markdown taken off lightly: ``:func:`~os.walk``` -> ``os.walk``; white space collapsed."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def is_prose(paragraph: str) -> bool:
    """Does this look like one or more English sentences?"""
    words = paragraph.split()
    if len(words) < 6 or not _OPENING.match(paragraph) or not _CLOSING.search(paragraph) or _UNWANTED.search(paragraph):
        return False
    plain = [word for word in words if _PLAIN_WORD.match(word)]
    known = sum(word.strip("'\"()[].,;:!?").lower() in _FUNCTION_WORDS for word in plain)
    return len(plain) >= 0.82 * len(words) and known >= 0.19 * len(words)
