"""Fine-tuning heads on the encoder, in Hugging Face's shapes and under its names.

B sequences of T tokens, H hidden features, L labels. Each model has `forward(input_ids, valid, segments,
context) -> logits, cache` and `backward(dlogits, cache, context)`. Calling it gives the logits without
dropout.

The original code's classifier is one linear layer. Hugging Face's has a dense layer and a GELU before it, and
is the one that other tools read, so it is used here.

A head reads the encoder's last layer or, with `readout="mix"`, a learned mix of all of them. No other library
knows the mix, so config.json then names a `model_type` of our own, which makes them refuse it.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minielectra.backend import array_module
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import Electra, EncodedCache
from minielectra.errors import InputError
from minielectra.formats import huggingface
from minielectra.nn.encoder import Encoder
from minielectra.nn.layers import Activation, Dropout, Linear
from minielectra.nn.mixed_encoder import MixedEncoder
from minielectra.settings import setting


@dataclass(frozen=True)
class HeadConfig(ElectraConfig):
    """An `ElectraConfig` with the names of the head's labels, in the order of its logits, and what it reads.

    One label means a regression.
    """

    labels: tuple = ("LABEL_0", "LABEL_1")  # what Hugging Face assumes if a file does not say
    readout: str = setting("last", choices=("last", "mix"))

    def __post_init__(self):
        super().__post_init__()
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise InputError(
                f"id2label: a head needs at least one label, each a text; got {self.labels!r:.60}"
            )

    @property
    def regression(self):
        """Whether the head predicts a number instead of a class."""
        return len(self.labels) == 1

    def to_huggingface(self):
        """The fields as a config.json holds them: labels as `id2label` and `label2id`."""
        fields = dataclasses.asdict(self)
        labels = fields.pop("labels")
        if fields.pop("readout") == "mix":
            fields |= {"readout": "mix", "model_type": huggingface.OWN_TYPE}
        fields["id2label"] = {str(i): label for i, label in enumerate(labels)}
        fields["label2id"] = {label: i for i, label in enumerate(labels)}
        return fields | ({"problem_type": "regression"} if self.regression else {})

    @classmethod
    def from_huggingface(cls, fields):
        """From the fields of a config.json. Raises InputError."""
        names = fields.get("id2label")
        if names is not None:
            try:
                labels = tuple(names[str(i)] for i in range(len(names)))
            except (KeyError, TypeError):
                raise InputError("id2label does not name the labels 0, 1, 2, … in order") from None
            fields = fields | {"labels": labels}
        return super().from_huggingface(fields)


class HeadModel(Electra):
    """What all heads stand on: the encoder, read as the configuration says."""

    config_class = HeadConfig

    def _make_encoder(self, prefix):
        kind = MixedEncoder if self.config.readout == "mix" else Encoder
        return kind(self.parameters, prefix, self.config)

    @property
    def features(self):
        """A logit for every label."""
        return (len(self.config.labels),)


class SequenceCache(NamedTuple):
    encoded: EncodedCache
    hidden_shape: tuple  # (B·T, H)
    length: int  # T
    dropout: tuple | None
    dense: tuple
    activation: tuple
    dropout_2: tuple | None
    out: tuple


class ElectraForSequenceClassification(HeadModel):
    """A label, or a number, per sequence: [CLS], dropout, Linear(H→H), GELU, dropout, Linear(H→L)."""

    head_name = "classification"
    per_token = False

    def __init__(self, config, parameters=None, prefix="", xp=np, dtype=np.float32):
        super().__init__(config, parameters, prefix, xp, dtype)
        hidden = config.hidden_size
        self.dense = Linear(self.parameters, f"{prefix}classifier.dense", hidden, hidden)
        self.activation = Activation("gelu")  # as in Hugging Face's, whatever hidden_act is
        self.out = Linear(self.parameters, f"{prefix}classifier.out_proj", hidden, len(config.labels))
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, valid, segments, context):
        """-> logits [B, L], cache"""
        hidden, encoded = self.encode(input_ids, valid, segments, context)
        length = input_ids.shape[1]
        first = hidden[::length].copy()  # rows b·T: each sequence's [CLS]
        x, dropout = self.dropout.forward(first, context)
        x, dense = self.dense.forward(x, context)
        x, activation = self.activation.forward(x, context)
        x, dropout_2 = self.dropout.forward(x, context)
        logits, out = self.out.forward(x, context)
        cache = SequenceCache(encoded, hidden.shape, length, dropout, dense, activation, dropout_2, out)
        return logits, cache

    def backward(self, dlogits, cache, context):
        """dlogits [B, L]: adds to every gradient."""
        dx = self.out.backward(dlogits, cache.out, context)
        dx = self.dropout.backward(dx, cache.dropout_2, context)
        dx = self.activation.backward(dx, cache.activation, context)
        dx = self.dense.backward(dx, cache.dense, context)
        dfirst = self.dropout.backward(dx, cache.dropout, context)
        dhidden = array_module(dx).zeros(cache.hidden_shape, dx.dtype)
        dhidden[:: cache.length] = dfirst  # first = hidden[::T]
        self.encode_backward(dhidden, cache.encoded, context)


class TokensCache(NamedTuple):
    encoded: EncodedCache
    dropout: tuple | None
    out: tuple


class _ElectraForTokens(HeadModel):
    """A linear layer on every token, after dropout: what the two heads below have in common."""

    def _add_head(self, name, drop):
        self.dropout = Dropout(drop)
        self.out = Linear(self.parameters, name, self.config.hidden_size, len(self.config.labels))

    def forward(self, input_ids, valid, segments, context):
        """-> logits [B·T, L], cache"""
        hidden, encoded = self.encode(input_ids, valid, segments, context)
        x, dropout = self.dropout.forward(hidden, context)
        logits, out = self.out.forward(x, context)
        return logits, TokensCache(encoded, dropout, out)

    def backward(self, dlogits, cache, context):
        """dlogits [B·T, L]: adds to every gradient."""
        dx = self.out.backward(dlogits, cache.out, context)
        dhidden = self.dropout.backward(dx, cache.dropout, context)
        self.encode_backward(dhidden, cache.encoded, context)


class ElectraForTokenClassification(_ElectraForTokens):
    """A label per token: dropout, Linear(H→L)."""

    head_name = "tagging"

    def __init__(self, config, parameters=None, prefix="", xp=np, dtype=np.float32):
        super().__init__(config, parameters, prefix, xp, dtype)
        self._add_head(f"{prefix}classifier", config.hidden_dropout_prob)


class ElectraForQuestionAnswering(_ElectraForTokens):
    """How well an answer starts and ends at each token: Linear(H→2), no dropout.

    Logits [..., 0] are for the start, [..., 1] for the end.
    """

    head_name = "question-answering"

    def __init__(self, config, parameters=None, prefix="", xp=np, dtype=np.float32):
        super().__init__(config, parameters, prefix, xp, dtype)
        self._add_head(f"{prefix}qa_outputs", drop=0.0)
