# %% [markdown]
# # 6 · Layer norm, and the gradient that is right only at γ = 1
#
# **You will be able to** derive layer norm's backward pass line by line, fold it into one formula, say what
# each part of the formula is for, and catch a version of it that passes its check and is wrong.
#
# **Time** 40 minutes · **needs** 2, 3, 5 · **runs** 2 s
#
# Numbers that pass through one layer after another drift: after twelve layers that each halve a row, a
# four-thousandth of it is left. **Layer norm** brings every row back to one scale, whatever its scale was. A
# row has H features, and
#
#     μ  = (1/H) Σ_h x[h]              the **mean** of the row: its level
#     σ² = (1/H) Σ_h (x[h] − μ)²       its **variance**: the mean square of the distances from that level
#     r  = 1 / √(σ² + ε)               one over the spread σ; ε is tiny, and prevents a division by 0
#     x̂[h] = (x[h] − μ) r              the row with mean 0 and variance 1 (read "x hat", `xhat` in code)
#     y[h] = γ[h] x̂[h] + β[h]          each feature gets a scale γ and a shift β of its own, both learned
#
# γ and β are called weight and bias in the package and in files. Before anything is learned they are 1 and 0,
# and y is x̂. Keep that in mind: it hides a mistake further down.

# %%
import numpy as np
from course import begin

from minielectra.gradcheck import gradient_check
from minielectra.ops.reference.layernorm import layernorm_backward, layernorm_forward
from minielectra.plots.style import BLUE, GREEN, VERMILION, figure, legend, tidy

lesson = begin("06_layernorm")

random = np.random.default_rng(6)

# %% Long form: one row, every intermediate named
H = 5
x, dy = random.standard_normal(H), random.standard_normal(H)
γ, β = 1 + random.standard_normal(H), random.standard_normal(H)  # not 1 and 0: we want to see what they do
ε = 0.01  # large enough to expose a backward pass that forgets it; the usual value is 1e-12

centred, xhat, y = np.zeros((3, H))
μ = var = 0.0  # var is σ²
for h in range(H):
    μ += x[h] / H
for h in range(H):
    centred[h] = x[h] - μ
    var += centred[h] ** 2 / H
r = (var + ε) ** -0.5
for h in range(H):
    xhat[h] = centred[h] * r
    y[h] = γ[h] * xhat[h] + β[h]

# Backward: the same lines, the last one first. x reaches x̂ in three ways: directly, through r and through μ.
dγ, dβ, dxhat, dcentred, dx = np.zeros((5, H))
dr = dvar = dμ = 0.0
for h in range(H):
    dβ[h] += dy[h]  # y[h] = γ[h] * xhat[h] + β[h]
    dγ[h] += dy[h] * xhat[h]  # the same line, seen from γ
    dxhat[h] += dy[h] * γ[h]  # and from xhat
    dcentred[h] += dxhat[h] * r  # xhat[h] = centred[h] * r
    dr += dxhat[h] * centred[h]  # the same line, seen from r, which is used in all H of them
dvar += dr * -0.5 * (var + ε) ** -1.5  # r = (var + ε) ** -0.5
for h in range(H):
    dcentred[h] += dvar * 2 * centred[h] / H  # var += centred[h] ** 2 / H
    dx[h] += dcentred[h]  # centred[h] = x[h] - μ
    dμ -= dcentred[h]  # the same line, seen from μ
for h in range(H):
    dx[h] += dμ / H  # μ += x[h] / H

print("dx, one number at a time:", dx.round(3))

# %% [markdown]
# # Collapsed form
#
# Call the gradient at x̂ g, so g[h] = dy[h] γ[h], and write mean(…) for (1/H) Σ_h. Two facts help: centred[h]
# is x̂[h] / r, and the centred row sums to 0, so x̂ does too. Now take the backward lines above one after
# the other:
#
#     dr          = Σ g · centred                            = H mean(g x̂) / r
#     dσ²         = dr · (−1/2) (σ² + ε)^(−3/2) = −dr r³/2   = −H r² mean(g x̂) / 2
#     dcentred[h] = g[h] r + dσ² · 2 centred[h] / H          = r g[h] − r² mean(g x̂) centred[h]
#                                                            = r (g[h] − x̂[h] mean(g x̂))
#     dμ          = −Σ dcentred                              = −r H mean(g)     because Σ x̂ = 0
#     dx[h]       = dcentred[h] + dμ / H                     = r (g[h] − mean(g) − x̂[h] mean(g x̂))
#
# Three parts for the three ways: g directly, mean(g) through μ, x̂ mean(g x̂) through r. Both means are taken
# over g, that is dy times γ. With N rows, each has a μ, a σ² and an r of its own. γ and β serve all rows, so
# their gradients add up over n.


