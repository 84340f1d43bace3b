# %% [markdown]
# # 2 · Gradients, and a checker that takes nothing on trust
#
# **You will be able to** carry a derivative backwards through any chain of operations, write an operation as
# a pair of functions, and build the checker that every later lesson relies on.
#
# **Time** 40 minutes · **needs** 1 · **runs** 1 s
#
# A network is judged by one number, the **loss** L: the smaller, the better. Learning means changing the
# network's numbers so that L falls, and for that we have to know how L responds to each of them. The
# **derivative** ∂L/∂x is that response: move x by a tiny δ, hold everything else still, and L moves by
# ∂L/∂x · δ. (A round ∂ says that L depends on other things too.) For an array x the **gradient** is an array
# of the same shape with ∂L/∂x[i] at place i. In code it is called `dx`: a d, then the name.
#
# The tool is the **chain rule**. Suppose x determines a; a determines the rest, up to L. A nudge δ of x moves
# a by a′(x) δ, and that moves L by ∂L/∂a times as much:
#
#     dx = da · a′(x)      the gradient arriving from later operations, times the derivative of this step
#
# We only have to know this one step: the number da sums up everything after it. If x is used in two steps,
# each of them moves L by its own amount, and the amounts add up: dx is a sum with one term for every use. So
# there are two passes: the **forward pass** from the inputs to L, and the **backward pass** through the same
# lines, the last one first.

# %%
import math

import numpy as np
from course import begin

from minielectra.gradcheck import gradient_check
from minielectra.plots.style import BLUE, GREEN, GREY, INK, VERMILION, figure, tidy

lesson = begin("02_derivatives")

random = np.random.default_rng(2)

# %% Long form: every intermediate result has a name
# L = (log(1 + x²) + k x − t)². Forward:
x, k, t = 1.3, -0.7, 0.4
a = x * x
c = 1 + a
g = math.log(c)
e = k * x
y = g + e
r = y - t
L = r * r

# Backward. Each line quotes the line it undoes.
dr = 2 * r  # L = r * r
dy, dt = dr, -dr  # r = y − t
dg, de = dy, dy  # y = g + e: a sum passes the same gradient on to both
dk = de * x  # e = k * x
dx = de * k  # e = k * x, the first use of x
dc = dg / c  # g = log(c)
da = dc  # c = 1 + a
dx += da * 2 * x  # a = x * x, the second use of x: added

# The other way is to nudge the inputs x, k and t, which takes a forward pass for each. The one backward pass
# has found all three at once.
δ = 1e-6
nudges = (x + δ, k, t), (x, k + δ, t), (x, k, t + δ)
nudged = [((math.log(1 + x * x) + k * x - t) ** 2 - L) / δ for x, k, t in nudges]
print("dx, dk, dt by the chain rule: ", *np.round((dx, dk, dt), 5))
print("dx, dk, dt by a nudge of 1e-6:", *np.round(nudged, 5))

# %% [markdown]
# # Collapsed form
#
# An operation on arrays turns x into y, and y[j] may depend on every x[i]. So a nudge of x[i] moves L through
# every y[j]:
#
#     dx[i] = Σ_j dy[j] · ∂y[j]/∂x[i]
#
# dy = ∂L/∂y is called the **upstream gradient**: the gradient arriving from later operations.
#
# Two examples. **Each element for itself**, y[i] = x[i]²: only the term j = i of the sum is left, so
# dx[i] = dy[i] · 2 x[i].
#
# **Every element with every other**, y[j] = x[j] − (1/n) Σ_i x[i]. Write [i = j] for a number that is 1 if
# i = j, and 0 otherwise:
#
#     ∂y[j]/∂x[i] = [i = j] − 1/n
#     dx[i] = Σ_j dy[j] ([i = j] − 1/n) = dy[i] − (1/n) Σ_j dy[j]
#
# The mean is subtracted from dy, just as it was subtracted from x.
#
# In code an operation is a pair of functions, in the package and in all lessons:
#
#     y, cache = op_forward(x, …)          dx = op_backward(dy, cache)
#
# The **cache** is what the backward function has to know about the forward pass.


# %% Collapsed form in code
def square_forward(x):
    """y = x², x [...] (an array of any shape) -> y [...], cache."""
    return x * x, x


def square_backward(dy, x):
    """dy [...], cache -> dx [...]"""
    return dy * 2 * x  # y = x * x


def centre_forward(x):
    """y = x − mean(x), x [n] -> y [n], cache (None: the backward function has to know nothing)."""
    return x - x.mean(), None


