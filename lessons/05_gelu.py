# %% [markdown]
# # 5 · GELU: the bend, and the first thing that learns
#
# **You will be able to** say why a network needs something that is not a straight line, derive GELU and its
# derivative, and let one neuron learn by gradient descent on a loss surface that you can look at.
#
# **Time** 35 minutes · **needs** 2, 3 · **runs** 2 s
#
# Two linear layers in a row, written out:
#
#     (x W₁ᵀ + b₁) W₂ᵀ + b₂ = x (W₂ W₁)ᵀ + (b₁ W₂ᵀ + b₂)
#
# That is one linear layer, with the weight W₂ W₁, and a hundred layers would be no different. So each output
# of a layer is bent before the next layer sees it. One such output is a **neuron**:
#
#     u = Σ_i w[i] x[i] + b          y = f(u)
#
# and f is its **activation function**. ELECTRA's is **GELU**: y = x Φ(x), where x is the input and
#
#     φ(x) = exp(−x²/2) / √(2π)          the bell curve; the area under all of it is 1
#     Φ(x) = ∫ φ from −∞ to x            the part of that area left of x: from 0 far left to 1 far right
#
# Φ is a gate: a large x passes (Φ near 1), a very negative one is held back (Φ near 0), and in between it
# opens smoothly.

# %%
import math

import numpy as np
from course import begin

from minielectra.gradcheck import gradient_check
from minielectra.ops.reference.gelu import gelu_backward, gelu_forward, gelu_tanh_forward
from minielectra.ops.reference.linear import linear_forward
from minielectra.plots.style import GREY, INK, PURPLE, SEQUENTIAL, SKY, VERMILION, figure, legend, tidy

lesson = begin("05_gelu")

random = np.random.default_rng(5)

# %% Two linear layers are one
x = random.standard_normal((4, 3))
W1, b1, W2, b2 = (random.standard_normal(shape) for shape in ((6, 3), 6, (2, 6), 2))
two = linear_forward(linear_forward(x, W1, b1)[0], W2, b2)[0]
one = linear_forward(x, W2 @ W1, b1 @ W2.T + b2)[0]
lesson.same("two linear layers against one", two, one)


# %% Long form: one number at a time
def bell(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def area_left_of(x, strips=20_000):
    """Φ(x), as strips under the bell curve from −9 to x. The area to the left of −9 is less than 1e-18."""
    width = (x + 9) / strips
    return sum(bell(-9 + (strip + 0.5) * width) * width for strip in range(strips))


x = np.array([-2.2, -0.7, -0.1, 0.4, 1.6])
dy = random.standard_normal(5)
y, gate, dx = np.zeros(5), np.zeros(5), np.zeros(5)
for i in range(5):
    gate[i] = area_left_of(x[i])
    y[i] = x[i] * gate[i]
    dx[i] += dy[i] * gate[i]  # y[i] = x[i] * gate[i]
    dgate = dy[i] * x[i]  # the same line, seen from the gate
    # gate[i] = area_left_of(x[i]), which grows by a strip as high as the bell curve is at x[i]
    dx[i] += dgate * bell(x[i])
print("Φ(x)", gate.round(3), "  y", y.round(3))

# %% [markdown]
# # Collapsed form
#
# No formula made of exp and powers gives this integral. Mathematical libraries have it under the name erf,
# the error function:
#
#     Φ(x) = (1 + erf(x/√2)) / 2
#
# The derivative of an area is the height of the curve at its edge: Φ′ = φ. By the product rule, for x
# times Φ:
#
#     y′ = 1 · Φ(x) + x · Φ′(x) = Φ(x) + x φ(x)          dx = dy · (Φ(x) + x φ(x))


# %% Collapsed form in code
def my_gelu_forward(x):
    """x [...] -> y [...], cache."""
    # NumPy has no erf, so we call Python's on one number at a time.
    Φ = np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in x.ravel()]).reshape(x.shape)
    return x * Φ, (x, Φ)


def my_gelu_backward(dy, cache):
    """dy [...] -> dx [...]"""
    x, Φ = cache
    φ = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return dy * (Φ + x * φ)  # y = x Φ(x)


y_fast, cache = my_gelu_forward(x)
dx_fast = my_gelu_backward(dy, cache)
lesson.same("y, by 20 000 strips against erf", y, y_fast, tolerance=1e-7)
lesson.same("dx", dx, dx_fast, tolerance=1e-7)

