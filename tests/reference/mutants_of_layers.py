"""Mistakes in operations, layers and towers. `**more` is the workspace, and where to write."""

import math

import numpy as np

from minielectra import ops
from minielectra.electra import towers as models
from minielectra.nn import layers
from minielectra.nn.encoder import Block, Residual, SelfAttention
from minielectra.nn.layers import Embeddings
from minielectra.ops.fast import gelu as fast_gelu
from minielectra.ops.reference import embedding, gelu
from minielectra.ops.reference.layernorm import layernorm_backward

from .mutation import Mutants

MUTANTS = Mutants()


# --- layer norm


@MUTANTS.add("LayerNorm's variance divides by n − 1", hidden=True)
def _(mp):
    forward, backward = ops.layernorm_forward, ops.layernorm_backward

    def factor(x):
        return math.sqrt(1.0 - 1.0 / x.shape[1])

    def mutated(dy, cache, dweight, dbias, **more):
        own = np.zeros_like(dweight)
        dx = backward(dy, cache, own, dbias, **more)
        dweight += factor(dy) * own
        return dx

    mp.setattr(ops, "layernorm_forward", lambda x, w, *rest, **more: forward(x, w * factor(x), *rest, **more))
    mp.setattr(ops, "layernorm_backward", mutated)


@MUTANTS.add("LayerNorm does not subtract the mean", hidden=True)
def _(mp):
    def forward(x, weight, bias, eps, **more):
        r = 1.0 / np.sqrt((x * x).mean(axis=1, keepdims=True) + eps)
        return x * r * weight + bias, (x * r, r, weight)

    def backward(dy, cache, dweight, dbias, **more):
        xhat, r, weight = cache
        dweight += (dy * xhat).sum(axis=0)
        dbias += dy.sum(axis=0)
        g = dy * weight
        return r * (g - xhat * (g * xhat).mean(axis=1, keepdims=True))

    mp.setattr(ops, "layernorm_forward", forward)
    mp.setattr(ops, "layernorm_backward", backward)


@MUTANTS.add("LayerNorm's ε is 1e-5, PyTorch's default", hidden=True)
def _(mp):
    original = ops.layernorm_forward
    mp.setattr(ops, "layernorm_forward", lambda x, w, b, eps, **more: original(x, w, b, 1e-5, **more))


@MUTANTS.add("LayerNorm's backward lacks the projection term")
def _(mp):
    def backward(dy, cache, dweight, dbias, **more):
        layernorm_backward(dy, cache, dweight, dbias)
        g = dy * cache.weight
        return cache.rstd * (g - g.mean(axis=1, keepdims=True))

    mp.setattr(ops, "layernorm_backward", backward)


# --- GELU


@MUTANTS.add("the tanh form of GELU instead of the exact one", hidden=True)
def _(mp):
    mp.setitem(layers.ACTIVATIONS, "gelu", layers.ACTIVATIONS["gelu_new"])


@MUTANTS.add("the exact GELU where the tanh form is asked for", check="discriminator, tanh GELU", hidden=True)
def _(mp):
    mp.setitem(layers.ACTIVATIONS, "gelu_new", layers.ACTIVATIONS["gelu"])


@MUTANTS.add("the generator's head follows hidden_act", check="generator, tanh GELU", hidden=True)
def _(mp):
    mp.setattr(models, "Activation", lambda name: layers.Activation("gelu_new"))


@MUTANTS.add("the discriminator's head ignores hidden_act", check="discriminator, tanh GELU", hidden=True)
def _(mp):
    mp.setattr(models, "Activation", lambda name: layers.Activation("gelu"))


@MUTANTS.add(
    "float32 erf: the polynomial's argument is clipped at 2", check="generator, float32", hidden=True
)
def _(mp):
    mp.setattr(fast_gelu, "ERF_CLIP", 2.0**2)


@MUTANTS.add("GELU's derivative is Φ(x) alone")
def _(mp):
    mp.setattr(layers.Activation, "forward", lambda self, x, context: gelu.gelu_forward(x))
    mp.setattr(layers.Activation, "backward", lambda self, dy, cache, context: dy * cache.cdf)


# --- attention


@MUTANTS.add("attention is scaled by 1/√H, not by 1/√d", hidden=True)
def _(mp):
    forward, backward = ops.attention_forward, ops.attention_backward

    def scaled(q, *rest, **more):
        return forward(q / math.sqrt(q.shape[1]), *rest, **more)

    def scaled_backward(do, cache, dq, *rest, **more):
        backward(do, cache, dq, *rest, **more)
        dq /= math.sqrt(do.shape[1])

    mp.setattr(ops, "attention_forward", scaled)
    mp.setattr(ops, "attention_backward", scaled_backward)


@MUTANTS.add("heads are interleaved", hidden=True)
def _(mp):
    def heads(self, x, shape):
        width = self.project.weight.shape[1] // self.heads
        split = x.reshape(*shape, -1, width, self.heads)  # a head's features are spread over the row
        return [split[:, :, part].transpose(0, 3, 1, 2) for part in range(split.shape[2])]

    mp.setattr(SelfAttention, "_heads", heads)


@MUTANTS.add("padding is attended to", hidden=True)
def _(mp):
    mp.setattr(ops, "additive_mask", lambda valid, dtype: np.zeros((len(valid), 1, 1, valid.shape[1]), dtype))


