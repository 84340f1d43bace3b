# %% [markdown]
# # 4 · Softmax and cross-entropy: the gradient is p − [v = y]
#
# **You will be able to** turn scores into probabilities without overflow, measure in nats how wrong they are,
# and derive the gradient that all learning in this course starts from.
#
# **Time** 35 minutes · **needs** 2, 3 · **runs** 1 s
#
# A network has to say which word belongs in a gap: "these dogs ___". It answers with one number for each of V
# words, the word's **logit**. A logit may be any number at all; the larger it is, the more the network
# favours the word. The logits of M gaps are an array [M, V].
#
# A **probability** is a number from 0 to 1, and the probabilities of all V words sum to 1. **Softmax** turns
# logits into probabilities: exp makes every number positive, and dividing by the row's sum makes the sum 1.
#
#     p[m, v] = exp(logit[m, v]) / Σ_u exp(logit[m, u])
#
# The right word of row m is its **target** y[m], a number from 0 to V − 1. (Inside the loss y is the target.
# Elsewhere y is a layer's output, as before.) **Cross-entropy** is −log of the probability that the target
# got: 0 if the target got probability 1; it grows as that probability shrinks. With the natural logarithm its
# unit is the **nat**.
#
#     L = −Σ_m w[m] log p[m, y[m]] / Z
#
# w[m] says how much row m counts (0: not at all). The **normalizer** Z is what the sum is divided by. It is
# usually Σ_m w[m], which makes L a mean. It is handed in so that the rows can be processed in parts: with the
# Z of *all* rows, the losses of the parts add up.

# %%
import math

import numpy as np
from course import begin

from minielectra.gradcheck import gradient_check
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.ops.reference.softmax import softmax_backward, softmax_forward
from minielectra.plots.style import BLUE, GREEN, GREY, INK, VERMILION, figure, tidy

lesson = begin("04_softmax")

random = np.random.default_rng(4)
M, V = 3, 5
logits = random.standard_normal((M, V)) * 2
y = np.array([4, 0, 2])  # targets
w = np.array([1.0, 0.3, 1.7])
Z = 2.5

# %% Long form: one row, one word at a time
L, p, dlogits = 0.0, np.zeros((M, V)), np.zeros((M, V))
for m in range(M):
    # Forward. The row's largest logit is subtracted first. Why that is allowed, and necessary, comes below.
    top = max(logits[m])
    e = np.zeros(V)
    s = 0.0
    for v in range(V):
        e[v] = math.exp(logits[m, v] - top)
        s += e[v]
    for v in range(V):
        p[m, v] = e[v] / s
    L += -w[m] * math.log(p[m, y[m]]) / Z

    # Backward. Only the target's probability enters L. But s enters every probability, and every e enters s.
    dp, de, ds = np.zeros(V), np.zeros(V), 0.0
    dp[y[m]] += -w[m] / p[m, y[m]] / Z  # L += -w[m] * log(p[m, y[m]]) / Z
    for v in range(V):
        de[v] += dp[v] / s  # p[m, v] = e[v] / s
        ds += -dp[v] * e[v] / s**2  # the same line, seen from s
    for v in range(V):
        de[v] += ds  # s += e[v]
        dlogits[m, v] += de[v] * e[v]  # e[v] = exp(logits[m, v] - top)

print(f"L = {L:.4f} nats; dlogits, one number at a time:")
print(dlogits.round(3))

# %% [markdown]
# # Collapsed form
#
# **Softmax by itself**, one row x with p[j] = e[j]/s. As e[j] = exp(x[j]), ∂e[j]/∂x[i] = [i = j] e[j] and
# ∂s/∂x[i] = e[i]. By the quotient rule
#
#     ∂p[j]/∂x[i] = [i = j] e[j]/s − e[j] e[i]/s² = p[j] ([i = j] − p[i])
#
# and lesson 2's sum, over everything that x[i] moves, is
#
#     dx[i] = Σ_j dp[j] p[j] ([i = j] − p[i]) = p[i] (dp[i] − Σ_j dp[j] p[j])
#
# **Followed by cross-entropy**, dp is zero except at the target, where it is −w/(Z p[y]). So Σ_j dp[j]
# p[j] = −w/Z, and
#
#     dlogit[v] = p[v] (−[v = y] w/(Z p[y]) + w/Z) = w (p[v] − [v = y]) / Z
#
# (p[v]/p[y] is 1 where v = y.) The divisions by p are gone, so a p[y] that has been rounded to 0 does no
# harm. That is why the package makes one operation of the two. The forward pass needs no p either: log
# p[y] = logit[y] − log Σ_u exp(logit[u]).
#
# **Why top may be subtracted.** exp(x − c) = exp(x) exp(−c): the factor exp(−c) appears above and below the
# fraction line and cancels, whatever c is. So p does not depend on top, and top has no part in the gradient.


