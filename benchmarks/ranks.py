"""Time training steps on ranks of MPI against threads, and the exchange between ranks on its own.

    python benchmarks/ranks.py
    python benchmarks/ranks.py --sizes T --ranks 1 2 --rounds 5 --json ranks.json

All contenders cut a batch into as many shards as there are ranks at most, so they compute the same. They take
turns, each in processes of its own, and the ratio is taken within a round. On a busy machine, only the
processor time means anything: that of a step, summed over all ranks. `mpiexec` comes with the extra `mpi`.
For several machines, give its options: `--mpiexec "mpiexec -hosts a,b"`.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.report import DASH, machine, markdown, number
from benchmarks.settings import RATE, SEED, SIZES, Setting, training_batch
from minielectra import objectives
from minielectra.backend import usable_cores
from minielectra.electra.initialization import initialize
from minielectra.pretraining.presets import configure
from minielectra.training import mpi
from minielectra.training.engine import make_engine

ROOT = Path(__file__).resolve().parents[1]
WARMUP = 2  # steps that are not counted
EXCHANGES = 5


def main():
    """Parse, measure in turn, print a table."""
    beside_python = shutil.which("mpiexec", path=Path(sys.executable).parent)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["T", "S"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="timed steps in a turn")
    parser.add_argument("--mpiexec", default=beside_python or "mpiexec", help="command that takes -n N")
    parser.add_argument("--json", help="also write all times to this file")
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "WORKERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return _one(*options.one, max(options.ranks), options.steps)
    found = {size: _measure(size, options) for size in options.sizes}
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"\n{machine(usable_cores(), usable_cores(), {})}\n\n{_table(found, options.ranks)}")


def _measure(size, options):
    """{contender: [what each of its turns gave]}; a contender is "threads K" or "mpi N"."""
    names = [f"threads {n}" for n in options.ranks] + [f"mpi {n}" for n in options.ranks]
    turns = {name: [] for name in names}
    for turn in range(options.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            print(f"{size}, round {turn + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            workers, count = name.split()
            command = [sys.executable, __file__, "--one", size, name.replace(" ", ":")]
            command += ["--steps", str(options.steps), "--ranks", *map(str, options.ranks)]
            if workers == "mpi":
                command = [*shlex.split(options.mpiexec), "-n", count, *command]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT, text=True)
            turns[name].append(json.loads(done.stdout))
    return turns


def _one(size, contender, shards, steps):
    """One turn of one contender, on the first of its ranks: print its times as JSON."""
    workers, count = contender.split(":")
    if workers == "threads":
        print(json.dumps(_times(size, workers, int(count), shards, steps)))
        return
    with mpi.first_rank() as first:
        if first:
            print(json.dumps(_times(size, workers, None, shards, steps)))


def _times(size, workers, threads, shards, steps):
    configs = configure("small", SIZES[size] | {"shards": shards})
    objective, batch = objectives.make(*configs), training_batch(Setting(size))
    initialize(objective, SEED)
    with closing(make_engine(objective, threads, workers)) as engine:
        on_all = engine.team.world.call if workers == "mpi" else lambda function: [function(None)]
        took, used = [], 0.0
        for step in range(WARMUP + steps):
            if step == WARMUP:
                used = sum(on_all(_processor_time))
            begin = time.perf_counter()
            engine.step(batch, RATE, SEED, step)
            took.append(1e3 * (time.perf_counter() - begin))
        used = 1e3 * (sum(on_all(_processor_time)) - used) / steps
        exchange = 1e3 * max(on_all(_exchange)) if workers == "mpi" else None
        return {"ms": took[WARMUP:], "processor ms": used, "exchange ms": exchange}


def _processor_time(_):
    return time.process_time()


def _exchange(desk):
    """The median of the seconds that both exchanges of a step take on this rank."""
    took = []
    for _ in range(EXCHANGES):
        desk.comm.Barrier()
        begin = time.perf_counter()
        desk.rank.exchange_gradients()
        desk.rank.exchange_values()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def _table(found, ranks):
    base = f"threads {min(ranks)}"
    rows = []
    for size, turns in found.items():
        medians = {name: [statistics.median(turn["ms"]) for turn in given] for name, given in turns.items()}
        for name, given in turns.items():
            speeds = [a / b for a, b in zip(medians[base], medians[name], strict=True)]
            used = statistics.median(turn["processor ms"] for turn in given)
            exchanges = [turn["exchange ms"] for turn in given if turn["exchange ms"] is not None]
            rows.append(
                {
                    "size": size,
                    "workers": name,
                    "ms": number(statistics.median(medians[name])),
                    f"speed, {base} = 1": f"{statistics.median(speeds):.2f}",
                    "in a round": f"{min(speeds):.2f}–{max(speeds):.2f}",
                    "processor, ms": number(used),
                    "exchange, ms": number(statistics.median(exchanges)) if exchanges else DASH,
                }
            )
    return markdown(rows)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
