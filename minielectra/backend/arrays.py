"""The array library in use, the border between host and device, and the few calls in which NumPy and CuPy
differ.

CuPy is imported here only, and only when a GPU is asked for.
"""

import math

import numpy as np

from minielectra.errors import InputError, reason

_MODULES = {np.ndarray: np}  # array type -> the module whose functions understand it


def register_array_type(array_type, module):
    """Teach `array_module` another array type (tests register a strict fake device this way)."""
    _MODULES[array_type] = module


def array_module(x):
    """The library (`numpy`, `cupy`, …) whose functions take the array `x`.

    Raises TypeError for anything that is not an array, with a hint: lists and scalars would silently stay on
    the host.
    """
    module = _MODULES.get(type(x))
    if module is None:
        for array_type, module in _MODULES.items():
            if isinstance(x, array_type):  # np.memmap and other subclasses
                return module
        raise TypeError(
            f"expected a NumPy or CuPy array, got {type(x).__name__}; convert it with xp.asarray first"
        )
    return module


def load(device="cpu"):
    """The array module for `device`: NumPy for "cpu", CuPy for "gpu".

    Raises InputError if the GPU is asked for and cannot be used. A machine can have a GPU and still lack one
    of CUDA's libraries, so this really runs a kernel and a matrix product.
    """
    if device == "cpu":
        return np
    if device != "gpu":
        raise InputError(f"unknown device {device!r}: choose cpu or gpu")
    try:
        import cupy
    except ImportError:
        raise InputError(
            "--device gpu needs CuPy, which is not installed: pip install 'minielectra[cuda12]' (or cuda13), "
            "or use --device cpu"
        ) from None
    try:
        x = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
        float((x @ x.T + 1.0).sum())
    except Exception as error:  # every CUDA library raises its own kind
        raise InputError(
            f"--device gpu: CuPy is installed but the GPU is not usable ({reason(error)}); use --device cpu"
        ) from None
    register_array_type(cupy.ndarray, cupy)
    return cupy


def to_host(x):
    """`x` as a NumPy array: the one named border from device to host. It waits for the device."""
    return x if isinstance(x, np.ndarray) else x.get()


def to_device(x, xp):
    """The NumPy array `x` as an array of the module `xp`: the one named border from host to device."""
    return x if xp is np else xp.asarray(x)


def scatter_add(table, index, rows):
    """`table[index[n]] += rows[n]`, in place; rows with the same index add up.

    table [V, E], index [N] int, rows [N, E]. On NumPy, rows are sorted by index and summed run by run, which
    fixes the order of the additions and takes half the time of `np.add.at`. On CuPy the additions are atomic,
    so their order, and with it the last bits, vary.
    """
    xp = array_module(table)
    if xp is np:
        order = np.argsort(index, kind="stable")
        ordered = index[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        table[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)
    else:
        xp.add.at(table, index, rows)


def erf(x, out=None):
    """The error function of x [...], written to `out` if given.

    CuPy has its own. NumPy has none, so `math.erf` is applied element by element: exact and slow.
    """
    xp = array_module(x)
    out = xp.empty_like(x) if out is None else out
    if hasattr(xp, "cuda"):
        from cupyx.scipy.special import erf as device_erf

        return device_erf(x, out=out)
    values = [math.erf(value) for value in to_host(x).reshape(-1).tolist()]
    out[...] = to_device(np.array(values, dtype=x.dtype).reshape(x.shape), xp)
    return out
