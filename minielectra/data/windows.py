"""Windows over a text that is longer than the model."""


def windows(count, room):
    """(start, stop, keep_from, keep_to) of windows of at most `room` over `count` tokens; the kept parts cover each token once."""
    if count <= room:
        if count:
            yield 0, count, 0, count
        return
    stride = max(1, room // 2)
    starts = [*range(0, count - room, stride), count - room]
    kept = 0
    for i, start in enumerate(starts):
        stop = start + room
        end = count if i == len(starts) - 1 else (starts[i + 1] + stop + 1) // 2
        yield start, stop, kept, end
        kept = end
