"""Weights in one byte each: matrices as int8 numbers, with a scale for every row.

A safetensors file of this kind holds, in place of a matrix W [R, C] called NAME,

    NAME          int8     [R, C]    Q
    NAME.scale    float32  [R]       s      (float16 is read, too)

and means W = s·Q, row by row. The writer takes s = max |W| / 127 of the row and rounds W / s to the nearest
integer, so that no weight is off by more than half a scale: |W - s·Q| ≤ s / 2. A row is an output of a
linear layer, or an entry of a table, and a large weight in one costs the others no precision. Vectors
(biases, and the parameters of layer normalization) stay float32: they are a hundredth of a model.
"""

from os import PathLike

import numpy as np
from safetensors.numpy import save_file

from minielectra.errors import InputError, shown
from minielectra.formats.files import replacing

DTYPE = "I8"  # safetensors' name for it
SCALE = ".scale"
LARGEST = 127  # not 128, so that a row and its negative are rounded alike
SMALLEST = np.finfo(np.float32).tiny  # a smaller scale would be imprecise; such a row counts as zeros


def quantized(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """matrix [R, C] float -> int8 [R, C], scales [R] float32. Raises ValueError if it is not finite."""
    if not np.isfinite(matrix).all():
        raise ValueError("NaN or infinite weights cannot be written as int8")
    scale = (np.abs(matrix).max(axis=1, initial=0) / LARGEST).astype(np.float32)
    scale[scale < SMALLEST] = 0
    divisor = np.where(scale > 0, scale, np.inf).astype(np.float64)
    return np.rint(matrix / divisor[:, None]).astype(np.int8), scale


def restored(numbers: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """int8 [R, C], scales [R] -> the matrix [R, C] float32."""
    return numbers.astype(np.float32) * scale.astype(np.float32)[:, None]


def save_int8(state: dict[str, np.ndarray], path: str | PathLike) -> None:
    """Write {name: array} in this form, in one step. Raises OSError and SafetensorError."""
    arrays = {}
    for name, array in state.items():
        if array.ndim == 2:
            arrays[name], arrays[name + SCALE] = quantized(array)
        else:
            arrays[name] = np.ascontiguousarray(array, np.float32)
    with replacing(path) as temporary:
        save_file(arrays, temporary)


def with_scales(arrays: dict) -> dict:
    """{name: StoredArray} of files -> the same, the scales no longer beside their matrices but in them."""
    matrices = [name for name, array in arrays.items() if array.dtype == DTYPE]
    scales = {name: arrays.get(name + SCALE) for name in matrices}
    kept = {name: array for name, array in arrays.items() if name.removesuffix(SCALE) not in scales}
    return kept | {name: arrays[name]._replace(scale=scale) for name, scale in scales.items()}


def read_scale(matrix) -> np.ndarray:
    """The scales of a StoredArray of int8 numbers: [R] float32.

    Raises InputError if there are none, or if they do not fit the matrix or are not finite numbers.
    """
    where = f"{matrix.path}: {shown(matrix.name)}"
    if matrix.scale is None:
        raise InputError(f"{where} holds int8 numbers, but their scales ({SCALE}) are missing")
    if len(matrix.shape) != 2 or matrix.scale.shape != matrix.shape[:1]:
        raise InputError(
            f"{where} is {list(matrix.shape)}, and its scales are {list(matrix.scale.shape)}; "
            "expected a matrix and a scale per row"
        )
    return matrix.scale.read()
