"""Overlapping windows over a text that is longer than the model."""

from collections.abc import Iterator


def windows(count: int, room: int) -> Iterator[tuple[int, int, int, int]]:
    """Windows of at most `room` tokens over a text of `count` tokens, each (start, stop, keep_from, keep_to).

    A model reads tokens[start:stop], and its results for tokens[keep_from:keep_to] are kept. Neighboring
    windows overlap by half. Every token is kept once, in the window that shows the most context around it.
    """
    if count <= room:
        if count:
            yield 0, count, 0, count
        return
    stride = max(1, room // 2)
    starts = [*range(0, count - room, stride), count - room]
    kept = 0
    for i, start in enumerate(starts):
        stop = start + room
        end = count if i == len(starts) - 1 else (starts[i + 1] + stop + 1) // 2  # the middle of the overlap
        yield start, stop, kept, end
        kept = end
