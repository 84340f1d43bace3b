"""The operations that training runs, and the only import of other rooms.

Each operation is a pair of functions: `y, cache = op_forward(x, …)` and `dx = op_backward(dy, cache, …)`.
Gradients of parameters are *added* into arrays handed in. Randomness is handed in. The dtype follows the
input. Nothing is kept between calls. A cache is a NamedTuple: what the backward pass needs of the forward
pass, each part under its name.

- `reference/` has one operation a file, with its derivation: pure, plain, the version to read, and the
  oracle.
- `fast/` has those that are worth writing twice: in place and in blocks that stay in the processor's cache.

This file chooses between the two, once. `cross_entropy` overwrites its logits, the largest array of a step;
`small_cross_entropy` is the plain version, for tasks that have few labels and need their logits afterwards.
"""

from minielectra.ops.fast.attention import attention_backward, attention_forward
from minielectra.ops.fast.gelu import gelu_backward, gelu_forward, gelu_tanh_backward, gelu_tanh_forward
from minielectra.ops.fast.layernorm import layernorm_backward, layernorm_forward
from minielectra.ops.fast.linear import linear_backward, linear_forward
from minielectra.ops.fast.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.ops.fast.relu import relu_backward, relu_forward
from minielectra.ops.fast.silu import silu_backward, silu_forward
from minielectra.ops.reference.attention import additive_mask
from minielectra.ops.reference.copy_gate import copy_gate_backward, copy_gate_forward
from minielectra.ops.reference.dropout import dropout_backward, dropout_forward
from minielectra.ops.reference.embedding import embeddings_backward, embeddings_forward
from minielectra.ops.reference.layer_mix import layer_mix_backward, layer_mix_forward
from minielectra.ops.reference.losses import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    sigmoid,
    squared_error_backward,
    squared_error_forward,
)
from minielectra.ops.reference.losses import cross_entropy_backward as small_cross_entropy_backward
from minielectra.ops.reference.losses import cross_entropy_forward as small_cross_entropy_forward
from minielectra.ops.reference.orthogonalize import orthogonalize, orthogonalize_products
from minielectra.ops.reference.softmax import softmax_backward, softmax_forward

__all__ = [
    "additive_mask",
    "attention_backward",
    "attention_forward",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "copy_gate_backward",
    "copy_gate_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_backward",
    "dropout_forward",
    "embeddings_backward",
    "embeddings_forward",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "layer_mix_backward",
    "layer_mix_forward",
    "layernorm_backward",
    "layernorm_forward",
    "linear_backward",
    "linear_forward",
    "orthogonalize",
    "orthogonalize_products",
    "relu_backward",
    "relu_forward",
    "sigmoid",
    "silu_backward",
    "silu_forward",
    "small_cross_entropy_backward",
    "small_cross_entropy_forward",
    "softmax_backward",
    "softmax_forward",
    "squared_error_backward",
    "squared_error_forward",
]