# %% Check
library = {"x": gelu_backward(dy, gelu_forward(x)[1])}
lesson.check(lambda: (dy * my_gelu_forward(x)[0]).sum(), {"x": x}, {"x": dx_fast}, library)

# %% A mistake, and a check that misses it
# Leave out x φ(x), as if the gate were fixed. Far from 0 it is, and a check there passes. Near 0 it is not.
far = np.array([-9.0, -7.5, 6.5, 8.0])
_, (_, far_gate) = my_gelu_forward(far)
lesson.check(lambda: (dy[:4] * my_gelu_forward(far)[0]).sum(), {"far": far}, {"far": dy[:4] * far_gate})
lesson.exposes(lambda: (dy * my_gelu_forward(x)[0]).sum(), {"x": x}, {"x": dy * cache[1]})

# %% [markdown]
# # Gradient descent
#
# Take one neuron with one input and two numbers to learn, w and b; N examples of what should come out, t[n]
# at x[n]; and, as its loss, the mean squared error:
#
#     u[n] = w x[n] + b          y[n] = GELU(u[n])          L = Σ_n (y[n] − t[n])² / N
#
# Every example uses the same w and b: dw = Σ_n du[n] x[n], db = Σ_n du[n]. A gradient points to where L
# rises. **Gradient descent** takes a small step the other way, and asks again:
#
#     w ← w − η dw          b ← b − η db
#
# η is the **learning rate**. If it is too small, learning takes long. If it is too large, a step lands
# further up on the other side.

# %% One neuron, with and without its bend
x = np.array([-2.0, -1.4, -0.9, -0.3, 0.2, 0.8, 1.3, 2.1])
# What a neuron with w = 2, b = 0.5 would say, plus some noise:
t = gelu_forward(2 * x + 0.5)[0] + 0.1 * random.standard_normal(len(x))


def neuron(w, b, bend):
    """-> the loss, dw, db. bend: with GELU, or without."""
    u = w * x + b
    y, cache = gelu_forward(u) if bend else (u, None)
    dy = 2 * (y - t) / len(x)  # L = Σ (y − t)² / N
    du = gelu_backward(dy, cache) if bend else dy  # y = GELU(u)
    return ((y - t) ** 2).mean(), (du * x).sum(), du.sum()  # u = w x + b


def descend(w, b, bend, rate=0.1, steps=300):
    """-> the path of (w, b) [steps + 1, 2]"""
    path = [(w, b)]
    for _ in range(steps):
        _, dw, db = neuron(w, b, bend)
        w, b = w - rate * dw, b - rate * db
        path.append((w, b))
    return np.array(path)


place = np.array([0.7, -0.4])  # w and b
slopes = np.array(neuron(*place, True)[1:])
lesson.check(lambda: neuron(*place, True)[0], {"w and b": place}, {"w and b": slopes})
for rate in (0.001, 0.1, 1.0):
    end = descend(0, 0, False, rate, 20)[-1]
    print(f"without the bend, 20 steps from (0, 0) at learning rate {rate}: L = {neuron(*end, False)[0]:.3g}")

# %% See: the loss surface of one neuron
starts = {"A": (-2.5, 2.0, PURPLE), "B": (3.2, -3.5, SKY), "C": (-2.5, -2.5, VERMILION)}  # w, b, colour
w, b = np.meshgrid(np.linspace(-3.3, 4.4, 121), np.linspace(-4, 3, 111))  # w and b at every point of a grid
inputs = np.linspace(-2.3, 2.3, 93)
fig = figure(
    11.4,
    4.7,
    "The bend makes a valley, and a plain where learning all but stops",
    "Colour: the loss of one neuron at every w and b. Paths: 300 steps of gradient descent, dot to star.\n"
    "Without a bend all paths end at the same line. With the bend the best fit is far better,\n"
    "but C walks onto the plain, where y is near 0 for every input and L hardly slopes.",
)
bowl, valley, fits = fig.subplots(1, 3, width_ratios=(1, 1, 0.85))
tidy(fits, "what they have learned", "x", "y").plot(x, t, "o", color=INK, label="the examples, t")
for ax, bend, kind in (bowl, False, "without a bend"), (valley, True, "with GELU"):
    height = np.vectorize(neuron)(w, b, bend)[0]  # vectorize: the function at every place of the arrays
    tidy(ax, kind, "w", "b").grid(False)
    surface = ax.pcolormesh(w, b, height, norm="log", vmin=0.03, vmax=60, cmap=SEQUENTIAL, shading="gouraud")
    ax.contour(w, b, height, levels=np.geomspace(0.01, 80, 19), colors="white", linewidths=0.6, alpha=0.6)
    for name, (*start, colour) in starts.items():
        path = descend(*start, bend)
        ax.plot(*path.T, color=colour, linewidth=3)
        ax.plot(*start, "o", *path[-1], "*", color=colour, markersize=13, markeredgecolor=INK)
        ax.annotate(name, start, xytext=(0, 8), textcoords="offset points", ha="center", fontweight="bold")
        there = np.round(neuron(*path[-1], bend), 3) + 0.0
        print(f"{kind:14} {name}: w, b = {path[-1].round(2)}   L, dw, db = {there}")
        u = path[-1, 0] * inputs + path[-1, 1]
        if bend:
            dash = "--" if name == "B" else "-"
            fits.plot(inputs, gelu_forward(u)[0], dash, color=colour, linewidth=2, label=f"{name}, {kind}")
    if not bend:
        fits.plot(inputs, u, color=GREY, linewidth=2, label=f"all, {kind}")
