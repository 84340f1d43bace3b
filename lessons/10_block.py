# %% [markdown]
# # 10 · The transformer block, and what keeps a deep stack alive
#
# **You will be able to** write a transformer block forwards and backwards, and say what residual connections and norms are for.
#
# **Time** 50 minutes · **needs** 3, 5, 6, 8, 9 · **runs** 2 s
#
# A **transformer block** has two halves. In the first, tokens exchange what they know: attention, and a linear layer that mixes
# what the heads have found. In the second, every token works on its own row: the **feed-forward**, a linear layer from H up to F
# features, GELU, and a linear layer back down to H. Both halves end alike: what they computed is *added* to what came in, a
# **residual connection**, and layer norm comes after the sum, which is called **post-norm**:
#
#     h = norm(x + dropout(linear(attention(x))))
#     y = norm(h + dropout(linear(GELU(linear(h)))))
#
# x, h and y are [N, H], N = B·T. Dropout we leave out below. A stack of blocks is an **encoder**, their number its **depth**.
#
# All numbers that training changes are called **parameters**. The package lays them end to end in one flat array, and their
# gradients in another. A *layer* of the package knows its part of both and remembers nothing else (lesson 8 said why):
# layer.forward(x, run) returns y and a cache, layer.backward(dy, cache, run) adds to its parameters' gradients and returns dx.
# `run` brings what belongs to one pass, such as a random stream. A layer may use the memory of what it is handed; what we still
# need, we copy.

# %%
import numpy as np
from course import begin

from minielectra.gradcheck.checker import gradient_check
from minielectra.nn.encoder import Block, Encoder, encoder_shapes
from minielectra.nn.layers import Run
from minielectra.nn.parameters import Parameters
from minielectra.ops.reference.attention import attention_backward, attention_forward, attention_mask
from minielectra.plots.style import BLUE, GREEN, PURPLE, VERMILION, figure, legend, tidy

lesson = begin("10_block")

random, run = np.random.default_rng(10), Run()
B, T, A, D, F, N, H = 2, 5, 3, 4, 7, 10, 12  # N = B·T, H = A·D
x, dy = random.standard_normal((2, N, H))
mask = attention_mask(np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool), x.dtype)
parameters = Parameters(encoder_shapes("", layers=1, hidden=H, intermediate=F, embedding=H), dtype=np.float64)
parameters.flat[...] = 0.6 * random.standard_normal(parameters.size)  # γ and biases, too: nothing is 1 or 0
print(f"the block has 4 H² + 2 H F + 9 H + F = {4 * H * H + 2 * H * F + 9 * H + F} parameters; in the package {parameters.size}")

block = Block(parameters, "encoder.layer.0", A, 1e-12, "gelu", hidden_drop=0.0, attention_drop=0.0)  # 1e-12 is ε
project, mix, norm_1 = block.attention.project, block.attention_output.dense, block.attention_output.norm
up, gelu, down, norm_2 = block.intermediate, block.gelu, block.output.dense, block.output.norm


# %% Long form: every intermediate has a name
def forward(x):
    """x [N, H] -> y [N, H], caches"""
    qkv, c_qkv = project.forward(x, run)  # three linear layers in one, [N, 3·H]
    q, k, v = np.split(qkv.reshape(B, T, 3 * A, D).swapaxes(1, 2), 3, axis=1)  # lesson 9's split, for all three at once
    o, c_attention = attention_forward(q, k, v, mask)
    m, c_mix = mix.forward(o.swapaxes(1, 2).reshape(N, H), run)
    s = x + m
    h, c_norm_1 = norm_1.forward(s, run)
    u, c_up = up.forward(h, run)
    a, c_gelu = gelu.forward(u, run)
    f, c_down = down.forward(a, run)
    r = h + f
    y, c_norm_2 = norm_2.forward(r, run)
    return y, (c_qkv, c_attention, c_mix, c_norm_1, c_up, c_gelu, c_down, c_norm_2)


# Backward: the same lines, the last one first. r = h + f hands its gradient to h and to f alike, as a sum always does. And h was
# read by two lines, r = h + f and u = linear(h), so dh is made of two parts. So it is with s and x.
def backward(dy, caches):
    """dy [N, H] -> dx [N, H]; the parameters' gradients are added to parameters.grad"""
    c_qkv, c_attention, c_mix, c_norm_1, c_up, c_gelu, c_down, c_norm_2 = caches
    dr = norm_2.backward(dy.copy(), c_norm_2, run)  # y = norm(r)
    dh, df = dr.copy(), dr  # r = h + f
    da = down.backward(df, c_down, run)  # f = linear(a)
    du = gelu.backward(da, c_gelu, run)  # a = GELU(u)
    dh += up.backward(du, c_up, run)  # u = linear(h): the second use of h
    ds = norm_1.backward(dh, c_norm_1, run)  # h = norm(s)
    dx, dm = ds.copy(), ds  # s = x + m
    do = mix.backward(dm, c_mix, run).reshape(B, T, A, D).swapaxes(1, 2)  # m = linear(o), its heads merged
    dheads = np.concatenate(attention_backward(do, c_attention), axis=1)  # o = attention(q, k, v)
    dqkv = dheads.swapaxes(1, 2).reshape(N, 3 * H)  # q, k, v = qkv, reshaped, axes exchanged, split
    dx += project.backward(dqkv, c_qkv, run)  # qkv = linear(x): the second use of x
    return dx


