"""What runs inside a worker process: one contender for one setting, told over a pipe what to do.

A contender is named `minielectra`, `minielectra:ENGINE`, `lean` or `transformers`. The latter two take any of
FLAGS, as in `lean-compiled-bf16`. `python -m benchmarks.contenders NAME SETTING` reads one JSON object per
line from standard input and answers each with one on what was standard output. It ends when its input ends,
so a worker never outlives its parent for long.
"""

import contextlib
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import memory
from benchmarks.settings import RATE, SEED, Setting, sentences, training_batch
from minielectra import backend

FLAGS = {
    "bytes": "dropout masks from random bytes, attention written out (lean only)",
    "compiled": "torch.compile",
    "tf32": "matrix products in TF32",
    "bf16": "autocast to bfloat16",
}
WARMUP = 3  # steps, as in minielectra/pretraining/bench.py; compilation falls in the first


class Product:
    """minielectra: its step, as pretraining/bench.py runs it, and its `model(input_ids, attention_mask)`."""

    def __init__(self, setting, engine=""):
        """engine: what computes the shards, or ""; perhaps with `/` and the name of an ablation."""
        from benchmarks import ablation
        from minielectra import objectives
        from minielectra.electra.initialization import initialize

        self.setting, self.xp = setting, backend.load(setting.device)
        self.workers, _, without = engine.partition("/")
        if without:
            ablation.VARIANTS[without]()
        self.objective = objectives.make(*setting.configs(), xp=self.xp)
        initialize(self.objective, SEED)
        self.versions = {"numpy": np.__version__}
        if setting.device == "gpu":
            properties = self.xp.cuda.runtime.getDeviceProperties(0)
            self.versions |= {"cupy": self.xp.__version__, "gpu": properties["name"].decode()}

    def start_training(self):
        from minielectra.training.engine import make_engine

        self.engine, self.steps = make_engine(self.objective, self.setting.threads, self.workers or None), 0
        # One worker needs no processes, and some systems cannot have them.
        if self.workers and self.workers != self.engine.workers:
            raise ValueError(f"asked for {self.workers}, got {self.engine.workers}")
        self.batch = training_batch(self.setting)

    def step(self):
        self.engine.step(self.batch, RATE, SEED, self.steps)
        self.steps += 1

    def score(self, ids, lengths):
        """ids [B, T], lengths [B] -> logits [B, T] on the host. There is no mask if nothing is padding."""
        options = {}
        if lengths.min() < ids.shape[1]:
            options = {"attention_mask": np.arange(ids.shape[1]) < lengths[:, None], "skip_padding": True}
        return backend.to_host(self.objective.discriminator(ids, **options))

    def gradients(self, weights, batch, samples):
        """-> the joint loss of `batch` with `samples` [B, K], without dropout, and {name: gradient}.

        weights: {name: array}.
        """
        from minielectra.nn.layers import PassContext

        objective, parameters = self.objective, self.objective.parameters
        parameters.load_state(weights)
        parameters.zero_grad()
        context, samples = PassContext(backend.Workspace(self.xp)), self.xp.asarray(samples)
        outcome, cache = objective.forward(
            batch.to_device(self.xp), batch.normalizers(), context, samples=samples
        )
        objective.backward(cache, context)
        config = objective.config
        loss = config.gen_weight * float(outcome.gen_loss) + config.disc_weight * float(outcome.disc_loss)
        return loss, {name: backend.to_host(parameters[name].grad) for name in parameters}

    def event(self):
        return self.xp.cuda.Event()

    def elapsed(self, begin, end):
        """Milliseconds between two recorded events."""
        end.synchronize()
        return self.xp.cuda.get_elapsed_time(begin, end)

    def device_bytes(self):
        """Bytes that the allocator took from the device; it gives nothing back, so this is the peak."""
        return self.xp.get_default_memory_pool().total_bytes()

    def close(self):
        if hasattr(self, "engine"):
            self.engine.close()


