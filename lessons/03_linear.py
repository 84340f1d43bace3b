# %% [markdown]
# # 3 · The linear layer: three gradients, three products
#
# **You will be able to** derive the gradients of y = x Wᵀ + b one number at a time, fold each into one matrix
# product, and read off from the shapes alone which product it must be.
#
# **Time** 30 minutes · **needs** 1, 2 · **runs** 1 s
#
# A network is made of layers: operations with numbers of their own, which learning changes. Nine tenths of
# the arithmetic in our models happens in the **linear layer**. Every **row** of x describes one thing (from
# lesson 7 on, one piece of text) by numbers, its **features**. The layer makes new features from them. Each
# is a sum of the old features times **weights**, plus a constant, its **bias**:
#
#     N   rows
#     I   input features: how many numbers a row holds before the layer
#     O   output features: how many it holds after the layer
#
#     x [N, I]   weight W [O, I]   bias b [O]   y [N, O]
#
#     y[n, o] = Σ_i x[n, i] W[o, i] + b[o]
#
# W is stored with the *outputs* first: row o holds all the weights of output o.

# %%
import numpy as np
from course import begin

from minielectra.gradcheck import gradient_check
from minielectra.ops.reference.linear import linear_backward, linear_forward
from minielectra.plots.style import BLUE, VERMILION, figure, tidy

lesson = begin("03_linear")

random = np.random.default_rng(3)
N, I, O = 4, 3, 2  # all different, so that a matrix the wrong way round has the wrong shape
x = random.standard_normal((N, I))
W = random.standard_normal((O, I))
b = random.standard_normal(O)
dy = random.standard_normal((N, O))  # lesson 2's upstream gradient: what the layers after this one pass back

# %% Long form: one number at a time
# Forward, as the formula says it.
y = np.zeros((N, O))
for n in range(N):
    for o in range(O):
        for i in range(I):
            y[n, o] += x[n, i] * W[o, i]
        y[n, o] += b[o]

# Backward. Every line above adds something to y[n, o], and L moves by dy[n, o] times that. So each number on
# the right gets dy[n, o] times what it was multiplied by. The gradients are *added*: x[n, i] is used in O
# outputs, and W[o, i] in N rows.
dx, dW, db = np.zeros((N, I)), np.zeros((O, I)), np.zeros(O)
for n in range(N):
    for o in range(O):
        db[o] += dy[n, o]  # y[n, o] += b[o]
        for i in range(I):
            dx[n, i] += dy[n, o] * W[o, i]  # y[n, o] += x[n, i] * W[o, i]
            dW[o, i] += dy[n, o] * x[n, i]  # the same line, seen from W

print("dW, one number at a time:")
print(dW.round(3))

# %% [markdown]
# # Collapsed form
#
# Write the three += as sums and look at which index is summed over:
#
#     dx[n, i] = Σ_o dy[n, o] W[o, i]    o is last in dy and first in W: a product as it is    dx = dy W
#     dW[o, i] = Σ_n dy[n, o] x[n, i]    n is first in both: transpose dy                      dW = dyᵀ x
#     db[o]    = Σ_n dy[n, o]            nothing is multiplied: column sums of dy              db = Σ_n dy[n]
#
# The shapes say the same. dW must be [O, I]; dy is [N, O] and x is [N, I]; the only product of these two with
# that shape is dyᵀ x. Remember it this way. Nobody remembers the formula.

# %% Collapsed form in code
y_fast = x @ W.T + b
dx_fast = dy @ W
dW_fast = dy.T @ x
db_fast = dy.sum(axis=0)

lesson.same("y, three loops against one product", y, y_fast)
lesson.same("dx", dx, dx_fast)
lesson.same("dW", dW, dW_fast)
lesson.same("db", db, db_fast)


# %% Check
# Finite differences know nothing about the derivation, and the library's version was written without
# this file.
def loss():
    return (dy * (x @ W.T + b)).sum()


