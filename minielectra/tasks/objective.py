"""A head model and its loss: what a training step of fine-tuning runs (see `training.step.Trainee` for what it asks of a model).

B sequences of T tokens, L labels. Every loss is a mean over the batch:

    classification   cross-entropy of the label                        regression   squared error
    tagging          cross-entropy over the words (their first pieces)
    answering        cross-entropy of the answer's first token, among the tokens that may start an answer, and of its last; their mean
"""

from dataclasses import dataclass

import numpy as np

from minielectra.backend import array_module, scratch, to_device
from minielectra.errors import InputError
from minielectra.functional.losses import (
    cross_entropy_backward,
    cross_entropy_forward,
    squared_error_backward,
    squared_error_forward,
)
from minielectra.tasks.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)

HEADS = {
    "classification": ElectraForSequenceClassification,
    "tagging": ElectraForTokenClassification,
    "answering": ElectraForQuestionAnswering,
}


@dataclass(frozen=True)
class FinetuningConfig:
    """How a model is fine-tuned. Defaults are the paper's for small models (table 7); batches are by number of sequences."""

    head: str = "classification"  # a key of HEADS
    learning_rate: float = 3e-4  # of the head, at its peak
    layer_decay: float = 0.8  # the rate's factor for each layer further from the head
    reinitialized_layers: int = 0  # of the pre-trained encoder's, from the top: they start afresh
    epochs: float = 3.0
    warmup_fraction: float = 0.1
    batch_size: int = 32
    max_length: int = 128  # tokens of a sequence, [CLS] and [SEP] included
    dropout: float = 0.1
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-6
    bias_correction: bool = True  # the released code has none: in short runs first steps are then far too long (docs/LOG.md)
    shards: int = 2  # as in PretrainingConfig

    def __post_init__(self):
        for name in ("learning_rate", "epochs", "layer_decay"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("batch_size", "shards"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.reinitialized_layers < 0:
            raise InputError(f"reinitialized_layers must be at least 0, got {self.reinitialized_layers}")
        if self.max_length < 8:
            raise InputError(f"max_length must be at least 8, got {self.max_length}")
        for name in ("warmup_fraction", "dropout", "weight_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must be at least 0 and less than 1, got {getattr(self, name)}")


@dataclass
class TaskBatch:
    """B sequences with what they should give. Integer arrays are int32."""

    input_ids: object  # [B, T]
    token_type_ids: object  # [B, T]
    valid: object  # [B, T] bool
    targets: object  # classification [B] labels, or numbers; tagging [B, T] labels; answering [B, 2] first and last token
    weights: (
        object  # float32: classification [B] ones; tagging [B, T] 1 at words' first pieces; answering [B, T] 1 at possible tokens
    )

    def shard(self, part):
        """The sequences of the slice `part`, without the padding that all of them have."""
        valid = self.valid[part]
        length = int(valid.sum(axis=1).max(initial=1))

        def cut(x):
            return x[part, :length] if x.shape == self.valid.shape else x[part]

        return TaskBatch(*map(cut, (self.input_ids, self.token_type_ids, self.valid, self.targets, self.weights)))

    def to_device(self, xp):
        """The same batch with every array on `xp`'s device."""
        arrays = (self.input_ids, self.token_type_ids, self.valid, self.targets, self.weights)
        return TaskBatch(*(to_device(x, xp) for x in arrays))

    def normalizers(self):
        """What the loss is a mean over, asked on the host: (words to tag, sequences)."""
        return max(1.0, float(self.weights.sum())), float(len(self.input_ids))


class Finetuning:
    """A head model with its loss, over one set of parameters."""

    def __init__(self, config, finetuning, parameters=None, **options):
        """config: HeadConfig; finetuning: FinetuningConfig."""
        self.settings = config, finetuning
        self.model = HEADS[finetuning.head](config, parameters, **options)
        self.parameters = self.model.parameters

    @staticmethod
    def shapes(config, finetuning):
        """{name: shape} of all parameters."""
        return HEADS[finetuning.head].shapes(config)

    def rate_factor(self, name):
        """What a parameter's learning rate is multiplied by: `layer_decay` once for each layer between it and the head, and once
        more (as in the released code: the head stands at depth layers + 2, layer i at i + 1, the embeddings at 0)."""
        config, finetuning = self.settings
        above = config.num_hidden_layers + 2
        if not name.startswith("electra."):
            depth = above
        elif ".layer." in name:
            depth = int(name.split(".layer.")[1].split(".")[0]) + 1
        else:
            depth = 0
        return finetuning.layer_decay ** (above - depth)

    def losses(self, batch, normalizers, run):
        """Forward and backward -> (loss,), this shard's share of the batch's mean."""
        with scratch(run.ws):
            loss, cache = self.forward(batch, normalizers, run)
            self.backward(cache, run)
        return (float(loss),)

    def forward(self, batch, normalizers, run):
        """-> loss (0-d), cache. normalizers: `TaskBatch.normalizers` of the whole batch, of which this may be a shard."""
        valid = None if array_module(batch.valid) is np and batch.valid.all() else batch.valid
        logits, cache = self.model.forward(batch.input_ids, valid, batch.token_type_ids, run)
        loss, lost = getattr(self, f"_{self.settings[1].head}")(logits, batch, normalizers)
        return loss, (cache, lost)

    def backward(self, cache, run):
        """Adds the gradient of the loss to every parameter's."""
        cache, (back, lost, shape) = cache
        self.model.backward(shape(back(lost)), cache, run)

    # Each loss: logits -> loss, (its backward, its cache, how the result becomes dlogits).

    def _classification(self, logits, batch, normalizers):
        weights = batch.weights.astype(logits.dtype)
        if self.settings[0].regression:
            loss, lost = squared_error_forward(logits[:, 0], batch.targets.astype(logits.dtype), weights, normalizers[1])
            return loss, (squared_error_backward, lost, lambda dx: dx[:, None])
        loss, lost = cross_entropy_forward(logits, batch.targets, weights, normalizers[1])
        return loss, (cross_entropy_backward, lost, lambda dlogits: dlogits)

    def _tagging(self, logits, batch, normalizers):
        weights = batch.weights.reshape(-1).astype(logits.dtype)
        loss, lost = cross_entropy_forward(logits, batch.targets.reshape(-1), weights, normalizers[0])
        return loss, (cross_entropy_backward, lost, lambda dlogits: dlogits)

    def _answering(self, logits, batch, normalizers):
        xp = array_module(logits)
        count, length = batch.input_ids.shape
        # [2·B, T]: for every sequence one row of starts, one of ends
        scores = logits.reshape(count, length, 2).transpose(2, 0, 1)
        scores = xp.where(batch.weights > 0, scores, xp.finfo(logits.dtype).min).reshape(2 * count, length)
        ones = xp.ones(2 * count, logits.dtype)
        loss, lost = cross_entropy_forward(scores, batch.targets.T.reshape(-1), ones, 2.0 * normalizers[1])

        def shape(dscores):  # where no answer may be, p and so the gradient is exactly 0
            return dscores.reshape(2, count, length).transpose(1, 2, 0).reshape(count * length, 2)

        return loss, (cross_entropy_backward, lost, shape)
