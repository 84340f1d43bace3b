"""The BERT encoder (Devlin et al. 2019): blocks of self-attention and a two-layer network, each normalised
after its sum.

B sequences of T tokens (N = B·T rows), H hidden features, A heads of D = H/A features, F features inside the
network.

    h = LayerNorm(x + dropout(Dense(Attention(x))))
    y = LayerNorm(h + dropout(Dense(GELU(Dense(h)))))

Parameters carry Hugging Face's names. Sizes come from an `ElectraConfig`.
"""

from typing import NamedTuple

from minielectra import ops
from minielectra.backend import allocator, keep_probability, scratch
from minielectra.nn.layers import Activation, Dropout, JoinedLinear, LayerNorm, Linear


class SelfAttentionCache(NamedTuple):
    project: tuple  # of the joined query, key and value product
    attention: tuple  # of ops.attention_forward
    shape: tuple  # (B, T)


class SelfAttention:
    """Multi-head self-attention without its output projection."""

    def __init__(self, parameters, name, config):
        hidden = config.hidden_size
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        self.project = JoinedLinear(parameters, parts, hidden, hidden)
        self.heads, self.drop = config.num_attention_heads, config.attention_probs_dropout_prob

    def forward(self, x, mask, shape, context):
        """x [N, H], additive mask or None, shape (B, T) -> y [N, H]"""
        qkv, projected = self.project.forward(x, context)
        q, k, v = self._heads(qkv, shape)
        keep, scale = None, 1.0
        if context.random is not None and self.drop > 0.0:
            keep = context.random.keep_mask((shape[0], self.heads, shape[1], shape[1]), self.drop)
            scale = 1.0 / keep_probability(self.drop)
        y = allocator(context.workspace, x).empty(x.shape, x.dtype)
        (out,) = self._heads(y, shape)
        _, attended = ops.attention_forward(
            q, k, v, mask, keep, scale, out=out, workspace=context.workspace, backward=context.backward
        )
        return y, SelfAttentionCache(projected, attended, shape)

    def backward(self, dy, cache, context):
        """dy [N, H] -> dx [N, H]"""
        dqkv = allocator(context.workspace, dy).empty((dy.shape[0], 3 * dy.shape[1]), dy.dtype)
        (do,) = self._heads(dy, cache.shape)
        dq, dk, dv = self._heads(dqkv, cache.shape)
        ops.attention_backward(do, cache.attention, dq, dk, dv, workspace=context.workspace)
        return self.project.backward(dqkv, cache.project, context)

    def _heads(self, x, shape):
        """x [N, n·H] -> n views [B, A, T, D] of it, without a copy."""
        width = self.project.weight.shape[1] // self.heads
        split = x.reshape(*shape, -1, self.heads, width)  # [B, T, n, A, D]
        return [split[:, :, part].swapaxes(1, 2) for part in range(split.shape[2])]


class ResidualCache(NamedTuple):
    dense: tuple
    dropout: tuple | None
    norm: tuple


class Residual:
    """LayerNorm(x + dropout(Dense(inner))): how both halves of a block end."""

    def __init__(self, parameters, name, inputs, config):
        self.dense = Linear(parameters, f"{name}.dense", inputs, config.hidden_size)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.norm = LayerNorm(parameters, f"{name}.LayerNorm", config.hidden_size, config.layer_norm_eps)

    def forward(self, inner, x, context):
        """inner [N, I], x [N, H] -> y [N, H]"""
        z, dense = self.dense.forward(inner, context)
        z, dropout = self.dropout.forward(z, context)
        z += x
        y, norm = self.norm.forward(z, context)
        return y, ResidualCache(dense, dropout, norm)

    def backward(self, dy, cache, context):
        """dy [N, H] -> dinner [N, I], dx [N, H], which overwrites dy"""
        dz = self.norm.backward(dy, cache.norm, context)  # y = norm(z)
        dinner = self.dropout.backward(dz, cache.dropout, context)  # z = x + dropout(·): both get dz
        return self.dense.backward(dinner, cache.dense, context), dz