y_library, cache = linear_forward(x, W, b)
# The library *adds* to these arrays, because W may be used more than once.
library = {"W": np.zeros_like(W), "b": np.zeros_like(b)}
library["x"] = linear_backward(dy, cache, library["W"], library["b"])
lesson.check(loss, {"x": x, "W": W, "b": b}, {"x": dx_fast, "W": dW_fast, "b": db_fast}, library)

# %% A mistake, and a check that misses it
# For a square W, dy Wᵀ has the same shape as dy W. With I ≠ O NumPy would have refused it; here only the
# values can tell.
W_square = random.standard_normal((I, I))
dy_square = random.standard_normal((N, I))
wrong = dy_square @ W_square.T
print("shapes agree:", wrong.shape == x.shape, "— a test that compares shapes is satisfied")


def square_loss():
    return (dy_square * (x @ W_square.T)).sum()


lesson.exposes(square_loss, {"x": x}, {"x": wrong})

# %% See: what a weight's gradient is made of
# dW[o, i] = Σ_n dy[n, o] x[n, i]: every row of x has a vote. This is one weight, with its N votes and
# their sum:
o, i = 0, 1
votes = dy[:, o] * x[:, i]
fig = figure(
    7,
    3.4,
    "A weight's gradient is a sum of votes, one from every row",
    f"W[{o}, {i}]: each bar is dy[n, {o}] · x[n, {i}]; the last is their sum, dW[{o}, {i}]",
)
ax = tidy(fig.subplots(), xlabel="row n", ylabel="contribution to the gradient")
ax.bar([str(n) for n in range(N)], votes, color=BLUE)
ax.bar(["sum"], [votes.sum()], color=VERMILION)
ax.axhline(0, color="black", linewidth=0.8)
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again.


# %% Your turn 1: a layer that is used twice
def twice_backward(dy, x, W):
    """y = (x Wᵀ) Wᵀ, with W [I, I]: W is used twice, and both uses count.

    dy [N, I] -> dx [N, I], dW [I, I]
    """
    raise NotImplementedError("yours to write")


def check_twice(backward):
    random = np.random.default_rng(1)
    x, W = random.standard_normal((4, 3)), random.standard_normal((3, 3))
    dy = random.standard_normal((4, 3))
    dx, dW = backward(dy, x, W)
    gradient_check(lambda: (dy * (x @ W.T @ W.T)).sum(), {"x": x, "W": W}, {"x": dx, "W": dW})


lesson.exercise(
    twice_backward,
    check_twice,
    "Give the middle a name: h = x Wᵀ, y = h Wᵀ. Go backwards through the second line first.",
    "The second line gives dW = dyᵀ h and dh = dy W. The first line adds dhᵀ x to the same dW, and gives dx.",
)


# %% Your turn 2: one weight for all
def scale_backward(dy, x, s):
    """y = s x, with one number s for the whole array. dy [N, I] -> dx [N, I], ds (a number)."""
    raise NotImplementedError("yours to write")


def check_scale(backward):
    random = np.random.default_rng(2)
    x, s = random.standard_normal((4, 3)), random.standard_normal(1)
    dy = random.standard_normal((4, 3))
    before = dy.copy()
    dx, ds = backward(dy, x, s[0])
    assert np.array_equal(dy, before), "dy was changed: make a new array for dx"
    gradient_check(lambda: (dy * (s * x)).sum(), {"x": x, "s": s}, {"x": dx, "s": np.array([ds])})


lesson.exercise(
    scale_backward,
    check_scale,
    "s takes part in all N·I numbers of y. Every use adds to its gradient.",
    "ds = Σ_n Σ_i dy[n, i] x[n, i].",
)

# %% [markdown]
# # What comes next
#
# Two linear layers in a row are one linear layer: more layers gain nothing until something between them is
# not a straight line. Lesson 4 turns a layer's outputs into probabilities and gives us a real loss L;
# lesson 5 adds the bend.
#
# The real thing: `minielectra/ops/reference/linear.py`, `linear_forward` and `linear_backward`. Training runs
# the same computation, with the memory handed in: `minielectra/ops/fast/linear.py`.

# %%
lesson.end()
