# %% [markdown]
# # 8 · Dropout: randomness that is handed in, not kept
#
# **You will be able to** write dropout and its backward pass, say why the numbers that stay are scaled up,
# check an operation that is random, and see what goes wrong in a layer that remembers its mask.
#
# **Time** 30 minutes · **needs** 2, 3, 6 · **runs** 2 s
#
# A network with more weights than examples can learn the examples by heart. **Dropout** is meant to make that
# hard: at every step each number of an array is set to 0 with a small probability, `drop`, so that no weight
# can rely on one particular number being there. The numbers that are left are scaled up. With a **keep mask**
# of the same shape as x, True where a number stays,
#
#     y = x · keep / p           p = 1 − drop, the probability of staying (P(keep) in the package)
#
# Dropout is for **training** only, that is, while the network's numbers are being changed. At **inference**,
# when a trained network is used, nothing is dropped: y = x.

# %%
import numpy as np
from course import begin

from minielectra.backend import RandomStream, keep_probability
from minielectra.gradcheck import gradient_check
from minielectra.ops.reference.dropout import dropout_backward, dropout_forward
from minielectra.plots.style import BLUE, GREY, VERMILION, figure, legend, line, tidy

lesson = begin("08_dropout")

random = np.random.default_rng(49)
N, H, p = 4, 3, 0.7
x, dy = random.standard_normal((N, H)), random.standard_normal((N, H))

# %% Long form: one coin for each number
keep, y = np.zeros((N, H), bool), np.zeros((N, H))
for n, h in np.ndindex(N, H):
    keep[n, h] = random.random() < p  # a random number between 0 and 1 is below p with probability p
    if keep[n, h]:
        y[n, h] = x[n, h] / p

# Backward. Where x was kept, y is x / p, so dx is dy / p. Where it was dropped, y is 0 whatever x is, so dx
# is 0. The coins are not tossed again: what counts is how they fell in the forward pass.
dx = np.zeros((N, H))
for n, h in np.ndindex(N, H):
    if keep[n, h]:
        dx[n, h] += dy[n, h] / p  # y[n, h] = x[n, h] / p

print("y:", y.round(2), sep="\n")

# %% [markdown]
# # Why the numbers that stay are scaled up
#
# The next layer reads sums over y. If each number is there only 7 times in 10, the sums are smaller in
# training than at inference, and the weights adapt to the wrong size. Dividing by p repairs this on average.
# Weight both cases by their probability:
#
#     mean of y over all masks = p · x/p + (1 − p) · 0 = x
#
# And since a linear layer only adds up multiples of such numbers, the mean of its outputs is its output
# without dropout. We can check this without any randomness: four numbers have 2⁴ = 16 masks, and each has a
# known probability.

# %% The mean over all sixteen masks
numbers = random.standard_normal(4)
masks = np.array(list(np.ndindex(2, 2, 2, 2)))  # all rows of four zeros and ones, [16, 4]
kept = masks.sum(axis=1)
chances = p**kept * (1 - p) ** (4 - kept)  # the probability of each mask: a factor for every coin
lesson.same("the mean of y, over all masks, against x", chances @ (masks * numbers / p), numbers)

# %% [markdown]
# # Collapsed form
#
# True counts as 1 and False as 0, so the two cases become one product, in both passes. With `scale` for 1/p:
#
#     y = x · keep · scale          dx = dy · keep · scale
#
# Notice that the functions below take the mask as an argument. Where it comes from is not their business.
# **With the mask handed in, dropout is an operation like any other**: same input, same output.


# %% Collapsed form in code
def forward(x, keep, scale):
    """x [...], keep [...] bool -> y [...], cache"""
    return x * keep * scale, (keep, scale)


def backward(dy, cache):
    """dy [...] -> dx [...]"""
    keep, scale = cache
    return dy * keep * scale  # y = x * keep * scale


y_fast, cache = forward(x, keep, 1 / p)
lesson.same("y, coin by coin against one product", y, y_fast)
lesson.same("dx", dx, backward(dy, cache))

