"""Time every operation of `ops.reference`, the version to read, against `ops.fast`, which training runs.

    python benchmarks/layers.py
    python benchmarks/layers.py --sizes T --repeats 100 --json layers.json

Shapes are those of one shard (half a batch) of the sizes S and T. BLAS gets one thread, as in a shard. The
fast versions take their memory from a workspace. One operation at a time finds more of its data in the cache
than a whole step does, so read the ratios rather than the nanoseconds.
"""

import argparse
import importlib
import importlib.util
import inspect
import json
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.report import DASH, machine, markdown, number
from benchmarks.settings import SEED, SIZES, Setting
from benchmarks.workers import use_cores
from minielectra.backend import Workspace, set_blas_threads

DROP_SCALE = 1.0 / 0.9
WARMUP = 2
# The files of operations that do not have their operation's name.
FILES = {
    "gelu_tanh": "gelu",
    "embeddings": "embedding",
    "cross_entropy": "losses",
    "binary_cross_entropy": "losses",
}


@dataclass
class Case:
    """One operation at one size: `OP_forward(*inputs, *rest)` and `OP_backward(dy, cache, *grads)`.

    A loss has no dy.
    """

    title: str
    op: str
    elements: int  # what a time is divided by
    inputs: tuple  # arrays that a fast version may overwrite: fresh copies for every call
    rest: tuple = ()
    dy: np.ndarray | None = None
    grads: tuple = ()
    in_place: bool = (
        False  # it has no fast version, but an `out=`, for which training hands in memory it already has
    )


