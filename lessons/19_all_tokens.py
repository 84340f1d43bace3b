# %% [markdown]
# # 19 · All tokens or 15 %: ELECTRA beside BERT
#
# **You will be able to** say how much more a gradient is worth when every token takes part in it, count what a step costs, and compare
# two ways of training at equal cost without fooling yourself.
#
# **Time** 45 minutes · **needs** 8, 14, 15, 16, 18 · **runs** 60 s
#
# **BERT** is the older idea: masked language modelling (lesson 12) with one network of full size, and no discriminator. Its
# loss hears of the masked 15 % of the tokens only. ELECTRA's discriminator is asked about all of them. Its authors compared
# both at **equal compute**, the same number of multiplications, on a set of language tasks (GLUE, a mean of scores): ELECTRA
# 85.0, BERT 82.2, and ELECTRA with the loss of those 15 % alone 82.4. Nearly all of the gain is in the word *all*. Part one of
# this lesson shows where it comes from; part two repeats the comparison in a minute, at our size, and reports what comes out.

# %%
import numpy as np
import toy
from course import begin

from minielectra.bench import step_flops
from minielectra.electra.config import ElectraConfig, PretrainingConfig
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.electra.pretraining import ElectraPretraining
from minielectra.functional.linear import linear_backward
from minielectra.functional.losses import binary_cross_entropy_backward, binary_cross_entropy_forward, sigmoid
from minielectra.nn.layers import Run
from minielectra.plots.style import BLUE, INK, ORANGE, figure, legend, tidy
from minielectra.training.optimizer import learning_rate
from minielectra.training.step import Trainee

lesson = begin("19_all_tokens")

# %% Long form: the gradient of one token
# The last layer of a discriminator: a logit w · h[n] for each of N tokens, labels y. Every token has a gradient of its own,
# (s(x) − y) h, and the gradient of the loss is their mean.
random = np.random.default_rng(19)
N, H = 400, 6
h, w = random.standard_normal((N, H)), 0.5 * random.standard_normal(H)
y = (random.random(N) < 0.15).astype(float)
each = np.zeros((N, H))
for n in range(N):
    x = 0.0
    for i in range(H):
        x += w[i] * h[n, i]
    for i in range(H):
        each[n, i] = (1.0 / (1.0 + np.exp(-x)) - y[n]) * h[n, i]  # x += w[i] * h[n, i], and lesson 14
dw = np.zeros(H)
for n in range(N):
    dw += each[n] / N
print("dw:", dw.round(4))

# %% [markdown]
# # Collapsed form
#
# All at once this is lesson 3's product, dw = Σ_n dx[n] h[n]. But look at the terms. Each token's gradient e[n] points
# somewhere, and the mean of them all, g, is the **signal**: the way down that all tokens agree on. What e[n] − g is left over
# is **noise**, with a variance σ² = mean of |e[n] − g|² (the sum over all H numbers). Take n tokens at random. Their gradients
# are independent, so the variances add up (lesson 8), and a mean is the sum divided by n, its variance by n²:
#
#     variance of the mean of n tokens = n σ² / n² = σ² / n
#
# Four times as many tokens, half the noise. A batch in which only 15 % of the tokens have something to say carries the noise of
# a batch 6.7 times smaller. That is what "all tokens" buys, for the price of a logit each.

# %% Check
_, cache = binary_cross_entropy_forward(h @ w, y, np.ones(N), N)
dx, library = binary_cross_entropy_backward(cache), np.zeros((1, H))
linear_backward(dx[:, None], (h, w[None]), library)
lesson.same("dw, token by token against one product", dw, ((sigmoid(h @ w) - y) @ h) / N)
lesson.check(lambda: binary_cross_entropy_forward(h @ w, y, np.ones(N), N)[0], {"w": w}, {"w": dw}, {"w": library[0]})

sigma2 = ((each - dw) ** 2).sum(axis=1).mean()
print("tokens   noise measured   σ²/n")
for n in (9, 60, 400):
    means = each[random.integers(0, N, (4000, n))].mean(axis=1)  # 4000 batches of n tokens, drawn at random
    measured = ((means - dw) ** 2).sum(axis=1).mean()
    print(f"{n:6}   {measured:14.5f}   {sigma2 / n:.5f}")
    assert abs(measured / (sigma2 / n) - 1) < 0.1  # 4000 batches leave about 2 % of chance

