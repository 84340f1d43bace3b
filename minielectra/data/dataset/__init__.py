"""A corpus as ids on disk, and the training examples taken from it.

`prepare.py` reads a text once, holds a part of it out (`held_out.py`), and writes a prepared folder
(`layout.py` says what is in one). `prepared.py` maps that folder into memory. `packing.py` cuts its sentences
into examples, rows of three numbers each, which `examples.py` keeps on disk. For a step, `shuffle.py` picks
the examples, and `packing.assemble` makes them into arrays [B, T], which `electra/corruption.py` masks.
`array_files.py` reads and writes arrays that are too long for memory.
"""

from minielectra.data.dataset.prepared import Dataset

__all__ = ["Dataset"]