legend(fits, loc="upper left")
panels = [bowl, valley]
fig.colorbar(surface, ax=panels, ticks=[0.1, 1, 10], format="{x:g}", pad=0.02, extend="both", label="loss L")
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# A derivative by hand, and a neuron that learns.


# %% Your turn 1: GELU's older form
def gelu_tanh_slope(x):
    """y′ of y = x (1 + tanh u) / 2 with u = c (x + a x³), c = √(2/π), a = 0.044715. x [...] -> y′ [...]

    This form is older than a fast erf, and within 0.0005 of GELU. Some trained networks still ask for it.
    """
    raise NotImplementedError("yours to write")


def check_gelu_tanh(slope):
    random = np.random.default_rng(1)
    x, dy = random.standard_normal((3, 4)), random.standard_normal((3, 4))
    gradient_check(lambda: (dy * gelu_tanh_forward(x)[0]).sum(), {"x": x}, {"x": dy * slope(x)})


lesson.exercise(
    gelu_tanh_slope,
    check_gelu_tanh,
    "Use the product rule for x times the gate (1 + tanh u)/2. The derivative of tanh u by u is 1 − tanh² u.",
    "y′ = (1 + t)/2 + x (1 − t²) u′ / 2 with t = tanh u and u′ = c (1 + 3 a x²).",
)


# %% Your turn 2: a neuron with several inputs learns
def train_neuron(x, t, w, b, rate, steps):
    """Gradient descent for y = GELU(x w + b), L = Σ_n (y[n] − t[n])² / N -> w, b after `steps` steps.

    x [N, I], t [N], w [I], b a number. The w that was handed in stays as it is.
    """
    raise NotImplementedError("yours to write")


def check_train_neuron(train):
    random = np.random.default_rng(2)
    x, w, b = random.standard_normal((40, 3)), np.array([0.5, 0.1, -0.4]), np.array([0.2])
    t = gelu_forward(x @ np.array([1.5, -1.0, 0.5]) + 0.3)[0]
    before = w.copy()
    after, b_after = train(x, t, w, b[0], 0.125, 1)
    assert np.array_equal(w, before), "the array w that was handed in has changed: w -= … writes into it"
    one_step = {"w": (before - after) / 0.125, "b": np.array([(b[0] - b_after) / 0.125])}
    gradient_check(lambda: ((gelu_forward(x @ w + b)[0] - t) ** 2).mean(), {"w": w, "b": b}, one_step)
    found = np.append(*train(x, t, w, b[0], 0.2, 1000))  # w and b in one array
    close = np.allclose(found, [1.5, -1.0, 0.5, 0.3], atol=1e-2)
    assert close, f"after 1 000 steps w, b are {found}, not near 1.5, −1, 0.5, 0.3"


lesson.exercise(
    train_neuron,
    check_train_neuron,
    "`neuron` and `descend` above, with one more axis: u = x @ w + b, and dw has the shape of w.",
    "dw[i] = Σ_n du[n] x[n, i] = xᵀ du. Find dw and db from the same w and b before either of them moves.",
)

# %% [markdown]
# # What comes next
#
# C has shown it: if its inputs keep the gate shut, a neuron learns nothing more. In a network nobody chooses
# the numbers that reach a layer; they come from all the layers before it. Lesson 6 brings every row of them
# to one level and one size.
#
# The real thing: `minielectra/ops/reference/gelu.py`, `gelu_forward` and `gelu_backward`; in training
# `minielectra/ops/fast/gelu.py`.

# %%
lesson.end()