# %% A mistake, and a check that misses it
# "ELECTRA's loss is 0.29 nats, BERT's is 1.3: ELECTRA is better." Both are cross-entropies in nats, so nothing complains. But they answer
# different questions: knowing nothing costs 0.4 nats for "replaced or not" and log V for "which word". A number compares two models
# only if both were asked the same. So: freeze both encoders and ask them one question that neither was trained for.
p = 0.12
nothing = -p * np.log(p) - (1 - p) * np.log(1 - p), np.log(len(toy.VOCABULARY) - len(toy.SPECIAL))
print(f"knowing nothing: {nothing[0]:.2f} nats against {nothing[1]:.2f} nats")

# %% [markdown]
# # A probe
#
# A **probe** is a linear layer trained on frozen features: what it can read off is there, laid out plainly. Ours looks at the
# word "the", which is the same for one and for many, and has to say which it is: "the old *dogs*" or "the old *dog*". The
# token's own row has to hold what stands to its right. The layer that fits best in the sense of least squares has a formula,
# (XᵀX)⁻¹ Xᵀ y; we let NumPy solve it.


# %% Two ways to train, one encoder
def make(objective):
    config = ElectraConfig(vocab_size=len(toy.VOCABULARY), embedding_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=64, max_position_embeddings=toy.LENGTH, hidden_dropout_prob=0.0,
                           attention_probs_dropout_prob=0.0)  # fmt: skip
    bert = {"mask_keep_fraction": 0.1, "mask_random_fraction": 0.1} if objective == "mlm" else {}  # as BERT's authors do
    settings = PretrainingConfig(objective=objective, batch_size=32, seq_length=toy.LENGTH, generator_width=0.5, disc_weight=50.0,
                                 adam_beta2=0.98, shards=1, initialization="local_attention", **bert)  # fmt: skip
    return ElectraPretraining(config, settings)


def features(model, ids):
    """ids [B, T] -> what the encoder says [B, T, H]; of a model without discriminator, its only network's."""
    network = model.discriminator or model.generator
    hidden, _ = network.encode(ids, ids != toy.PAD, np.zeros_like(ids), Run())
    return hidden.reshape(*ids.shape, -1).astype(float)


MANY = [toy.IDS[word] for word in toy.NOUNS[1]]
test = toy.batch(1500, np.random.default_rng(5))
places = np.argwhere(test == toy.IDS["the"])
nouns = np.isin(test, [toy.IDS[word] for word in (*toy.NOUNS[0], *toy.NOUNS[1])])
many = np.array([test[b, t + np.argmax(nouns[b, t:])] in MANY for b, t in places])  # the first noun from there on


def probe(model):
    """Share of "the" whose number is read off right: the layer is fitted on the first half and tried on the second."""
    X = features(model, test)[places[:, 0], places[:, 1]]
    X, half = np.c_[X, np.ones(len(X))], len(X) // 2
    layer = np.linalg.solve(X[:half].T @ X[:half] + 1e-3 * np.eye(X.shape[1]), X[:half].T @ np.where(many[:half], 1.0, -1.0))
    return ((X[half:] @ layer > 0) == many[half:]).mean()


# %% [markdown]
# # What a step costs
#
# A linear layer [N, I] → [N, O] takes N · I · O multiplications and additions, and twice as many again backward (dx and dW are
# products of the same size). A step of ELECTRA runs two networks, so BERT may take more steps for the same compute.
# `step_flops` counts all products of a model's step. Comparing at equal *steps* instead would give ELECTRA a third more than
# its share.