class BlockCache(NamedTuple):
    attention: SelfAttentionCache
    attention_output: ResidualCache
    intermediate: tuple
    activation: tuple
    output: ResidualCache


class Block:
    """One transformer block, post-LayerNorm."""

    def __init__(self, parameters, name, config):
        hidden, inner = config.hidden_size, config.intermediate_size
        self.attention = SelfAttention(parameters, f"{name}.attention.self", config)
        self.attention_output = Residual(parameters, f"{name}.attention.output", hidden, config)
        self.intermediate = Linear(parameters, f"{name}.intermediate.dense", hidden, inner)
        self.activation = Activation(config.hidden_act)
        self.output = Residual(parameters, f"{name}.output", inner, config)

    def forward(self, x, mask, shape, context):
        """x [N, H], additive mask or None, shape (B, T) -> y [N, H]"""
        attended, attention = self.attention.forward(x, mask, shape, context)
        h, attention_output = self.attention_output.forward(attended, x, context)
        f, intermediate = self.intermediate.forward(h, context)
        g, activation = self.activation.forward(f, context)
        y, output = self.output.forward(g, h, context)
        return y, BlockCache(attention, attention_output, intermediate, activation, output)

    def backward(self, dy, cache, context):
        """dy [N, H] -> dx [N, H], which overwrites dy"""
        dg, dh = self.output.backward(dy, cache.output, context)
        df = self.activation.backward(dg, cache.activation, context)
        dh += self.intermediate.backward(df, cache.intermediate, context)  # h was used twice
        dattended, dx = self.attention_output.backward(dh, cache.attention_output, context)
        dx += self.attention.backward(dattended, cache.attention, context)  # and so was x
        return dx


class EncoderCache(NamedTuple):
    project: list  # the projection's cache, if there is one
    blocks: list  # of BlockCache


class Encoder:
    """The projection E→H, if the two differ, then the blocks."""

    def __init__(self, parameters, prefix, config):
        embedding, hidden = config.embedding_size, config.hidden_size
        self.project = None
        if embedding != hidden:
            self.project = Linear(parameters, f"{prefix}embeddings_project", embedding, hidden)
        names = [f"{prefix}encoder.layer.{i}" for i in range(config.num_hidden_layers)]
        self.blocks = [Block(parameters, name, config) for name in names]

    def forward(self, x, valid, shape, context):
        """x [N, E]; valid [B, T] bool, or None if nothing is padding; shape (B, T) -> y [N, H]"""
        cache = EncoderCache([], [])
        *_, y = self.outputs(x, valid, shape, context, cache)
        return y, cache

    def outputs(self, x, valid, shape, context, cache):
        """Yields what the first block reads, then the output of every block, [N, H].

        Without a backward pass each overwrites the one before. cache: an empty EncoderCache, to be filled;
        the rest: as for `forward`.
        """
        mask = None if valid is None else ops.additive_mask(valid, x.dtype)
        if self.project is not None:
            x, projected = self.project.forward(x, context)
            cache.project.append(projected)
        yield x
        for block in self.blocks:
            if context.backward:
                x, block_cache = block.forward(x, mask, shape, context)
                cache.blocks.append(block_cache)
            else:
                with scratch(context.workspace):
                    x[...] = block.forward(x, mask, shape, context)[0]
            yield x

    def backward(self, dy, cache, context, more=None):
        """dy [N, H], overwritten -> dx [N, E]

        more: if all outputs were used, the gradients [N, H] that reach those before the last directly.
        """
        for i in reversed(range(len(self.blocks))):
            with scratch(context.workspace):  # dx stands where dy stood
                dy = self.blocks[i].backward(dy, cache.blocks[i], context)
            if more is not None:
                dy += more[i]
        return dy if self.project is None else self.project.backward(dy, *cache.project, context)
