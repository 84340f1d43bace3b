# %% [markdown]
# # 1 · Arrays: shapes that fit, and two libraries for them
#
# **You will be able to** predict the shape of every product and sum, tell a view from a copy and a reshape
# from a transpose, and write code that runs on a CPU and on a GPU.
#
# **Time** 35 minutes · **needs** nothing · **runs** 2 s
#
# **How this course works.** Each lesson is one file of cells, some of text and some of code. `python
# lessons/01_arrays.py --step` stops before each cell, shows it, and lets you try lines of your own; without
# `--step` it runs from top to bottom; VS Code opens it as a notebook. A lesson checks itself:
# `lesson.same(what, yours, reference)` says by how much two results differ, relative to the largest element,
# and stops if that is more than rounding. Figures go to `lessons/figures/`. Under *Your turn* you write
# functions in this file. Run it again, and it says which of them are right. `--hints` helps;
# `lessons/solutions/` has answers.
#
# **What it is about.** A neural network is arithmetic on many numbers at once. An **array** is a box of
# numbers in rows and columns, or in more directions than two. Each direction is an **axis**, counted from 0;
# the **shape** says how long each axis is; the **dtype** says what kind of number is in it. We write shapes
# in brackets: x [2, 3] has 2 rows of 3 numbers.

# %%
from math import fsum

import numpy as np
from course import begin

from minielectra.backend import array_module, load, to_device, to_host
from minielectra.errors import InputError
from minielectra.ops.reference.linear import linear_forward
from minielectra.plots.style import BLUE, ORANGE, figure, tidy

lesson = begin("01_arrays")  # what runs the cells, compares results and saves figures

# Random numbers. The 1 is the *seed*: the same seed gives the same numbers on every run.
random = np.random.default_rng(1)

# %% An array
x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
print("shape", x.shape, " dtype", x.dtype)
print("x[1] =", x[1], "  x[:, 1] =", x[:, 1], "(: is everything along that axis)")
# A sum *along* an axis removes that axis; keepdims=True keeps it, with length 1.
print("sums along axis 0:", x.sum(axis=0), "  along axis 1:", x.sum(axis=1))
print("shape of the sums along axis 1 with keepdims:", x.sum(axis=1, keepdims=True).shape)
# None among the indices inserts an axis of length 1.
print("shape of x[:, None]:", x[:, None].shape)

# %% Long form: one number at a time
# A matrix product, then a number added to each column, then each row multiplied by a number of its own.
I, J, K = 2, 3, 4
# standard_normal: numbers of both signs, most of them between −2 and 2
a, b = random.standard_normal((I, J)), random.standard_normal((J, K))
row, column = random.standard_normal(K), random.standard_normal((I, 1))

product, shifted, scaled = np.zeros((I, K)), np.zeros((I, K)), np.zeros((I, K))
for i in range(I):
    for k in range(K):
        for j in range(J):
            product[i, k] += a[i, j] * b[j, k]
        shifted[i, k] = product[i, k] + row[k]
        scaled[i, k] = shifted[i, k] * column[i, 0]
print("scaled:", *scaled.round(3), sep="\n")

# %% [markdown]
# # Collapsed form
#
# **The matrix product** `a @ b` is the innermost loop for all i and k at once: a row of a against a column
# of b.
#
#     (a b)[i, k] = Σ_j a[i, j] b[j, k]          [I, J] @ [J, K] -> [I, K]          Σ_j: summed over all j
#
# The index that is summed over is a's last axis and b's first. These two must have the same length, and they
# disappear.
#
# **Broadcasting** lets arrays of different shapes meet, number by number. In the loop `row[k]` has no i: the
# same row is read again for every i. In `column[i, 0]` the second index is 0 for every k: the same column is
# read again. That gives the rule:
#
#     write the shapes under each other, aligned at the right    [2, 4]     [2, 4]     [5, 4, 3]     [4, 3]
#     an axis that is missing in front has length 1                 [4]     [2, 1]        [4, 1]        [4]
#     length 1 is read again, as often as the other is long      ------     ------     ---------     ------
#     any other two lengths must be equal                        [2, 4]     [2, 4]     [5, 4, 3]    refused
#
# Shapes are aligned at the right because the last axis holds the numbers of one thing. The axes in front say
# how many things there are.
#
# **The transpose** `a.T` turns rows into columns: aᵀ[j, i] = a[i, j], from [I, J] to [J, I].

