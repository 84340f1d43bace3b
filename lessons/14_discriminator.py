# %% [markdown]
# # 14 · The discriminator: which words were replaced?
#
# **You will be able to** build the discriminator's loss so that it never overflows, derive its gradient
# s(x) − y, keep padding out of it, and say whether a discriminator is any good, which its accuracy does
# not show.
#
# **Time** 50 minutes · **needs** 4, 10, 13 · **runs** 10 s
#
# **Replaced token detection** is the task of saying, for *every* token of a corrupted sentence, whether it is
# the original or a replacement. The **discriminator** is the network that does it: an encoder as in
# lesson 10, and one logit per token.
#
#     x [N]   logit of "replaced", for N tokens           y [N]   label, 1 for replaced, 0 for original
#     w [N]   weight, 1 for a token, 0 for padding        Z = Σ_n w[n], the normalizer
#
# The **sigmoid** turns a logit into a probability, s(x) = 1 / (1 + exp(−x)). It is the softmax of lesson 4
# over two logits, x for "replaced" and 0 for "original". **Binary cross-entropy** is its cross-entropy, −log
# of the probability that the right answer got:
#
#     L = Σ_n w[n] ( −y[n] log s(x[n]) − (1 − y[n]) log(1 − s(x[n])) ) / Z

# %%
import numpy as np
import toy
from course import begin

from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.gradcheck import gradient_check
from minielectra.nn.layers import PassContext
from minielectra.ops.reference.losses import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    sigmoid,
)
from minielectra.plots.style import BLUE, figure
from minielectra.runs.detection_counts import auc

lesson = begin("14_discriminator")
random = np.random.default_rng(14)
N, Z = 7, 5.0  # the last two are padding
x = 2.0 * random.standard_normal(N)
y, w = np.array([0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])

# %% Long form: one token at a time
L, dx = 0.0, np.zeros(N)
for n in range(N):
    e = np.exp(-x[n])
    s = 1.0 / (1.0 + e)
    term = -y[n] * np.log(s) - (1.0 - y[n]) * np.log(1.0 - s)
    L += w[n] * term / Z
    dterm = w[n] / Z  # backward: L += w[n] * term / Z
    ds = dterm * (-y[n] / s + (1.0 - y[n]) / (1.0 - s))  # term = −y log(s) − (1 − y) log(1 − s)
    de = ds * -1.0 / (1.0 + e) ** 2  # s = 1 / (1 + e)
    dx[n] = de * -e  # e = exp(−x)
    print(f"logit {x[n]:5.2f}   probability {s:.3f}   label {y[n]:.0f}", end="   ")
    print(f"weight {w[n]:.0f}   loss {term:.3f}   dx {dx[n]:+.3f}")

# %% [markdown]
# # Collapsed form
#
# **The gradient.** The last two lines make ds · e/(1 + e)². As 1/(1 + e) = s and e/(1 + e) = 1 − s, that is
# ds · s (1 − s):
#
#     dx = (−y/s + (1 − y)/(1 − s)) · s (1 − s) · w/Z = (−y (1 − s) + (1 − y) s) · w/Z = (s − y) · w/Z
#
# Probability minus truth, as with softmax. It lies between −1 and 1, however wrong the logit is.
#
# **The loss.** Since 1 − s(x) = exp(−x)/(1 + exp(−x)) = 1/(1 + exp(x)), we have
# −log(1 − s(x)) = log(1 + exp(x)) = x + log(1 + exp(−x)), and
#
#     term = y log(1 + exp(−x)) + (1 − y) (x + log(1 + exp(−x))) = x − x y + log(1 + exp(−x))
#
# For a negative x that exponential may be too large for a float, but then
# x + log(1 + exp(−x)) = log(1 + exp(x)) helps. Both cases in one formula:
#
#     term = max(x, 0) − x y + log(1 + exp(−|x|))
#
# The exponential now lies between 0 and 1. The sigmoid needs the same care: for x < 0 its numerator and
# denominator are multiplied by exp(x).


# %% Check: the collapsed form in code
def loss_terms(x, y):
    """x, y [N] -> the loss of each token [N]."""
    # np.log1p(a) is log(1 + a), and is exact even where 1 + a would be rounded to 1.
    return np.maximum(x, 0.0) - x * y + np.log1p(np.exp(-np.abs(x)))


