"""Spans of words (entities, chunks) in a sequence of tags, and their F1 as CoNLL counts it.

A tag is `O` (outside) or a letter, perhaps with a type, before it or after it: `B-PER`, `PER-B`, `B_PER`,
`PER_B`, `B`. The same rules read all schemes, mixed and illegal ones included, because they only look at
neighbouring tags:

    IOB2   B begins, I continues
    IOB1   I begins and continues, B only begins a span next to another of its type
    BIOES  B begins, I continues, E ends, S is a span of one word (also called IOBES)
    BILUO  the same with L for E and U for S
    BMES   the same with M for I

Source: the rules of `conlleval` (Tjong Kim Sang and Buchholz 2000), with `seqeval`'s additions for E and S in
its default mode.
"""

import re
from typing import NamedTuple

_SAME_AS = {"L": "E", "U": "S", "M": "I"}  # conlleval and seqeval do not know these, and lose spans


class Scheme(NamedTuple):
    """How a set of tags is written: where the letter is, and what separates it from the type."""

    separator: str = "-"
    letter_last: bool = False

    def split(self, tag):
        """(letter, type) of a tag. The letter is one of B I E S O; the type of a tag without one is `_`."""
        if self.letter_last:
            letter, kind = tag[-1:], tag[:-1].rsplit(self.separator, 1)[0]
        else:
            letter, kind = tag[:1], tag[1:].split(self.separator, 1)[-1]
        return _SAME_AS.get(letter, letter), kind or "_"

    def writes(self, tag):
        """Whether a tag other than `O` is written so, with a type."""
        letter, dash = "[BIESLUM]", re.escape(self.separator)
        pattern = f".+{dash}{letter}" if self.letter_last else f"{letter}{dash}.+"
        return re.fullmatch(pattern, tag, re.DOTALL) is not None


PREFIXED = Scheme()
_SCHEMES = (PREFIXED, Scheme("-", True), Scheme("_"), Scheme("_", True))


def find_scheme(labels):
    """How a set of tags marks spans -> Scheme, or None if it does not.

    It does if each tag is `O` or written in the same scheme, or if all are letters without a type: those of
    BIESLUM with a B, or I and O. Not all may be `O`. Plain tags such as parts of speech are no spans, even if
    one of them is called `O` or `I`.
    """
    labels = set(labels) - {"O"}
    for scheme in _SCHEMES:
        if labels and all(map(scheme.writes, labels)):
            return scheme
    untyped = labels <= set("BIESLUM") and ("B" in labels or labels == {"I"})
    return PREFIXED if untyped else None


def spans(tags, scheme=PREFIXED):
    """The spans of one sentence -> list of (type, start, stop), of the words start … stop - 1.

    The type of a tag without one is `_`.
    """
    found = []
    start, letter, kind = 0, "O", "_"
    for i, tag in enumerate([*tags, "O"]):
        next_letter, next_kind = scheme.split(tag)
        if _ends(letter, kind, next_letter, next_kind):
            found.append((kind, start, i))
        if _begins(letter, kind, next_letter, next_kind):
            start = i
        letter, kind = next_letter, next_kind
    return found


def _ends(letter, kind, next_letter, next_kind):
    """Whether a span ends between two tags."""
    return (
        letter in ("E", "S")
        or (letter in ("B", "I") and next_letter in ("B", "S", "O"))
        or (letter not in ("O", ".") and kind != next_kind)
    )


def _begins(letter, kind, next_letter, next_kind):
    """Whether a span begins with the second of two tags."""
    return (
        next_letter in ("B", "S")
        or (letter in ("E", "S", "O") and next_letter in ("E", "I"))
        or (next_letter not in ("O", ".") and kind != next_kind)
    )


def span_scores(targets, predictions, scheme=PREFIXED):
    """Precision, recall and F1 over the spans of all sentences together, each in [0, 1].

    targets, predictions: lists of tag sequences, of equal lengths -> {"precision", "recall", "f1"}. A span is
    found if its type, start and stop all agree. A score whose denominator is 0 is 0. Raises ValueError if
    lengths differ.
    """
    correct = expected = predicted = 0
    for target, prediction in zip(targets, predictions, strict=True):
        if len(target) != len(prediction):
            raise ValueError(f"{len(target)} tags but {len(prediction)} predictions in a sentence")
        a, b = set(spans(target, scheme)), set(spans(prediction, scheme))
        correct, expected, predicted = correct + len(a & b), expected + len(a), predicted + len(b)
    precision = correct / predicted if predicted else 0.0
    recall = correct / expected if expected else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