# %% Collapsed form in code
product_fast = a @ b
shifted_fast = product_fast + row  # [I, K] + [K]
scaled_fast = shifted_fast * column  # [I, K] * [I, 1]
lesson.same("matrix product, three loops against @", product, product_fast)
lesson.same("a row added", shifted, shifted_fast)
lesson.same("a column multiplied", scaled, scaled_fast)
for left, right in [((2, 4), (4,)), ((2, 4), (2, 1)), ((5, 4, 3), (4, 1)), ((6, 1), (1, 3))]:
    print(left, "with", right, "->", np.broadcast_shapes(left, right))

# %% Check
# The package, minielectra, computes a product and a broadcast sum in one function, which lesson 3 is about.
# It expects the second matrix transposed, and returns one more thing, which lesson 2 explains.
y, _ = linear_forward(a, b.T, row)
lesson.same("ours against the library's", shifted_fast, y)

# %% [markdown]
# # Rounding
#
# Why "the same, to 9.9e-17", and not to 0? A float64 keeps about 16 digits, a float32 about 7. Every result
# is rounded to that many digits, and so is off by at most about ε/2 of its own size. (ε is the distance from
# 1 to the next larger number: 2·10⁻¹⁶ for a float64, 10⁻⁷ for a float32.) Two ways to the same result may
# round differently. Networks train in float32, which is faster and takes half the memory. We check in
# float64. Rounding errors add up:

# %% A million numbers, one by one
numbers = random.random(1_000_000)  # between 0 and 1
exact = fsum(numbers)  # rounded only once, at the end
for dtype in np.float64, np.float32:
    total = np.cumsum(numbers.astype(dtype))[-1]  # cumsum: the sums so far, each made of the one before
    print(f"{dtype.__name__}: off by {abs(total / exact - 1):.0e} of the sum")

# %% [markdown]
# # Views, and a box cut up in another way
#
# In memory an array is one line of numbers, row after row, with a note of how to walk along it. A **view** is
# a second note for the same numbers. Nothing is copied, so whatever is written through one note is seen
# through the other. Slices and transposes are views.
#
# A **reshape** keeps the order of the walk and cuts it into rows of another length (a view if possible,
# otherwise a copy). A transpose changes the order of the walk. With these two we cut each row of 6 numbers
# into A = 2 groups of D = 3, and put the groups first:
#
#     x [N, A·D]  ->  parts [A, N, D]          parts[g, n, d] = x[n, g·D + d]
#
#     x.reshape(N, A, D)     place g·D + d of a row becomes (g, d): the walk is still row by row
#     … .swapaxes(0, 1)      [A, N, D]: group by group, row by row within; transposes the first two axes

# %% A view, and groups
x = np.zeros((2, 3))
second, kept = x[:, 1], x.copy()
second[0], kept[0, 0] = 5.0, 7.0
print("x after writing to a slice and to a copy:", *x, "  x.T is a view:", np.shares_memory(x, x.T))

N, A, D = 4, 2, 3
x = np.arange(24.0).reshape(N, A * D)  # arange: 0, 1, 2, … 23
parts = np.zeros((A, N, D))
for g in range(A):
    for n in range(N):
        for d in range(D):
            parts[g, n, d] = x[n, g * D + d]
split = x.reshape(N, A, D).swapaxes(0, 1)
lesson.same("groups, by loops against reshape and swapaxes", split, parts)

# %% A mistake, and two checks that miss it: reshape where a transpose was meant
wrong = x.reshape(A, N, D)  # "it has to be [A, N, D], so that is what I reshape to"
print("the shapes agree:        ", wrong.shape == parts.shape)
agrees = np.array_equal(wrong.reshape(N, A * D), x)
print("and back again agrees:   ", agrees, "— the way back makes the same mistake")
print("the values do not agree: ", f"{(wrong != parts).sum()} of {parts.size} are in the wrong place")
assert not np.array_equal(wrong, parts)