dx_fast = (sigmoid(x) - y) * (w / Z)
L_library, cache = binary_cross_entropy_forward(x, y, w, Z)
lesson.same("loss, token by token against one line", L, (w * loss_terms(x, y)).sum() / Z)
lesson.same("loss against the library", L, L_library)
lesson.same("dx, token by token against one line", dx, dx_fast)
library = {"x": binary_cross_entropy_backward(cache)}
lesson.check(lambda: (w * loss_terms(x, y)).sum() / Z, {"x": x}, {"x": dx_fast}, library)


# %% A mistake: the formula as it stands. Small logits miss it, large ones expose it
def naive(x, y):
    """-> the loss of each token [N], and its gradient [N]."""
    s = 1.0 / (1.0 + np.exp(-x))
    terms = -y * np.log(s) - (1.0 - y) * np.log(1.0 - s)
    return terms, (-y / s + (1.0 - y) / (1.0 - s)) * s * (1.0 - s)


lesson.check(lambda: loss_terms(x, y).sum(), {"x": x}, {"x": naive(x, y)[1]})
large, truth = np.array([-800.0, 40.0, 3.0]), np.array([1.0, 0.0, 1.0])
with np.errstate(all="ignore"):  # NumPy would warn here
    terms, wrong = naive(large, truth)
print("logits", large, "  naive loss", terms, "  stable loss", loss_terms(large, truth).round(4))
lesson.exposes(lambda: loss_terms(large, truth).sum(), {"x": large}, {"x": wrong})
# exp(800) is too large for a float; 1/(1 + exp(−40)) rounds to 1. float64 gives up at −710 and 37, float32 at
# −89 and 17.

# %% A mistake: padding counted in the mean
counted = (sigmoid(x) - y) / N
lesson.check(lambda: loss_terms(x, y).sum() / N, {"x": x}, {"x": counted})  # without padding: missed
lesson.exposes(lambda: (w * loss_terms(x, y)).sum() / Z, {"x": x}, {"x": counted})


# %% The whole model. Its head at every position: Linear(H → H), GELU, Linear(H → 1)
def make(dtype, **sizes):
    """A discriminator with random matrices, divided by √(inputs) so that features keep their size."""
    model = ElectraForPreTraining(
        ElectraConfig(vocab_size=len(toy.VOCABULARY), num_hidden_layers=1, **sizes), dtype=dtype
    )
    for name, shape in model.parameters.shapes.items():
        matrix = random.standard_normal(shape) * shape[-1] ** -0.5
        model.parameters[name].value[...] = matrix if len(shape) == 2 else name.endswith("LayerNorm.weight")
    return model


def corrupted_batch(count, random):
    """-> ids, corrupted [B, T], replaced, valid [B, T] bool.

    There is no generator yet: about 18 % of the words are replaced by any word at all.
    """
    ids = toy.batch(count, random)
    chosen = (ids >= len(toy.SPECIAL)) & (random.random(ids.shape) < 0.18)
    any_word = random.integers(len(toy.SPECIAL), len(toy.VOCABULARY), ids.shape, dtype=np.int32)
    corrupted = np.where(chosen, any_word, ids)
    return ids, corrupted, corrupted != ids, ids != toy.PAD


def one_pass(model, corrupted, replaced, valid):
    """-> the loss, the logits [B, T], and a function that runs the backward pass."""
    context = PassContext()  # no dropout
    segments = np.zeros_like(corrupted)
    logits, cache = model.forward(corrupted, valid, segments, context)
    labels, weights = replaced.reshape(-1).astype(logits.dtype), valid.reshape(-1).astype(logits.dtype)
    loss, loss_cache = binary_cross_entropy_forward(logits, labels, weights, valid.sum())

    def backward():
        model.backward(binary_cross_entropy_backward(loss_cache), cache, context)

    return loss, logits.reshape(valid.shape), backward


small = make(np.float64, embedding_size=6, hidden_size=8, num_attention_heads=2, intermediate_size=10)
small.parameters.flat[...] += 0.3 * random.standard_normal(small.parameters.size)  # biases ≠ 0, γ ≠ 1
_, *text = corrupted_batch(3, random)
_, _, backward = one_pass(small, *text)
backward()
inputs, gradients = {"all": small.parameters.flat}, {"all": small.parameters.grad}
lesson.check(lambda: one_pass(small, *text)[0], inputs, gradients)

