"""The one room that knows NumPy from CuPy: arrays, random streams, workspaces, BLAS threads.

Everything else works on the arrays it is given and asks `array_module(x)` for their library, usually under
the name `xp`.
"""

from minielectra.backend.arrays import (
    array_module,
    erf,
    load,
    register_array_type,
    scatter_add,
    to_device,
    to_host,
)
from minielectra.backend.blas import blas_threads, set_blas_threads, usable_cores
from minielectra.backend.random import Purpose, RandomStream, keep_probability
from minielectra.backend.workspace import Workspace, allocator, scratch

__all__ = [
    "Purpose",
    "RandomStream",
    "Workspace",
    "allocator",
    "array_module",
    "blas_threads",
    "erf",
    "keep_probability",
    "load",
    "register_array_type",
    "scatter_add",
    "scratch",
    "set_blas_threads",
    "to_device",
    "to_host",
    "usable_cores",
]