dx = backward(dy, forward(x)[1])
dparameters = parameters.grad.copy()

# %% [markdown]
# # Collapsed form
#
# Both halves have one form. With f for everything between the two places where x is read:
#
#     s = x + f(x)        y = norm(s)        ∂s[j]/∂x[i] = [i = j] + ∂f[j]/∂x[i]
#
#     dx[i] = Σ_j ds[j] ∂s[j]/∂x[i] = ds[i] + Σ_j ds[j] ∂f[j]/∂x[i]        dx = ds + (f's backward pass, given ds)
#
# Whatever f does, ds arrives whole at the half below. f is a chain of layers; its backward pass is theirs in reverse order.


# %% Collapsed form in code
class Half:
    """y = norm(x + f(x)), f being a chain of layers. For experiments: without the norm (None) or without `x +`."""

    def __init__(self, layers, norm, residual=True):
        self.layers, self.norm, self.residual = layers, norm, residual

    def forward(self, x):
        s, caches = x, []
        for layer, *extra in self.layers:  # extra: what attention has to know besides x
            s, cache = layer.forward(s, *extra, run)
            caches.append(cache)
        s = x + s if self.residual else s
        y, normed = self.norm.forward(s, run) if self.norm else (s, None)
        return y, (caches, normed)

    def backward(self, dy, cache):
        caches, normed = cache
        ds = self.norm.backward(dy.copy(), normed, run) if self.norm else dy  # y = norm(s)
        dx = ds.copy()
        for (layer, *_), cache in zip(self.layers[::-1], caches[::-1], strict=True):
            dx = layer.backward(dx, cache, run)  # s = layer(s)
        return ds + dx if self.residual else dx  # s = x + s


def halves(block, mask, shape, residual=True, norm=True):
    """The two halves of a block, for a batch of this mask and shape (B, T)."""
    one, two = block.attention_output, block.output
    first = Half([(block.attention, mask, shape), (one.dense,)], one.norm if norm else None, residual)
    return first, Half([(block.intermediate,), (block.gelu,), (two.dense,)], two.norm if norm else None, residual)


first, second = halves(block, mask, (B, T))
h, c_first = first.forward(x)
_, c_second = second.forward(h)
lesson.same("dx, line by line against two halves", dx, first.backward(second.backward(dy, c_second), c_first))

# %% Check
# The package's Block in one go. All parameters are checked as one array, the flat one, of which the layers hold views.
_, cache = block.forward(x.copy(), mask, (B, T), run)
parameters.zero_grad()
library = {"x": block.backward(dy.copy(), cache, run), "parameters": parameters.grad}
inputs = {"x": x, "parameters": parameters.flat}
lesson.check(lambda: (dy * forward(x)[0]).sum(), inputs, {"x": dx, "parameters": dparameters}, library)

# %% A mistake, and a check that misses it
# In a half's last line `ds +` is easily lost, as here: backward by a half that knows of no residual. Every parameter of this
# block still gets its gradient; but what goes down to the block below is wrong.
forgetful, _ = halves(block, mask, (B, T), residual=False)
parameters.zero_grad()
wrong = forgetful.backward(second.backward(dy, c_second), c_first)
lesson.check(lambda: (dy * forward(x)[0]).sum(), {"parameters": parameters.flat}, {"parameters": parameters.grad})
lesson.exposes(lambda: (dy * forward(x)[0]).sum(), {"x": x}, {"x": wrong})