# %% Collapsed form in code
def my_softmax_forward(x):
    """x [..., V] -> p [..., V], cache."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p, p


def my_softmax_backward(dp, p):
    """dp [..., V] -> dx [..., V]"""
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


def my_cross_entropy_forward(logits, y, w, Z):
    """logits [M, V], y [M] int, w [M], Z a number -> loss, cache."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    rows = np.arange(len(y))  # 0, 1, … M − 1: [rows, y] picks one element from each row
    log_p = shifted[rows, y] - np.log(np.exp(shifted).sum(axis=1))
    return -(w * log_p).sum() / Z, (logits, y, w, Z)


def my_cross_entropy_backward(cache):
    """-> dlogits [M, V]"""
    logits, y, w, Z = cache
    dlogits = my_softmax_forward(logits)[0]  # p …
    dlogits[np.arange(len(y)), y] -= 1  # … − [v = y]
    return dlogits * (w / Z)[:, None]


loss_fast, cache = my_cross_entropy_forward(logits, y, w, Z)
dlogits_fast = my_cross_entropy_backward(cache)
lesson.same("L, loops against arrays", L, loss_fast)
lesson.same("dlogits, line by line against w (p − [v = y]) / Z", dlogits, dlogits_fast)
rounding = np.abs(dlogits_fast.sum(axis=1)).max()
print(f"each row of dlogits sums to 0 (to {rounding:.0e}): what one word gains, the others lose")

# %% Check
library = {"logits": cross_entropy_backward(cross_entropy_forward(logits, y, w, Z)[1])}


def loss():
    return my_cross_entropy_forward(logits, y, w, Z)[0]


lesson.check(loss, {"logits": logits}, {"logits": dlogits_fast}, library)

x, dp = logits.copy(), random.standard_normal((M, V))  # softmax alone, with a random upstream gradient
dx = my_softmax_backward(dp, my_softmax_forward(x)[1])
library = {"x": softmax_backward(dp, softmax_forward(x)[1])}
lesson.check(lambda: (dp * my_softmax_forward(x)[0]).sum(), {"x": x}, {"x": dx}, library)

# A number to remember: equal logits, which express no knowledge, give every word 1/V and cost log V nats.
equal = cross_entropy_forward(np.zeros((M, V)), y, w, w.sum())[0]
lesson.same(f"equal logits: log {V} = {math.log(V):.3f} nats", equal, math.log(V))

# Rows in two parts, with one Z: the losses add up. (The mean of the parts' means is something else, because
# their weights differ.)
parts = [cross_entropy_forward(logits[i], y[i], w[i], Z)[0] for i in (slice(0, 1), slice(1, M))]
lesson.same("L in two parts, with one Z", sum(parts), L)


# %% A mistake, and a check that misses it: exp without subtracting the maximum
def naive_softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


ours = my_softmax_forward(logits)[0]
lesson.same("small logits: naive softmax against ours", naive_softmax(logits), ours)
large = np.array([[1000.0, 999.0, 0.0]])
with np.errstate(over="ignore", invalid="ignore"):  # NumPy would warn
    print("large logits, naive:", naive_softmax(large)[0], " ours:", my_softmax_forward(large)[0][0].round(4))
limits = {kind: np.log(np.finfo(kind).max) for kind in ("float64", "float32")}  # finfo: a dtype's limits
shown = [f"{limit:.1f} in {kind}," for kind, limit in limits.items()]
print("exp overflows to inf above", *shown, "and inf/inf is nan")