# %% Collapsed form in code
def forward(x, γ, β):
    """x [N, H], γ [H], β [H] -> y [N, H], and what backward needs."""
    centred = x - x.mean(axis=1, keepdims=True)
    r = ((centred**2).mean(axis=1, keepdims=True) + ε) ** -0.5
    xhat = centred * r
    return γ * xhat + β, (xhat, r, γ)


def backward(dy, cache):
    """dy [N, H] -> dx [N, H], dγ [H], dβ [H]"""
    xhat, r, γ = cache
    dβ = dy.sum(axis=0)  # y = γ x̂ + β
    dγ = (dy * xhat).sum(axis=0)  # the same line, seen from γ
    g = dy * γ  # and from x̂
    # x̂ = (x − μ) r
    dx = r * (g - g.mean(axis=1, keepdims=True) - xhat * (g * xhat).mean(axis=1, keepdims=True))
    return dx, dγ, dβ


y_fast, cache = forward(x[None], γ, β)  # x[None]: the row as an array of one row
dx_fast, dγ_fast, dβ_fast = backward(dy[None], cache)
lesson.same("y, scalars against arrays", y, y_fast[0])
lesson.same("dx", dx, dx_fast[0])
lesson.same("dγ", dγ, dγ_fast)
lesson.same("dβ", dβ, dβ_fast)

# %% Check
N = 4
x, dy = 3 * random.standard_normal((N, H)) + 1, random.standard_normal((N, H))


def loss():
    return (dy * forward(x, γ, β)[0]).sum()


dx, dγ, dβ = backward(dy, forward(x, γ, β)[1])
_, cache = layernorm_forward(x, γ, β, ε)
library = {"γ": np.zeros(H), "β": np.zeros(H)}
library["x"] = layernorm_backward(dy, cache, library["γ"], library["β"])
lesson.check(loss, {"x": x, "γ": γ, "β": β}, {"x": dx, "γ": dγ, "β": dβ}, library)


# %% A mistake, and a check that misses it
# It looks tidier to multiply by γ at the end: the formula with dy in place of g, and then times γ. But a mean
# of products is not a product of means: γ cannot be taken out of mean(dy γ) unless all its elements are
# the same.
def late(dy, cache):
    xhat, r, γ = cache
    return γ * r * (dy - dy.mean(axis=1, keepdims=True) - xhat * (dy * xhat).mean(axis=1, keepdims=True))


ones = np.ones(H)
print("γ = 1, as it is before anything is learned:")
lesson.check(lambda: (dy * forward(x, ones, β)[0]).sum(), {"x": x}, {"x": late(dy, forward(x, ones, β)[1])})
print("γ ≠ 1, as it is from the first step of gradient descent:")
lesson.exposes(loss, {"x": x}, {"x": late(dy, forward(x, γ, β)[1])})

# %% [markdown]
# # What the formula says
#
# Add the same number to all features of a row: subtracting μ removes it again, and y does not move. Stretch a
# row about its mean: r undoes it, and again y does not move. So L does not move either, and lesson 2 says
# what that means for the gradient. A nudge δ[h] of every x[h] moves L by Σ_h dx[h] δ[h]; for these two nudges
# that has to be 0:
#
#     δ[h] = t, the same for all     Σ_h dx[h] t = 0            mean(dx) = 0
#     δ[h] = t x̂[h], a stretch       Σ_h dx[h] t x̂[h] = 0       mean(dx x̂) = 0       (exactly 0 if ε = 0)
#
# That is what the formula does to g. It removes the part that is the same in all features, mean(g), and the
# part that is proportional to x̂, which is x̂ mean(g x̂). What is left, times r, is dx.

# %% See: two directions that the loss does not feel
one, up = x[:1], dy[:1]  # one row, and its upstream gradient
_, cache = layernorm_forward(one, γ, β)  # the library's own ε, 1e-12: next to nothing
xhat, dx = cache.xhat, layernorm_backward(up, cache, np.zeros(H), np.zeros(H))
print(f"largest element of dx {np.abs(dx).max():.2f};", end=" ")
print(f"mean(dx) = {dx.mean():.0e}, mean(dx x̂) = {(dx * xhat).mean():.0e}")

