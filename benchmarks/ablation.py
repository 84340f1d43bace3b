"""What each improvement brings: minielectra with one of them taken back, beside minielectra as it is.

python benchmarks/ablation.py                     # dropout 0.1, both sizes
python benchmarks/ablation.py --sizes T --rounds 12
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.settings import SIZES, Setting
from benchmarks.workers import Crew, use_cores

BASE = "minielectra:threads"  # other processes would not have what is changed here


def plain_operations():
    """The operations of `ops.reference`: nothing in place, no blocks, no workspace.

    GELU stays, because its plain float32 form calls math.erf for every element: it is a check, not a
    contender.
    """
    from minielectra import ops
    from minielectra.ops.reference import attention, layernorm, linear, losses

    def without_memory(function):
        return lambda *arguments, workspace=None: function(*arguments)

    def attend(q, k, v, mask=None, keep=None, scale=1.0, out=None, workspace=None, backward=True):
        o, cache = attention.attention_forward(q, k, v, mask, keep, scale)
        out[...] = o
        return out, cache

    def attend_backward(do, cache, dq, dk, dv, workspace=None):
        dq[...], dk[...], dv[...] = attention.attention_backward(do, cache)

    for module, operation in ((linear, "linear"), (layernorm, "layernorm")):
        for name in (f"{operation}_forward", f"{operation}_backward"):
            setattr(ops, name, without_memory(getattr(module, name)))
    ops.attention_forward, ops.attention_backward = attend, attend_backward
    ops.cross_entropy_forward = losses.cross_entropy_forward
    ops.cross_entropy_backward = losses.cross_entropy_backward


def no_workspace():
    """Every array is allocated anew."""
    from minielectra.nn.layers import PassContext
    from minielectra.training import worker

    worker.PassContext = lambda workspace, random: PassContext(None, random)


def no_blocks():
    """Elementwise work goes over whole arrays."""
    from minielectra.ops.fast import attention, blocks, elementwise, layernorm, losses

    for module in (attention, elementwise, layernorm, losses):
        module.blocks = lambda x, rows, row_size, elements=0: blocks.blocks(x, rows, 1, max(1, rows))


def tanh_gelu():
    """The tanh form of GELU: other mathematics, for comparison."""
    from minielectra.nn import layers
    from minielectra.ops.fast import gelu

    layers.ACTIVATIONS["gelu"] = (gelu.gelu_tanh_forward, gelu.gelu_tanh_backward)


def gumbel_samples():
    """A random number and two logarithms for every logit (Gumbel-max)."""
    from minielectra.objectives import replacing

    def sample(p, u, temperature):
        noise = np.random.default_rng(int(u[0] * 2**32)).random(p.shape, dtype=np.float32)
        return (np.log(p + 1e-30) - np.log(-np.log(noise + 1e-30))).argmax(axis=1).astype(np.int32)

    replacing.sample_categorical = sample


def head_everywhere():
    """The generator's head at all positions, of which the chosen ones are then taken."""
    from minielectra.backend import scatter_add
    from minielectra.electra.towers import ElectraForMaskedLM

    forward, backward = ElectraForMaskedLM.forward, ElectraForMaskedLM.backward

    def all_forward(self, input_ids, valid, segments, rows, context):
        logits, cache = forward(self, input_ids, valid, segments, None, context)
        return logits[rows], (cache, rows, logits.shape)

    def all_backward(self, dlogits, cache, context):
        inner, rows, shape = cache
        everywhere = np.zeros(shape, dlogits.dtype)
        scatter_add(everywhere, rows, dlogits)
        backward(self, everywhere, inner, context)

    ElectraForMaskedLM.forward, ElectraForMaskedLM.backward = all_forward, all_backward


def towers_together():
    """Both towers forward, then both backward: the generator's memory is kept meanwhile."""
    from minielectra.objectives.base import PretrainingObjective
    from minielectra.objectives.electra import Electra

    Electra.forward_backward = PretrainingObjective.forward_backward


def float_masks():
    """Dropout masks from random floats, one per element."""
    from minielectra.backend import RandomStream

    RandomStream.keep_mask = lambda self, shape, drop: self._generator.random(shape, dtype=np.float32) >= drop


def one_shard():
    """The whole batch at once, BLAS on all threads."""
    from minielectra.pretraining.pretraining_config import PretrainingConfig
    from minielectra.training import engine

    make = PretrainingConfig.__init__

    def whole(self, **fields):
        make(self, **fields | {"shards": 1})

    PretrainingConfig.__init__ = whole
    engine.set_blas_threads = lambda count: None


VARIANTS = {
    "one shard, BLAS on all threads": one_shard,
    "plain operations (but GELU)": plain_operations,
    "no workspace": no_workspace,
    "no blocks": no_blocks,
    "tanh GELU": tanh_gelu,
    "Gumbel samples": gumbel_samples,
    "head at all positions": head_everywhere,
    "towers together": towers_together,
    "masks from floats": float_masks,
}


def main():
    """-> exit code"""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="T,S", help="of S and T, with commas")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=6)
    a = parser.parse_args()
    cores, rows = use_cores(2), []
    for size in a.sizes.split(","):
        if size not in SIZES:
            parser.error(f"unknown size {size!r}: choose from {', '.join(SIZES)}")
        setting = Setting(size, a.dropout)
        names = [BASE, "minielectra:processes", *(f"{BASE}/{variant}" for variant in VARIANTS)]
        with Crew(names, setting) as crew:
            crew.ask("train")
            answers = crew.rounds(a.rounds, "run", lambda turn: None, count=3)
            peaks = {worker: answer["peak_mb"] for worker, answer in crew.ask("memory")}
        base = next(worker for worker in answers if worker.name == BASE)
        results = {
            w: report.Result(setting.title, w.name, [t["ms"] for t in rounds])
            for w, rounds in answers.items()
        }
        for worker, result in results.items():
            label = worker.name.partition("/")[2] or worker.name.partition(":")[2]
            row = {
                "setting": setting.title,
                "without": label,
                "ms": report.DASH,
                "× as it is": report.DASH,
                "peak MB": report.DASH,
            }
            if worker.failure is None:
                row["ms"] = report.number(result.ms)
                row["× as it is"] = f"{result.ratio(results[base]):.2f}"
                row["peak MB"] = f"{peaks[worker]:.0f}"
            rows.append(row)
    print(report.machine(cores, 2, {}))
    print()
    print(report.markdown(rows))


if __name__ == "__main__":
    main()
