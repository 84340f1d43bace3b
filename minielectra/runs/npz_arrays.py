"""Reading an .npz file of which the layout is known, and nothing else is trusted.

An .npz file is a zip archive of .npy files, each a header (type and shape) and numbers. A file of 17 MB can
promise 4 GB of them. So all headers are read first and compared with the layout and with each other. Memory
is taken only for what fits.
"""

import math
import zipfile
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minielectra.errors import InputError, reason, shown
from minielectra.formats import limits
from minielectra.formats.reading import check_ordinary


class Array(NamedTuple):
    """What an array looks like: a NumPy dtype, a letter for each dimension, and the range of its values.

    below: the first number that is too large, or the letter of a dimension. used: the name of a boolean array
    [B, K] that says which values count, if not all do.
    """

    dtype: type
    dims: str
    at_least: float = 0
    below: float | str = math.inf
    used: str | None = None


class _Member(NamedTuple):
    """An array in the archive, before it is read."""

    info: zipfile.ZipInfo
    dtype: np.dtype
    shape: tuple
    fortran_order: bool
    start: int  # bytes of the header

    @property
    def count(self):
        return math.prod(self.shape)


def read_npz(path: str | PathLike, layout: dict[str, Array], sizes: dict, known: dict | None = None) -> dict:
    """The arrays of `layout` in a file -> {name: array of the layout's dtype}.

    sizes {dimension: (size, where it is from)}: those that are settled beforehand; known: {name: array} that
    are not in the file and decide sizes, too. Raises InputError for a file that is missing, cut short or
    something else, for arrays that do not fit together, for values out of range, and if all arrays together
    are larger than `limits.RECORDS`; PermissionError if it may not be read.
    """
    path, sizes = Path(path), dict(sizes)
    check_ordinary(path)
    for name, array in (known or {}).items():
        _check_shape(name, array.shape, sizes, layout[name].dims)
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = {name: about for name, about in layout.items() if name not in (known or {})}
            members = {name: _member(archive, name) for name in wanted}
            for name, member in members.items():
                _check_member(name, member, wanted[name], sizes)
            total = sum(member.info.file_size for member in members.values())
            if total > limits.limit(limits.RECORDS):
                raise InputError(f"holds {limits.too_large(limits.RECORDS)}")
            arrays = {name: _values(archive, member) for name, member in members.items()}
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, str(path)) from None
    except MemoryError:  # says nothing about the file
        raise
    except InputError as error:
        raise InputError(f"{path}: damaged ({error})") from None
    except Exception as error:  # the header is a Python literal, and damage makes its parser raise anything
        raise InputError(f"{path}: cut short or not an .npz file ({reason(error)})") from None
    arrays |= known or {}
    for name, about in wanted.items():
        _check_range(path, name, about, arrays, sizes)
    return arrays | {name: arrays[name].astype(about.dtype, copy=False) for name, about in wanted.items()}


def _member(archive: zipfile.ZipFile, name: str) -> _Member:
    """The header of an array in the archive."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise InputError(f"no {name}") from None
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{name} is encrypted or compressed in another way")
    with archive.open(info) as file:
        if np.lib.format.read_magic(file) != (1, 0):  # in later versions, a header may have 4 GB
            raise InputError(f"{name} is of another version of .npy")
        try:
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        except MemoryError:  # of the parser, for many brackets
            raise InputError(f"{name} has a header that cannot be read") from None
        return _Member(info, dtype, shape, fortran_order, file.tell())


def _check_member(name: str, member: _Member, about: Array, sizes: dict) -> None:
    wanted = np.dtype(about.dtype)
    if member.dtype.kind != wanted.kind or len(member.shape) != len(about.dims):
        found = f"shape {shown(member.shape)} and dtype {shown(str(member.dtype))}"
        raise InputError(f"{name} has {found}, expected [{', '.join(about.dims)}] of {wanted}")
    _check_shape(name, member.shape, sizes, about.dims)
    if member.start + member.count * member.dtype.itemsize != member.info.file_size:
        raise InputError(f"{name} is not as long as its header says")


def _check_shape(name: str, shape: tuple, sizes: dict, dims: str) -> None:
    for dim, size in zip(dims, shape, strict=True):
        known, where = sizes.setdefault(dim, (size, name))
        if size != known or size < 0:
            raise InputError(f"{name} has {dim} = {size}, but {where} has {dim} = {known}")


def _values(archive: zipfile.ZipFile, member: _Member) -> np.ndarray:
    """The numbers of an array. Raises EOFError if there are too few."""
    size = member.count * member.dtype.itemsize
    with archive.open(member.info) as file:
        file.read(member.start)
        raw = file.read(size)
        file.read(1)  # checks the end, and with it the checksum
    if len(raw) != size:
        raise EOFError("the end is missing")
    dtype = np.dtype(np.uint8) if member.dtype.kind == "b" else member.dtype
    array = np.frombuffer(raw, dtype).reshape(member.shape, order="F" if member.fortran_order else "C")
    return array != 0 if member.dtype.kind == "b" else array


def _check_range(path: Path, name: str, about: Array, arrays: dict, sizes: dict) -> None:
    """Raise InputError if a value that counts is out of range, or NaN."""
    values = arrays[name] if about.used is None else arrays[name][..., arrays[about.used]]
    if not values.size or values.dtype.kind == "b":
        return
    below = sizes[about.below][0] if isinstance(about.below, str) else about.below
    least, most = values.min(), values.max()
    if not (about.at_least <= least and most < below):  # NaN is neither
        raise InputError(
            f"{path}: damaged ({name} holds {least} … {most}, expected {about.at_least} … {below})"
        )
