"""Evaluation on held-out text, and the record of every score from which the learning curves are drawn."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minielectra.backend import RandomStream, Workspace, to_device, to_host
from minielectra.nn.layers import Run
from minielectra.pretraining.batches import STREAM_EVALUATION
from minielectra.runs import detection_counts as detection


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
