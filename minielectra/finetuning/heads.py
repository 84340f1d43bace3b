"""Fine-tuning heads on the encoder, in Hugging Face's shapes and under its names.

B sequences of T tokens, H hidden features, L labels. Each model has `forward(ids, valid, segments, run) -> logits, cache` and
`backward(dlogits, cache, run)`; calling it gives the logits without dropout. (The original code's classifier is one linear layer;
Hugging Face's has a dense layer and a GELU before it, and is the one that other tools read.)
"""

import dataclasses
from dataclasses import dataclass

from minielectra.backend import array_module
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import Electra
from minielectra.errors import InputError
from minielectra.nn.encoder import linear_shapes
from minielectra.nn.layers import Dropout, Gelu, Linear


@dataclass(frozen=True)
class HeadConfig(ElectraConfig):
    """An `ElectraConfig` and the names of the head's labels, in the order of its logits. One label: a regression."""

    labels: tuple = ("LABEL_0", "LABEL_1")  # what Hugging Face assumes where nothing is said

    def __post_init__(self):
        super().__post_init__()
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise InputError(f"id2label: a head needs at least one label, each a text; got {self.labels!r:.60}")

    @property
    def regression(self):
        """Whether the head predicts a number instead of a class."""
        return len(self.labels) == 1

    def to_huggingface(self):
        """The fields as a config.json holds them: labels as `id2label` and `label2id`."""
        fields = dataclasses.asdict(self)
        labels = fields.pop("labels")
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


class ElectraForSequenceClassification(Electra):
    """One label, or number, for a sequence: from [CLS], dropout, Linear(H→H), GELU, dropout, Linear(H→L)."""

    config_class = HeadConfig
    per_token = False

    @staticmethod
    def head_shapes(config, prefix):
        """{name: shape} of the head's parameters."""
        return {
            **linear_shapes(f"{prefix}classifier.dense", config.hidden_size, config.hidden_size),
            **linear_shapes(f"{prefix}classifier.out_proj", config.hidden_size, len(config.labels)),
        }

    def __init__(self, config, parameters=None, prefix="", **options):
        super().__init__(config, parameters, prefix, **options)
        self.dense = Linear(self.parameters, f"{prefix}classifier.dense")
        self.gelu = Gelu("gelu")  # whatever hidden_act says, as in Hugging Face's
        self.out = Linear(self.parameters, f"{prefix}classifier.out_proj")
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, valid, token_type_ids, run):
        """-> logits [B, L], cache"""
        hidden, encoded = self.encode(input_ids, valid, token_type_ids, run)
        length = input_ids.shape[1]
        x, c1 = self.dropout.forward(hidden[::length].copy(), run)  # rows b·T: each sequence's [CLS]
        x, c2 = self.dense.forward(x, run)
        x, c3 = self.gelu.forward(x, run)
        x, c4 = self.dropout.forward(x, run)
        logits, c5 = self.out.forward(x, run)
        return logits, (encoded, hidden.shape, length, c1, c2, c3, c4, c5)

    def backward(self, dlogits, cache, run):
        """dlogits [B, L]: adds to every gradient."""
        encoded, shape, length, c1, c2, c3, c4, c5 = cache
        dx = self.out.backward(dlogits, c5, run)
        dx = self.dropout.backward(dx, c4, run)
        dx = self.gelu.backward(dx, c3, run)
        dx = self.dense.backward(dx, c2, run)
        dhidden = array_module(dx).zeros(shape, dx.dtype)
        dhidden[::length] = self.dropout.backward(dx, c1, run)  # x = hidden[::T]
        self.encode_backward(dhidden, encoded, run)

    def __call__(self, input_ids, attention_mask=None, token_type_ids=None, skip_padding=False):
        """-> logits [B, L]. Arguments [B, T], any integers; no dropout. skip_padding: as for ElectraForMaskedLM."""

        def forward(ids, *more):  # `infer` wants a row for every token
            return self.forward(ids, *more)[0][array_module(ids).arange(ids.size) // ids.shape[1]]

        labels = (len(self.config.labels),)
        return self.infer(forward, labels, input_ids, attention_mask, token_type_ids, skip_padding)[:, 0]


class _ElectraForTokens(Electra):
    """A linear layer on every token, after dropout: what the two heads below have in common."""

    config_class = HeadConfig
    layer, drops = "", True

    @classmethod
    def head_shapes(cls, config, prefix):
        """{name: shape} of the head's parameters."""
        return linear_shapes(f"{prefix}{cls.layer}", config.hidden_size, len(config.labels))

    def __init__(self, config, parameters=None, prefix="", **options):
        super().__init__(config, parameters, prefix, **options)
        self.dropout = Dropout(config.hidden_dropout_prob if self.drops else 0.0)
        self.out = Linear(self.parameters, f"{prefix}{self.layer}")

    def forward(self, input_ids, valid, token_type_ids, run):
        """-> logits [B·T, L], cache"""
        hidden, encoded = self.encode(input_ids, valid, token_type_ids, run)
        x, dropped = self.dropout.forward(hidden, run)
        logits, out = self.out.forward(x, run)
        return logits, (encoded, dropped, out)

    def backward(self, dlogits, cache, run):
        """dlogits [B·T, L]: adds to every gradient."""
        encoded, dropped, out = cache
        dhidden = self.dropout.backward(self.out.backward(dlogits, out, run), dropped, run)
        self.encode_backward(dhidden, encoded, run)

    def __call__(self, input_ids, attention_mask=None, token_type_ids=None, skip_padding=False):
        """-> logits [B, T, L]. Arguments [B, T], any integers; no dropout. skip_padding: as for ElectraForMaskedLM."""
        labels = (len(self.config.labels),)
        return self.infer(lambda *x: self.forward(*x)[0], labels, input_ids, attention_mask, token_type_ids, skip_padding)


class ElectraForTokenClassification(_ElectraForTokens):
    """A label for every token: dropout, Linear(H→L)."""

    layer = "classifier"


class ElectraForQuestionAnswering(_ElectraForTokens):
    """For every token how well an answer starts and ends there: Linear(H→2), no dropout. Logits [..., 0] start, [..., 1] end."""

    layer, drops = "qa_outputs", False
