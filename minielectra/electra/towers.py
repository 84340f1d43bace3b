"""The two towers: `ElectraForMaskedLM` (generator) and `ElectraForPreTraining` (discriminator).

B sequences of T tokens, V words, E embedding features, H hidden features, M = B·K chosen positions.

Parameters carry Hugging Face's names. In a joint model the shared tables stand under `electra.embeddings.…`,
and each tower's own parameters under its prefix (`generator.…`, `discriminator.…`).
"""

from typing import NamedTuple

import numpy as np

from minielectra.backend import array_module, scatter_add, to_host
from minielectra.electra.electra_config import GDES, SHARED, ElectraConfig
from minielectra.formats import huggingface
from minielectra.nn.encoder import Encoder
from minielectra.nn.inference import forward_only
from minielectra.nn.layers import Activation, Embeddings, LayerNorm, Linear, TiedLinear
from minielectra.nn.parameters import Parameters
from minielectra.nn.shared_tables import DisentangledTables, SeparateTables

EMBEDDINGS = "electra.embeddings"


class EncodedCache(NamedTuple):
    embeddings: tuple
    encoder: tuple


class Electra:
    """The embeddings and the encoder: what both towers and every fine-tuned model are built on."""

    config_class = ElectraConfig
    head_name = "pre-training"  # what messages call the head
    per_token = True  # whether a call gives a result per token, or one per sequence

    def __init__(self, config, parameters=None, prefix="", xp=np, dtype=np.float32, embeddings=SHARED):
        """config: ElectraConfig.

        parameters: where to declare this tower's, under `prefix`, if it shares them with another; else it has
        its own. embeddings: one of SHARING, how they relate to the other tower's (nn/shared_tables.py).
        """
        self.config, self.prefix = config, prefix
        self.parameters = Parameters(xp, dtype) if parameters is None else parameters
        self._tables = self.parameters
        if embeddings != SHARED:
            kind = DisentangledTables if embeddings == GDES else SeparateTables
            self._tables = kind(self.parameters, prefix)
        self.embeddings = Embeddings(self._tables, EMBEDDINGS, config)
        self.encoder = self._make_encoder(f"{prefix}electra.")

    def _make_encoder(self, prefix):
        return Encoder(self.parameters, prefix, self.config)

    @classmethod
    def from_pretrained(cls, directory):
        """The model in a directory of Hugging Face's layout.

        Raises InputError if it cannot be read or does not fit.
        """
        return huggingface.from_pretrained(cls, directory)

    def save_pretrained(self, directory, tokenizer=None):
        """Write the model, and its tokenizer if given, in Hugging Face's layout."""
        huggingface.save_pretrained(self, directory, tokenizer)

    def standalone_state(self):
        """The weights of this tower alone -> {Hugging Face's name: array, copied}.

        That is the shared tables and its own parameters, without the prefix.
        """
        alone = type(self)(self.config).parameters  # without the prefix; takes no memory
        return {name: np.array(to_host(self.parameter(name).value)) for name in alone}

    def parameter(self, name):
        """What has this name in a tower that stands alone -> Parameter, or Sum of two."""
        if name.startswith(f"{EMBEDDINGS}."):
            return self._tables[name]
        return self.parameters[f"{self.prefix}{name}"]

    def encode(self, input_ids, valid, segments, context):
        """input_ids, segments [B, T] -> hidden [B·T, H], cache.

        valid: [B, T] bool, or None if nothing is padding.
        """
        x, embedded = self.embeddings.forward(input_ids, segments, context)
        hidden, encoded = self.encoder.forward(x, valid, input_ids.shape, context)
        return hidden, EncodedCache(embedded, encoded)

    def encode_backward(self, dhidden, cache, context):
        """dhidden [B·T, H]: adds to every gradient of the encoder and the embeddings."""
        dx = self.encoder.backward(dhidden, cache.encoder, context)
        self.embeddings.backward(dx, cache.embeddings, context)

    @property
    def features(self):
        """What a call gives per token (or per sequence), beyond which token it is: the last dimensions."""
        return ()

    def logits(self, input_ids, valid, segments, context):
        """The logits of a forward pass, [B·T, *features], or [B, *features] if not `per_token`."""
        return self.forward(input_ids, valid, segments, context)[0]

    def __call__(self, input_ids, attention_mask=None, token_type_ids=None, skip_padding=False):
        """The logits without dropout -> [B, T, *features], or [B, *features] if not `per_token`.

        Arguments [B, T], any integers. skip_padding: what follows a sequence's last valid token is not
        computed and is 0, which is faster if lengths differ. Raises ValueError for arguments that cannot be
        used.
        """
        ids, valid, segments = self._checked(input_ids, attention_mask, token_type_ids)

        def shape(ids):
            return (*(ids.shape if self.per_token else ids.shape[:1]), *self.features)

        def forward(ids, valid, segments, context):
            return self.logits(ids, valid, segments, context).reshape(shape(ids))

        results = self.parameters.xp.zeros(shape(ids), self.parameters.flat.dtype)
        forward_only(forward, results, ids, valid, segments, skip_padding, self.per_token)
        return results

    def _checked(self, input_ids, attention_mask, token_type_ids):
        """The arguments of `__call__` as arrays of the model's module.

        -> ids, valid (None if nothing is padding), segments. Raises ValueError if they cannot be used.
        """
        xp = self.parameters.xp
        ids = xp.asarray(input_ids)
        segments = xp.zeros(ids.shape, xp.int32) if token_type_ids is None else xp.asarray(token_type_ids)
        valid = None if attention_mask is None else xp.asarray(attention_mask) != 0
        if ids.ndim != 2 or segments.shape != ids.shape or (valid is not None and valid.shape != ids.shape):
            raise ValueError(
                f"input_ids, attention_mask and token_type_ids must share one shape [B, T]; got {ids.shape}"
            )
        if ids.shape[1] > self.config.max_position_embeddings:
            raise ValueError(
                f"{ids.shape[1]} tokens, but max_position_embeddings is {self.config.max_position_embeddings}"
            )
        if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= self.config.vocab_size):
            raise ValueError(f"token ids must lie in 0 … {self.config.vocab_size - 1}")
        kinds = self.config.type_vocab_size
        if kinds > 1 and ids.size and (int(segments.min()) < 0 or int(segments.max()) >= kinds):
            raise ValueError(f"token_type_ids must lie in 0 … {kinds - 1}")
        return ids, valid, segments


