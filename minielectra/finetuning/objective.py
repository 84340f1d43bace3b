"""A head model and its loss: the Objective that fine-tuning minimises (see training/contracts.py)."""

from typing import NamedTuple

import numpy as np

from minielectra.backend import scratch
from minielectra.nn.mixed_encoder import START

# An update of Adam is about as large as the rate. At the head's rate, weights of a softmax would not get
# anywhere in a few hundred steps.
MIX_RATE = 30.0


class FinetuningOutcome(NamedTuple):
    """What a forward pass leaves to look at."""

    loss: object  # 0-d, this shard's share of the batch's mean
    logits: object  # the head's: [B, L], or [B·T, L] if it has an output per token

    @property
    def losses(self):
        """What a step reports."""
        return (self.loss,)


class FinetuningCache(NamedTuple):
    """What `FinetuningObjective.forward` leaves for `backward`."""

    model: tuple  # the head model's cache
    loss: tuple  # the loss's cache


class FinetuningObjective:
    """A head model with its loss, over one set of parameters.

    `model`: the head model; `loss`: an instance of a class in task_losses.py; `config`: FinetuningConfig.
    """

    def __init__(self, model_config, config, model_class, loss, xp=np, dtype=np.float32):
        """model_config: HeadConfig; config: FinetuningConfig; model_class: a class of heads.py."""
        self.config, self.loss = config, loss
        self.model = model_class(model_config, xp=xp, dtype=dtype)
        self.parameters = self.model.parameters

    def rate_factor(self, name):
        """What a parameter's learning rate is multiplied by: `layer_decay` per level below the head.

        The few numbers of a mix of layers learn MIX_RATE times as fast as the head.
        Levels are the released code's: the head is at layers + 2, layer i at i + 1, the embeddings at 0.
        """
        if name in START:
            return MIX_RATE
        top = self.model.config.num_hidden_layers + 2
        if not name.startswith("electra."):
            level = top
        elif ".layer." in name:
            level = int(name.split(".layer.")[1].split(".")[0]) + 1
        else:
            level = 0
        return self.config.layer_decay ** (top - level)

    def frozen(self, batch):
        """Every step updates all parameters."""
        return ()

    def forward(self, batch, normalizers, context):
        """-> FinetuningOutcome, FinetuningCache.

        batch: TaskBatch, perhaps a shard; normalizers: those of the whole batch; context: PassContext.
        """
        logits, model_cache = self.model.forward(
            batch.input_ids, batch.valid_or_none, batch.segments, context
        )
        loss, loss_cache = self.loss.forward(logits, batch, normalizers)
        return FinetuningOutcome(loss, logits), FinetuningCache(model_cache, loss_cache)

    def backward(self, cache, context):
        """Add the gradient of the loss to every parameter's."""
        dlogits = self.loss.backward(cache.loss)
        self.model.backward(dlogits, cache.model, context)

    def forward_backward(self, batch, normalizers, context):
        """Both passes -> (loss,)."""
        with scratch(context.workspace):
            outcome, cache = self.forward(batch, normalizers, context)
            self.backward(cache, context)
        return outcome.losses
