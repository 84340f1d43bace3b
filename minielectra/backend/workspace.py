"""Memory that is used again and again, so that a training step allocates nothing after the first."""

import math
from contextlib import contextmanager

import numpy as np

from minielectra.backend.arrays import array_module


class Workspace:
    """Hands out arrays from one block of memory, one after the other.

    A training step asks for the same arrays in the same order every time, so nothing is allocated after the
    first step. Arrays are handed out uninitialised. They stay valid until `reset` frees all memory, or
    `scratch` what was taken within it.
    """

    ALIGNMENT = 64  # bytes: a cache line
    REMEMBERED = 20_000  # arrays whose place is known: at most about 10 MB of Python objects

    def __init__(self, xp=np):
        self.xp = xp
        self._chunks, self._chunk, self._offset = [], 0, 0
        self._known = {}

    def reset(self):
        """Free all memory. If one step needed several chunks, they become one."""
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
        """Free what was handed out since `mark`."""
        self._chunk, self._offset = mark

    @property
    def nbytes(self):
        """Bytes held."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def _place(self, shape, dtype):
        """-> an array, and the chunk and offset where the free memory after it begins."""
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
    """Within it, arrays taken from the workspace are temporary.

    Their memory is free again at the end. Without a workspace (None), nothing happens.
    """
    mark = workspace.mark() if workspace is not None else None
    yield
    if workspace is not None:
        workspace.release(mark)


def allocator(workspace, like):
    """Where an operation gets memory.

    That is the workspace if there is one, else the array module of `like`. Both have `empty`.
    """
    return workspace if workspace is not None else array_module(like)
