"""Weights from safetensors files that somebody else wrote: nothing is trusted, and nothing is executed.

A model's directory holds one `model.safetensors`, or several files (shards) and
`model.safetensors.index.json`, which says which array is in which file. The two networks of a compact pair
(pretraining/exported_pair.py) have one file, `towers.safetensors`, beside their directories. Any of these may
hold int8 numbers with scales (int8_weights.py).

The library checks a file's header: sizes, offsets, overlaps, nothing left over. Nothing is allocated before
that. The arrays are then read through a memory map, because the library cannot give NumPy a bfloat16.
"""

import json
import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from minielectra.errors import InputError, reason, shown
from minielectra.formats import int8_weights
from minielectra.formats.reading import read_json

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
TOWERS = "towers.safetensors"  # of both towers; each one's own arrays have its directory's name as a prefix
HEADER_LIMIT = 1 << 24  # bytes; the header of ELECTRA-large has about 45 000


class StoredArray(NamedTuple):
    """An array in a file that has not been read yet."""

    path: Path
    name: str
    dtype: str  # safetensors' name for it
    shape: tuple
    start: int  # bytes from the beginning of the file
    stop: int
    scale: "StoredArray | None" = None  # [R] of int8 numbers [R, C]

    def read(self, dtype=np.float32) -> np.ndarray:
        """Read the array: [*shape] of `dtype`.

        Raises InputError if the file holds neither floating-point numbers nor int8 numbers with scales, or
        if some are NaN or infinite.
        """
        where = f"{self.path}: {shown(self.name)}"
        scale = int8_weights.read_scale(self) if self.dtype == int8_weights.DTYPE else None
        if scale is None and self.dtype not in FLOATS:
            raise InputError(f"{where} has dtype {self.dtype}, expected one of {', '.join(FLOATS)}")
        raw = np.memmap(self.path, np.uint8, "r")[self.start : self.stop]
        try:
            array = raw.view(np.int8 if scale is not None else FLOATS[self.dtype]).reshape(self.shape)
        except ValueError:
            raise InputError(f"{where} does not have the size that its shape says") from None
        if self.dtype == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            if scale is not None:
                array = int8_weights.restored(array, scale)
            array = array.astype(dtype)
        if not np.isfinite(array).all():
            raise InputError(f"{where} holds NaN or infinite values; use a file with finite weights")
        return array


def find_arrays(directory: str | PathLike) -> dict[str, StoredArray]:
    """{name: StoredArray} of all weights in a model's directory.

    Raises InputError if there are none or a file is damaged.
    """
    directory = Path(directory)
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    towers = directory.absolute().parent / TOWERS
    if single.exists():
        return int8_weights.with_scales(stored_arrays(single))
    if index.exists():
        return int8_weights.with_scales(_sharded(directory, index))
    if towers.exists():
        return int8_weights.with_scales(_one_tower(stored_arrays(towers), directory.absolute().name))
    if any(directory.glob("pytorch_model*.bin")):
        raise InputError(
            f"{single}: missing. pytorch_model.bin is a pickle, which can run code. If you trust it, "
            "convert it with transformers: AutoModel….from_pretrained(DIR).save_pretrained(DIR)"
        )
    raise InputError(f"{single}: missing; is this the directory of an ELECTRA model?")


def stored_arrays(path: Path) -> dict[str, StoredArray]:
    """{name: StoredArray} of one file, from its header alone. Raises InputError if it is damaged."""
    if not path.is_file():
        raise InputError(f"{path}: not a file")
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > HEADER_LIMIT:
                raise InputError(f"{path}: not safetensors, or its header is oversized ({length:,} bytes)")
            with safe_open(path, "numpy"):  # the library's checks
                pass
            header = json.loads(file.read(length))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: cannot be read ({reason(error)})") from None
        raise InputError(f"{path}: truncated or not safetensors ({reason(error):.200})") from None
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        arrays[name] = StoredArray(path, name, entry["dtype"], tuple(entry["shape"]), start, stop)
    return arrays


def _one_tower(arrays: dict[str, StoredArray], tower: str) -> dict[str, StoredArray]:
    """{name: StoredArray} of one tower: its own without the prefix, and those that both share."""
    kept = {name: array for name, array in arrays.items() if name.startswith((f"{tower}.", "electra."))}
    return {name.removeprefix(f"{tower}."): array for name, array in kept.items()}


def _sharded(directory: Path, index: Path) -> dict[str, StoredArray]:
    """{name: StoredArray} of the files that an index names. Raises InputError if they do not agree."""
    files = read_json(index, f"{index}: missing").get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise InputError(f"{index}: has no weight_map of array names to file names")
    arrays, names = {}, sorted(set(files.values()))
    for file in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", file):
            raise InputError(f"{index}: {shown(file)} is not the plain name of a .safetensors file")
    for file in names:
        for name, array in stored_arrays(directory / file).items():
            if files.get(name) != file:
                problem = f"holds {shown(name)}, which {index.name} places elsewhere or does not know"
                raise InputError(f"{directory / file}: {problem}")
            arrays[name] = array
    for name, file in files.items():
        if name not in arrays:
            problem = f"{shown(name)} is missing, though {index.name} places it there"
            raise InputError(f"{directory / file}: {problem}")
    return arrays