# %% A deep stack
# Why the residual, and why the norm? Take 24 blocks, as many as the largest ELECTRA has, at a random start, and leave out the
# one, the other, or both. Weights are divided by √(number of inputs), as lesson 9's scores were: linear layers then neither grow
# nor shrink what they get. Two measurements. A random gradient comes in at the top: how long is it when it arrives at the bottom?
# And how different are the tokens of a sequence? Without the sequence's mean row, what share of x's length is left?
def stack(residual, norm, depth=24, B=4, T=16, H=32):
    """-> at every depth, from the bottom to the top: length of the gradient, difference between tokens"""
    random, size = np.random.default_rng(0), np.linalg.norm  # linalg.norm: the root of the sum of squares
    parameters = Parameters(encoder_shapes("", depth, H, H, H), dtype=np.float64)
    for name, shape in parameters.shapes.items():  # biases are 0 (False), γ is 1 (True)
        parameters[name].value[...] = random.standard_normal(shape) / np.sqrt(H) if len(shape) == 2 else "Norm.weight" in name
    encoder = Encoder(parameters, "", depth, 4, 1e-12, "gelu", hidden_drop=0.0, attention_drop=0.0)
    chain = [half for block in encoder.blocks for half in halves(block, None, (B, T), residual, norm)]
    xs, dxs, caches = [random.standard_normal((B * T, H))], [random.standard_normal((B * T, H))], []
    for half in chain:
        y, cache = half.forward(xs[-1])
        xs.append(y)
        caches.append(cache)
    for half, cache in zip(chain[::-1], caches[::-1], strict=True):
        dxs.append(half.backward(dxs[-1], cache))
    tokens = [x.reshape(B, T, H) for x in xs[::2]]  # a block is two halves
    return [size(dx) / size(dxs[0]) for dx in dxs[::-2]], [size(x - x.mean(axis=1, keepdims=True)) / size(x) for x in tokens]


# %% See: the gradient and the tokens through 24 blocks
fig = figure(
    10, 4.5, "The norm keeps the size of the gradient, the residual the tokens apart",
    "24 blocks at a random start. Vertical axes are logarithmic: equal steps are equal factors. Only with both (blue)\n"
    "has the gradient a useful size at the bottom, and are the tokens at the top not all one and the same row.",
)  # fmt: skip
left, right = fig.subplots(1, 2)
tidy(left, "Backward, from right to left", "blocks below this point", "length of the gradient (1 at the top)")
tidy(right, "Forward, from left to right", "blocks below this point", "difference between tokens")
for name, colour, residual, norm in (
    ("norm and residual", BLUE, True, True), ("residual, no norm", VERMILION, True, False),
    ("norm, no residual", GREEN, False, True), ("neither", PURPLE, False, False),
):  # fmt: skip
    for ax, values in zip((left, right), stack(residual, norm), strict=True):
        ax.semilogy(values, color=colour, label=name, linewidth=1.8)
legend(left)
lesson.figure(fig)

# %% [markdown]
# With the residual alone x grows with every sum, larger x make larger scores and gradients, and 24 factors multiply. With the
# norm alone the gradient looks healthy, but attention mixes, and mixes what is mixed: after five blocks all tokens of a sequence
# are one row, up to rounding. x + f(x) keeps what a token was, and the norm keeps the sum from growing.
#
# # Your turn
#
# Two functions to write. Hints: `python lessons/10_block.py --hints`.


# %% Your turn 1: norm before, not after
def pre_norm_backward(dy, norm_backward, f_backward):
    """y = x + f(norm(x)), as in newer transformers. The functions take an output's gradient to an input's. dy [N, H] -> dx"""
    raise NotImplementedError("yours to write")


def check_pre_norm(backward):
    W, (_, cache) = random.standard_normal((H, H)), norm_1.forward(x.copy(), run)
    given = backward(dy.copy(), lambda dn: norm_1.backward(dn.copy(), cache, run), lambda df: df @ W)
    gradient_check(lambda: (dy * (x + norm_1.forward(x.copy(), run)[0] @ W.T)).sum(), {"x": x}, {"x": given})


lesson.exercise(
    pre_norm_backward, check_pre_norm,
    "Name what stands between: n = norm(x), s = f(n), y = x + s. Undo the lines from the last to the first.",
    "dy goes to s and to x alike. f_backward makes dn of ds, and norm_backward makes of that the second part of dx.",
)  # fmt: skip


# %% Your turn 2: keep the inputs, forget the caches
def recomputed_backward(dy, chain, inputs):
    """Backward through a chain of halves, bottom first, whose caches were not kept, but `inputs`, what each half was handed.
    dy [N, H] -> dx [N, H]. Deep models that do not fit into memory are trained like this."""
    raise NotImplementedError("yours to write")


lesson.exercise(
    recomputed_backward, lambda backward: lesson.same("dx of the block", backward(dy.copy(), [first, second], [x, h]), dx),
    "Go through the chain from the top. You have each half's input, and the dy of its output; what is missing is its cache.",
    "_, cache = half.forward(x); dy = half.backward(dy, cache). That is all, for each half and its input, reversed.",
)  # fmt: skip

# %% [markdown]
# # What comes next
#
# This is the whole machine: embeddings, a stack of blocks, an output layer. What is missing is text. Lesson 11 cuts real
# sentences into tokens, with pieces for every word it never saw; lesson 12 then trains a stack of these blocks.
#
# The real thing: `minielectra/nn/encoder.py`, where `Residual` ends both halves; `minielectra/nn/parameters.py`.

# %%
lesson.end()
