"""Thin layers: handles on parameters and their gradients, and nothing else.

`layer.forward(x, …, context) -> (y, cache)` and `layer.backward(dy, cache, context) -> dx`. No cache lives on
`self`, so one layer can be in flight several times at once. Whatever a pass needs besides its input travels
in `context`.

What is handed to a layer belongs to the layer: a forward pass may overwrite its x, a backward pass its dy.
(Linear leaves x alone, because x is its cache.)

Shapes: N rows (tokens), I input and O output features, H hidden and E embedding features, B sequences of T
tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

from minielectra import ops
from minielectra.backend import RandomStream, Workspace, allocator, array_module, keep_probability


@dataclass
class PassContext:
    """What one pass through a model may use."""

    workspace: Workspace | None = None  # memory to work in; None: ask the array library
    random: RandomStream | None = None  # None: no dropout, as at inference
    backward: bool = True  # whether a backward pass follows; without one, an encoder keeps no caches


class Linear:
    """y = x Wᵀ + b. Parameters `weight` [O, I] and `bias` [O]."""

    def __init__(self, parameters, name, inputs, outputs):
        self.weight = parameters.declare(f"{name}.weight", (outputs, inputs))
        self.bias = parameters.declare(f"{name}.bias", (outputs,))

    def forward(self, x, context):
        """x [N, I] -> y [N, O]"""
        return ops.linear_forward(x, self.weight.value, self.bias.value, workspace=context.workspace)

    def backward(self, dy, cache, context):
        """dy [N, O] -> dx [N, I]"""
        return ops.linear_backward(dy, cache, self.weight.grad, self.bias.grad, workspace=context.workspace)


class JoinedLinear(Linear):
    """Several linear layers on the same input, as one product: their rows stand one below the other."""

    def __init__(self, parameters, names, inputs, outputs):
        """names: of the layers, each with `outputs` features. Weights are declared first, then biases."""
        weights, biases = [f"{name}.weight" for name in names], [f"{name}.bias" for name in names]
        for weight in weights:
            parameters.declare(weight, (outputs, inputs))
        for bias in biases:
            parameters.declare(bias, (outputs,))
        self.weight, self.bias = parameters.joined(weights), parameters.joined(biases)


class TiedLinear(Linear):
    """A linear layer whose weight is a table that belongs to another layer.

    Its gradient is added to that table's.
    """

    def __init__(self, parameters, name, table):
        """table: the Parameter [V, E] to multiply by; the bias [V] is the layer's own."""
        self.weight = table
        self.bias = parameters.declare(f"{name}.bias", table.shape[:1])


class LayerNorm:
    """Layer normalisation over the features. Parameters `weight` [H] and `bias` [H]."""

    def __init__(self, parameters, name, features, eps):
        self.weight = parameters.declare(f"{name}.weight", (features,))
        self.bias = parameters.declare(f"{name}.bias", (features,))
        self.eps = eps

    def forward(self, x, context):
        """x [N, H], overwritten -> y [N, H]"""
        return ops.layernorm_forward(
            x, self.weight.value, self.bias.value, self.eps, workspace=context.workspace
        )

    def backward(self, dy, cache, context):
        """dy [N, H], overwritten -> dx [N, H]"""
        return ops.layernorm_backward(
            dy, cache, self.weight.grad, self.bias.grad, workspace=context.workspace
        )


ACTIVATIONS = {
    "gelu": (ops.gelu_forward, ops.gelu_backward),
    "gelu_new": (ops.gelu_tanh_forward, ops.gelu_tanh_backward),
    "gelu_pytorch_tanh": (ops.gelu_tanh_forward, ops.gelu_tanh_backward),
    "relu": (ops.relu_forward, ops.relu_backward),
    "silu": (ops.silu_forward, ops.silu_backward),
    "swish": (ops.silu_forward, ops.silu_backward),
}


class Activation:
    """The activation that a configuration names, by one of Hugging Face's names.

    `gelu` is GELU's exact form, `gelu_new` and `gelu_pytorch_tanh` are its tanh form. `swish` is another name
    for `silu`.
    """

    def __init__(self, name):
        self._forward, self._backward = ACTIVATIONS[name]

    def forward(self, x, context):
        """x [...], overwritten -> y [...]"""
        return self._forward(x, workspace=context.workspace, backward=context.backward)

    def backward(self, dy, cache, context):
        """dy [...], overwritten -> dx [...]"""
        return self._backward(dy, cache)


class Dropout:
    """Dropout with probability `drop`, in place, in passes that carry random numbers."""

    def __init__(self, drop):
        self.drop = drop

    def forward(self, x, context):
        """x [...], overwritten -> y [...]"""
        if context.random is None or self.drop == 0.0:
            return x, None
        keep = context.random.keep_mask(x.shape, self.drop)
        return ops.dropout_forward(x, keep, 1.0 / keep_probability(self.drop), out=x)

    def backward(self, dy, cache, context):
        """dy [...], left as it is -> dx [...]"""
        if cache is None:
            return dy
        return ops.dropout_backward(dy, cache, out=allocator(context.workspace, dy).empty(dy.shape, dy.dtype))


class EmbeddingsCache(NamedTuple):
    tables: tuple  # of ops.embeddings_forward
    norm: tuple
    dropout: tuple | None


class Embeddings:
    """Word + position + segment embeddings, layer norm, dropout.

    There is one set of tables, which both towers share.
    """

    def __init__(self, parameters, name, config):
        """config: ElectraConfig, of which the sizes V, E, positions and segments count."""

        def table(kind, rows):
            return parameters.declare(f"{name}.{kind}_embeddings.weight", (rows, config.embedding_size))

        self.word = table("word", config.vocab_size)
        self.position = table("position", config.max_position_embeddings)
        self.segment = table("token_type", config.type_vocab_size)
        self.norm = LayerNorm(parameters, f"{name}.LayerNorm", config.embedding_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, segments, context):
        """input_ids, segments [B, T] -> y [B·T, E]

        If the table has one kind of segment only, every token is of that kind, whatever `segments` says.
        """
        if self.segment.shape[0] == 1:
            segments = array_module(segments).zeros_like(segments)
        x, tables = ops.embeddings_forward(
            input_ids, segments, self.word.value, self.position.value, self.segment.value
        )
        x, norm = self.norm.forward(x, context)
        y, dropout = self.dropout.forward(x, context)
        return y, EmbeddingsCache(tables, norm, dropout)

    def backward(self, dy, cache, context):
        """dy [B·T, E]: adds to the tables. Integer ids have no gradient."""
        dx = self.dropout.backward(dy, cache.dropout, context)  # y = dropout(x)
        dx = self.norm.backward(dx, cache.norm, context)  # x = norm(x)
        ops.embeddings_backward(dx, cache.tables, self.word.grad, self.position.grad, self.segment.grad)
