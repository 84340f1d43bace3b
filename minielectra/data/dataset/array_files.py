"""Arrays that are too long for memory: `.npy` files, written piece by piece and read through a memory map."""

import hashlib
import json
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from minielectra.errors import InputError, reason
from minielectra.formats import checksums
from minielectra.formats.files import make_folder, replacing
from minielectra.formats.reading import check_ordinary

_SMALL = 1 << 25  # bytes of a mapped file that may stay in the process: mapping pages again costs time


class NpyWriter:
    """A one-dimensional `.npy` file that grows. NumPy leaves room in the header for the final length."""

    def __init__(self, path: Path, dtype):
        self.file, self.dtype, self.length = path.open("wb"), np.dtype(dtype), 0
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Add `values` [n], cast to the file's dtype."""
        self.file.write(np.ascontiguousarray(values, self.dtype).tobytes())
        self.length += len(values)

    def close(self) -> None:
        """Write the final length into the header, and close the file. Without it the file is not readable."""
        with self.file:
            self.file.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, header)


def open_array(path: Path) -> np.ndarray:
    """The array of a `.npy` file, mapped but not read.

    Raises FileNotFoundError if there is no such file, PermissionError if it may not be read, and InputError
    if it is not a whole array.
    """
    check_ordinary(path)
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.offset + values.nbytes != path.stat().st_size:
            raise ValueError("its length is not what its header says")
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # the header is a Python literal, and damage makes its parser raise anything
        raise InputError(f"{path}: damaged or cut short ({reason(error):.200})") from None
    return values


def release(values: np.ndarray) -> None:
    """Take the pages of a mapped array out of this process. The next use finds them in the system's cache.

    Nothing is lost without it, for the system takes such pages back when it needs memory. But tools that show
    the size of a process count them, up to the whole file. Arrays in memory and small ones are left alone.
    """
    if values.nbytes > _SMALL and isinstance(values.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        values.base.madvise(mmap.MADV_DONTNEED)


def in_pieces(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`values` [n] in slices of `size`. The pages of a mapped array are released after each slice."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
        release(values)


def digest(content: object) -> str:
    """16 hexadecimal digits that stand for `content`, which JSON can hold."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()


def cached_array(stem: Path, key: object, dtype, pieces: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """All that `pieces()` yields as one array [n], mapped from the file `<stem>-<digest of key>.npy`.

    key: everything that the content depends on, as JSON can hold it. If the file is missing or damaged, or
    has no checksum, it is made (and its folder too), and files of other keys are removed.
    """
    path = stem.with_name(f"{stem.name}-{digest(key)}.npy")
    try:
        values = open_array(path)
        checked = checksums.verify(path.parent, [path.name], progress=True)
        if checked and values.dtype == dtype and values.ndim == 1 and len(values):
            return values
    except FileNotFoundError:
        pass
    except InputError as fault:
        print(f"{fault}; made again", file=sys.stderr)
    make_folder(path.parent)
    for stale in stem.parent.glob(f"{stem.name}-*.npy*"):  # damaged, of another key, or of an earlier version
        stale.unlink(missing_ok=True)
    with replacing(path) as temporary:
        writer = NpyWriter(temporary, dtype)
        try:
            for piece in pieces():
                writer.append(piece)
        finally:
            writer.close()
    checksums.add(path.parent, path.name)
    return open_array(path)