# %% See: where every number goes
fig = figure(
    8.4,
    3.1,
    "A reshape alone cuts between rows, and mixes the groups",
    "Each square is one number of x, which is also its place in the walk. Blue: group 0; orange: group 1.\n"
    "Middle: each part holds one group, of all four rows. Right: each part holds both groups, of two rows.",
)
pictures = {"x [4, 6]": x[None], "x.reshape(4, 2, 3).swapaxes(0, 1)": split, "x.reshape(2, 4, 3)": wrong}
for ax, (title, boxes) in zip(fig.subplots(1, 3), pictures.items(), strict=True):
    tidy(ax, title).set(xlim=(-0.8, 6.8), ylim=(3.6, -0.6))
    ax.axis("off")
    for (g, r, c), value in np.ndenumerate(boxes):  # every index with its element
        ax.scatter(c + 4 * g, r, s=330, marker="s", color=BLUE if value % 6 < 3 else ORANGE)
        ax.text(c + 4 * g, r, f"{value:.0f}", color="white", ha="center", va="center", fontsize=9)
lesson.figure(fig)

# %% [markdown]
# # Two libraries, one code
#
# A **device** is where an array's numbers are and where its arithmetic is done. NumPy's arrays are in main
# memory, and the processor (CPU) works on them. CuPy has NumPy's functions for arrays in the memory of a
# graphics processor (GPU). Neither takes the other's arrays. So code that is meant for both asks an array
# which library it belongs to, and calls that library `xp`.


# %% One function for both
def unit_rows(x):
    """Every row divided by its length, the root of its sum of squares.

    x [N, K] -> [N, K], on the device of x.
    """
    xp = array_module(x)
    return x / xp.sqrt((x * x).sum(axis=1, keepdims=True))


try:
    xp = load("gpu")  # the library for a device: CuPy for "gpu", if there is a GPU
except InputError as problem:
    print(f"No GPU, so the rest runs on the CPU. What the package says: {problem}")
    xp = load("cpu")
x = random.standard_normal((4, 3))
y = unit_rows(to_device(x, xp))  # these two functions are the only way across: to_device …
lesson.same(f"unit_rows, by {xp.__name__} against numpy", to_host(y), unit_rows(x))  # … and to_host, back

# %% [markdown]
# # Your turn
#
# Replace the `raise` with your own code; the second function is written, and wrong. Then run the file again.


# %% Your turn 1: groups put together again
def join_groups(parts):
    """parts [A, N, D] -> x [N, A·D] with x[n, g·D + d] = parts[g, n, d], without a loop."""
    raise NotImplementedError("yours to write")


def check_join(function):
    x = np.random.default_rng(2).standard_normal((4, 6))
    joined = function(np.stack([x[:, :3], x[:, 3:]]))  # stack: arrays along a new first axis
    assert joined.shape == (4, 6), f"the shape is {joined.shape}, not (4, 6)"
    assert np.array_equal(joined, x), (
        "the shape is right and the values are not: which axes have to be next to each other?"
    )


lesson.exercise(
    join_groups,
    check_join,
    "The steps of `split` above, undone in reverse.",
    "First swap axes 0 and 1, so that g and d are next to each other. Then reshape to [N, A·D].",
)


# %% Your turn 2: repair this
def centre_rows(x):
    """x [N, K] -> every row minus its mean. x itself stays as it is."""
    x -= x.mean(axis=1)
    return x


def check_centre(function):
    for shape in (4, 3), (3, 3):
        x = np.random.default_rng(3).standard_normal(shape)
        before = x.copy()
        y = function(x)
        assert np.array_equal(x, before), "x has changed: −= writes into the array that was handed in"
        assert y.shape == shape, f"the shape is {y.shape}, not {shape}"
        assert np.allclose(y.sum(axis=1), 0), (
            f"at shape {shape} the rows do not sum to 0: which axis did the means meet?"
        )
        assert np.allclose(y - y[:, :1], before - before[:, :1]), (
            "more than one number per row was subtracted"
        )


lesson.exercise(
    centre_rows,
    check_centre,
    "Two things are wrong. Write down which shapes meet in the subtraction. And who else holds the array "
    "that −= writes into?",
    "The means are [N], and meet the columns. With keepdims=True they are [N, 1]. x − … makes a new "
    "array, x −= … does not.",
)

# %% [markdown]
# # What comes next
#
# Arrays can be multiplied, summed, cut up and put together, and you can say what shape comes out. Lesson 2
# asks the question that all learning rests on: if one of these numbers moves a little, what does the
# result do?
#
# The real thing: `minielectra/backend/arrays.py`, with `array_module`, `load`, `to_device` and `to_host`.
# Groups: `_heads` in `minielectra/nn/encoder.py`.

# %%
lesson.end()