# %% Check
# Finite differences call the loss again and again. That works because every call uses the same mask. With new
# coins in each call, the effect of a nudge of 3e-4 would drown in the effect of the new mask.
library = {"x": dropout_backward(dy, dropout_forward(x, keep, 1 / p)[1])}
lesson.check(lambda: (dy * forward(x, keep, 1 / p)[0]).sum(), {"x": x}, {"x": backward(dy, cache)}, library)


# %% A mistake, and a check that misses it
# Passing masks around is a nuisance, so people let the layer remember its mask:
class Remembers:
    def forward(self, x):
        self.keep = random.random(x.shape) < p
        return x * self.keep / p

    def backward(self, dy):
        return dy * self.keep / p


layer = Remembers()
a, b, da, db = random.standard_normal((4, N, H))
print("forward a, backward a:")
layer.forward(a)
keep_a = layer.keep
lesson.check(lambda: (da * a * keep_a / p).sum(), {"a": a}, {"a": layer.backward(da)})

# But if one layer is used at two places in a network, or two batches are in flight at once, there is a second
# forward call before the first backward call, and it overwrites the first mask.
print("forward a, forward b, and only then backward a and backward b:")
layer.forward(b)
keep_b = layer.keep


def loss():
    return (da * a * keep_a / p + db * b * keep_b / p).sum()


lesson.exposes(loss, {"a": a, "b": b}, {"a": layer.backward(da), "b": layer.backward(db)})

# So layers in the package hold their weights and nothing else. What a call has to remember is in its cache:
print("the same order, with each call's cache handed out and back:")
cache_a, cache_b = forward(a, keep_a, 1 / p)[1], forward(b, keep_b, 1 / p)[1]
lesson.check(loss, {"a": a, "b": b}, {"a": backward(da, cache_a), "b": backward(db, cache_b)})

# %% [markdown]
# # Where the masks come from
#
# Who tosses the coins? A **random stream** is a source of random numbers that depends on nothing but its key,
# a few whole numbers: same key, same numbers, on any day. In training the key contains a number for the whole
# training (the seed) and the number of the step. To continue from step 1000 tomorrow, nothing random has to
# be saved today.

# %% Masks that can be drawn again
# keep_mask draws one of 65536 numbers for each element, so p is a multiple of 1/65536; keep_probability
# says which.
steps = (1000, 1000, 1001)
first, again, after = (RandomStream((7, step)).keep_mask((1000, 256), drop=0.1) for step in steps)
same_step, next_step = np.array_equal(first, again), np.array_equal(first, after)
print(f"step 1000 twice, equal: {same_step}; 1000 and 1001, equal: {next_step}")
print(f"kept at step 1000: {first.mean():.6f}; p = 58982 / 65536 = {keep_probability(0.1):.6f}")

# %% [markdown]
# # What is left: a blur
#
# The mean of an output stays where it was, but a single output strays from it, and its variance says how far
# (lesson 6). Two numbers a and b are **independent** if knowing one tells you nothing about the other, as
# with two coins. Let both have mean 0 (a variance measures only distances from the mean). Then, whatever a
# is, 2ab is 0 on average, and of (a + b)² = a² + b² + 2ab only the squares are left:
#
#     the variance of a sum of independent numbers is the sum of their variances
#
# An output of a linear layer is a sum with one coin in each term. How much each term contributes is for you
# to find, in Your turn 2.