def cases(size):
    """Every operation at one size -> [Case]"""
    config, pretraining = Setting(size).configs()
    random = np.random.default_rng(SEED)

    def normal(*shape):
        return random.standard_normal(shape, np.float32)

    def keep(*shape):
        return random.random(shape) < 0.9

    batch, length = pretraining.batch_size // 2, pretraining.seq_length
    rows, hidden, inner = batch * length, config.hidden_size, config.intermediate_size
    words, features, heads = config.vocab_size, config.embedding_size, config.num_attention_heads
    chosen, square = batch * pretraining.masked_per_example, (batch, heads, length, length)
    q, k, v, do = (normal(batch, heads, length, hidden // heads) for _ in range(4))
    ids, segments = random.integers(5, words, (batch, length)), random.integers(0, 2, (batch, length))
    tables = normal(words, features), normal(config.max_position_embeddings, features), normal(2, features)
    weight, bias = normal(inner, hidden), normal(inner)
    labels, ones = (random.random(rows) < 0.15).astype(np.float32), np.ones(rows, np.float32)
    targets, used = random.integers(0, words, chosen), np.ones(chosen, np.float32)
    cells = int(np.prod(square))
    like, wide, probabilities = f"[{rows}, {hidden}]", f"[{rows}, {inner}]", str(list(square))
    zeros = partial(np.zeros, dtype=np.float32)
    x, dx = normal(rows, hidden), normal(rows, hidden)
    inside, dinside = normal(rows, inner), normal(rows, inner)
    dropped = None, keep(*square), DROP_SCALE
    return [
        Case(
            f"linear [{rows}, {hidden}] → {inner}",
            "linear",
            rows * inner,
            (x,),
            (weight, bias),
            dinside,
            (np.zeros_like(weight), np.zeros_like(bias)),
        ),
        Case(
            f"layer norm {like}",
            "layernorm",
            rows * hidden,
            (x,),
            (normal(hidden), normal(hidden)),
            dx,
            (zeros(hidden), zeros(hidden)),
        ),
        Case(f"GELU, exact {wide}", "gelu", rows * inner, (inside,), dy=dinside),
        Case(f"GELU, tanh {wide}", "gelu_tanh", rows * inner, (inside,), dy=dinside),
        Case(f"softmax {probabilities}", "softmax", cells, (normal(*square),), dy=normal(*square)),
        Case(
            f"dropout {like}",
            "dropout",
            rows * hidden,
            (x,),
            (keep(rows, hidden), DROP_SCALE),
            dx,
            in_place=True,
        ),
        Case(
            f"embeddings [{rows}, {features}] of {words}",
            "embeddings",
            rows * features,
            (),
            (ids, segments, *tables),
            normal(rows, features),
            tuple(map(np.zeros_like, tables)),
        ),
        Case(f"attention {probabilities}", "attention", cells, (q, k, v), dy=do),
        Case(f"attention, dropout {probabilities}", "attention", cells, (q, k, v), dropped, do),
        Case(
            f"cross-entropy [{chosen}, {words}]",
            "cross_entropy",
            chosen * words,
            (normal(chosen, words),),
            (targets, used, float(chosen)),
        ),
        Case(
            f"binary cross-entropy [{rows}]",
            "binary_cross_entropy",
            rows,
            (normal(rows),),
            (labels, ones, float(rows)),
        ),
    ]


def versions(case):
    """{"plain": (forward, backward), "fast": …}, of which "fast" may be missing.

    They are functions of (inputs, workspace) and (dy, cache, workspace).
    """
    file = FILES.get(case.op, case.op)
    plain = importlib.import_module(f"minielectra.ops.reference.{file}")
    found = {"plain": _pair(case, plain)}
    if case.in_place:
        found["fast"] = _pair(case, plain, in_place=True)
    elif importlib.util.find_spec(f"minielectra.ops.fast.{file}"):
        fast = importlib.import_module(f"minielectra.ops.fast.{file}")
        if hasattr(fast, f"{case.op}_forward"):
            found["fast"] = _pair(case, fast)
    return found


def _pair(case, module, in_place=False):
    ops = [getattr(module, f"{case.op}_{way}") for way in ("forward", "backward")]
    takes_workspace = ["workspace" in inspect.signature(op).parameters for op in ops]

    def forward(inputs, workspace):
        options = {"out": inputs[0]} if in_place else {"workspace": workspace} if takes_workspace[0] else {}
        return ops[0](*inputs, *case.rest, **options)

    def backward(dy, cache, workspace):
        options = {"workspace": workspace} if takes_workspace[1] else {}
        if in_place:
            options = {"out": workspace.empty(dy.shape, dy.dtype)}
        return ops[1](*(() if dy is None else (dy,)), cache, *case.grads, **options)

    return forward, backward


def measure(case, repeats):
    """{"plain" or "fast": (forward, backward)}, median nanoseconds an element; the two in turn."""
    pairs, workspaces, times = versions(case), {}, {}
    for repeat in range(WARMUP + repeats):
        for name, (forward, backward) in pairs.items():
            workspace = workspaces.setdefault(name, Workspace())
            workspace.reset()
            inputs, dy = tuple(map(np.copy, case.inputs)), None if case.dy is None else case.dy.copy()
            begin = time.perf_counter()
            _, cache = forward(inputs, workspace)
            middle = time.perf_counter()
            backward(dy, cache, workspace)
            end = time.perf_counter()
            if repeat >= WARMUP:
                times.setdefault(name, []).append((middle - begin, end - middle))
    return {
        name: tuple(statistics.median(way) / case.elements * 1e9 for way in zip(*own, strict=True))
        for name, own in times.items()
    }


def row(size, case, nanoseconds):
    """A row of the table: forward and backward, plain and fast, and the ratio of their sums."""
    cells = {"size": size, "operation": case.title}
    plain, fast = nanoseconds["plain"], nanoseconds.get("fast")
    for i, way in enumerate(("forward", "backward")):
        cells |= {f"{way}, plain": number(plain[i]), f"{way}, fast": number(fast[i]) if fast else DASH}
    return cells | {"plain / fast": f"{sum(plain) / sum(fast):.1f}" if fast else DASH}


def main(argv=None):
    """Print the table, ns an element."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=",".join(SIZES), help="S, T or both (default: S,T)")
    parser.add_argument("--repeats", type=int, default=30, help="timed calls of each version (default: 30)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON too")
    a = parser.parse_args(argv)
    sizes = a.sizes.split(",")
    if unknown := set(sizes) - set(SIZES):
        parser.error(f"unknown size {', '.join(sorted(unknown))}: choose from {', '.join(SIZES)}")
    cores = use_cores(1)
    set_blas_threads(1)
    rows, records = [], []
    for size in sizes:
        for case in cases(size):
            nanoseconds = measure(case, a.repeats)
            rows.append(row(size, case, nanoseconds))
            records.append(
                {
                    "size": size,
                    "operation": case.title,
                    "elements": case.elements,
                    "ns_per_element": nanoseconds,
                }
            )
    line = machine(cores, 1, {})
    print(f"{line}; ns an element\n\n{markdown(rows)}")
    if a.json:
        Path(a.json).write_text(
            json.dumps({"machine": line, "repeats": a.repeats, "results": records}, indent=1) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
