"""Evaluation on held-out text, and the record of every score from which the learning curves are drawn."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from minielectra import detection
from minielectra.backend import RandomStream, Workspace, to_device, to_host
from minielectra.nn.layers import Run
from minielectra.training.batches import STREAM_EVALUATION


class Evaluator:
    """Runs a model over a fixed evaluation set: fixed texts, fixed masks, fixed random numbers for the generator's samples."""

    def __init__(self, model, batch, seed, threads=1):
        """model: ElectraPretraining; batch: Batch, on the host; threads: how many chunks of it are run at once."""
        self.model, self.batch, self.seed = model, batch, seed
        self._workspaces = [Workspace(model.parameters.xp) for _ in range(threads)]
        size = max(1, model.pretraining.batch_size // model.pretraining.shards)
        self._chunks = [slice(start, start + size) for start in range(0, len(batch.input_ids), size)]

    def __call__(self):
        """-> (metrics, scores): metrics a dict of floats under the names of `metrics.jsonl`; scores a dict of arrays for
        `DetectionRecords.append`, None under the mlm objective.

        All means are over the whole set: the losses as in training, the rest as named. Padding counts nowhere.
        """
        with ThreadPoolExecutor(len(self._workspaces)) as pool:
            pieces = list(pool.map(self._worker, range(len(self._workspaces))))
        pieces = [piece for _, piece in sorted(pair for worker in pieces for pair in worker)]
        joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        b = self.batch
        used = b.weights > 0
        metrics = {
            "gen_loss": -float(joined["log_likelihood"][used].astype(np.float64).mean()),
            "gen_accuracy": float(joined["correct"][used].mean()),
        }
        if self.model.discriminator is None:
            return metrics, None
        originals = np.take_along_axis(b.input_ids, b.positions, axis=1)
        metrics["sample_accuracy"] = float((joined["samples"] == originals)[used].mean())
        replaced = detection.labels(b.input_ids, b.positions, used, joined["samples"])
        metrics |= detection_metrics(joined["logits"][b.valid], replaced[b.valid])
        scores = 1.0 / (1.0 + np.exp(-joined["logits"].astype(np.float64)))
        record = {
            "samples": joined["samples"],
            "scores": scores.astype(np.float16),
            "gen_correct_prob": np.exp(joined["log_likelihood"]).astype(np.float16),
        }
        return metrics, record

    def _worker(self, i):
        """Every chunk number ≡ i (mod threads): (number, arrays) of each."""
        return [(n, self._chunk(self._workspaces[i], n)) for n in range(i, len(self._chunks), len(self._workspaces))]

    def _chunk(self, ws, number):
        xp = self.model.parameters.xp
        ws.reset()
        part = self.batch.shard(self._chunks[number])
        random = RandomStream((self.seed, STREAM_EVALUATION, number))  # on the host: any device samples alike
        uniform = to_device(random.uniform(part.positions.size, np.float32), xp)
        outcome, _ = self.model.forward(part.to_device(xp), (1.0, 1.0), Run(ws, backward=False), uniform)
        p = to_host(outcome.probabilities)
        target = np.take_along_axis(part.input_ids, part.positions, axis=1)
        likelihood = p[np.arange(len(p)), target.reshape(-1)].reshape(target.shape)
        arrays = {
            "log_likelihood": np.log(np.maximum(likelihood, np.finfo(likelihood.dtype).tiny)),
            "correct": p.argmax(axis=-1).reshape(target.shape) == target,
        }
        if outcome.logits is not None:
            arrays["samples"] = to_host(outcome.samples)
            arrays["logits"] = to_host(outcome.logits).reshape(part.input_ids.shape).copy()
        return arrays


def detection_metrics(logits, replaced):
    """logits, replaced [N] (padding left out) -> the discriminator's figures. A token is flagged where its logit is above 0.

    Ratios whose denominator is empty are None.
    """
    logits, replaced = logits.astype(np.float64), replaced.astype(bool)
    flagged = logits > 0
    caught, kept = float((flagged & replaced).sum()), float((~flagged & ~replaced).sum())
    positives, negatives = float(replaced.sum()), float((~replaced).sum())

    def ratio(a, b):
        return a / b if b else None

    recall, specificity = ratio(caught, positives), ratio(kept, negatives)
    area = detection.auc(logits, replaced)
    return {
        "disc_loss": float((np.maximum(logits, 0) - logits * replaced + np.log1p(np.exp(-np.abs(logits)))).mean()),
        "disc_auc": None if np.isnan(area) else area,
        "disc_precision": ratio(caught, float(flagged.sum())),
        "disc_recall": recall,
        "disc_balanced_accuracy": None if recall is None or specificity is None else (recall + specificity) / 2,
        "disc_accuracy": (caught + kept) / len(logits),
        "baseline_accuracy": negatives / len(logits),
    }


class DetectionLog:
    """`detection.npz` of a run: the evaluation set, and for every evaluation the samples, the scores and the counts per token.

    E evaluations, S sequences of L tokens, K chosen positions each, V vocabulary entries. Arrays: `steps` [E] int64; `input_ids`
    [S, L], `positions` [S, K] int32; `position_valid` [S, K] bool; `samples` [E, S, K] int32; `scores` [E, S, L] float16, the
    probability of "replaced"; `gen_correct_prob` [E, S, K] float16; `train_counts` [V] int64; and [E, V] int32 each of
    `original`, `kept`, `replaced`, `caught`, `replaced_original`, `caught_original` (see `detection.count_detections`).
    """

    def __init__(self, path, batch, train_counts, special_ids):
        self.path = Path(path)
        self.special_ids = special_ids
        self.fixed = {
            "input_ids": batch.input_ids,
            "positions": batch.positions,
            "position_valid": batch.weights > 0,
            "train_counts": train_counts,
        }
        self.steps, self.entries = [], []

    def restore(self, step):
        """Read back the evaluations up to `step` of an earlier, interrupted process."""
        if self.path.exists():
            with np.load(self.path, allow_pickle=False) as saved:
                self.steps = [int(s) for s in saved["steps"] if s <= step]
                names = [name for name in saved.files if name not in self.fixed and name != "steps"]
                arrays = {name: saved[name] for name in names}
            self.entries = [{name: array[e] for name, array in arrays.items()} for e in range(len(self.steps))]

    def append(self, step, record):
        """record: the second result of `Evaluator`. Written at once, beside and then renamed."""
        f = self.fixed
        counts = detection.count_detections(
            f["input_ids"], f["positions"], f["position_valid"], record["samples"], record["scores"].astype(np.float32),
            len(f["train_counts"]), self.special_ids,
        )  # fmt: skip
        self.steps.append(step)
        self.entries.append(record | counts)
        stacked = {name: np.stack([entry[name] for entry in self.entries]) for name in self.entries[0]}
        beside = self.path.with_name(self.path.name + ".partial")
        try:
            with open(beside, "wb") as file:
                np.savez_compressed(file, steps=np.array(self.steps, np.int64), **f, **stacked)
            os.replace(beside, self.path)
        finally:
            beside.unlink(missing_ok=True)
