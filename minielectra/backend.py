"""Floor 1: which array library, moving data, and the few calls in which NumPy and CuPy differ.

CuPy is imported in this module only, and only when a GPU is asked for. All other code takes the arrays it is given and asks
`array_module(x)` for the library they belong to, usually under the name `xp`.
"""

import ctypes
import functools
import math
import sys
from contextlib import contextmanager

import numpy as np

from minielectra.errors import InputError, reason

_MODULES = {np.ndarray: np}  # array type -> the module whose functions understand it


def register_array_type(array_type, module):
    """Teach `array_module` another array type (tests register a strict fake device this way)."""
    _MODULES[array_type] = module


def array_module(x):
    """The library (`numpy`, `cupy`, …) whose functions take the array `x`.

    Raises: TypeError for anything that is not an array, with a hint, because lists and scalars would silently stay on the host.
    """
    module = _MODULES.get(type(x))
    if module is None:
        for array_type, module in _MODULES.items():
            if isinstance(x, array_type):  # np.memmap and other subclasses
                return module
        raise TypeError(f"expected a NumPy or CuPy array, got {type(x).__name__}; convert it with xp.asarray first")
    return module


def load(device="cpu"):
    """The array module for `device`, "cpu" (NumPy) or "gpu" (CuPy).

    Raises: InputError, in one line, when the GPU is asked for and cannot be used. A library may be missing on a machine that
    has a GPU, so one kernel and one matrix product are really run.
    """
    if device == "cpu":
        return np
    if device != "gpu":
        raise InputError(f"unknown device {device!r}: choose cpu or gpu")
    try:
        import cupy
    except ImportError:
        raise InputError(
            "--device gpu needs CuPy, which is not installed: pip install 'minielectra[cuda12]' (or cuda13), or use --device cpu"
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
    """`table[index[n]] += rows[n]` with repeated indices added up, in place.

    table [V, E], index [N] int, rows [N, E]. On NumPy rows are sorted by index and summed by run, which fixes the order of the
    additions and takes half the time of `np.add.at`. On CuPy the additions are atomic: their order, and the last bits, vary.
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
    """The error function of x [...], written to `out` where given: CuPy's own, or `math.erf` element by element (exact, slow)."""
    xp = array_module(x)
    out = xp.empty_like(x) if out is None else out
    if hasattr(xp, "cuda"):
        from cupyx.scipy.special import erf as device_erf

        return device_erf(x, out=out)
    values = [math.erf(value) for value in to_host(x).reshape(-1).tolist()]
    out[...] = to_device(np.array(values, dtype=x.dtype).reshape(x.shape), xp)
    return out


class RandomStream:
    """Random numbers for one shard of one step, a pure function of its `key` (a tuple of non-negative integers).

    Nothing has to be saved to continue a run: step 1 000 of seed 7 draws the same numbers whether or not steps 1–999 were run
    by this process.
    """

    def __init__(self, key, xp=np):
        self.xp = xp
        seed = np.random.SeedSequence(key)
        if hasattr(xp, "cuda"):
            words = seed.generate_state(2, np.uint64)
            self._generator = xp.random.Generator(xp.random.Philox4x3210(seed=int(words[0] >> np.uint64(1))))
        else:
            self._generator = np.random.Generator(np.random.SFC64(seed))

    def uniform(self, shape, dtype=np.float32):
        """Uniform numbers in [0, 1), of `shape` and `dtype`."""
        if hasattr(self.xp, "cuda"):
            return self._generator.random(shape, dtype=dtype)
        return to_device(self._generator.random(shape, dtype=dtype), self.xp)

    def keep_mask(self, shape, drop):
        """Boolean mask, True with probability 1 − `drop` to within 2⁻¹⁶ (see `keep_probability`): two random bytes an element."""
        limit = round((1.0 - drop) * 65536)
        count = int(np.prod(shape))
        if hasattr(self.xp, "cuda"):
            return (self._generator.integers(0, 65536, size=shape, dtype=self.xp.uint16)) < limit
        words = self._generator.bit_generator.random_raw((count + 3) // 4)  # four numbers of 16 bits in each
        return to_device((words.view(np.uint16)[:count] < limit).reshape(shape), self.xp)


def keep_probability(drop):
    """The probability, exact, with which `RandomStream.keep_mask` keeps an element: the scale of dropout is its inverse."""
    return round((1.0 - drop) * 65536) / 65536


class Workspace:
    """Memory that is used again and again: `empty` hands out pieces of one block, one after the other.

    A training step asks for the same arrays in the same order every time, so after the first step nothing is allocated. Arrays are
    handed out uninitialised; they stay valid until `reset` makes all memory free again, or `scratch` what was taken within it.
    """

    ALIGNMENT = 64  # bytes: a cache line
    REMEMBERED = 20_000  # arrays whose place is known, some 10 MB of Python objects at most

    def __init__(self, xp=np):
        self.xp = xp
        self._chunks, self._chunk, self._offset = [], 0, 0
        self._known = {}

    def reset(self):
        """Make all memory free again. Where one step needed several chunks, they become one."""
        if len(self._chunks) > 1:
            size = self.nbytes
            self._known, self._chunks = {}, []
            self._chunks = [self.xp.empty(size, np.uint8)]
        self._chunk = self._offset = 0

    def empty(self, shape, dtype):
        """An uninitialised array [*shape] of `dtype`."""
        key = (self._chunk, self._offset, shape, dtype)
        known = self._known.get(key)
        if known is None:
            known = self._place(shape, dtype)
            if len(self._known) < self.REMEMBERED:
                self._known[key] = known
        array, self._chunk, self._offset = known
        return array

    def mark(self):
        """Where the free memory begins now: hand it to `release`."""
        return self._chunk, self._offset

    def release(self, mark):
        """Make what was handed out since `mark` free again."""
        self._chunk, self._offset = mark

    @property
    def nbytes(self):
        """Bytes held."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def _place(self, shape, dtype):
        """-> an array, and the chunk and offset at which the free memory begins after it."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        chunk, offset = self._chunk, self._offset
        while chunk < len(self._chunks) and offset + size > self._chunks[chunk].nbytes:
            chunk, offset = chunk + 1, 0
        if chunk == len(self._chunks):
            self._chunks.append(self.xp.empty(max(size, 1 << 20, self.nbytes // 2), np.uint8))
        array = self._chunks[chunk][offset : offset + size].view(dtype).reshape(shape)
        return array, chunk, offset + -(-size // self.ALIGNMENT) * self.ALIGNMENT


@contextmanager
def scratch(workspace):
    """Within, what is taken from the workspace is free again at the end; without a workspace (None), nothing happens."""
    mark = workspace.mark() if workspace is not None else None
    yield
    if workspace is not None:
        workspace.release(mark)


def allocator(workspace, like):
    """What an operation asks for memory: the workspace where there is one, else the array module of `like` (it has `empty` too)."""
    return workspace if workspace is not None else array_module(like)


@functools.cache
def _blas_function(verb):
    """NumPy's own BLAS's function that sets or gets ("set", "get") its number of threads, or None (found in the loaded library)."""
    try:
        library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
    except (KeyError, OSError):
        return None
    names = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
    names = [name.format(verb) for name in names] + [{"set": "MKL_Set_Num_Threads", "get": "MKL_Get_Max_Threads"}[verb]]
    return next((getattr(library, name) for name in names if hasattr(library, name)), None)


def set_blas_threads(count):
    """Let NumPy's matrix products use `count` threads from now on. Returns False where this BLAS cannot be told (no harm done)."""
    setter = _blas_function("set")
    if setter is None:
        return False
    setter(int(count))
    return True


@contextmanager
def blas_threads(count):
    """Within, NumPy's matrix products use `count` threads; afterwards as many as before."""
    getter = _blas_function("get")
    before = getter() if getter is not None else None
    set_blas_threads(count)
    try:
        yield
    finally:
        if before is not None:
            set_blas_threads(before)
