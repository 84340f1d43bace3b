"""A head model and its loss: what a training step of fine-tuning runs (see `training.step.Trainee` for what it asks of a model).

B sequences of T tokens, L labels. Every loss is a mean over the batch:

    classification   cross-entropy of the label                        regression   squared error
    tagging          cross-entropy over the words (their first pieces)
    answering        cross-entropy of the answer's first token, among the tokens that may start an answer, and of its last; their mean
"""

import numpy as np

from minielectra.backend import array_module, scratch
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from minielectra.ops.reference.losses import (
    cross_entropy_backward,
    cross_entropy_forward,
    squared_error_backward,
    squared_error_forward,
)

HEADS = {
    "classification": ElectraForSequenceClassification,
    "tagging": ElectraForTokenClassification,
    "answering": ElectraForQuestionAnswering,
}


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