# %% Train both
cost = {objective: step_flops(make(objective)) for objective in ("electra", "mlm")}
steps = {"electra": 1200, "mlm": 1200 * cost["electra"] // cost["mlm"]}
print(f"a step of ELECTRA {cost['electra'] / 1e6:.0f}, of BERT {cost['mlm'] / 1e6:.0f} million operations: {steps}")
curves = {}
for objective, total in steps.items():
    for seed in range(3):
        model = make(objective)
        initialize(model, seed)
        trainee, stream, curve = Trainee(model), np.random.default_rng([seed, 3]), []
        for step in range(total + 1):
            if step % (total // 6) == 0:
                curve.append(probe(trainee.model))
            ids = toy.batch(32, stream)
            batch = mask_batch(
                ids, ids != toy.PAD, np.zeros_like(ids), range(5), toy.MASK, len(toy.VOCABULARY), model.settings[1], stream
            )
            if step < total:
                trainee.step(batch, learning_rate(step, total, 3e-3, 0.06 * total), seed, step)
        curves.setdefault(objective, []).append(curve[:7])
        print(f"{objective:8} seed {seed}:", *(f"{100 * share:4.0f} %" for share in curve[:7]))

# %% See
fig = figure(10, 4.2, "More tokens, less noise; but a word is a harder question than yes or no",
             "Left: noise of a gradient, measured (dots) and σ²/n.\n"
             "Right: a probe on frozen features; thin: three seeds, thick: mean.")  # fmt: skip
left, right = fig.subplots(1, 2)
sizes = np.array([3, 9, 27, 60, 150, 400])
noise = [((each[random.integers(0, N, (500, n))].mean(axis=1) - dw) ** 2).sum(axis=1).mean() for n in sizes]
tidy(left, "one gradient", "tokens that take part", "noise: mean square distance from the gradient")
left.loglog(sizes, sigma2 / sizes, color=INK, linewidth=1)
left.loglog(sizes, noise, "o", color=BLUE)
for n, name in ((60, "15 % of 400"), (400, "all")):
    left.text(n, sigma2 / n * 1.35, name, fontsize=9, color=BLUE, ha="center")
tidy(right, "equal compute", "share of the compute of 1200 steps of ELECTRA", "“the”: one or many, read off right", percent=True)
for objective, color, label in (("electra", BLUE, "ELECTRA's discriminator"), ("mlm", ORANGE, "BERT")):
    right.plot(np.linspace(0, 1, 7), np.transpose(curves[objective]), color=color, linewidth=0.7, alpha=0.6)
    right.plot(np.linspace(0, 1, 7), np.mean(curves[objective], axis=0), color=color, linewidth=2.4, label=label)
legend(right, loc="lower right")
lesson.figure(fig)

# %% [markdown]
# # Reading it
#
# The left side is a law. The right side is one experiment, and here BERT is ahead: it reaches 90 % with a third of the compute,
# on all three seeds, while one of ELECTRA's hardly leaves the ground. That does not contradict the paper; it says where its
# claim ends. A masked place asks which of 47 words it was, and the answer is worth up to 3.85 nats; "replaced or not" is worth
# 0.37 at most, however many are asked. And a discriminator learns little until its generator is good enough to make mistakes
# that only context gives away, here after a third of the run. In a language of 47 words and one rule, with a minute to spend,
# both weigh more than noise. The paper's runs see a hundred thousand times more text, and noise is what is left to fight. So:
# count the compute, ask one question, show all seeds, and print what comes out.
#
# λ matters, too. We train with the paper's λ = 50. With 5, which suits short runs of the pair (lesson 15), one seed's
# discriminator was at 82 % after 3000 steps; with 50 at 98 %. Try it.

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/19_all_tokens.py --hints`.


# %% Your turn 1: what a step of training multiplies
def multiplications(matrices, tokens):
    """matrices: list of shapes (O, I) of linear layers, through each of which `tokens` rows pass in a step -> how many multiplications the
    step makes in all, forward and backward."""
    raise NotImplementedError("yours to write")


def check_multiplications(function):
    assert function([(4, 3)], 1) != 12, "12 is the forward pass alone: dx and dW are products, too"
    assert function([(4, 3)], 1) == 36, "one row through a 4 × 3 matrix: 12 forward, 12 for dx, 12 for dW"
    assert function([(4, 3), (2, 4)], 10) == 600, "ten rows through a 4 × 3 and a 2 × 4 matrix: 600"


lesson.exercise(multiplications, check_multiplications, "y = x Wᵀ takes N · I · O. What do dx = dy W and dW = dyᵀ x take?",
                "The same each: three times the sum of O · I, times the number of tokens.")  # fmt: skip


# %% Your turn 2: how many more steps?
def steps_for_equal_noise(steps, share):
    """All tokens take part for `steps` steps. How many steps with only this share of the tokens (0 < share ≤ 1) see as much: their gradients
    averaged over the whole training have the same variance?"""
    raise NotImplementedError("yours to write")


def check_steps_for_equal_noise(function):
    assert function(1000, 1.0) == 1000, "with all tokens nothing changes"
    found = function(1200, 0.15)
    assert abs(found - 8000) < 1e-6, f"at 15 % it is 8000 steps for 1200, not {found}: the variance goes like 1/n, not like 1/√n"


lesson.exercise(steps_for_equal_noise, check_steps_for_equal_noise, "The variance of a mean is σ² / (number of tokens in it).",
                "The number of tokens, steps · share · (tokens of a batch), has to be the same.")  # fmt: skip

# %% [markdown]
# # What comes next
#
# A probe leaves the encoder as it is. Lesson 20 goes on training it for a task of its own, which is what it was made for.
#
# The real thing: `minielectra/electra/pretraining.py`, `objective="mlm"`, in a terminal `python -m minielectra train
# --objective mlm`; `minielectra/bench.py`, `step_flops`; the paper, Clark et al. 2020, “Efficiency analysis”.

# %%
lesson.end()
