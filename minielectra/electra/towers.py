"""The two towers: `ElectraForMaskedLM` (generator) and `ElectraForPreTraining` (discriminator).

B sequences of T tokens, V words, E embedding features, H hidden features, M = B·K chosen positions.

Parameters carry Hugging Face's names. Inside a joint model the shared tables stand under `electra.embeddings.…` and each tower's
own parameters under its prefix (`generator.…`, `discriminator.…`).
"""

import numpy as np

from minielectra.backend import array_module, scatter_add
from minielectra.electra.electra_config import ElectraConfig
from minielectra.formats import huggingface
from minielectra.nn.encoder import Encoder, encoder_shapes, linear_shapes, norm_shapes
from minielectra.nn.inference import forward_only
from minielectra.nn.layers import Embeddings, Gelu, LayerNorm, Linear
from minielectra.nn.parameters import Parameters

EMBEDDINGS = "electra.embeddings"


def embedding_shapes(config):
    """{name: shape} of the shared tables and their LayerNorm."""
    return {
        f"{EMBEDDINGS}.word_embeddings.weight": (config.vocab_size, config.embedding_size),
        f"{EMBEDDINGS}.position_embeddings.weight": (config.max_position_embeddings, config.embedding_size),
        f"{EMBEDDINGS}.token_type_embeddings.weight": (config.type_vocab_size, config.embedding_size),
        **norm_shapes(f"{EMBEDDINGS}.LayerNorm", config.embedding_size),
    }


class Electra:
    """The encoder with its embeddings: what both towers, and every fine-tuned model, are built on."""

    config_class = ElectraConfig
    per_token = True  # whether a call gives a result for every token, or one for a sequence
    head_shapes = staticmethod(lambda config, prefix: {})

    def __init__(self, config, parameters=None, prefix="", dtype=np.float32, xp=np):
        """config: ElectraConfig. parameters: where to find this tower's, under `prefix`; else new ones, all zero."""
        self.config, self.prefix = config, prefix
        self.parameters = Parameters(self.shapes(config), xp, dtype) if parameters is None else parameters
        p, c = self.parameters, config
        self.embeddings = Embeddings(p, EMBEDDINGS, c.layer_norm_eps, c.hidden_dropout_prob)
        self.encoder = Encoder(p, f"{prefix}electra.", c.num_hidden_layers, c.num_attention_heads, c.layer_norm_eps,
                               c.hidden_act, c.hidden_dropout_prob, c.attention_probs_dropout_prob)  # fmt: skip

    @classmethod
    def shapes(cls, config, prefix="", with_embeddings=True):
        """{name: shape} of all parameters of this model."""
        return {
            **(embedding_shapes(config) if with_embeddings else {}),
            **encoder_shapes(
                f"{prefix}electra.", config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.embedding_size
            ),
            **cls.head_shapes(config, prefix),
        }

    @classmethod
    def from_pretrained(cls, directory):
        """The model in a directory of Hugging Face's layout. Raises InputError where it cannot be read or does not fit."""
        return huggingface.from_pretrained(cls, directory)

    def save_pretrained(self, directory, tokenizer=None):
        """Write the model, and its tokenizer where given, in Hugging Face's layout."""
        huggingface.save_pretrained(self, directory, tokenizer)

    def encode(self, input_ids, valid, token_type_ids, run):
        """input_ids, token_type_ids [B, T]; valid [B, T] bool or None (no padding) -> hidden [B·T, H], cache"""
        x, embedded = self.embeddings.forward(input_ids, token_type_ids, run)
        hidden, encoded = self.encoder.forward(x, valid, input_ids.shape, run)
        return hidden, (embedded, encoded)

    def encode_backward(self, dhidden, cache, run):
        """dhidden [B·T, H]: adds to every gradient of the encoder and the embeddings."""
        embedded, encoded = cache
        self.embeddings.backward(self.encoder.backward(dhidden, encoded, run), embedded, run)

    def infer(self, forward, features, input_ids, attention_mask, token_type_ids, skip_padding):
        """The arguments of `__call__`; forward(input_ids, valid, token_type_ids, run) -> [B·T, *features]. -> [B, T, *features]"""

        def run(ids, *more):
            return forward(ids, *more).reshape(*ids.shape, *features)

        ids, valid, segments = self.prepare(input_ids, attention_mask, token_type_ids)
        results = self.parameters.xp.zeros((*ids.shape, *features), self.parameters.flat.dtype)
        forward_only(run, results, ids, valid, segments, skip_padding)
        return results

    def prepare(self, input_ids, attention_mask, token_type_ids):
        """The arguments of `__call__` as arrays of the model's module: ids, valid (None where nothing is padding), segments."""
        xp = self.parameters.xp
        ids = xp.asarray(input_ids)
        segments = xp.zeros(ids.shape, xp.int32) if token_type_ids is None else xp.asarray(token_type_ids)
        valid = None if attention_mask is None else xp.asarray(attention_mask) != 0
        if ids.ndim != 2 or segments.shape != ids.shape or (valid is not None and valid.shape != ids.shape):
            raise ValueError(f"input_ids, attention_mask and token_type_ids must share one shape [B, T]; got {ids.shape}")
        if ids.shape[1] > self.config.max_position_embeddings:
            raise ValueError(f"{ids.shape[1]} tokens, but max_position_embeddings is {self.config.max_position_embeddings}")
        if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= self.config.vocab_size):
            raise ValueError(f"token ids must lie in 0 … {self.config.vocab_size - 1}")
        return ids, valid, segments