class MaskedLMCache(NamedTuple):
    encoded: EncodedCache
    head: tuple


class WordsCache(NamedTuple):
    rows: object  # [M] or None
    hidden_shape: tuple  # (B·T, H)
    dense: tuple
    activation: tuple
    norm: tuple
    output: tuple


class ElectraForMaskedLM(Electra):
    """The generator: predicts the original word at chosen positions.

    Head: Linear(H→E), GELU, LayerNorm(E), then the transposed *word table* (tied) and a bias.
    """

    head_name = "generator"

    def __init__(self, config, parameters=None, prefix="", xp=np, dtype=np.float32, embeddings=SHARED):
        super().__init__(config, parameters, prefix, xp, dtype, embeddings)
        hidden, embedding = config.hidden_size, config.embedding_size
        name = f"{prefix}generator_predictions"
        self.dense = Linear(self.parameters, f"{name}.dense", hidden, embedding)
        # As in the official code and Hugging Face's, whatever hidden_act is
        self.activation = Activation("gelu")
        self.norm = LayerNorm(self.parameters, f"{name}.LayerNorm", embedding, config.layer_norm_eps)
        self.output = TiedLinear(self.parameters, f"{prefix}generator_lm_head", self.embeddings.word)

    def forward(self, input_ids, valid, segments, rows, context):
        """-> logits [M, V], cache.

        rows [M]: flat indices b·T + t of the positions to predict; None: all.
        """
        hidden, encoded = self.encode(input_ids, valid, segments, context)
        logits, head = self.words(hidden, rows, context)
        return logits, MaskedLMCache(encoded, head)

    def backward(self, dlogits, cache, context):
        """dlogits [M, V]: adds to every gradient."""
        dhidden = self.words_backward(dlogits, cache.head, context)
        self.encode_backward(dhidden, cache.encoded, context)

    def words(self, hidden, rows, context):
        """The head: hidden [B·T, H] -> logits [M, V], cache. rows as for `forward`."""
        chosen = hidden if rows is None else hidden[rows]
        x, dense = self.dense.forward(chosen, context)
        x, activation = self.activation.forward(x, context)
        x, norm = self.norm.forward(x, context)
        logits, output = self.output.forward(x, context)
        return logits, WordsCache(rows, hidden.shape, dense, activation, norm, output)

    def words_backward(self, dlogits, cache, context):
        """dlogits [M, V] -> dhidden [B·T, H]. Adds to the head's gradients."""
        dx = self.output.backward(dlogits, cache.output, context)
        dx = self.norm.backward(dx, cache.norm, context)
        dx = self.activation.backward(dx, cache.activation, context)
        dhidden = dchosen = self.dense.backward(dx, cache.dense, context)
        if cache.rows is not None:
            dhidden = array_module(dchosen).zeros(cache.hidden_shape, dchosen.dtype)
            scatter_add(dhidden, cache.rows, dchosen)  # chosen = hidden[rows]
        return dhidden

    @property
    def features(self):
        """A logit for every word of the vocabulary."""
        return (self.config.vocab_size,)

    def logits(self, input_ids, valid, segments, context):
        """-> [B·T, V]: predictions at every position."""
        return self.forward(input_ids, valid, segments, None, context)[0]


