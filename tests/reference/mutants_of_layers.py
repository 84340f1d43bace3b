"""Mistakes in operations, layers and towers. `**more` is the workspace, and where to write."""

import math

import numpy as np

from minielectra.electra import towers as models
from minielectra.nn import encoder, layers
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
    forward, backward = layers.layernorm_forward, layers.layernorm_backward

    def factor(x):
        return math.sqrt(1.0 - 1.0 / x.shape[1])

    def mutated(dy, cache, dweight, dbias, **more):
        own = np.zeros_like(dweight)
        dx = backward(dy, cache, own, dbias, **more)
        dweight += factor(dy) * own
        return dx

    mp.setattr(layers, "layernorm_forward", lambda x, w, *rest, **more: forward(x, w * factor(x), *rest, **more))
    mp.setattr(layers, "layernorm_backward", mutated)


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

    mp.setattr(layers, "layernorm_forward", forward)
    mp.setattr(layers, "layernorm_backward", backward)


@MUTANTS.add("LayerNorm's ε is 1e-5, PyTorch's default", hidden=True)
def _(mp):
    original = layers.layernorm_forward
    mp.setattr(layers, "layernorm_forward", lambda x, w, b, eps, **more: original(x, w, b, 1e-5, **more))


@MUTANTS.add("LayerNorm's backward lacks the projection term")
def _(mp):
    def backward(dy, cache, dweight, dbias, **more):
        _, r, weight = cache
        layernorm_backward(dy, cache, dweight, dbias)
        g = dy * weight
        return r * (g - g.mean(axis=1, keepdims=True))

    mp.setattr(layers, "layernorm_backward", backward)


# --- GELU


@MUTANTS.add("the tanh form of GELU instead of the exact one", hidden=True)
def _(mp):
    mp.setitem(layers.ACTIVATIONS, "gelu", layers.ACTIVATIONS["gelu_new"])


@MUTANTS.add("the exact GELU where the tanh form is asked for", check="discriminator, tanh GELU", hidden=True)
def _(mp):
    mp.setitem(layers.ACTIVATIONS, "gelu_new", layers.ACTIVATIONS["gelu"])


@MUTANTS.add("the generator's head follows hidden_act", check="generator, tanh GELU", hidden=True)
def _(mp):
    mp.setattr(models, "Gelu", lambda name: layers.Gelu("gelu_new"))


@MUTANTS.add("the discriminator's head ignores hidden_act", check="discriminator, tanh GELU", hidden=True)
def _(mp):
    mp.setattr(models, "Gelu", lambda name: layers.Gelu("gelu"))


@MUTANTS.add("float32 erf: the polynomial's argument is clipped at 2", check="generator, float32", hidden=True)
def _(mp):
    mp.setattr(fast_gelu, "ERF_CLIP", 2.0**2)


@MUTANTS.add("GELU's derivative is Φ(x) alone")
def _(mp):
    mp.setattr(layers.Gelu, "forward", lambda self, x, run: gelu.gelu_forward(x))
    mp.setattr(layers.Gelu, "backward", lambda self, dy, cache, run: dy * cache[1])


# --- attention


@MUTANTS.add("attention is scaled by 1/√H, not by 1/√d", hidden=True)
def _(mp):
    forward, backward = encoder.attention_forward, encoder.attention_backward

    def scaled(q, *rest, **more):
        return forward(q / math.sqrt(q.shape[1]), *rest, **more)

    def scaled_backward(do, cache, dq, *rest, **more):
        backward(do, cache, dq, *rest, **more)
        dq /= math.sqrt(do.shape[1])

    mp.setattr(encoder, "attention_forward", scaled)
    mp.setattr(encoder, "attention_backward", scaled_backward)


@MUTANTS.add("heads are interleaved", hidden=True)
def _(mp):
    def heads(self, x, shape):
        width = self.project.weight.value.shape[1] // self.heads
        split = x.reshape(*shape, -1, width, self.heads)  # a head's features are spread over the row
        return [split[:, :, m].transpose(0, 3, 1, 2) for m in range(split.shape[2])]

    mp.setattr(SelfAttention, "_heads", heads)


@MUTANTS.add("padding is attended to", hidden=True)
def _(mp):
    mp.setattr(encoder, "attention_mask", lambda valid, dtype: np.zeros((len(valid), 1, 1, valid.shape[1]), dtype))


@MUTANTS.add("padding is attended to a little: the mask is −10", hidden=True)
def _(mp):
    mp.setattr(encoder, "attention_mask", lambda valid, dtype: np.where(valid, 0.0, -10.0).astype(dtype)[:, None, None, :])


