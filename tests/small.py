"""Small objectives and batches that several tests use."""

import dataclasses
from contextlib import closing

import numpy as np

from minielectra import objectives
from minielectra.electra.corruption import mask_batch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    HeadConfig,
)
from minielectra.finetuning.objective import FinetuningObjective
from minielectra.finetuning.sequences import TaskBatch
from minielectra.finetuning.task_losses import AnsweringLoss, ClassificationLoss, RegressionLoss, TaggingLoss
from minielectra.nn.layers import PassContext
from minielectra.nn.parameters import replica
from minielectra.pretraining.presets import configure
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.training.engine import make_engine

SPECIAL, MASK, VOCAB = (0, 1, 2, 3, 4), 4, 61
SMALL = {
    "vocab_size": VOCAB,
    "embedding_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "seq_length": 14,
    "batch_size": 7,
    "mask_fraction": 0.3,
    "optimizer": "adam",
}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}

# Objectives and options of pre-training, as fields of the configuration.
VARIANTS = {
    "electra": {},
    "encoders tied": {"tie_encoders": True},
    "mlm": {"objective": "mlm"},
    "unigram": {"sampler": "unigram"},
    "uniform, with a generator": {"sampler": "uniform", "train_generator": True},
    "unigram, encoders tied": {"sampler": "unigram", "tie_encoders": True},
    "embeddings separate": {"embeddings": "separate"},
    "gdes": {"embeddings": "gdes"},
    "electra-15": {"objective": "electra-15"},
    "replace-mlm": {"objective": "replace-mlm"},
    "all-tokens-mlm": {"objective": "all-tokens-mlm"},
    "all-tokens-mlm, no gate, gdes": {
        "objective": "all-tokens-mlm",
        "copy_gate": False,
        "embeddings": "gdes",
    },
    "rtd+mlm": {"objective": "rtd+mlm", "mlm_weight": 3.0},
    "rtd+mlm in two stages": {
        "objective": "rtd+mlm",
        "two_stage": 0.5,
        "mlm_anneal": 0.25,
        "rewarm": True,
        "embeddings": "gdes",
    },
    "electric, unigram": {"objective": "electric", "sampler": "unigram"},
    "electric": {"objective": "electric"},
    "adversarial": {"adversarial": True},
    "two-stage": {
        "two_stage": 0.5,
        "embeddings": "separate",
        "generator_width": 1.0,
        "discriminator_start": "generator",
    },
    "two-stage, afresh": {"two_stage": 0.5, "embeddings": "gdes", "sample_temperature": 1.0},
}

# The fine-tuning heads: model, labels, loss.
HEADS = {
    "classification": (ElectraForSequenceClassification, ("a", "b", "c"), ClassificationLoss()),
    "regression": (ElectraForSequenceClassification, ("score",), RegressionLoss()),
    "tagging": (ElectraForTokenClassification, ("a", "b", "c", "d"), TaggingLoss()),
    "answering": (ElectraForQuestionAnswering, ("start", "end"), AnsweringLoss()),
}


def make_batch(seed, count=7, length=14, config=None, special=True, padded=True):
    """A MaskedBatch of random tokens; without padding only if asked for."""
    random = np.random.default_rng(seed)
    ids = random.integers(5, VOCAB, (count, length), dtype=np.int32)
    lengths = random.integers(5, length + 1, count) if padded else np.full(count, length)
    valid = np.arange(length) < lengths[:, None]
    if special:
        ids[:, 0], ids[np.arange(count), lengths - 1] = 2, 3
    ids[~valid] = 0
    segments = (np.arange(length) >= lengths[:, None] // 2).astype(np.int32)
    config = config or PretrainingConfig(seq_length=length, mask_fraction=0.3)
    return mask_batch(ids, valid, segments, SPECIAL, MASK, VOCAB, config, random)


def small_objective(dtype=np.float32, seed=1, **overrides):
    """A pre-training objective, initialised. overrides: fields of either configuration."""
    objective = objectives.make(*configure("tiny", SMALL | overrides), dtype=dtype)
    objective.set_noise(np.arange(VOCAB) ** 2, SPECIAL)
    initialize(objective, seed)
    return objective


def small_finetuning(head, dtype=np.float32, seed=1, xp=np, dropout=0.1, **settings):
    """A fine-tuning objective with random weights. head: of HEADS; settings: fields of FinetuningConfig."""
    kind, labels, loss = HEADS[head]
    names = {field.name for field in dataclasses.fields(ElectraConfig)}
    sizes = {name: value for name, value in SMALL.items() if name in names}
    dropped = dict.fromkeys(DROPOUT, dropout)
    readout = "mix" if settings.get("readout") == "mix" else "last"
    config = HeadConfig(**sizes, **dropped, labels=labels, readout=readout)
    objective = FinetuningObjective(
        config, FinetuningConfig(dropout=dropout, **settings), kind, loss, xp=xp, dtype=dtype
    )
    numbers = 0.2 * np.random.default_rng(seed).standard_normal(objective.parameters.size, np.float32)
    objective.parameters.flat[...] = xp.asarray(numbers)
    return objective


def make_task_batch(head, seed, **sizes):
    """A TaskBatch for a head of HEADS, over the tokens of `make_batch`."""
    masked = make_batch(seed, **sizes)
    random, n_labels = np.random.default_rng([seed, 1]), len(HEADS[head][1])
    ids, valid = masked.input_ids, masked.valid
    weights = np.ones(len(ids), np.float32)
    if head == "regression":
        targets = random.standard_normal(len(ids), np.float32)
    elif head == "classification":
        targets = random.integers(0, n_labels, len(ids), dtype=np.int32)
    elif head == "tagging":
        targets = random.integers(0, n_labels, ids.shape, dtype=np.int32)
        weights = valid.astype(np.float32)
    else:
        targets = random.integers(0, valid.sum(axis=1), (2, len(ids)), dtype=np.int32).T.copy()
        weights = valid.astype(np.float32)
    return TaskBatch(ids, masked.segments, valid, targets, weights)


def own_gradients(objective):
    """The objective once more, over the same values, with gradients of its own, all 0."""
    flat = objective.parameters.flat
    return replica(objective, np, flat, np.zeros_like(flat))


# What stands at the chosen positions of `make_batch(0)`, if an objective is not to draw it itself.
SAMPLES = np.random.default_rng(0).integers(5, VOCAB, make_batch(0).positions.shape, dtype=np.int32)


def passed(objective, batch=None):
    """Both passes, with the same samples for every objective -> outcome, {name: gradient}."""
    batch, own = batch or make_batch(0), own_gradients(objective)
    outcome, cache = own.forward(batch, batch.normalizers(), PassContext(), samples=SAMPLES.copy())
    if outcome.probabilities is not None:
        outcome.probabilities = outcome.probabilities.copy()  # the backward pass works in their memory
    own.backward(cache, PassContext())
    return outcome, {name: own.parameters[name].grad for name in own.parameters}


def trained(progress, workers="threads", **options):
    """A step at each share of the run in `progress` -> parameters before and after, and first moments."""
    options = {"weight_decay": 0.1} | options
    objective = small_objective(**options)
    before = {name: array.copy() for name, array in objective.parameters.state().items()}
    with closing(make_engine(objective, workers=workers)) as engine:
        for step, now in enumerate(progress):
            batch = make_batch(step)
            batch.progress = now
            assert engine.step(batch, 1e-3, 5, step).finite
        return before, engine.objective.parameters.state(), engine.optimizer.first.copy()


def moved(before, after):
    """The names of the parameters that differ."""
    return {name for name in before if not np.array_equal(before[name], after[name])}