# %% See: who is pushed, and how hard
# L falls when the logits move against their gradient: −dlogits = [v = y] − p. Three answers to "these dogs
# ___", target "sleep":
words = ("sleep", "sleeps", "see", "river", "the")
answers = {
    "sure and wrong": np.array([0.5, 4.0, 2.0, 0.0, -1.0]),
    "knows nothing": np.zeros(5),
    "nearly right": np.array([4.0, 1.5, 1.0, -1.0, -1.5]),
}
fig = figure(
    8.4,
    4.7,
    "Every wrong word is pushed down by exactly its own probability",
    'Top: the probabilities given to five words for "these dogs ___", with the target in green.\n'
    "Bottom: −dlogits = [v = y] − p, the push on every logit: down for the wrong words,\n"
    "up for the target by as much as all others go down together.",
)
axes = fig.subplots(2, 3, sharex=True, sharey="row")
for (title, answer), (above, below) in zip(answers.items(), axes.T, strict=True):
    nats, cache = cross_entropy_forward(answer[None], np.array([0]), np.ones(1), 1.0)
    given, push = cache[0][0], -cross_entropy_backward(cache)[0]
    tidy(above, title=f"{title}: L = {nats:.2f} nats").bar(words, given, color=[GREEN, *[GREY] * 4])
    tidy(below).bar(words, push, color=[BLUE if value > 0 else VERMILION for value in push])
    below.axhline(0, color=INK, linewidth=0.8)
axes[0, 0].set_ylabel("probability p", fontsize=9)
axes[1, 0].set_ylabel("push, [v = y] − p", fontsize=9)
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# The first function is written, and wrong; the second is yours from the start.


# %% Your turn 1: repair this loss
def row_loss(logits, target):
    """−log p[target] of one row. logits [V], target an int -> a number. Finite for all finite logits."""
    p = np.exp(logits - logits.max())
    return -np.log((p / p.sum())[target])


def check_row_loss(loss):
    z = np.array([0.3, -1.2, 2.0])
    expected = np.log(np.exp(z).sum()) + 1.2
    assert np.isclose(loss(z, 1), expected), "ordinary logits: the loss is not −log p[target]"
    with np.errstate(all="ignore"):
        far = loss(np.array([0.0, 1000.0, 3.0]), 0)
    assert np.isfinite(far), (
        f"logits 0, 1000, 3 and target 0 give {far}: p[target] has become 0 before the logarithm"
    )
    assert np.isclose(far, 1000.0), f"logits 0, 1000, 3 and target 0 should give 1000 nats, not {far}"


lesson.exercise(
    row_loss,
    check_row_loss,
    "The maximum is subtracted, but exp(−1000) is still 0 and its "
    "logarithm −∞. Work out the logarithm of the fraction on paper.",
    "log p[y] = x[y] − log Σ_u exp(x[u]), with the maximum subtracted from x beforehand.",
)


# %% Your turn 2: a target that is not one word
def shared_target_backward(logits, q):
    """L = −Σ_m Σ_v q[m, v] log p[m, v]: several words may be right. logits [M, V] -> dlogits [M, V].

    q [M, V] ≥ 0; its rows need not sum to 1.
    """
    raise NotImplementedError("yours to write")


def check_shared_target(backward):
    random = np.random.default_rng(2)
    logits, q = random.standard_normal((3, 4)), random.random((3, 4))

    def loss():
        return -(q * np.log(softmax_forward(logits)[0])).sum()

    gradient_check(loss, {"logits": logits}, {"logits": backward(logits, q)})


lesson.exercise(
    shared_target_backward,
    check_shared_target,
    "Word v is the target with weight q[m, v]: add up w (p − [v = y]) over all targets of a row.",
    "The p of a row counts once for each target: p · Σ_v q[v] − q.",
)

# %% [markdown]
# # What comes next
#
# We have a loss, and its gradient at the logits. What the layers before it do with that gradient is lesson 3,
# over and over. But layers in a row are still one layer until something bends. Lesson 5 adds the bend, and
# the first thing that learns.
#
# The real thing: `minielectra/ops/reference/softmax.py`; `minielectra/ops/reference/losses.py`,
# `cross_entropy_forward`.

# %%
lesson.end()