def centre_backward(dy, cache):
    """dy [n], cache -> dx [n]"""
    return dy - dy.mean()  # y = x − mean(x)


n = 5
x, dy = random.standard_normal(n), random.standard_normal(n)
dx_long = np.zeros(n)
for i in range(n):
    for j in range(n):
        dx_long[i] += dy[j] * ((i == j) - 1 / n)
lesson.same("centre, every dy[j] · ∂y[j]/∂x[i] against one line", dx_long, centre_backward(dy, None))

# %% [markdown]
# # Derivatives that know no chain rule
#
# A derivation can be wrong. A **finite difference** cannot make the same mistake: it nudges x and looks at
# what happens. Taylor's formula says how far to trust it: near x, a smooth f is a sum of powers of the nudge
# h. With f, f′, f″, … all taken at x,
#
#     f(x ± h) = f ± h f′ + h²/2 f″ ± h³/6 f‴ + h⁴/24 f⁗ ± h⁵/120 f⁽⁵⁾ + …
#
#     forward       F(h) = [f(x+h) − f(x)] / h        = f′ + h f″/2 + …
#     central       C(h) = [f(x+h) − f(x−h)] / 2h     = f′ + h² f‴/6 + h⁴ f⁽⁵⁾/120 + …   even powers cancel
#     five-point    [4 C(h) − C(2h)] / 3              = f′ − h⁴ f⁽⁵⁾/30 + …              h² cancels: 4 − 4 = 0
#       = {8 [f(x+h) − f(x−h)] − [f(x+2h) − f(x−2h)]} / 12h             the rest of h⁴: (4 − 16) / (3 · 120)
#
# Should h be as small as possible, then? No: f is rounded, by about ε|f| with ε = 2·10⁻¹⁶ (lesson 1), and the
# difference is divided by h. That error, up to about ε|f|/h, grows as h shrinks.
#
# An error of 1e-8 is nothing beside a gradient of 5 and everything beside one of 1e-8. What counts is the
# **relative error**: the size of the difference, divided by the larger of the two sizes. (The size of an
# array is the root of its sum of squares; in NumPy, `np.linalg.norm`.)

# %% See: too long a step, too short a step
places = np.linspace(-1, 1, 200)  # f = exp at 200 places: f, f′, f″, … are all the same there
# name: the weight of f(x + step · h) for each step; the derived relative error (a factor and a power of h);
# a colour
formulas = {
    "forward": ({0: -1, 1: 1}, 1 / 2, 1, VERMILION),
    "central": ({-1: -1 / 2, 1: 1 / 2}, 1 / 6, 2, BLUE),
    "five-point": ({-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}, 1 / 30, 4, GREEN),
}
h = 10 ** np.arange(-12, 0.01, 0.25)
fig = figure(
    7.4,
    4.4,
    "The best step is neither long nor short, and five points beat two",
    "Relative error of the derivative of exp, for steps h. Dots: measured. Dashed: derived, h/2, h²/6\n"
    "and h⁴/30; in grey rounding, at most about ε/h. Read from right to left: a shorter step helps\n"
    "until rounding takes over.",
)
ax = tidy(fig.subplots(), xlabel="step h", ylabel="relative error of the derivative")
for name, (weights, factor, power, colour) in formulas.items():
    differences = sum(weight * np.exp(places + step * h[:, None]) for step, weight in weights.items())
    slopes = differences / h[:, None]  # [steps, places]
    measured = np.linalg.norm(slopes - np.exp(places), axis=1) / np.linalg.norm(np.exp(places))
    derived = factor * h**power
    what = f"{name}: derived and measured error at h = {h[41]:.3f}"
    lesson.same(what, derived[41], measured[41], tolerance=1e-2)
    ax.loglog(h, measured, "o", h, derived, "--", markersize=3.5, linewidth=1, color=colour)
    ax.text(1.8, 10.0 ** (1 - power), f"{name}, slope {power}", fontsize=9, color=colour, va="center")
ax.loglog(h, 2e-16 / h, "--", color=GREY, linewidth=1)
ax.axvline(3e-4, color=INK, linewidth=0.8)
ax.text(2.2e-4, 1e-15, "our checker's step", fontsize=9, color=INK, ha="right")
ax.set(xlim=(5e-13, 1.2e3), ylim=(2e-16, 5), xticks=[1e-12, 1e-9, 1e-6, 1e-3, 1])
lesson.figure(fig)
# On these axes a power of h is a straight line, and its slope is the power: with slope 4, a step ten times
# shorter makes an error 10⁴ times smaller.

