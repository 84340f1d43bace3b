"""Spans of words (entities, chunks) in a sequence of tags, and their F1 as CoNLL counts it.

A tag is `O` (outside) or a letter, a hyphen and a type: `B-PER`. The same rules read all schemes, mixed and
illegal ones included, because they only look at neighbouring tags:

    IOB2   B begins, I continues
    IOB1   I begins and continues, B only begins a span next to another of its type
    BIOES  B begins, I continues, E ends, S is a span of one word (also called IOBES)
    BILUO  the same with L for E and U for S

Source: the rules of `conlleval` (Tjong Kim Sang and Buchholz 2000), with `seqeval`'s additions for E and S in
its default mode.
"""

import re

_PREFIXED = re.compile(r"[BIESLU]-.+", re.DOTALL)
_SAME_AS = {"L": "E", "U": "S"}  # conlleval and seqeval do not know BILUO, and lose spans in it


def uses_spans(labels):
    """Whether a set of tags is a span scheme: each is `O` or one of BIESLU with a type, and not all are `O`.

    False for plain tags such as parts of speech, even if one of them is called `O` or `I`.
    """
    labels = set(labels) - {"O"}
    return bool(labels) and all(_PREFIXED.fullmatch(label) for label in labels)


def spans(tags):
    """The spans of one sentence -> list of (type, start, stop), of the words start … stop - 1.

    The type of a tag without one is `_`.
    """
    found = []
    start, letter, kind = 0, "O", "_"
    for i, tag in enumerate([*tags, "O"]):
        next_letter, next_kind = _SAME_AS.get(tag[:1], tag[:1]), tag[1:].split("-", 1)[-1] or "_"
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


def span_scores(targets, predictions):
    """Precision, recall and F1 over the spans of all sentences together, each in [0, 1].

    targets, predictions: lists of tag sequences, of equal lengths -> {"precision", "recall", "f1"}. A span is
    found if its type, start and stop all agree. A score whose denominator is 0 is 0. Raises ValueError if
    lengths differ.
    """
    correct = expected = predicted = 0
    for target, prediction in zip(targets, predictions, strict=True):
        if len(target) != len(prediction):
            raise ValueError(f"{len(target)} tags but {len(prediction)} predictions in a sentence")
        a, b = set(spans(target)), set(spans(prediction))
        correct, expected, predicted = correct + len(a & b), expected + len(a), predicted + len(b)
    precision = correct / predicted if predicted else 0.0
    recall = correct / expected if expected else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
