"""Thin layers: views of parameters and their gradients, and nothing else.

`layer.forward(x, …, run) -> (y, cache)` and `layer.backward(dy, cache, run) -> dx`. No cache lives on `self`, so one layer can be
in flight several times at once; all that a pass needs besides its input travels in `run`. What is handed to a layer is the layer's:
a forward pass may overwrite its x (not Linear, whose cache it is), a backward pass its dy.
"""

from dataclasses import dataclass

from minielectra.backend import RandomStream, Workspace, allocator, keep_probability
from minielectra.ops.fast import gelu
from minielectra.ops.fast.layernorm import layernorm_backward, layernorm_forward
from minielectra.ops.fast.linear import linear_backward, linear_forward
from minielectra.ops.reference.dropout import dropout_backward, dropout_forward
from minielectra.ops.reference.embedding import embeddings_backward, embeddings_forward

ACTIVATIONS = {"gelu": gelu.gelu_forward, "gelu_new": gelu.gelu_tanh_forward, "gelu_pytorch_tanh": gelu.gelu_tanh_forward}


@dataclass
class Run:
    """What one pass through a model may use: memory to work in, and random numbers (None: no dropout, as at inference)."""

    ws: Workspace | None = None
    random: RandomStream | None = None
    backward: bool = True  # whether a backward pass follows; without one, an encoder keeps nothing of a block it has left


class Linear:
    """y = x Wᵀ + b. Parameters `weight` [O, I] and `bias` [O]; several names join their rows into one product."""

    def __init__(self, parameters, *names):
        self.weight = parameters.joined([f"{name}.weight" for name in names])
        self.bias = parameters.joined([f"{name}.bias" for name in names])

    def forward(self, x, run):
        """x [N, I] -> y [N, O]"""
        return linear_forward(x, self.weight.value, self.bias.value, ws=run.ws)

    def backward(self, dy, cache, run):
        """dy [N, O] -> dx [N, I]"""
        return linear_backward(dy, cache, self.weight.grad, self.bias.grad, ws=run.ws)


class LayerNorm:
    """Layer normalisation over the features. Parameters `weight` [H] and `bias` [H]."""

    def __init__(self, parameters, name, eps):
        self.weight, self.bias, self.eps = parameters[f"{name}.weight"], parameters[f"{name}.bias"], eps

    def forward(self, x, run):
        """x [N, H], overwritten -> y [N, H]"""
        return layernorm_forward(x, self.weight.value, self.bias.value, self.eps, ws=run.ws)

    def backward(self, dy, cache, run):
        """dy [N, H], overwritten -> dx [N, H]"""
        return layernorm_backward(dy, cache, self.weight.grad, self.bias.grad, ws=run.ws)


class Gelu:
    """The activation named in a configuration: `gelu` (exact), `gelu_new` (tanh form)."""

    def __init__(self, name):
        self._forward = ACTIVATIONS[name]

    def forward(self, x, run):
        """x [...], overwritten -> y [...]"""
        return self._forward(x, ws=run.ws, backward=run.backward)

    def backward(self, dy, cache, run):
        """dy [...], overwritten -> dx [...]"""
        return gelu.gelu_backward(dy, cache)


class Dropout:
    """Dropout with probability `drop`, where the run carries random numbers; in place."""

    def __init__(self, drop):
        self.drop = drop

    def forward(self, x, run):
        """x [...], overwritten -> y [...]"""
        if run.random is None or self.drop == 0.0:
            return x, None
        keep = run.random.keep_mask(x.shape, self.drop)
        return dropout_forward(x, keep, 1.0 / keep_probability(self.drop), out=x)

    def backward(self, dy, cache, run):
        """dy [...], left as it is -> dx [...]"""
        return dy if cache is None else dropout_backward(dy, cache, out=allocator(run.ws, dy).empty(dy.shape, dy.dtype))


class Embeddings:
    """Word + position + segment embeddings, layer norm, dropout: the one set of tables that both towers share."""

    def __init__(self, parameters, name, eps, drop):
        tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
        self.word, self.position, self.segment = (parameters[f"{name}.{table}.weight"] for table in tables)
        self.norm = LayerNorm(parameters, f"{name}.LayerNorm", eps)
        self.dropout = Dropout(drop)

    def forward(self, input_ids, token_type_ids, run):
        """input_ids, token_type_ids [B, T] -> y [B·T, E]"""
        x, looked_up = embeddings_forward(input_ids, token_type_ids, self.word.value, self.position.value, self.segment.value)
        x, normed = self.norm.forward(x, run)
        y, dropped = self.dropout.forward(x, run)
        return y, (looked_up, normed, dropped)

    def backward(self, dy, cache, run):
        """dy [B·T, E]: adds to the tables; integer ids have no gradient."""
        looked_up, normed, dropped = cache
        dx = self.dropout.backward(dy, dropped, run)  # y = dropout(x)
        dx = self.norm.backward(dx, normed, run)  # x = norm(x)
        embeddings_backward(dx, looked_up, self.word.grad, self.position.grad, self.segment.grad)
