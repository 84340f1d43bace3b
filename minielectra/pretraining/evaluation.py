"""Evaluation on held-out text.

The texts, the masks, and the random numbers for the generator's samples are fixed.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minielectra.backend import Purpose, RandomStream, Workspace, to_device, to_host
from minielectra.electra.corruption import MaskedNormalizers
from minielectra.nn.layers import PassContext
from minielectra.pretraining.fixed_corruption import score_fixed_corruption
from minielectra.runs import detection_counts as detection


class Evaluator:
    """Runs a pre-training objective over the evaluation set."""

    def __init__(self, objective, batch, seed, threads=1, fixed=None):
        """batch: MaskedBatch, on the host: all of the evaluation set.

        threads: how many chunks of it run at once. fixed: FixedCorruption, scored beside it, or None.
        """
        self.objective, self.batch, self.seed, self.fixed = objective, batch, seed, fixed
        self._workspaces = [Workspace(objective.parameters.xp) for _ in range(threads)]
        size = max(1, objective.config.batch_size // objective.config.shards)
        self._chunks = [slice(start, start + size) for start in range(0, len(batch.input_ids), size)]

    @property
    def tokens(self):
        """How many tokens go through the model in one evaluation."""
        return self.batch.input_ids.size + (0 if self.fixed is None else int(self.fixed.valid.sum()))

    def __call__(self):
        """-> (metrics, record).

        metrics: a dict of floats under the names in `metrics.jsonl`; record: a dict of arrays for
        `DetectionLog.append`, or None if there is no discriminator. All means are over the whole set; padding
        counts nowhere.
        """
        with ThreadPoolExecutor(len(self._workspaces)) as pool:
            found = list(pool.map(self._worker, range(len(self._workspaces))))
        chunks = [arrays for _, arrays in sorted(pair for pairs in found for pair in pairs)]
        joined = {name: np.concatenate([arrays[name] for arrays in chunks]) for name in chunks[0]}
        batch = self.batch
        used = batch.weights > 0
        metrics = {"gen_loss": None}
        if "generator" in self.objective.towers:
            metrics = {
                "gen_loss": -float(joined["log_likelihood"][used].astype(np.float64).mean()),
                "gen_accuracy": float(joined["correct"][used].mean()),
            }
        if "word_likelihood" in joined:
            metrics["corrector_loss"] = -float(np.log(joined["word_likelihood"][used]).mean())
            metrics["corrector_accuracy"] = float(joined["word_correct"][used].mean())
        if "logits" not in joined:
            return metrics, None
        originals = np.take_along_axis(batch.input_ids, batch.positions, axis=1)
        metrics["sample_accuracy"] = float((joined["samples"] == originals)[used].mean())
        replaced = detection.is_replaced(batch.input_ids, batch.positions, used, joined["samples"])
        metrics |= detection_metrics(joined["logits"][batch.valid], replaced[batch.valid])
        if self.fixed is not None:
            tower, threads = self.objective.towers["discriminator"], len(self._workspaces)
            metrics |= score_fixed_corruption(tower, self.fixed, threads)
        scores = 1.0 / (1.0 + np.exp(-joined["logits"].astype(np.float64)))
        record = {
            "samples": joined["samples"],
            "scores": scores.astype(np.float16),
            "gen_correct_prob": np.exp(joined["log_likelihood"]).astype(np.float16),
        }
        return metrics, record

    def _worker(self, i):
        """Every chunk number ≡ i (mod threads) -> [(number, its arrays)]."""
        numbers = range(i, len(self._chunks), len(self._workspaces))
        return [(number, self._chunk(self._workspaces[i], number)) for number in numbers]

    def _chunk(self, workspace, number):
        xp = self.objective.parameters.xp
        workspace.reset()
        part = self.batch.shard(self._chunks[number])
        # On the host: every device samples alike
        random = RandomStream((self.seed, Purpose.EVALUATION, number))
        uniform = to_device(random.uniform(part.positions.size, np.float32), xp)
        context = PassContext(workspace, backward=False)
        outcome, _ = self.objective.forward(part.to_device(xp), MaskedNormalizers(1.0, 1.0), context, uniform)
        target = np.take_along_axis(part.input_ids, part.positions, axis=1)
        if outcome.probabilities is None:  # no generator: what the samples were drawn from
            arrays = {"log_likelihood": self.objective.noise.log_probabilities(target)}
        else:
            p = to_host(outcome.probabilities)
            likelihood = p[np.arange(len(p)), target.reshape(-1)].reshape(target.shape)
            arrays = {
                "log_likelihood": np.log(np.maximum(likelihood, np.finfo(likelihood.dtype).tiny)),
                "correct": p.argmax(axis=-1).reshape(target.shape) == target,
            }
        if outcome.word_likelihood is not None:
            likelihood = to_host(outcome.word_likelihood).astype(np.float64).reshape(target.shape)
            arrays["word_likelihood"] = np.maximum(likelihood, np.finfo(np.float32).tiny)
            arrays["word_correct"] = to_host(outcome.word_guess).reshape(target.shape) == target
        if "discriminator" in self.objective.towers:
            arrays["samples"] = to_host(outcome.samples)
            arrays["logits"] = to_host(outcome.logits).reshape(part.input_ids.shape).copy()
        return arrays


def detection_metrics(logits, replaced):
    """The discriminator's figures; a token is flagged if its logit is above 0.

    logits, replaced [N], padding left out -> {name: float}. A ratio with an empty denominator is None.
    """
    logits, replaced = logits.astype(np.float64), replaced.astype(bool)
    flagged = logits > 0
    caught, kept = float((flagged & replaced).sum()), float((~flagged & ~replaced).sum())
    positives, negatives = float(replaced.sum()), float((~replaced).sum())

    def ratio(a, b):
        return a / b if b else None

    recall, specificity = ratio(caught, positives), ratio(kept, negatives)
    area = detection.auc(logits, replaced)
    cross_entropy = np.maximum(logits, 0) - logits * replaced + np.log1p(np.exp(-np.abs(logits)))
    return {
        "disc_loss": float(cross_entropy.mean()),
        "disc_auc": None if np.isnan(area) else area,
        "disc_precision": ratio(caught, float(flagged.sum())),
        "disc_recall": recall,
        "disc_balanced_accuracy": None
        if recall is None or specificity is None
        else (recall + specificity) / 2,
        "disc_accuracy": (caught + kept) / len(logits),
        "baseline_accuracy": negatives / len(logits),
    }


def unigram_loss(counts, batch, special_ids):
    """The MLM loss, in nats, of predicting every held-out token by its frequency in the training text (plus
    one).

    It is the level of the plateau on which masked language models start. counts [V]; batch: MaskedBatch.
    """
    tokens = batch.input_ids[~np.isin(batch.input_ids, list(special_ids))]
    probability = (counts + 1.0) / (counts + 1.0).sum()
    return float(-np.log(probability[tokens]).mean())