# %% [markdown]
# # What a number has to be compared with
#
# A **baseline** is what can be had for nothing: here, a judge that never reads the sentence and gives every
# token the same probability p. If a share q = 0.14 of the tokens is replaced, its loss is −q log p − (1 − q)
# log(1 − p). The gradient with respect to its logit is the mean of s − y, which is p − q, so the best p is q.
# Then the loss is −q log q − (1 − q) log(1 − q) = 0.405 nats. As p < ½, this judge always says "original",
# and is right about 0.86 of the tokens. That share is its accuracy: it sounds good and means nothing. A
# discriminator that flags every third replacement, and no original, has 0.91. Better questions are:
#
# - **recall**: what share of the replaced tokens did it flag (probability above ½)? The baseline flags none.
# - **precision**: what share of the tokens that it flagged was really replaced?
# - **AUC** (area under a curve, because there is another way to compute it): take a replaced and an original
#   token at random; how often does the replaced one have the higher score? Knowing nothing gives ½, and being
#   perfect gives 1. It shows that something is learned before any token is flagged.
#
# The long form of AUC counts all pairs. The collapsed form needs the scores sorted only once. Number them
# from the lowest to the highest, 1, 2, 3, …; these numbers are their *ranks*. Here are five tokens, R for
# replaced and o for original:
#
#     score    0.1   0.2   0.4   0.7   0.9
#     token     o     R     o     o     R
#     rank      1     2     3     4     5
#
# The rank of an R counts the tokens up to and including itself. The originals among them are the pairs that
# are ordered correctly: one for the first R, three for the second. The others are Rs, and counting those
# makes 1 for the first R, 2 for the second, and 1 + 2 + … + n₁ for n₁ of them. So subtract that from the sum
# of the ranks: 2 + 5 − (1 + 2) = 4 of the 2 · 3 pairs are ordered correctly. With n₀ originals, and no two
# scores equal,
#
#     AUC = (sum of the replaced tokens' ranks − n₁ (n₁ + 1)/2) / (n₁ n₀)

# %% AUC in numbers
scores, positive = random.standard_normal(60), random.random(60) < 0.3
scores[positive] += 1.0  # a judge that knows a little
# flatnonzero: the indices where it is True
pairs = [scores[i] > scores[j] for i in np.flatnonzero(positive) for j in np.flatnonzero(~positive)]
ranks = np.empty(60)
ranks[np.argsort(scores)] = np.arange(1, 61)  # argsort: where the lowest score stands, then the next, …
n1 = positive.sum()
by_ranks = (ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * (60 - n1))
lesson.same("AUC, all pairs against ranks", np.mean(pairs), by_ranks)
lesson.same("AUC against the library", by_ranks, auc(scores, positive))

# %% Train it by gradient descent (lesson 5)
# Every sentence is new, so nothing can be learned by heart.
model = make(np.float32, embedding_size=32, hidden_size=32, num_attention_heads=4, intermediate_size=64)
originals, *text = corrupted_batch(400, np.random.default_rng(99))  # held-out text
corrupted, replaced, valid = text
truth = replaced[valid]
q = truth.mean()
print(f"held-out: {valid.sum()} tokens, {q:.3f} replaced; accuracy of the baseline {1 - q:.3f}")
print("   updates      loss  accuracy    recall precision       AUC")
for updates in range(601):
    if updates % 75 == 0:
        held_out_loss, logits, _ = one_pass(model, *text)
        flagged = logits[valid] > 0.0  # the probability is above ½
        accuracy = (flagged == truth).mean()
        recall, precision = flagged[truth].mean(), truth[flagged].sum() / max(flagged.sum(), 1)
        numbers = held_out_loss, accuracy, recall, precision, auc(logits[valid], truth)
        print(f"{updates:10}" + "".join(f"{number:10.3f}" for number in numbers))
    model.parameters.zero_grad()
    _, *batch = corrupted_batch(32, random)
    _, _, backward = one_pass(model, *batch)
    backward()
    rate = 0.4 if updates < 450 else 0.1  # small steps at the end, to settle
    model.parameters.flat[...] -= np.float32(rate) * model.parameters.grad
counted_loss = loss_terms(logits, 1.0 * replaced).mean()
print(f"with padding counted: loss {counted_loss:.3f}, AUC {auc(logits, replaced):.3f}")
# Nobody asks it about padding, so it may say anything there. And AUC is far above ½ while accuracy is hardly
# above the baseline's.

# %% See: what it thinks of each word
kinds = (
    toy.DETERMINERS,
    toy.NOUNS,
    toy.INTRANSITIVE + toy.TRANSITIVE,
    (toy.ADJECTIVES,),
    (toy.PREPOSITIONS,),
    (toy.VOCABULARY,),  # the rest
)


