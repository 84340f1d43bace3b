"""A program for `mpiexec -n N`: steps on ranks of MPI, compared with the same steps on threads.

`same_bits` and `failures` print one JSON object, from the first rank. `cli …` is the command line without
pictures, which saves most of the time.
"""

import json
import sys
import time
from contextlib import closing
from unittest import mock

import numpy as np
from small import DROPOUT, make_batch, small_objective

from minielectra.backend import to_host
from minielectra.cli.entry import main as command_line
from minielectra.errors import InputError
from minielectra.training import mpi
from minielectra.training.engine import make_engine

CASES = {
    "adam": {},
    "muon": {"optimizer": "muon", "num_hidden_layers": 3},
    "mlm": {"objective": "mlm"},
    "encoders tied": {"tie_encoders": True},
    "bias correction": {"bias_correction": True},
    "two stages": {"two_stage": 0.5, "embeddings": "separate"},
}


def trained(workers, shards, **settings):
    """A few steps, and weights and moments that something else changes between them -> all that there is."""
    objective = small_objective(shards=shards, batch_size=8, **DROPOUT | settings)
    batches = [make_batch(i, count=8, padded=i != 1) for i in range(3)]
    batches += [make_batch(7, count=2), make_batch(8, count=8)]  # one is smaller than the number of shards
    results = []
    with closing(make_engine(objective, workers=workers)) as engine:
        for number, batch in enumerate(batches):
            batch.progress = number / len(batches)
            results.append(engine.step(batch, 1e-3, 5, number))
            if number == 2:  # as at a checkpoint, or after one was loaded
                engine.collect()
                moments = engine.optimizer.state()
                engine.objective.parameters.flat[::3] *= 0.5
                engine.optimizer.load_state({name: 0.9 * to_host(rows) for name, rows in moments.items()})
                engine.spread()
        engine.collect()
        assert engine.workers == workers and all(result.finite for result in results)
        return engine.objective.parameters.flat.copy(), engine.optimizer.moments.copy(), results


def same_bits():
    """-> {case: whether it gave the bits of threads}"""
    found = {}
    for shards in (4, 8):
        for name, settings in CASES.items():
            ours, expected = (trained(workers, shards, **settings) for workers in ("mpi", "threads"))
            equal = all(np.array_equal(a, b) for a, b in zip(ours[:2], expected[:2], strict=True))
            found[f"{name}, {shards} shards"] = equal and ours[2] == expected[2]
    return found


def _fail(desk, error):
    if desk.comm.rank == 1:
        raise error


def _be_slow(desk):
    time.sleep(1.0 * desk.comm.rank)
    return desk.comm.rank


def failures():
    """-> {what another rank raises: what the first one then raises}, and what goes on working after it."""
    world, found = mpi.world(), {}
    for error in (InputError("no such file"), MemoryError(), KeyError("a mistake")):
        try:
            world.call(_fail, error)
        except Exception as raised:
            found[type(error).__name__] = f"{type(raised).__name__}: {raised}"
    mpi.TOLD_AFTER = 0.2
    found["slow"] = world.call(_be_slow)
    return found


def main(what, *words):
    """Run one of the functions above on the first rank."""
    if what == "cli":
        with mock.patch("minielectra.cli.pretraining_commands._draw"):
            sys.exit(command_line(words))
    with mpi.first_rank() as first:
        if first:
            print(json.dumps({"same_bits": same_bits, "failures": failures}[what]()))


if __name__ == "__main__":
    main(*sys.argv[1:])