# %% See: what dropout does to the next layer
drops = np.arange(0, 0.81, 0.1)
x, w = 1 + random.standard_normal(100), 0.1 + 0.1 * random.standard_normal(100)
fig = figure(
    7.4,
    4,
    "Dropout leaves the mean of an output where it is, and blurs it",
    "An output Σ_i w[i] x[i] of a linear layer. Grey: 150 of 2000 masks at each drop probability.\n"
    "Blue: the mean of all, with a band of one spread σ up and down.\n"
    "Red: p times that, the mean if nothing is scaled up.",
)
ax = tidy(fig.subplots(), xlabel="drop probability", ylabel="output")
means, spread = np.zeros((2, len(drops)))
for d, drop in enumerate(drops):
    keep = RandomStream((8, d)).keep_mask((2000, 100), drop)
    outputs = dropout_forward(x, keep, 1 / keep_probability(drop))[0] @ w
    means[d], spread[d] = outputs.mean(), outputs.std()  # std: σ, the root of the variance
    ax.plot(
        drop + random.uniform(-0.012, 0.012, 150), outputs[:150], "o", color=GREY, markersize=2, alpha=0.35
    )
    print(f"drop {drop:.1f}: mean {means[d]:5.2f}, spread σ {spread[d]:.2f}")
line(ax, drops, means, means - spread, means + spread, color=BLUE, label="scaled by 1 / p")
line(ax, drops, means * (1 - drops), color=VERMILION, marker="s", label="not scaled")
legend(ax, loc="upper left")
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/08_dropout.py
# --hints`.


# %% Your turn 1: draw the masks again, store none
def redraw_backward(dy, W, key, drop):
    """The backward pass of `two_masks` below, from the key alone: no mask was stored.

    dy [N, O], W [O, I] -> dx [N, I]
    """
    raise NotImplementedError("yours to write")


def two_masks(x, W, key, drop):
    """Dropout, a linear layer without bias, dropout. Both masks come from one stream.

    x [N, I], W [O, I] -> y [N, O]
    """
    stream, scale = RandomStream(key), 1 / keep_probability(drop)
    h = x * stream.keep_mask(x.shape, drop) * scale
    z = h @ W.T
    return z * stream.keep_mask(z.shape, drop) * scale


def check_redraw(backward):
    random = np.random.default_rng(2)
    x, W, dy = random.standard_normal((6, 5)), random.standard_normal((4, 5)), random.standard_normal((6, 4))
    dx = backward(dy, W, (1, 2), 0.4)
    gradient_check(lambda: (dy * two_masks(x, W, (1, 2), 0.4)).sum(), {"x": x}, {"x": dx})


lesson.exercise(
    redraw_backward,
    check_redraw,
    "A new RandomStream with the same key gives the same numbers, "
    "in the same order. In which order do you need the masks?",
    "Draw both first, in the order of the forward pass: [N, I], then [N, O]. Then use them in reverse.",
)


# %% Your turn 2: how wide is the blur?
def output_variance(x, w, drop):
    """x, w [I] -> the variance, over all masks, of y = Σ_i w[i] x[i] keep[i] / p with p = 1 − drop."""
    raise NotImplementedError("yours to write")


def check_variance(output_variance):
    x, w = np.random.default_rng(3).standard_normal((2, 4))
    for drop in (0.0, 0.1, 0.5):
        chances = (1 - drop) ** kept * drop ** (4 - kept)  # masks, kept: all sixteen, as above
        y = (masks * x) @ w / (1 - drop)
        right, yours = chances @ (y - chances @ y) ** 2, output_variance(x, w, drop)
        message = f"drop = {drop}: over all 16 masks the variance is {right:.6f}, yours is {yours:.6f}"
        assert abs(yours - right) < 1e-9, message


lesson.exercise(
    output_variance,
    check_variance,
    "The coins are independent, so the variances of the terms add up. What is the variance of one term?",
    "A term is w x/p with probability p, else 0, and its mean "
    "is w x. Its variance is the mean of (term − w x)².",
    "p (w x/p − w x)² + (1 − p) (w x)² = (w x)² (1 − p) / p.",
)

# %% [markdown]
# # What comes next
#
# Every operation so far treats each token by itself: a row goes in, a row comes out, and no row knows its
# neighbours. "these" and "dogs" cannot agree that way. Lesson 9 is about the one operation in which tokens
# look at each other.
#
# The real thing: `minielectra/ops/reference/dropout.py`, `dropout_forward` and `dropout_backward`;
# `minielectra/backend/random.py`, `RandomStream` and `keep_probability`.

# %%
lesson.end()
