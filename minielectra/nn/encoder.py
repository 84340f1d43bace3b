"""The BERT encoder (Devlin et al. 2019): blocks of self-attention and a two-layer network, residual, normalised after.

B sequences of T tokens (N = B·T rows), H hidden features, A heads of D = H/A features, F features inside the feed-forward.

    h = LayerNorm(x + dropout(Dense(Attention(x))))
    y = LayerNorm(h + dropout(Dense(GELU(Dense(h)))))
"""

from minielectra.backend import allocator, keep_probability, scratch
from minielectra.nn.layers import Dropout, Gelu, LayerNorm, Linear
from minielectra.ops.fast.attention import attention_backward, attention_forward
from minielectra.ops.reference.attention import attention_mask


def encoder_shapes(prefix, layers, hidden, intermediate, embedding):
    """{name: shape} of an encoder's parameters, Hugging Face's names under `prefix`; the projection only where E ≠ H.

    Query, key and value stand side by side, weights then biases, so that one product computes all three.
    """
    shapes = {}
    if embedding != hidden:
        shapes |= linear_shapes(f"{prefix}embeddings_project", embedding, hidden)
    for i in range(layers):
        block = f"{prefix}encoder.layer.{i}."
        parts = [f"{block}attention.self.{part}" for part in ("query", "key", "value")]
        shapes |= {f"{part}.weight": (hidden, hidden) for part in parts}
        shapes |= {f"{part}.bias": (hidden,) for part in parts}
        shapes |= linear_shapes(f"{block}attention.output.dense", hidden, hidden)
        shapes |= norm_shapes(f"{block}attention.output.LayerNorm", hidden)
        shapes |= linear_shapes(f"{block}intermediate.dense", hidden, intermediate)
        shapes |= linear_shapes(f"{block}output.dense", intermediate, hidden)
        shapes |= norm_shapes(f"{block}output.LayerNorm", hidden)
    return shapes


