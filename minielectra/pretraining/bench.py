"""`bench`: whole training steps on random tokens, timed."""

import resource
import statistics
import sys
import time

import numpy as np

from minielectra import backend
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.objectives.electra import ElectraPretraining
from minielectra.training.step import Trainee

WARMUP = 3


def bench(config, pretraining, steps=20, threads=None, device="cpu", seed=0, workers=None):
    """Time `steps` training steps of a configuration -> a JSON-able dict: median milliseconds a step, tokens a second, GFLOP/s
    by `step_flops`, peak resident memory in MB."""
    xp = backend.load(device)
    model = ElectraPretraining(config, pretraining, xp=xp)
    initialize(model, seed)
    trainee = Trainee(model, threads, workers)
    random = np.random.default_rng(seed)
    shape = (pretraining.batch_size, pretraining.seq_length)
    ids = random.integers(5, config.vocab_size, shape).astype(np.int32)
    special = (0, 1, 2, 3, 4)
    batch = mask_batch(ids, np.ones(shape, bool), np.zeros_like(ids), special, 4, config.vocab_size, pretraining, random)
    times = []
    for step in range(WARMUP + steps):
        begin = time.perf_counter()
        trainee.step(batch, 1e-4, seed, step)  # its gradient norm waits for the device
        times.append(time.perf_counter() - begin)
    trainee.close()
    seconds = statistics.median(times[WARMUP:])
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return {
        "ms_per_step": round(seconds * 1e3, 3),
        "tokens_per_second": round(ids.size / seconds, 1),
        "gflops": round(step_flops(model) / seconds / 1e9, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1),
        "threads": trainee.count,
        "workers": trainee.workers,
        "shards": trainee.shards,
        "batch_size": shape[0],
        "seq_length": shape[1],
        "parameters": model.parameters.size,
        "steps": steps,
        "device": device,
    }


def step_flops(model):
    """Floating-point operations of the matrix products of one step: 2 a multiply-add forward, twice that again backward."""
    p = model.pretraining
    rows, length = p.batch_size * p.seq_length, p.seq_length
    chosen = p.batch_size * p.masked_per_example
    total = 0
    for name, shape in model.parameters.shapes.items():
        if name.endswith(".weight") and len(shape) == 2 and ".embeddings." not in name:
            total += 2 * (chosen if "generator_predictions" in name else rows) * shape[0] * shape[1]
    for tower in (model.generator, model.discriminator):
        if tower is not None:
            total += 4 * rows * length * tower.config.hidden_size * tower.config.num_hidden_layers  # q kᵀ and p v
    total += 2 * chosen * model.config.vocab_size * model.config.embedding_size  # tied output
    return 3 * total