class PreTrainingCache(NamedTuple):
    encoded: EncodedCache
    head: tuple


class DetectionCache(NamedTuple):
    dense: tuple
    activation: tuple
    prediction: tuple


class ElectraForPreTraining(Electra):
    """The discriminator: for every token the logit of "replaced". Head: Linear(H→H), GELU, Linear(H→1)."""

    head_name = "discriminator"

    def __init__(self, config, parameters=None, prefix="", xp=np, dtype=np.float32, embeddings=SHARED):
        super().__init__(config, parameters, prefix, xp, dtype, embeddings)
        name, hidden = f"{prefix}discriminator_predictions", config.hidden_size
        self.dense = Linear(self.parameters, f"{name}.dense", hidden, hidden)
        self.activation = Activation(config.hidden_act)
        self.prediction = Linear(self.parameters, f"{name}.dense_prediction", hidden, 1)

    def forward(self, input_ids, valid, segments, context):
        """-> logits [B·T], cache"""
        hidden, encoded = self.encode(input_ids, valid, segments, context)
        logits, head = self.detect(hidden, context)
        return logits, PreTrainingCache(encoded, head)

    def backward(self, dlogits, cache, context):
        """dlogits [B·T]: adds to every gradient."""
        dhidden = self.detect_backward(dlogits, cache.head, context)
        self.encode_backward(dhidden, cache.encoded, context)

    def detect(self, hidden, context):
        """The head: hidden [B·T, H] -> logits [B·T], cache."""
        x, dense = self.dense.forward(hidden, context)
        x, activation = self.activation.forward(x, context)
        logits, prediction = self.prediction.forward(x, context)
        return logits[:, 0], DetectionCache(dense, activation, prediction)

    def detect_backward(self, dlogits, cache, context):
        """dlogits [B·T] -> dhidden [B·T, H]. Adds to the head's gradients."""
        dx = self.prediction.backward(dlogits[:, None], cache.prediction, context)
        dx = self.activation.backward(dx, cache.activation, context)
        return self.dense.backward(dx, cache.dense, context)