def linear_shapes(name, inputs, outputs):
    """{name: shape} of a linear layer."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm_shapes(name, features):
    """{name: shape} of a layer norm."""
    return {f"{name}.weight": (features,), f"{name}.bias": (features,)}


class SelfAttention:
    """Multi-head self-attention without its output projection."""

    def __init__(self, parameters, name, heads, drop):
        self.project = Linear(parameters, *(f"{name}.{part}" for part in ("query", "key", "value")))
        self.heads, self.drop = heads, drop

    def forward(self, x, mask, shape, run):
        """x [N, H], additive mask or None, shape (B, T) -> y [N, H]"""
        qkv, projected = self.project.forward(x, run)
        q, k, v = self._heads(qkv, shape)
        keep, scale = None, 1.0
        if run.random is not None and self.drop > 0.0:
            keep = run.random.keep_mask((shape[0], self.heads, shape[1], shape[1]), self.drop)
            scale = 1.0 / keep_probability(self.drop)
        y = allocator(run.ws, x).empty(x.shape, x.dtype)
        out = self._heads(y, shape)[0]
        _, attended = attention_forward(q, k, v, mask, keep, scale, out=out, ws=run.ws, backward=run.backward)
        return y, (projected, attended, shape)

    def backward(self, dy, cache, run):
        """dy [N, H] -> dx [N, H]"""
        projected, attended, shape = cache
        dqkv = allocator(run.ws, dy).empty((dy.shape[0], 3 * dy.shape[1]), dy.dtype)
        attention_backward(self._heads(dy, shape)[0], attended, *self._heads(dqkv, shape), ws=run.ws)
        return self.project.backward(dqkv, projected, run)

    def _heads(self, x, shape):
        """x [N, M·H] -> M views [B, A, T, D] of it, without a copy."""
        width = self.project.weight.value.shape[1] // self.heads
        split = x.reshape(*shape, -1, self.heads, width)  # [B, T, M, A, D]
        return [split[:, :, m].swapaxes(1, 2) for m in range(split.shape[2])]


class Residual:
    """LayerNorm(x + dropout(Dense(inner))): how both halves of a block end."""

    def __init__(self, parameters, name, eps, drop):
        self.dense = Linear(parameters, f"{name}.dense")
        self.dropout = Dropout(drop)
        self.norm = LayerNorm(parameters, f"{name}.LayerNorm", eps)

    def forward(self, inner, x, run):
        """inner [N, I], x [N, H] -> y [N, H]"""
        z, dense = self.dense.forward(inner, run)
        z, dropped = self.dropout.forward(z, run)
        z += x
        y, normed = self.norm.forward(z, run)
        return y, (dense, dropped, normed)

    def backward(self, dy, cache, run):
        """dy [N, H] -> dinner [N, I], dx [N, H], which overwrites dy"""
        dense, dropped, normed = cache
        dz = self.norm.backward(dy, normed, run)  # y = norm(z)
        dinner = self.dropout.backward(dz, dropped, run)  # z = x + dropout(·): the sum hands dz to both
        return self.dense.backward(dinner, dense, run), dz


class Block:
    """One transformer block, post-LayerNorm."""

    def __init__(self, parameters, name, heads, eps, activation, hidden_drop, attention_drop):
        self.attention = SelfAttention(parameters, f"{name}.attention.self", heads, attention_drop)
        self.attention_output = Residual(parameters, f"{name}.attention.output", eps, hidden_drop)
        self.intermediate = Linear(parameters, f"{name}.intermediate.dense")
        self.gelu = Gelu(activation)
        self.output = Residual(parameters, f"{name}.output", eps, hidden_drop)

    def forward(self, x, mask, shape, run):
        """x [N, H] -> y [N, H]"""
        a, c1 = self.attention.forward(x, mask, shape, run)
        h, c2 = self.attention_output.forward(a, x, run)
        f, c3 = self.intermediate.forward(h, run)
        g, c4 = self.gelu.forward(f, run)
        y, c5 = self.output.forward(g, h, run)
        return y, (c1, c2, c3, c4, c5)

    def backward(self, dy, cache, run):
        """dy [N, H] -> dx [N, H], which overwrites dy"""
        c1, c2, c3, c4, c5 = cache
        dg, dh = self.output.backward(dy, c5, run)
        df = self.gelu.backward(dg, c4, run)
        dh += self.intermediate.backward(df, c3, run)  # h was used twice
        da, dx = self.attention_output.backward(dh, c2, run)
        dx += self.attention.backward(da, c1, run)  # and so was x
        return dx


class Encoder:
    """Projection E→H (where they differ), then the blocks."""

    def __init__(self, parameters, prefix, layers, heads, eps, activation, hidden_drop, attention_drop):
        name = f"{prefix}embeddings_project"
        self.project = Linear(parameters, name) if f"{name}.weight" in parameters else None
        self.blocks = [
            Block(parameters, f"{prefix}encoder.layer.{i}", heads, eps, activation, hidden_drop, attention_drop)
            for i in range(layers)
        ]

    def forward(self, x, valid, shape, run):
        """x [N, E]; valid [B, T] bool, or None when there is no padding; shape (B, T) -> y [N, H]"""
        mask = None if valid is None else attention_mask(valid, x.dtype)
        projected = None
        if self.project is not None:
            x, projected = self.project.forward(x, run)
        caches = []
        for block in self.blocks:
            if run.backward:
                x, cache = block.forward(x, mask, shape, run)
                caches.append(cache)
            else:
                with scratch(run.ws):
                    x[...] = block.forward(x, mask, shape, run)[0]
        return x, (projected, caches)

    def backward(self, dy, cache, run):
        """dy [N, H], overwritten -> dx [N, E]"""
        projected, caches = cache
        for block, block_cache in zip(reversed(self.blocks), reversed(caches), strict=True):
            with scratch(run.ws):  # dx stands where dy stood
                dy = block.backward(dy, block_cache, run)
        return dy if self.project is None else self.project.backward(dy, projected, run)
