"""Windows over the context of a question, and the best answers that the logits of one window give.

A context that does not fit is read in overlapping windows. An answer may only start in the window that shows
the most context around its first token (Devlin et al. 2019, released code).
"""

from typing import NamedTuple

import numpy as np

STRIDE = 128  # tokens from the start of one window to the start of the next
LONGEST_ANSWER = 30  # tokens
N_BEST = 20  # starts, ends and answers that are considered


class Window(NamedTuple):
    """The part of a context that one sequence shows, n tokens."""

    begin: int  # position of its first token in the sequence
    offsets: list  # n of (first character, character after the last) in the context
    best: np.ndarray  # [n] bool: whether this window shows the most context around the token


def context_windows(count, room):
    """(start, stop) of windows of at most `room` tokens over `count` tokens.

    They start every STRIDE tokens, or every half window if that is less.
    """
    start = 0
    while True:
        yield start, min(start + room, count)
        if start + room >= count:
            return
        start += min(STRIDE, max(1, room // 2))


def best_window(spans, count):
    """For each token the window with the most context on its poorer side -> [count] indices into `spans`.

    The first of several that are equally good. Every token must be in a window.
    """
    best, owner = np.full(count, -np.inf), np.zeros(count, np.int64)
    for w, (start, stop) in enumerate(spans):
        place = np.arange(start, stop)
        context = np.minimum(place - start, stop - 1 - place) + 0.01 * (stop - start)
        better = np.flatnonzero(context > best[start:stop]) + start
        owner[better], best[better] = w, context[better - start]
    return owner


def best_answers(logits, window):
    """The answers in one window, from its N_BEST starts and N_BEST ends.

    logits [T, 2] of the sequence -> list of (logit, first character, character after the last), empty if the
    window is.
    """
    count = len(window.offsets)
    if not count:
        return []
    start, end = (logits[window.begin : window.begin + count, i] for i in (0, 1))
    starts = np.argsort(-np.where(window.best, start, -np.inf), kind="stable")[:N_BEST]
    ends = np.argsort(-end, kind="stable")[:N_BEST]
    pairs = [(a, b) for a in starts if window.best[a] for b in ends if a <= b < a + LONGEST_ANSWER]
    if not pairs:  # no end after any start: the best single token
        token = int(np.argmax(start + end))
        pairs = [(token, token)]
    return [(float(start[a] + end[b]), window.offsets[a][0], window.offsets[b][1]) for a, b in pairs]
