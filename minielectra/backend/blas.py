"""How many threads NumPy's matrix products use."""

import ctypes
import functools
import os
import sys
from contextlib import contextmanager


@functools.cache
def _blas_function(verb):
    """The function of NumPy's own BLAS that sets or gets (`verb`) its number of threads; None if there is
    none.

    It is looked up in the library that NumPy has loaded: environment variables only work before NumPy is
    imported.
    """
    try:
        library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
    except (KeyError, OSError):
        return None
    names = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
    names = [name.format(verb) for name in names]
    names.append({"set": "MKL_Set_Num_Threads", "get": "MKL_Get_Max_Threads"}[verb])
    return next((getattr(library, name) for name in names if hasattr(library, name)), None)


def set_blas_threads(count):
    """Let NumPy's matrix products use `count` threads from now on.

    Returns False, harmlessly, if this BLAS has no such call.
    """
    setter = _blas_function("set")
    if setter is None:
        return False
    setter(int(count))
    return True


@contextmanager
def blas_threads(count):
    """Within it, NumPy's matrix products use `count` threads; afterwards as many as before."""
    getter = _blas_function("get")
    before = getter() if getter is not None else None
    set_blas_threads(count)
    try:
        yield
    finally:
        if before is not None:
            set_blas_threads(before)


def usable_cores():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
