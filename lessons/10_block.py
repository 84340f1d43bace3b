# %% [markdown]
# # 10 · The transformer block, and what keeps a deep stack alive
#
# **You will be able to** write a transformer block forwards and backwards, and say what residual connections
# and norms are for.
#
# **Time** 50 minutes · **needs** 3, 5, 6, 8, 9 · **runs** 2 s
#
# A **transformer block** has two halves. In the first, tokens exchange what they know: attention, and a
# linear layer that mixes what the heads have found. In the second, every token works on its own row. This
# half is called the **feed-forward**: a linear layer from H up to F features, GELU, and a linear layer back
# down to H. Both halves end in the same way. What they computed is *added* to what came in, which is called a
# **residual connection**. Layer norm comes after the sum, which is called **post-norm**:
#
#     h = norm(x + dropout(linear(attention(x))))
#     y = norm(h + dropout(linear(GELU(linear(h)))))
#
# x, h and y are [N, H], with N = B·T. We leave dropout out below. A stack of blocks is an **encoder**, and
# the number of blocks is its **depth**.
#
# All numbers that training changes are called **parameters**. The package keeps them end to end in one flat
# array, and their gradients in another; the object that holds both is called `Parameters`. A *layer* of the
# package declares its parameters there when it is made. From then on it has views of its own part of the two
# arrays, and remembers nothing else (lesson 8 said why):
#
#     y, cache = layer.forward(x, context)          dx = layer.backward(dy, cache, context)
#
# backward also adds to the gradients of the layer's parameters. `context` is a `PassContext`: it brings what
# one pass through a network may use besides its input, such as a random stream for dropout. Ours is empty. A
# layer may overwrite the arrays that it is handed, so we copy what we still need. All sizes of a network
# stand in one object, its `ElectraConfig`.

# %%
import numpy as np
from course import begin

from minielectra.electra.electra_config import ElectraConfig
from minielectra.gradcheck import gradient_check
from minielectra.nn.encoder import Block, Encoder
from minielectra.nn.layers import PassContext
from minielectra.nn.parameters import Parameters
from minielectra.ops.reference.attention import additive_mask, attention_backward, attention_forward
from minielectra.plots.style import BLUE, GREEN, PURPLE, VERMILION, figure, legend, tidy

lesson = begin("10_block")

random, context = np.random.default_rng(10), PassContext()
B, T, A, D, F, N, H = 2, 5, 3, 4, 7, 10, 12  # N = B·T, H = A·D
x, dy = random.standard_normal((2, N, H))
mask = additive_mask(np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool), x.dtype)