# %% [markdown]
# # A checker
#
# An operation is checked by itself, without the network that would follow it. We invent something to follow:
# draw dy at random and let L = Σ_j dy[j] y[j]. Then ∂L/∂y[j] is dy[j], as we want, and we can nudge L through
# x, with five points and h = 3·10⁻⁴. That step is a little shorter than the best one for exp, because
# functions that bend more sharply have a larger f⁽⁵⁾. `lesson.check(loss, inputs, yours)` does this for every
# array in `inputs`, which `loss` reads, and refuses relative errors above 1e-7.


# %% Check
# Two operations in a row: forwards in order, backwards in reverse, each with its own cache.
def loss():
    return (dy * centre_forward(square_forward(x)[0])[0]).sum()


u, first = square_forward(x)
y, second = centre_forward(u)
du = centre_backward(dy, second)  # y = centre(u)
dx = square_backward(du, first)  # u = square(x)
lesson.check(loss, {"x": x}, {"x": dx})

# %% A mistake, and a check that misses it: an upstream gradient of all ones
# dy = 1 everywhere is convenient: L = Σ y. But Σ (x − mean(x)) is 0 whatever x is. L never moves, the right
# gradient is 0, and the same with its sign flipped is 0 as well. (`lesson.check` is no use here: the finite
# differences of a constant are rounding noise, noise has no relative error worth the name, and even the right
# gradient would be called WRONG.)
right, flipped = centre_backward(np.ones(n), None), -centre_backward(np.ones(n), None)
print("dy = 1, a gradient with its sign flipped agrees:", np.allclose(flipped, right))
# A random dy of both signs tells them apart. `exposes` is `check` for what is wrong on purpose: it wants to
# see a WRONG.
lesson.exposes(lambda: (dy * centre_forward(x)[0]).sum(), {"x": x}, {"x": -centre_backward(dy, None)})

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code. `gradient_check`, used in the first, is `lesson.check` without
# the table.


# %% Your turn 1: chain two operations, with one thing used twice
def self_centre_backward(dy, x):
    """y = x · c with c = x − mean(x). dy [n], x [n] -> dx [n]: x is used in c, and once more beside it."""
    raise NotImplementedError("yours to write")


def check_self_centre(backward):
    random = np.random.default_rng(3)
    x, dy = random.standard_normal(5), random.standard_normal(5)
    gradient_check(lambda: (dy * x * (x - x.mean())).sum(), {"x": x}, {"x": backward(dy, x)})


lesson.exercise(
    self_centre_backward,
    check_self_centre,
    "Last line first: y = x · c gives one part of dx, and dc.",
    "dx = dy · c, dc = dy · x. Then dc goes through centre's backward, and what comes out is added to dx.",
)


# %% Your turn 2: a checker of your own
def numeric_gradient(f, x, h):
    """The gradient of f() with respect to x [...], by five points -> an array of the shape of x.

    f takes nothing and reads the array x. So nudge x[index] in place, call f, and put x[index] back.
    `for index in np.ndindex(x.shape)` goes through all indices of x.
    """
    raise NotImplementedError("yours to write")


def check_numeric(numeric):
    x = np.random.default_rng(2).standard_normal((4, 5))
    before, right = x.copy(), 3 * np.cos(3 * x)
    found = numeric(lambda: np.sin(3 * x).sum(), x, 3e-4)
    assert np.array_equal(x, before), (
        "x is not, to the last digit, what it was: keep x[index] and put that back"
    )
    error = np.linalg.norm(found - right) / np.linalg.norm(right)
    assert error < 1e-9, (
        f"the relative error is {error:.0e}; five points at h = 3e-4 give less than 1e-9, two give 1e-7"
    )


lesson.exercise(
    numeric_gradient,
    check_numeric,
    "For every index: keep the original, set x[index] to it plus "
    "h, minus h, plus 2h, minus 2h, and call f() after each.",
    "[8 (f₊₁ − f₋₁) − (f₊₂ − f₋₂)] / 12h, and x[index] = original before the next index.",
)

# %% [markdown]
# # What comes next
#
# All gradients in this course are computed like this, by pairs of functions that are called in order and then
# in reverse. Lesson 3 makes the most important pair, the linear layer, where each number takes part in many
# outputs and the sums over uses become matrix products.
#
# The real thing: `minielectra/gradcheck/checker.py`, `compare` and `derivative`. It nudges large arrays along
# random directions. If a gradient is zero by algebra, its error is measured against the largest gradient of
# the same check.

# %%
lesson.end()
