"""How much memory a training needs, found out before any of it is taken.

Parameters: the weights, the optimizer's moments, a gradient per shard, and four more copies while the first
weights are drawn and moved. Activations, as measured: in each layer, and for each token, 2 H numbers, 2 I in
the feed-forward network, and 1.2 weights of attention per head and position; three times the logits. The
constants were fitted to the preset small; the estimate was within 15 % for tiny and mini, too.
"""

import ctypes
import os
import sys
from pathlib import Path

import numpy as np

from minielectra import optim
from minielectra.errors import InputError
from minielectra.formats.limits import VARIABLE, limit

INTERPRETER = 60 << 20  # bytes of Python with NumPy


def check_memory(objective, towers, batch_size, length, logits=0, workers=None, ranks=1):
    """Raise InputError if a training needs more memory than this machine has.

    objective: an `Objective` without memory yet; towers: configurations of its encoders; batch_size, length:
    of a batch; logits: how many numbers the largest head gives for a batch; workers: shards at once on this
    machine, by default all; ranks: of MPI, on all machines, if these are the workers. Where the system does
    not say how much there is, and for a GPU, nothing is checked.
    """
    there = installed_memory()
    if there is None or objective.parameters.xp is not np:
        return
    needed = needed_memory(objective, towers, batch_size, length, logits, workers, ranks)
    if needed > limit(there):
        problem = f"needs about {_gigabytes(needed)} GB to train; this machine has {_gigabytes(there)}"
        raise InputError(
            f"this model {problem}: choose smaller sizes or a smaller batch_size "
            f"({VARIABLE}=2 in the environment allows twice as much)"
        )


def needed_memory(objective, towers, batch_size, length, logits=0, workers=None, ranks=1):
    """Bytes that a training takes -> int. Arguments as for `check_memory`."""
    config = objective.config
    shards = min(config.shards, batch_size)
    moments = len(optim.find(config.optimizer).MOMENTS)
    gradients = shards / ranks * (2 - 1 / ranks)  # of own shards, and pieces of those of others
    copies = 1 + moments + gradients + 4
    other_ranks = workers - 1 if ranks > 1 else 0
    copies += other_ranks * (1 + moments / ranks + gradients)
    kept = 3 * logits
    for tower in towers:
        per_token = 2 * tower.hidden_size + 2 * tower.intermediate_size
        attention = 1.2 * tower.num_attention_heads * length
        kept += batch_size * length * tower.num_hidden_layers * (per_token + attention)
    at_once = min(workers or shards, shards) / shards
    return INTERPRETER * (1 + other_ranks) + int(4 * (copies * objective.parameters.size + at_once * kept))


def installed_memory():
    """Bytes of memory that this process may have -> int, or None if the system does not say."""
    found = [_physical_memory(), *map(_container_limit, ("memory.max", "memory/memory.limit_in_bytes"))]
    return min((size for size in found if size), default=None)


def _physical_memory():
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _container_limit(name):
    """What a control group allows on Linux."""
    try:
        return int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii"))
    except (OSError, ValueError):  # another system, or "max"
        return None


def _windows_memory():
    class Status(ctypes.Structure):  # MEMORYSTATUSEX
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)]
        _fields_ += [(f"number_{i}", ctypes.c_ulonglong) for i in range(7)]  # the first: physical memory

    status = Status(length=ctypes.sizeof(Status))
    try:
        return status.number_0 if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    except (OSError, AttributeError):
        return None


def _gigabytes(size):
    return f"{size / 1e9:,.0f}" if size >= 2e9 else f"{size / 1e9:.1f}"