class TorchTwin:
    """A module of torch_twins with optimiser, clipping and precision around it."""

    def __init__(self, setting, base, flags):
        import torch

        from benchmarks.torch_twins import Lean, Transformers

        self.torch, self.setting, self.flags, self.lean = torch, setting, flags, base == "lean"
        torch.manual_seed(SEED)
        torch.set_num_threads(setting.threads)
        torch.set_float32_matmul_precision("high" if "tf32" in flags else "highest")
        self.versions = {"torch": torch.__version__}
        if setting.device == "gpu":
            if not torch.cuda.is_available():
                raise ValueError("this PyTorch has no usable GPU")
            self.versions["gpu"] = torch.cuda.get_device_name()
        if not self.lean:
            import transformers

            self.versions["transformers"] = transformers.__version__
        self.device = torch.device("cuda" if setting.device == "gpu" else "cpu")
        configs = setting.configs()
        self.model = (
            (Lean(*configs, cheap="bytes" in flags) if self.lean else Transformers(*configs))
            .to(self.device)
            .train()
        )
        self.clip = configs[1].clip_norm
        self.call, self.discriminate = self.model, self.model.discriminate
        if "compiled" in flags:
            self.call, self.discriminate = torch.compile(self.model), torch.compile(self.discriminate)

    def start_training(self):
        batch = self._batch(training_batch(self.setting))
        self.batch = batch.map(lambda x: x.pin_memory()) if self.device.type == "cuda" else batch
        self.parameters = list(self.model.parameters())
        adamw = self.torch.optim.AdamW
        if not self.lean:
            self.optimizer = adamw(self.parameters, lr=RATE)
            return
        free = [p for p, names in self.model.named() if "LayerNorm" in names[0] or names[0].endswith(".bias")]
        rest = [
            p
            for p, names in self.model.named()
            if not ("LayerNorm" in names[0] or names[0].endswith(".bias"))
        ]
        groups = [{"params": rest, "weight_decay": 0.01}, {"params": free, "weight_decay": 0.0}]
        self.optimizer = adamw(groups, lr=RATE, eps=1e-6, fused=True)

    def step(self):
        self.optimizer.zero_grad()  # to None: no slower than to zero
        self._loss(self.batch).backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=self.lean or None)
        self.optimizer.step()

    def _loss(self, batch, samples=None):
        with self._precision():
            return self.call(batch.map(lambda x: x.to(self.device, non_blocking=True)), samples)

    def _precision(self):
        return self.torch.autocast(self.device.type, self.torch.bfloat16, enabled="bf16" in self.flags)

    def _batch(self, batch):
        from benchmarks.torch_twins import TorchBatch

        return TorchBatch(batch)

    def score(self, ids, lengths):
        """ids [B, T], lengths [B] -> logits [B, T] on the host."""
        torch = self.torch
        self.model.eval()
        with torch.inference_mode(), self._precision():
            valid = None
            if lengths.min() < ids.shape[1]:
                valid = torch.from_numpy(np.arange(ids.shape[1]) < lengths[:, None]).to(self.device)
            return (
                self.discriminate(torch.from_numpy(ids).long().to(self.device), valid).float().cpu().numpy()
            )

    def gradients(self, weights, batch, samples):
        """As `Product.gradients`."""
        torch = self.torch
        named = self.model.named()
        with torch.no_grad():
            for parameter, names in named:
                parameter.copy_(torch.from_numpy(np.concatenate([weights[name] for name in names])))
        self.model.zero_grad()
        self.model.train()
        batch = self._batch(batch)
        loss = self._loss(batch, torch.from_numpy(samples).long()[batch.used].to(self.device))
        loss.backward()
        grads = {}
        for parameter, names in named:
            parts = parameter.grad.float().cpu().numpy()
            grads |= dict(zip(names, np.split(parts, len(names)), strict=True))
        return loss.item(), grads

    def event(self):
        return self.torch.cuda.Event(enable_timing=True)

    def elapsed(self, begin, end):
        """Milliseconds between two recorded events."""
        end.synchronize()
        return begin.elapsed_time(end)

    def device_bytes(self):
        """The most bytes that the allocator ever held of the device."""
        return self.torch.cuda.max_memory_reserved()

    def close(self):
        pass


def parse(name):
    """'lean-bf16' -> ('lean', ['bf16']); 'minielectra:threads' -> ('minielectra', 'threads').

    Raises ValueError for an unknown name.
    """
    if name.partition(":")[0] == "minielectra":
        return "minielectra", name.partition(":")[2]
    base, *flags = name.split("-")
    unknown = [flag for flag in flags if flag not in FLAGS or (flag == "bytes" and base != "lean")]
    if base not in ("lean", "transformers") or unknown:
        raise ValueError(
            f"unknown contender {name!r}: choose minielectra[:ENGINE], lean or transformers; "
            f"the latter two take -{', -'.join(FLAGS)}"
        )
    return base, flags