class ElectraForMaskedLM(Electra):
    """The generator: predicts the original word at chosen positions.

    Head: Linear(H→E), GELU, LayerNorm(E), then the transposed *word table* (tied) and a bias.
    """

    @staticmethod
    def head_shapes(config, prefix):
        """{name: shape} of the head's parameters."""
        return {
            **linear_shapes(f"{prefix}generator_predictions.dense", config.hidden_size, config.embedding_size),
            **norm_shapes(f"{prefix}generator_predictions.LayerNorm", config.embedding_size),
            f"{prefix}generator_lm_head.bias": (config.vocab_size,),
        }

    def __init__(self, config, parameters=None, prefix="", dtype=np.float32, xp=np):
        super().__init__(config, parameters, prefix, dtype, xp)
        self.dense = Linear(self.parameters, f"{prefix}generator_predictions.dense")
        self.gelu = Gelu("gelu")  # both codes use GELU here, whatever hidden_act says
        self.norm = LayerNorm(self.parameters, f"{prefix}generator_predictions.LayerNorm", config.layer_norm_eps)
        self.output = TiedLinear(self.embeddings.word, self.parameters[f"{prefix}generator_lm_head.bias"])

    def forward(self, input_ids, valid, token_type_ids, rows, run):
        """rows [M]: flat indices b·T + t of the positions to predict (None: all) -> logits [M, V], cache"""
        hidden, encoded = self.encode(input_ids, valid, token_type_ids, run)
        chosen = hidden if rows is None else hidden[rows]
        x, c1 = self.dense.forward(chosen, run)
        x, c2 = self.gelu.forward(x, run)
        x, c3 = self.norm.forward(x, run)
        logits, c4 = self.output.forward(x, run)
        return logits, (encoded, rows, hidden.shape, c1, c2, c3, c4)

    def backward(self, dlogits, cache, run):
        """dlogits [M, V]: adds to every gradient."""
        encoded, rows, shape, c1, c2, c3, c4 = cache
        dx = self.output.backward(dlogits, c4, run)
        dx = self.norm.backward(dx, c3, run)
        dx = self.gelu.backward(dx, c2, run)
        dhidden = dchosen = self.dense.backward(dx, c1, run)
        if rows is not None:
            dhidden = array_module(dchosen).zeros(shape, dchosen.dtype)
            scatter_add(dhidden, rows, dchosen)  # chosen = hidden[rows]
        self.encode_backward(dhidden, encoded, run)

    def __call__(self, input_ids, attention_mask=None, token_type_ids=None, skip_padding=False):
        """-> logits [B, T, V]. Arguments [B, T], any integers; no dropout. skip_padding: what lies behind a sequence's last valid
        token is not computed, and 0: faster where lengths differ."""

        def forward(ids, valid, segments, run):
            return self.forward(ids, valid, segments, None, run)[0]

        return self.infer(forward, (self.config.vocab_size,), input_ids, attention_mask, token_type_ids, skip_padding)


class TiedLinear(Linear):
    """A linear layer whose weight is a table that belongs to somebody else; its gradient is added to that table's."""

    def __init__(self, table, bias):
        self.weight, self.bias = table, bias


class ElectraForPreTraining(Electra):
    """The discriminator: for every token the logit of "replaced". Head: Linear(H→H), GELU, Linear(H→1)."""

    @staticmethod
    def head_shapes(config, prefix):
        """{name: shape} of the head's parameters."""
        return {
            **linear_shapes(f"{prefix}discriminator_predictions.dense", config.hidden_size, config.hidden_size),
            **linear_shapes(f"{prefix}discriminator_predictions.dense_prediction", config.hidden_size, 1),
        }

    def __init__(self, config, parameters=None, prefix="", dtype=np.float32, xp=np):
        super().__init__(config, parameters, prefix, dtype, xp)
        self.dense = Linear(self.parameters, f"{prefix}discriminator_predictions.dense")
        self.gelu = Gelu(config.hidden_act)
        self.prediction = Linear(self.parameters, f"{prefix}discriminator_predictions.dense_prediction")

    def forward(self, input_ids, valid, token_type_ids, run):
        """-> logits [B·T], cache"""
        hidden, encoded = self.encode(input_ids, valid, token_type_ids, run)
        x, c1 = self.dense.forward(hidden, run)
        x, c2 = self.gelu.forward(x, run)
        logits, c3 = self.prediction.forward(x, run)
        return logits[:, 0], (encoded, c1, c2, c3)

    def backward(self, dlogits, cache, run):
        """dlogits [B·T]: adds to every gradient."""
        encoded, c1, c2, c3 = cache
        dx = self.prediction.backward(dlogits[:, None], c3, run)
        dx = self.gelu.backward(dx, c2, run)
        self.encode_backward(self.dense.backward(dx, c1, run), encoded, run)

    def __call__(self, input_ids, attention_mask=None, token_type_ids=None, skip_padding=False):
        """-> logits [B, T] of "replaced". Arguments [B, T], any integers; no dropout. skip_padding: as for ElectraForMaskedLM."""
        return self.infer(lambda *x: self.forward(*x)[0], (), input_ids, attention_mask, token_type_ids, skip_padding)