@MUTANTS.add("keys and values are exchanged", hidden=True)
def _(mp):
    forward, backward = encoder.attention_forward, encoder.attention_backward
    mp.setattr(encoder, "attention_forward", lambda q, k, v, *rest, **more: forward(q, v, k, *rest, **more))
    mp.setattr(encoder, "attention_backward", lambda do, cache, dq, dk, dv, **more: backward(do, cache, dq, dv, dk, **more))


@MUTANTS.add("softmax's backward lacks the correction")
def _(mp):
    original = encoder.attention_backward  # which takes the correction from o, the last of the cache

    def backward(do, cache, *out, **more):
        return original(do, (*cache[:-1], np.zeros_like(cache[-1])), *out, **more)

    mp.setattr(encoder, "attention_backward", backward)


# --- blocks and embeddings


@MUTANTS.add("LayerNorm before each half of a block, not after", hidden=True)
def _(mp):
    def forward(self, x, mask, shape, run):
        first, second = self.attention_output, self.output
        n, c1 = first.norm.forward(x.copy(), run)  # a layer may overwrite what it is given
        a, c2 = self.attention.forward(n, mask, shape, run)
        z, c3 = first.dense.forward(a, run)
        z += x
        n, c4 = second.norm.forward(z.copy(), run)
        f, c5 = self.intermediate.forward(n, run)
        g, c6 = self.gelu.forward(f, run)
        y, c7 = second.dense.forward(g, run)
        return y + z, (c1, c2, c3, c4, c5, c6, c7)

    def backward(self, dy, cache, run):
        first, second = self.attention_output, self.output
        c1, c2, c3, c4, c5, c6, c7 = cache
        df = self.gelu.backward(second.dense.backward(dy, c7, run), c6, run)
        dz = dy + second.norm.backward(self.intermediate.backward(df, c5, run), c4, run)
        dn = self.attention.backward(first.dense.backward(dz, c3, run), c2, run)
        dy[...] = dz + first.norm.backward(dn, c1, run)  # dx stands where dy stood
        return dy

    mp.setattr(Block, "forward", forward)
    mp.setattr(Block, "backward", backward)


@MUTANTS.add("no residual connections", hidden=True)
def _(mp):
    forward, backward = Residual.forward, Residual.backward
    mp.setattr(Residual, "forward", lambda self, inner, x, run: forward(self, inner, np.zeros_like(x), run))
    mp.setattr(Residual, "backward", lambda *a: ((found := backward(*a))[0], np.zeros_like(found[1])))


@MUTANTS.add("segments are ignored", hidden=True)
def _(mp):
    forward, backward = layers.embeddings_forward, layers.embeddings_backward
    mp.setattr(layers, "embeddings_forward", lambda i, s, w, p, t, **more: forward(i, s, w, p, np.zeros_like(t), **more))
    mp.setattr(layers, "embeddings_backward", lambda dy, cache, w, p, t: backward(dy, cache, w, p, np.zeros_like(t)))


@MUTANTS.add("positions count from 1", hidden=True)
def _(mp):
    forward, backward = layers.embeddings_forward, layers.embeddings_backward
    mp.setattr(layers, "embeddings_forward", lambda i, s, w, p, *rest, **more: forward(i, s, w, p[1:], *rest, **more))
    mp.setattr(layers, "embeddings_backward", lambda dy, cache, w, p, t: backward(dy, cache, w, p[1:], t))


@MUTANTS.add("the embeddings' LayerNorm is skipped", hidden=True)
def _(mp):
    make = Embeddings.__init__

    def init(self, *arguments):
        make(self, *arguments)
        self.norm = Identity()

    mp.setattr(Embeddings, "__init__", init)


class Identity:
    """A layer that does nothing."""

    def __init__(self, *_):
        pass

    def forward(self, x, run):
        return x, None

    def backward(self, dy, cache, run):
        return dy


@MUTANTS.add("the generator head's LayerNorm is skipped", hidden=True)
def _(mp):
    mp.setattr(models, "LayerNorm", Identity)


@MUTANTS.add("the heads' activation is skipped", hidden=True)
def _(mp):
    mp.setattr(models, "Gelu", Identity)


@MUTANTS.add("bias gradients are lost")
def _(mp):
    original = layers.linear_backward
    mp.setattr(layers, "linear_backward", lambda dy, c, dw, db, **more: original(dy, c, dw, np.zeros_like(db), **more))


@MUTANTS.add("of a word's repetitions one gradient is kept")
def _(mp):
    def scatter(table, index, rows):
        table[index] += rows

    mp.setattr(embedding, "scatter_add", scatter)


@MUTANTS.add("the discriminator's gradient does not reach the shared embeddings")
def _(mp):
    def backward(self, dhidden, cache, run):
        self.encoder.backward(dhidden, cache[1], run)

    mp.setattr(models.ElectraForPreTraining, "encode_backward", backward)
