"""The examples of a part as they are kept on disk, in 12 bytes each."""

import numpy as np

from minielectra.data.dataset.array_files import release
from minielectra.errors import InputError

# Where an example begins in the tokens of the part, and the lengths of its two segments.
EXAMPLE = np.dtype([("start", "<i8"), ("first", "<u2"), ("second", "<u2")])
MAXIMUM_LENGTH = 1 << 16  # of an example, special tokens included: its segments' lengths fit 16 bits


def compact(rows: np.ndarray) -> np.ndarray:
    """Rows [n, 3] of (start, split, end), as `pack` makes them -> [n] of EXAMPLE."""
    start, split, end = rows.T
    kept = np.empty(len(rows), EXAMPLE)
    kept["start"], kept["first"], kept["second"] = start, split - start, end - split
    return kept


class Examples:
    """The examples of a part, in the order of the text. They are read from disk when they are indexed.

    `len(examples)`; `examples[i]` for indices i [B] -> rows int64 [B, 3] of (start, split, end).
    """

    def __init__(self, kept: np.ndarray, seq_length: int, n_tokens: int):
        """kept: [n] of EXAMPLE; seq_length, n_tokens: limits that rows must respect when they are used."""
        self._kept, self._seq_length, self._n_tokens = kept, seq_length, n_tokens

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: np.ndarray) -> np.ndarray:
        """Raises IndexError for an index out of range, and InputError for a damaged row."""
        kept = np.take(self._kept, i)
        rows = np.empty((len(kept), 3), np.int64)
        for column, name in enumerate(EXAMPLE.names):
            rows[:, column] = kept[name]
        rows = rows.cumsum(axis=1)
        start, split, end = rows.T
        lengths = end - start + 2 + (end > split)  # with special tokens
        in_order = (start >= 0) & (split > start) & (end <= self._n_tokens)
        if not (in_order & (lengths <= self._seq_length)).all():
            name = getattr(self._kept, "filename", None) or "the index of examples"
            raise InputError(f"{name}: damaged; remove it, and it is made again")
        return rows

    def release(self) -> None:
        """Take the pages read so far out of this process (see `array_files.release`)."""
        release(self._kept)