def encoder_config(hidden, inner, heads, depth=1):
    """The sizes of an encoder without dropout -> ElectraConfig."""
    return ElectraConfig(
        embedding_size=hidden,
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_hidden_layers=depth,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


parameters = Parameters(dtype=np.float64)  # empty, until layers declare theirs
block = Block(parameters, "block", encoder_config(H, F, A))
parameters.flat[...] = 0.6 * random.standard_normal(parameters.size)  # γ and biases too: nothing is 1 or 0
count = 4 * H * H + 2 * H * F + 9 * H + F
print(f"the block has 4 H² + 2 H F + 9 H + F = {count} parameters; in the package {parameters.size}")

project = block.attention.project
mix, norm_1 = block.attention_output.dense, block.attention_output.norm
up, gelu = block.intermediate, block.activation
down, norm_2 = block.output.dense, block.output.norm


# %% Long form: every intermediate has a name
def forward(x):
    """x [N, H] -> y [N, H], caches"""
    qkv, c_qkv = project.forward(x, context)  # three linear layers in one, [N, 3·H]
    # lesson 9's split, for all three at once
    q, k, v = np.split(qkv.reshape(B, T, 3 * A, D).swapaxes(1, 2), 3, axis=1)
    o, c_attention = attention_forward(q, k, v, mask)
    m, c_mix = mix.forward(o.swapaxes(1, 2).reshape(N, H), context)
    s = x + m
    h, c_norm_1 = norm_1.forward(s, context)
    u, c_up = up.forward(h, context)
    a, c_gelu = gelu.forward(u, context)
    f, c_down = down.forward(a, context)
    r = h + f
    y, c_norm_2 = norm_2.forward(r, context)
    return y, (c_qkv, c_attention, c_mix, c_norm_1, c_up, c_gelu, c_down, c_norm_2)


# Backward: the same lines, the last one first. r = h + f passes its gradient on to both h and f, as a sum
# always does. And h is read by two lines, r = h + f and u = linear(h), so dh has two parts. The same holds
# for x.
def backward(dy, caches):
    """dy [N, H] -> dx [N, H]; the parameters' gradients are added to parameters.grad"""
    c_qkv, c_attention, c_mix, c_norm_1, c_up, c_gelu, c_down, c_norm_2 = caches
    dr = norm_2.backward(dy.copy(), c_norm_2, context)  # y = norm(r)
    dh, df = dr.copy(), dr  # r = h + f
    da = down.backward(df, c_down, context)  # f = linear(a)
    du = gelu.backward(da, c_gelu, context)  # a = GELU(u)
    dh += up.backward(du, c_up, context)  # u = linear(h): the second use of h
    ds = norm_1.backward(dh, c_norm_1, context)  # h = norm(s)
    dx, dm = ds.copy(), ds  # s = x + m
    do = mix.backward(dm, c_mix, context).reshape(B, T, A, D).swapaxes(1, 2)  # m = linear(o), heads merged
    dheads = np.concatenate(attention_backward(do, c_attention), axis=1)  # o = attention(q, k, v)
    dqkv = dheads.swapaxes(1, 2).reshape(N, 3 * H)  # q, k, v = qkv, reshaped, axes swapped, split
    dx += project.backward(dqkv, c_qkv, context)  # qkv = linear(x): the second use of x
    return dx


dx = backward(dy, forward(x)[1])
dparameters = parameters.grad.copy()

# %% [markdown]
# # Collapsed form
#
# Both halves have the same form. With f for everything between the two places where x is read:
#
#     s = x + f(x)        y = norm(s)        ∂s[j]/∂x[i] = [i = j] + ∂f[j]/∂x[i]
#
#     dx[i] = Σ_j ds[j] ∂s[j]/∂x[i] = ds[i] + Σ_j ds[j] ∂f[j]/∂x[i]     dx = ds + (f's backward pass of ds)
#
# Whatever f does, ds reaches the half below undiminished. f is a chain of layers; its backward pass is
# theirs, in reverse order.


# %% Collapsed form in code
class Half:
    """y = norm(x + f(x)), where f is a chain of layers.

    For experiments it can do without the norm (None), or without `x +`.
    """

    def __init__(self, layers, norm, residual=True):
        self.layers, self.norm, self.residual = layers, norm, residual

    def forward(self, x):
        s, caches = x, []
        for layer, *extra in self.layers:  # extra: what attention has to know besides x
            s, cache = layer.forward(s, *extra, context)
            caches.append(cache)
        s = x + s if self.residual else s
        y, normed = self.norm.forward(s, context) if self.norm else (s, None)
        return y, (caches, normed)

    def backward(self, dy, cache):
        caches, normed = cache
        ds = self.norm.backward(dy.copy(), normed, context) if self.norm else dy  # y = norm(s)
        dx = ds.copy()
        for (layer, *_), cache in zip(self.layers[::-1], caches[::-1], strict=True):
            dx = layer.backward(dx, cache, context)  # s = layer(s)
        return ds + dx if self.residual else dx  # s = x + s


def halves(block, mask, shape, residual=True, norm=True):
    """The two halves of a block, for a batch with this mask and shape (B, T)."""
    one, two = block.attention_output, block.output
    exchange = [(block.attention, mask, shape), (one.dense,)]
    feed_forward = [(block.intermediate,), (block.activation,), (two.dense,)]
    first = Half(exchange, one.norm if norm else None, residual)
    second = Half(feed_forward, two.norm if norm else None, residual)
    return first, second


first, second = halves(block, mask, (B, T))
h, c_first = first.forward(x)
_, c_second = second.forward(h)
lesson.same("dx, line by line against two halves", dx, first.backward(second.backward(dy, c_second), c_first))

# %% Check
# The package's Block in one go. All parameters are checked as one array, the flat one, of which the layers
# hold views.
_, cache = block.forward(x.copy(), mask, (B, T), context)
parameters.zero_grad()
library = {"x": block.backward(dy.copy(), cache, context), "parameters": parameters.grad}
inputs = {"x": x, "parameters": parameters.flat}
lesson.check(lambda: (dy * forward(x)[0]).sum(), inputs, {"x": dx, "parameters": dparameters}, library)

# %% A mistake, and a check that misses it
# The `ds +` in the last line of a half is easily lost. Here the backward pass is done by a half that knows
# nothing about the residual. Every parameter of this block still gets its gradient, but what goes down to the
# block below is wrong.
forgetful, _ = halves(block, mask, (B, T), residual=False)
parameters.zero_grad()
wrong = forgetful.backward(second.backward(dy, c_second), c_first)


def loss():
    return (dy * forward(x)[0]).sum()


lesson.check(loss, {"parameters": parameters.flat}, {"parameters": parameters.grad})
lesson.exposes(loss, {"x": x}, {"x": wrong})


# %% A deep stack
# Why the residual, and why the norm? Take 24 blocks, as many as the largest ELECTRA has, with random weights,
# and leave out one, the other, or both. Weights are divided by √(number of inputs), as lesson 9's scores
# were: linear layers then neither enlarge nor shrink their input. We measure two things. A random gradient
# comes in at the top: how long is it when it arrives at the bottom? And how different are the tokens of a
# sequence? If the sequence's mean row is subtracted, what share of x's length is left?
def stack(residual, norm, depth=24, B=4, T=16, H=32):
    """-> at every depth, from the bottom to the top: length of the gradient, difference between tokens"""
    random, size = np.random.default_rng(0), np.linalg.norm  # linalg.norm: the root of the sum of squares
    parameters = Parameters(dtype=np.float64)
    encoder = Encoder(parameters, "", encoder_config(H, H, 4, depth))
    for name, shape in parameters.shapes.items():
        if len(shape) == 2:
            parameters[name].value[...] = random.standard_normal(shape) / np.sqrt(H)
        else:
            parameters[name].value[...] = 1.0 if "LayerNorm.weight" in name else 0.0  # γ is 1, biases are 0
    chain = [half for block in encoder.blocks for half in halves(block, None, (B, T), residual, norm)]
    xs, dxs, caches = [random.standard_normal((B * T, H))], [random.standard_normal((B * T, H))], []
    for half in chain:
        y, cache = half.forward(xs[-1])
        xs.append(y)
        caches.append(cache)
    for half, cache in zip(chain[::-1], caches[::-1], strict=True):
        dxs.append(half.backward(dxs[-1], cache))
    lengths = [size(dx) / size(dxs[0]) for dx in dxs[::-2]]  # every second one, because a block is two halves
    tokens = [x.reshape(B, T, H) for x in xs[::2]]
    differences = [size(x - x.mean(axis=1, keepdims=True)) / size(x) for x in tokens]
    return lengths, differences


# %% See: the gradient and the tokens through 24 blocks
fig = figure(
    10,
    4.5,
    "The norm preserves the gradient's size, the residual keeps the tokens apart",
    "24 blocks with random weights. Vertical axes are logarithmic: equal steps are equal factors.\n"
    "Only the blue model keeps both: a gradient of useful size at the bottom, and tokens that differ\n"
    "from each other at the top.",
)
left, right = fig.subplots(1, 2)
tidy(left, "Backward, from right to left", "blocks below this point", "length of the gradient (1 at the top)")
tidy(right, "Forward, from left to right", "blocks below this point", "difference between tokens")
for name, colour, residual, norm in (
    ("norm and residual", BLUE, True, True),
    ("residual, no norm", VERMILION, True, False),
    ("norm, no residual", GREEN, False, True),
    ("neither", PURPLE, False, False),
):
    for ax, values in zip((left, right), stack(residual, norm), strict=True):
        ax.semilogy(values, color=colour, label=name, linewidth=1.8)
legend(left)
lesson.figure(fig)

# %% [markdown]
# With the residual alone, x grows with every sum, a larger x makes larger scores and gradients, and 24
# factors multiply. With the norm alone the gradient looks healthy, but attention mixes the tokens, and then
# mixes the mixtures: after five blocks all tokens of a sequence are the same row, up to rounding. x + f(x)
# preserves what a token was, and the norm keeps the sum from growing.
#
# # Your turn
#
# Two functions to write. Hints: `python lessons/10_block.py --hints`.


# %% Your turn 1: norm before, not after
def pre_norm_backward(dy, norm_backward, f_backward):
    """y = x + f(norm(x)), as in newer transformers. dy [N, H] -> dx [N, H]

    norm_backward and f_backward turn the gradient of an output into the gradient of the input.
    """
    raise NotImplementedError("yours to write")


def check_pre_norm(backward):
    W, (_, cache) = random.standard_normal((H, H)), norm_1.forward(x.copy(), context)
    given = backward(dy.copy(), lambda dn: norm_1.backward(dn.copy(), cache, context), lambda df: df @ W)

    def loss():
        return (dy * (x + norm_1.forward(x.copy(), context)[0] @ W.T)).sum()

    gradient_check(loss, {"x": x}, {"x": given})


lesson.exercise(
    pre_norm_backward,
    check_pre_norm,
    "Name the steps in between: n = norm(x), s = f(n), y = x + s. Undo the lines from the last to the first.",
    "dy goes to both s and x. f_backward turns ds into dn, and "
    "norm_backward turns dn into the second part of dx.",
)


# %% Your turn 2: keep the inputs, forget the caches
def recomputed_backward(dy, chain, inputs):
    """Backward through a chain of halves, bottom first, whose caches were not kept. dy [N, H] -> dx [N, H]

    inputs: what each half was handed. Deep models that do not fit into memory are trained like this.
    """
    raise NotImplementedError("yours to write")


def check_recomputed(backward):
    lesson.same("dx of the block", backward(dy.copy(), [first, second], [x, h]), dx)


lesson.exercise(
    recomputed_backward,
    check_recomputed,
    "Go through the chain from the top. You have each half's "
    "input and the dy of its output; only its cache is missing.",
    "_, cache = half.forward(x); dy = half.backward(dy, cache). "
    "That is all, for each half and its input in reverse order.",
)

# %% [markdown]
# # What comes next
#
# This is the whole machine: embeddings, a stack of blocks, an output layer. What is missing is text. Lesson
# 11 cuts real sentences into tokens, with pieces for words that it has never seen. Lesson 12 then trains a
# stack of these blocks.
#
# The real thing: `minielectra/nn/encoder.py`, where `Residual` ends both halves of a `Block`;
# `minielectra/nn/parameters.py`.

# %%
lesson.end()
