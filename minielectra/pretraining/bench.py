"""`bench`: whole training steps on random tokens, timed."""

import statistics
import sys
import time
from contextlib import closing

import numpy as np

from minielectra import backend, objectives
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.errors import InputError
from minielectra.pretraining.flops import product_flops
from minielectra.pretraining.memory_check import check_pretraining_memory
from minielectra.training.engine import make_engine

try:
    import resource
except ImportError:  # Windows
    resource = None

WARMUP = 3  # steps that are not counted
FIRST_WORD = 5  # the ids before it are special tokens


def bench(model_config, config, steps=20, threads=None, device="cpu", seed=0, workers=None):
    """Time `steps` training steps of a configuration.

    -> a dict for JSON: median milliseconds per step, tokens per second, GFLOP/s of matrix products, peak
    resident memory in MB. Raises InputError if there is not enough memory, or no word besides special tokens.
    """
    if model_config.vocab_size <= FIRST_WORD:
        problem = f"a vocabulary of {model_config.vocab_size} has only special tokens"
        raise InputError(f"{problem}; use a vocab_size of more than {FIRST_WORD}")
    check_pretraining_memory(model_config, config, device, threads, workers)
    objective = objectives.make(model_config, config, backend.load(device))
    objective.set_noise(np.ones(model_config.vocab_size), range(FIRST_WORD))
    initialize(objective, seed)
    random = np.random.default_rng(seed)
    shape = (config.batch_size, config.seq_length)
    ids = random.integers(FIRST_WORD, model_config.vocab_size, shape).astype(np.int32)
    special, mask_id = (0, 1, 2, 3, 4), 4
    all_valid, segments = np.ones(shape, bool), np.zeros_like(ids)
    batch = mask_batch(ids, all_valid, segments, special, mask_id, model_config.vocab_size, config, random)
    batch.progress = 0.0  # the beginning of a run
    times = []
    with closing(make_engine(objective, threads, workers)) as engine:
        for step in range(WARMUP + steps):
            begin = time.perf_counter()
            engine.step(batch, 1e-4, seed, step)  # its gradient norm waits for the device
            times.append(time.perf_counter() - begin)
    seconds = statistics.median(times[WARMUP:])
    return {
        "ms_per_step": round(seconds * 1e3, 3),
        "tokens_per_second": round(ids.size / seconds, 1),
        "gflops": round(product_flops(objective) / seconds / 1e9, 1),
        "peak_rss_mb": _peak_memory(),
        "threads": engine.n_workers,
        "workers": engine.workers,
        "shards": engine.n_shards,
        "batch_size": shape[0],
        "seq_length": shape[1],
        "parameters": objective.parameters.size,
        "steps": steps,
        "device": device,
    }


def _peak_memory():
    """The most memory that this process has had, in MB; None where the system does not say (Windows)."""
    if resource is None:
        return None
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
