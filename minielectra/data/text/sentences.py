"""Splitting a paragraph into sentences, with one rule and a short list of exceptions."""

import re

# A full stop, ! or ? (and closing marks), white space, then something that can open a sentence.
_BOUNDARY = re.compile(r"""[.!?]['")\]’”]*(\s+)(?=['"(\[‘“]?[A-Z0-9])""")
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof rev hon st sr jr gen col capt lt sgt gov sen rep messrs vs etc e.g i.e cf al fig figs
    eq eqs sec ch vol no nos pp p ed eds approx resp inc co ltd corp dept jan feb mar apr jun jul aug sept
    sep oct nov dec u.s u.k
    """.split()  # noqa: SIM905
)


def split_sentences(paragraph: str) -> list[str]:
    """`"Mr. Fox ran. He fell!" -> ["Mr. Fox ran.", "He fell!"]`. Only the space between sentences is lost."""
    sentences, start = [], 0
    for match in _BOUNDARY.finditer(paragraph):
        if paragraph[match.start()] == ".":
            _, _, word = paragraph[max(start, match.start() - 20) : match.start()].rpartition(" ")
            word = word.lstrip("'\"([‘“").lower()
            if word in _ABBREVIATIONS or (
                len(word) == 1 and word.isalpha() and word != "i"
            ):  # "Dr. Fox", "J. Smith"
                continue
        sentences.append(paragraph[start : match.start(1)])
        start = match.end()
    if start < len(paragraph):
        sentences.append(paragraph[start:])
    return sentences
