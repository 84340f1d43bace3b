"""Do all contenders compute the same? Their loss, gradients and logits are compared with minielectra's.

All have the same weights and samples, and no dropout.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.report import DASH
from benchmarks.settings import SEED, training_batch
from benchmarks.workers import Crew
from minielectra import objectives

TOLERANCES = {"bf16": 0.2, "tf32": 1e-2}  # everything else, float32: 1e-4
REFERENCE = "minielectra"


def check(names, setting, padded):
    """-> table rows (dicts of strings), one per contender, and whether all agree. setting: with dropout 0."""
    names = [REFERENCE, *(name for name in names if name != REFERENCE)]
    rows, ok = [], True
    with tempfile.TemporaryDirectory() as folder, Crew(names, setting) as crew:
        weights = Path(folder) / "weights.npz"
        np.savez(weights, **_weights(setting), samples=_samples(setting, padded))
        outcomes = {}
        for worker, _ in crew.ask("check", weights=str(weights), padded=padded, folder=folder):
            with np.load(Path(folder) / f"{worker.name}.npz") as file:
                outcomes[worker] = dict(file)
        reference = outcomes.get(crew.all[0])
        for worker in crew.all:
            row = {"setting": f"{setting.size}, {'padded' if padded else 'full'}", "contender": worker.name}
            if worker not in outcomes or reference is None:
                good, figures = False, dict.fromkeys(("loss", "worst gradient", "of", "logits"), DASH)
                verdict = f"failed: {worker.failure or 'nothing to compare with'}"
            else:
                good, figures = compare(outcomes[worker], reference, _tolerance(worker.name))
                verdict = "ok" if good else "DIFFERS"
            rows.append(row | figures | {"verdict": verdict})
            ok &= good
    return rows, ok


def compare(outcome, reference, tolerance):
    """A contender against minielectra -> whether all agree, and the row's figures.

    outcome, reference: {"loss", "logits", and the name of each parameter: its gradient}.

    An error is ‖difference‖ / ‖minielectra's value‖. A key bias adds the same number to all scores of a row,
    which softmax does not see. Its gradient is 0 except for rounding, so it is compared with the size of the
    query bias's gradient.
    """
    errors = {}
    for name, expected in reference.items():
        scale = reference[name.replace(".key.bias", ".query.bias")]
        errors[name] = (
            float(np.linalg.norm(outcome[name] - expected) / np.linalg.norm(scale))
            if name in outcome
            else np.inf
        )
    loss, logits = errors.pop("loss"), errors.pop("logits")
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    figures = {
        "loss": f"{loss:.1e}",
        "worst gradient": f"{errors[worst]:.1e}",
        "of": worst,
        "logits": f"{logits:.1e}",
    }
    complete = set(outcome) == set(reference)
    return complete and all(error <= tolerance for error in (loss, logits, *errors.values())), figures


def _tolerance(name):
    return max([1e-4, *(limit for flag, limit in TOLERANCES.items() if flag in name)])


def _weights(setting):
    """{name: array} without neutral values, because zeros and ones would hide an error.

    They are of a size at which tokens still differ after twelve layers. Otherwise the gradients of queries
    and keys would be differences of nearly equal numbers, and mostly rounding.
    """
    random = np.random.default_rng(SEED)
    shapes = objectives.make(*setting.configs()).parameters.shapes
    scale = {name: 0.1 if len(shape) == 1 else 0.5 * shape[-1] ** -0.5 for name, shape in shapes.items()}
    return {
        name: (random.standard_normal(shape) * scale[name] + (name.endswith("LayerNorm.weight"))).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


def _samples(setting, padded):
    """[B, K] int32: the generator's samples, about half of them right."""
    batch = training_batch(setting, padded)
    random = np.random.default_rng(SEED + 1)
    right = np.take_along_axis(batch.input_ids, batch.positions, axis=1)
    drawn = random.integers(5, setting.configs()[0].vocab_size, right.shape)
    return np.where(random.random(right.shape) < 0.5, right, drawn).astype(np.int32)