def kind_of(word):
    """The number of the first group in `kinds` that has the word."""
    return next(i for i, groups in enumerate(kinds) if any(word in group for group in groups))


kind = np.array([kind_of(word) for word in toy.VOCABULARY])
same_kind = kind[corrupted] == kind[originals]
flagged = logits > 0.0
wrong_kind, right_kind = flagged[replaced & ~same_kind].mean(), flagged[replaced & same_kind].mean()
fig = figure(
    11,
    4.8,
    f"Caught: words of the wrong kind {wrong_kind:.0%}, words of the right kind only {right_kind:.0%}",
    "Held-out sentences. Colour and number: probability of “replaced”, in %.\n"
    "Framed: replaced, with the original.",
)
ax = fig.subplots(subplot_kw={"frame_on": False, "xticks": [], "yticks": []})
rows = np.flatnonzero(replaced.any(axis=1))[:9]  # nine sentences in which something is replaced
probabilities = np.where(valid, sigmoid(logits), np.nan)[rows]  # nan: no colour
ax.imshow(probabilities, cmap="Oranges", vmin=0.0, vmax=1.5, aspect="auto")
frame = {"facecolor": "none", "edgecolor": BLUE, "linewidth": 1.8, "boxstyle": "square,pad=0.25"}
for place, t in np.argwhere(valid[rows]):  # argwhere: the index pairs where it is True
    seen = toy.VOCABULARY[corrupted[rows[place], t]]
    original = toy.VOCABULARY[originals[rows[place], t]]
    label = f"{seen}\n{100 * probabilities[place, t]:.0f}" + (f" · {original}" if seen != original else "")
    ax.text(t, place, label, ha="center", va="center", fontsize=7.5, bbox=frame if seen != original else None)
lesson.figure(fig)


# %% Your turn 1: replacements that weigh more
def weighted_loss(x, y, a):
    """x, y [N], a number a -> the mean of −a y log s(x) − (1 − y) log(1 − s(x)), dx [N], for any x."""
    raise NotImplementedError("yours to write")


def check_weighted_loss(function):
    gradient_check(lambda: function(x, y, 6.0)[0], {"x": x}, {"x": function(x, y, 6.0)[1]})
    with np.errstate(all="ignore"):
        loss, dx = function(np.array([-900.0, 900.0]), np.array([1.0, 0.0]), 6.0)
    wanted = "for logits −900 and 900, labels 1 and 0 and a = 6 the loss is 3150 and dx is finite"
    assert np.isfinite(dx).all() and abs(loss - 3150.0) < 1e-9, f"{wanted}, not {loss} and {dx}"


lesson.exercise(
    weighted_loss,
    check_weighted_loss,
    "A label is 0 or 1: only one of the two terms is left. So "
    "the whole term of a replaced token is multiplied by a.",
    "Give each token the weight 1 + (a − 1) y, for its loss term and for its s − y.",
)


# %% Your turn 2: the best that can be had for nothing
def constant_judge(labels):
    """labels [N] bool -> (accuracy, loss) of the best judge that gives all tokens one probability."""
    raise NotImplementedError("yours to write")


def check_constant_judge(function):
    for count, expected in ((3, 0.422709), (14, 0.610864), (0, 0.0), (20, 0.0)):
        accuracy, loss = function(np.arange(20) < count)
        best = max(count, 20 - count) / 20
        assert abs(accuracy - best) < 1e-12, (
            f"{count} of 20 replaced: the best accuracy is {best}, not {accuracy}"
        )
        assert abs(loss - expected) < 1e-5, (
            f"{count} of 20 replaced: the loss is {expected:.4f}, not {loss:.4f}"
        )


lesson.exercise(
    constant_judge,
    check_constant_judge,
    "q is the share of the tokens that are replaced. What does the "
    "judge say if q is above ½? What is its loss if q is 0?",
    "labels.mean() is q. Leave out the term whose q or 1 − q is 0: 0 · log 0 counts as 0.",
)

# %% [markdown]
# # What comes next
#
# Random words are easy prey. A generator's samples fit the sentence, and to recognise them a discriminator
# has to know the language better. Lesson 15 lets both learn at once, with one table of words between them.
#
# The real thing: `minielectra/ops/reference/losses.py`, `sigmoid`; `minielectra/electra/towers.py`,
# `ElectraForPreTraining`; `minielectra/runs/detection_counts.py`, `auc`.

# %%
lesson.end()