def build(name, setting):
    """The contender of that name."""
    base, options = parse(name)
    return Product(setting, options) if base == "minielectra" else TorchTwin(setting, base, options)


def timed(contender, call, count, events=False):
    """Milliseconds of each of `count` calls.

    With events, they are read off the device's own clock, and the host runs ahead as it may.
    """
    if not events:
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            call()
            times.append((time.perf_counter() - begin) * 1e3)
        return times
    marks = [contender.event() for _ in range(count + 1)]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    return [contender.elapsed(*pair) for pair in pairwise(marks)]


class Worker:
    """The commands of the pipe.

    Every method without an underscore is one. Its arguments are the message's other fields.
    """

    def __init__(self, name, setting):
        self._name, self._contender, self._setting = name, build(name, setting), setting
        self._on_gpu = setting.device == "gpu"

    def hello(self):
        """Versions of the libraries in use."""
        return {"versions": self._contender.versions}

    def train(self):
        """Get ready to train, note what memory that takes, and warm up."""
        self._contender.start_training()
        before = self._memory(memory.resident)
        timed(self._contender, self._contender.step, WARMUP, self._on_gpu)
        return {"before_mb": before}

    def run(self, count):
        """`count` training steps, after one uncounted: the previous contender has emptied the caches."""
        return {"ms": timed(self._contender, self._contender.step, count + 1, self._on_gpu)[1:]}

    def memory(self):
        """Peak memory so far, MB: the device's if there is one, else resident."""
        return {"peak_mb": self._memory(memory.peak)}

    def _memory(self, resident):
        return self._contender.device_bytes() / 2**20 if self._on_gpu else resident()

    def close(self):
        """Let go of what the contender started."""
        self._contender.close()

    def plan(self, case):
        """Choose the fastest way to run an inference case: in one call, or sorted by length in pieces."""
        ids, lengths = sentences(case, self._setting.configs()[0].vocab_size)
        plans = {"in one call": [np.arange(len(ids))]}
        if lengths.min() < lengths.max():
            order = np.argsort(lengths)
            plans |= {f"sorted, {n} at a time": np.split(order, range(n, len(order), n)) for n in (4, 8, 16)}
        best = None
        for how, pieces in plans.items():

            def call(pieces=pieces):
                return score(self._contender, ids, lengths, pieces)

            took = min(timed(self._contender, call, 4)[1:])
            if best is None or took < best[0]:
                best, self._call = (took, how), call
        return {"how": best[1] if len(plans) > 1 else ""}

    def score(self, count):
        """The planned case `count` times, after one that is not counted."""
        return {"ms": timed(self._contender, self._call, count + 1)[1:]}

    def check(self, weights, padded, folder):
        """Write loss, every gradient and the discriminator's logits to NAME.npz in `folder`.

        weights: path of an .npz file of the weights and the `samples` [B, K].
        """
        with np.load(weights) as file:
            arrays = dict(file)
        samples = arrays.pop("samples")
        loss, grads = self._contender.gradients(arrays, training_batch(self._setting, padded), samples)
        ids, lengths = sentences("mixed", self._setting.configs()[0].vocab_size)
        logits = score(self._contender, ids, lengths, [np.arange(len(ids))])
        np.savez(Path(folder) / f"{self._name}.npz", loss=np.float64(loss), logits=logits, **grads)
        return {}


def score(contender, ids, lengths, pieces):
    """Logits [B, T] of ids [B, T] in `pieces`, lists of rows, each cut to its longest; 0 at padding."""
    logits = np.zeros(ids.shape, np.float32)
    for rows in pieces:
        longest = lengths[rows].max()
        logits[rows, :longest] = contender.score(np.ascontiguousarray(ids[rows, :longest]), lengths[rows])
    logits[np.arange(ids.shape[1]) >= lengths[:, None]] = 0.0
    return logits


def main():
    """Serve the pipe until it closes."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the answers
    worker = None
    with contextlib.suppress(BrokenPipeError):  # the parent is gone: nobody to tell
        for line in sys.stdin:
            message = json.loads(line)
            try:
                if worker is None:
                    worker = Worker(sys.argv[1], Setting(**json.loads(sys.argv[2])))
                answer = getattr(worker, message.pop("do"))(**message)
            except Exception as error:  # whatever it is, it belongs in the contender's row of the table
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                answer = {"error": f"{type(error).__name__}: {reason}"}
            print(json.dumps(answer), file=pipe)
    if worker is not None:
        worker.close()


if __name__ == "__main__":
    main()