fig = figure(
    7.4,
    3.6,
    "Shift a row or stretch it: after a layer norm the loss does not move",
    "The loss while one row x is moved by t times a direction. The two flat lines coincide. A gradient\n"
    "must be 0 along both, and the two means in dx = r (g − mean(g) − x̂ mean(g x̂)) ensure that.",
)
ax = tidy(fig.subplots(), xlabel="t: how far the row is moved", ylabel="loss L")
t = np.linspace(-1, 1, 101)
for name, direction, colour, dash in (  # all directions have one length, √H, so that t means the same
    ("downhill, against dx", -dx / np.sqrt((dx * dx).mean()), BLUE, "-"),
    ("the same added to every feature", np.ones(H), VERMILION, "-"),
    ("the row stretched about its mean", xhat, GREEN, "--"),
):
    losses = [(up * layernorm_forward(one + s * direction, γ, β)[0]).sum() for s in t]
    ax.plot(t, losses, dash, color=colour, linewidth=2.2, label=name)
legend(ax, loc="upper right")
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# One function to write and one to repair. Hints: `python lessons/06_layernorm.py --hints`.


# %% Your turn 1: norm without the mean
def rms_norm_backward(dy, x, weight, eps):
    """Layer norm without μ and β: y = weight · x r, with r = 1/√(mean(x²) + eps) for every row.

    dy [N, H], x [N, H], weight [H] -> dx [N, H], dweight [H]
    """
    raise NotImplementedError("yours to write")


def check_rms_norm(backward):
    random = np.random.default_rng(1)
    (x, dy), weight = random.standard_normal((2, 4, 3)), 1 + random.standard_normal(3)
    dx, dweight = backward(dy, x, weight, 0.1)

    def loss():
        return (dy * weight * x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 0.1)).sum()

    gradient_check(loss, {"x": x, "weight": weight}, {"x": dx, "weight": dweight})


lesson.exercise(
    rms_norm_backward,
    check_rms_norm,
    "Two ways are left from x to x r: directly and through r. Go "
    "through the derivation with x in place of `centred`.",
    "With n = x r and g = dy · weight: dr = H mean(g n) / r, as "
    "before. Which part of dx came through μ, and is gone?",
    "dx = r (g − n mean(g n)), with the mean along each row. dweight is dγ, with n in place of x̂.",
)


# %% Your turn 2: repair this backward
def unbiased_backward(dy, xhat, r, weight):
    """Layer norm with σ² = Σ (x − μ)² / (H − 1), as statisticians define it; μ still divides by H.

    The code below is right if σ² divides by H. dy [N, H], xhat [N, H], r [N, 1], weight [H] -> dx [N, H]
    """
    g = dy * weight
    return r * (g - g.mean(axis=1, keepdims=True) - xhat * (g * xhat).mean(axis=1, keepdims=True))


def check_unbiased(backward):
    random = np.random.default_rng(2)
    (x, dy), weight = random.standard_normal((2, 4, 3)), 1 + random.standard_normal(3)

    def norm():
        centred = x - x.mean(axis=1, keepdims=True)
        r = 1 / np.sqrt((centred**2).sum(axis=1, keepdims=True) / 2 + 0.1)
        return centred * r, r

    gradient_check(lambda: (dy * weight * norm()[0]).sum(), {"x": x}, {"x": backward(dy, *norm(), weight)})


lesson.exercise(
    unbiased_backward,
    check_unbiased,
    "One line of the long form's forward pass changes, and "
    "with it the one backward line that quotes it. Which?",
    "dvar · 2 centred / H becomes dvar · 2 centred / (H − 1). "
    "Follow that / H through the derivation: which mean is it in?",
    "x̂ mean(g x̂) becomes x̂ Σ(g x̂) / (H − 1); mean(g), which came through μ, stays.",
)

# %% [markdown]
# # What comes next
#
# Rows of numbers go in and come out, now on one scale. But ELECTRA reads sentences. Lesson 7 turns words into
# rows, and finds out what a gradient does when nothing is computed and rows are only copied.
#
# The real thing: `minielectra/ops/reference/layernorm.py`, `layernorm_forward` and `layernorm_backward`,
# where γ and β are `weight` and `bias`. Training runs the same computation, with fewer passes over the
# memory: `minielectra/ops/fast/layernorm.py`.

# %%
lesson.end()