@MUTANTS.add("padding is attended to a little: the mask is −10", hidden=True)
def _(mp):
    def mask(valid, dtype):
        return np.where(valid, 0.0, -10.0).astype(dtype)[:, None, None, :]

    mp.setattr(ops, "additive_mask", mask)


@MUTANTS.add("keys and values are exchanged", hidden=True)
def _(mp):
    forward, backward = ops.attention_forward, ops.attention_backward

    def exchanged(do, cache, dq, dk, dv, **more):
        return backward(do, cache, dq, dv, dk, **more)

    mp.setattr(ops, "attention_forward", lambda q, k, v, *rest, **more: forward(q, v, k, *rest, **more))
    mp.setattr(ops, "attention_backward", exchanged)


@MUTANTS.add("softmax's backward lacks the correction")
def _(mp):
    original = ops.attention_backward  # which computes the correction from o

    def backward(do, cache, *out, **more):
        return original(do, cache._replace(o=np.zeros_like(cache.o)), *out, **more)

    mp.setattr(ops, "attention_backward", backward)


# --- blocks and embeddings


@MUTANTS.add("LayerNorm before each half of a block, not after", hidden=True)
def _(mp):
    def forward(self, x, mask, shape, context):
        first, second = self.attention_output, self.output
        n, norm1 = first.norm.forward(x.copy(), context)  # a layer may overwrite what it is given
        a, attention = self.attention.forward(n, mask, shape, context)
        z, dense1 = first.dense.forward(a, context)
        z += x
        n, norm2 = second.norm.forward(z.copy(), context)
        f, intermediate = self.intermediate.forward(n, context)
        g, activation = self.activation.forward(f, context)
        y, dense2 = second.dense.forward(g, context)
        return y + z, (norm1, attention, dense1, norm2, intermediate, activation, dense2)

    def backward(self, dy, cache, context):
        first, second = self.attention_output, self.output
        norm1, attention, dense1, norm2, intermediate, activation, dense2 = cache
        df = self.activation.backward(second.dense.backward(dy, dense2, context), activation, context)
        dz = dy + second.norm.backward(self.intermediate.backward(df, intermediate, context), norm2, context)
        dn = self.attention.backward(first.dense.backward(dz, dense1, context), attention, context)
        dy[...] = dz + first.norm.backward(dn, norm1, context)  # dx stands where dy stood
        return dy

    mp.setattr(Block, "forward", forward)
    mp.setattr(Block, "backward", backward)


@MUTANTS.add("no residual connections", hidden=True)
def _(mp):
    forward, backward = Residual.forward, Residual.backward

    def without(self, dy, cache, context):
        dinner, dx = backward(self, dy, cache, context)
        return dinner, np.zeros_like(dx)

    mp.setattr(
        Residual, "forward", lambda self, inner, x, context: forward(self, inner, np.zeros_like(x), context)
    )
    mp.setattr(Residual, "backward", without)


@MUTANTS.add("segments are ignored", hidden=True)
def _(mp):
    forward, backward = ops.embeddings_forward, ops.embeddings_backward
    mp.setattr(ops, "embeddings_forward", lambda i, s, w, p, t: forward(i, s, w, p, np.zeros_like(t)))
    mp.setattr(
        ops, "embeddings_backward", lambda dy, cache, w, p, t: backward(dy, cache, w, p, np.zeros_like(t))
    )


@MUTANTS.add("positions count from 1", hidden=True)
def _(mp):
    forward, backward = ops.embeddings_forward, ops.embeddings_backward
    mp.setattr(ops, "embeddings_forward", lambda i, s, w, p, t: forward(i, s, w, p[1:], t))
    mp.setattr(ops, "embeddings_backward", lambda dy, cache, w, p, t: backward(dy, cache, w, p[1:], t))


class Identity:
    """A layer that does nothing."""

    def __init__(self, *_):
        pass

    def forward(self, x, context):
        return x, None

    def backward(self, dy, cache, context):
        return dy


class DeclaredIdentity(layers.LayerNorm):
    """A layer norm that has its parameters and does nothing."""

    forward, backward = Identity.forward, Identity.backward


@MUTANTS.add("the embeddings' LayerNorm is skipped", hidden=True)
def _(mp):
    make = Embeddings.__init__

    def init(self, *arguments):
        make(self, *arguments)
        self.norm = Identity()

    mp.setattr(Embeddings, "__init__", init)


@MUTANTS.add("the generator head's LayerNorm is skipped", hidden=True)
def _(mp):
    mp.setattr(models, "LayerNorm", DeclaredIdentity)


@MUTANTS.add("the heads' activation is skipped", hidden=True)
def _(mp):
    mp.setattr(models, "Activation", Identity)


@MUTANTS.add("bias gradients are lost")
def _(mp):
    original = ops.linear_backward
    mp.setattr(
        ops, "linear_backward", lambda dy, c, dw, db, **more: original(dy, c, dw, np.zeros_like(db), **more)
    )


@MUTANTS.add("of a word's repetitions one gradient is kept")
def _(mp):
    def scatter(table, index, rows):
        table[index] += rows

    mp.setattr(embedding, "scatter_add", scatter)


@MUTANTS.add("the discriminator's gradient does not reach the shared embeddings")
def _(mp):
    def backward(self, dhidden, cache, context):
        self.encoder.backward(dhidden, cache.encoder, context)

    mp.setattr(models.ElectraForPreTraining, "encode_backward", backward)
