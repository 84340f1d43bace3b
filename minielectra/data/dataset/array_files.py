"""Arrays too long for memory: one-dimensional ``.npy`` files written piece by piece and read through a memory map."""

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from minielectra.errors import InputError, reason

_SMALL = 1 << 25  # bytes of a mapped file that may stay in the process: mapping pages again costs time


class NpyWriter:
    """A one-dimensional ``.npy`` file that grows: NumPy leaves room in the header for the final length."""

    def __init__(self, path: Path, dtype):
        self.file, self.dtype, self.length = path.open("wb"), np.dtype(dtype), 0
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def append(self, values: np.ndarray) -> None:
        """Add ``values`` [n], cast to the file's dtype."""
        self.file.write(np.ascontiguousarray(values, self.dtype).tobytes())
        self.length += len(values)

    def close(self, flush: bool = False) -> None:
        """Write the length. ``flush``: wait until the disk has everything, so that a rename may follow."""
        self.file.seek(0)
        self._write_header()
        if flush:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()


def open_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, mapped, not read. Raises FileNotFoundError, or InputError for anything but a whole array."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.offset + values.nbytes != path.stat().st_size:
            raise ValueError("its length is not what its header says")
    except FileNotFoundError:
        raise
    except Exception as error:  # the header is a Python literal: damage makes its parser raise all sorts of things
        raise InputError(f"{path}: damaged or cut short ({reason(error):.200})") from None
    return values


def release(values: np.ndarray) -> None:
    """Take the pages of a mapped array out of this process; they stay in the system's cache, and are found there when next used.

    Nothing is lost without it: such pages are no one's memory but the cache's. But they count as the process's own wherever its
    size is shown, up to the whole file. Does nothing to an array in memory, or to one too small to matter.
    """
    if values.nbytes > _SMALL and isinstance(values.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        values.base.madvise(mmap.MADV_DONTNEED)


def in_pieces(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """``values`` [n] in slices of ``size``; of a mapped array, the pages of one are released before the next is read."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
        release(values)


def stored_array(stem: Path, key: object, dtype, pieces: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """What ``pieces()`` yields, in a row, mapped from the file ``<stem>-<hash of key>.npy``.

    The file is made (in a folder that is made too) when there is none, or a damaged one; it appears under its name complete.
    ``key`` is JSON-able and holds all that the content depends on: another key is another file, and replaces the first.
    """
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    path = stem.with_name(f"{stem.name}-{digest}.npy")
    try:
        values = open_array(path)
        if values.dtype == dtype and values.ndim == 1 and len(values):
            return values
    except (FileNotFoundError, InputError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in stem.parent.glob(f"{stem.name}-*.npy*"):  # of another key, or left half done by a process that was killed
        stale.unlink(missing_ok=True)
    beside = path.with_name(path.name + ".partial")
    writer = NpyWriter(beside, dtype)
    try:
        for piece in pieces():
            writer.append(piece)
        writer.close(flush=True)
        os.replace(beside, path)
    finally:
        writer.file.close()
        beside.unlink(missing_ok=True)
    return open_array(path)
