"""Forward passes only, over many sequences: cut into pieces that run side by side, nothing kept for a backward pass.

One large matrix product is best cut by BLAS, many small ones by us: a single sequence gets all of BLAS's threads; a batch is cut into
pieces of about `PIECE` tokens, which are dealt out to threads with BLAS limited to one each.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minielectra.backend import Workspace, blas_threads
from minielectra.fast.blocks import slices
from minielectra.nn.layers import Run

PIECE = 1024  # tokens


def usable_cores():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def forward_only(function, shape, xp, threads=None):
    """function(part, run) -> array [rows of the slice `part`, …], for a batch of `shape` [B, T] -> array [B, …].

    threads: at most as many (all usable cores by default); a batch on a device is not cut.
    """
    rows, length = shape
    cores = threads or usable_cores()
    threads = min(cores, rows, rows * length // PIECE) if xp is np else 1
    if threads < 2:
        with blas_threads(cores):
            return function(slice(0, rows), Run(Workspace(xp), backward=False)).copy()
    pieces = min(rows, threads * -(-rows * length // (PIECE * threads)))  # a multiple of the threads: all end together
    parts = slices(rows, pieces)

    def work(first):
        ws, done = Workspace(xp), []
        for part in parts[first::threads]:
            ws.reset()
            done.append((part.start, function(part, Run(ws, backward=False)).copy()))
        return done

    with blas_threads(1), ThreadPoolExecutor(threads) as pool:
        done = sorted((pair for own in pool.map(work, range(threads)) for pair in own), key=lambda pair: pair[0])
    return np.concatenate([array for _, array in done])
