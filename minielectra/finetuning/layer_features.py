"""What every layer of a frozen encoder makes of a task's sequences."""

import numpy as np

from minielectra.backend import array_module
from minielectra.electra.towers import Electra
from minielectra.nn.encoder import EncoderCache
from minielectra.nn.inference import logits_of

SEQUENCES = 512  # at a time, so that the features of all tokens need not be held at once


class LayerReader(Electra):
    """An encoder without a head: a call gives the outputs of all L + 1 layers, […, L + 1, H].

    They are those of each token, or their mean over each sequence's tokens.
    """

    def __init__(self, config, per_token):
        super().__init__(config)
        self.per_token = per_token

    @property
    def features(self):
        """Layers, embeddings included, and hidden features."""
        return (self.config.num_hidden_layers + 1, self.config.hidden_size)

    def logits(self, input_ids, valid, segments, context):
        """-> [B·T, L + 1, H], or [B, L + 1, H] if not `per_token`."""
        x, _ = self.embeddings.forward(input_ids, segments, context)
        xp, shape = array_module(x), input_ids.shape
        shares = xp.ones(shape, x.dtype) if valid is None else valid.astype(x.dtype)
        shares /= shares.sum(axis=1, keepdims=True)
        outputs = []
        for y in self.encoder.outputs(x, valid, shape, context, EncoderCache([], [])):
            if self.per_token:
                outputs.append(y.copy())
            else:
                outputs.append(xp.matmul(shares[:, None], y.reshape(*shape, -1))[:, 0])
        return xp.stack(outputs, axis=1)


def layer_features(backbone, encoded, pad_id):
    """The features of sequences in every layer of a Backbone -> [n, L + 1, H] float32.

    encoded: a list of Encoded. If these have weights per token, there is a row for each token of weight 1, in
    order; else one for each sequence, the mean over its tokens.
    """
    per_token = encoded[0].weights is not None
    reader = LayerReader(backbone.config, per_token)
    reader.parameters.load_state(backbone.state)
    found = []
    for begin in range(0, len(encoded), SEQUENCES):
        part = encoded[begin : begin + SEQUENCES]
        outputs = logits_of(reader, [s.ids for s in part], pad_id, [s.segments for s in part])
        for sequence, output in zip(part, outputs, strict=True):
            found.append(output[used_rows(sequence)] if per_token else output[None])
    return np.concatenate(found)


def used_rows(sequence):
    """The positions of an Encoded whose weight is not 0 -> [k] int."""
    return np.flatnonzero(sequence.weights)
