"""Gradient checks of the fine-tuning heads, and of each task's loss through its whole model."""

import dataclasses

import numpy as np

from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    HeadConfig,
)
from minielectra.finetuning.objective import FinetuningObjective
from minielectra.finetuning.sequences import Normalizers, TaskBatch
from minielectra.finetuning.task_losses import AnsweringLoss, ClassificationLoss, RegressionLoss, TaggingLoss
from minielectra.gradcheck.model_checks import CONFIG, VALID, check_layer, check_objective, dropping, fill

LABELS = ("a", "b", "c", "d")
KINDS = {
    "classification": (ElectraForSequenceClassification, LABELS, ClassificationLoss()),
    "tagging": (ElectraForTokenClassification, LABELS, TaggingLoss()),
    "answering": (ElectraForQuestionAnswering, ("start", "end"), AnsweringLoss()),
    "regression": (ElectraForSequenceClassification, ("score",), RegressionLoss()),
}
MIXED = ("classification", "tagging")  # heads that are also checked over a mix of layers


def heads_and_losses(random):
    """Each head, then its loss through the whole model -> rows. 3 sequences of 7 tokens, as in `models`."""
    ids = {
        "ids": random.integers(0, 23, (2, 3, 7)),
        "valid": VALID,
        "segments": random.integers(0, 3, (2, 3, 7)),
    }
    for name, readout in [(name, "last") for name in KINDS] + [(name, "mix") for name in MIXED]:
        kind, labels, loss = KINDS[name]
        config = HeadConfig(**dataclasses.asdict(CONFIG) | {"labels": labels, "readout": readout})
        about = f"{name}, mix" if readout == "mix" else name
        yield from check_layer(
            f"{about} head",
            lambda p, kind=kind, config=config: kind(config, p),
            ids,
            random,
            elements=4,
            directions=3,
        )

        objective = FinetuningObjective(config, FinetuningConfig(), kind, loss, dtype=np.float64)
        fill(objective.parameters, random)
        targets, weights = _targets(name, random)
        inputs = ids | {"targets": targets.astype(np.float32), "weights": weights.astype(np.float32)}

        def forward(
            ids, valid, segments, targets, weights, objective=objective, numbers=name == "regression"
        ):
            targets = targets if numbers else targets.astype(np.int32)
            batch = TaskBatch(ids, segments, valid, targets, weights)
            outcome, cache = objective.forward(batch, Normalizers(5.0, 4.0), dropping())
            return outcome.losses[0], cache

        yield from check_objective(f"{about} loss", objective, forward, inputs, random)


def _targets(name, random):
    """Targets and weights of two calls, in the shapes of `TaskBatch`."""
    per_token = VALID * (random.random(VALID.shape) < 0.7)
    per_token[:, :, 0] = 1.0  # [CLS], which every answer may fall back on
    if name == "classification":
        return random.integers(0, len(LABELS), (2, 3)), np.ones((2, 3))
    if name == "regression":
        return random.standard_normal((2, 3)), np.ones((2, 3))
    if name == "tagging":
        return random.integers(0, len(LABELS), (2, 3, 7)), per_token
    answers = np.zeros((2, 3, 2), np.int32)  # first and last token: [CLS], or the last token that is allowed
    answers[:, 0, 1] = [np.flatnonzero(per_token[call, 0])[-1] for call in (0, 1)]
    return answers, per_token
