# %% [markdown]
# # 19 · Why all tokens: ELECTRA against BERT at equal compute
#
# **You will be able to** say how much surer a gradient gets when every token takes part, count what a training step costs, and
# compare two encoders fairly, whatever comes out.
#
# **Time** 60 minutes · **needs** 14, 15, 17, 18 · **runs** 75 s
#
# **BERT** is a masked language model with an encoder of full size, which is kept for later use. ELECTRA keeps the discriminator,
# which learns from every token where BERT learns from the 15 % that are masked. What are more tokens worth to a gradient? And
# which encoder is better after **equal compute**, as many multiplications for one as for the other?
#
# A batch's gradient is an estimate. Its mean over many batches is the **signal**, how far one batch lies from that the **noise**.

# %%
import itertools
import tempfile

import numpy as np
import toy
from course import begin

from minielectra.data.dataset.prepare import prepare
from minielectra.data.text.default_corpus import default_corpus
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.nn.inference import forward_only
from minielectra.nn.layers import Run
from minielectra.objectives.electra import ElectraPretraining
from minielectra.ops.reference.losses import sigmoid
from minielectra.plots.style import BLUE, GREY, VERMILION, figure, legend, tidy
from minielectra.plots.words import class_ids
from minielectra.pretraining.batches import Batches
from minielectra.pretraining.presets import configure
from minielectra.runs.detection_counts import auc
from minielectra.training.step import Trainee

lesson = begin("19_all_tokens")

# %% Long form: the gradient of one token at a time
# A small generator and discriminator, untrained, 120 sentences of the toy language, and every token's own gradient of L_RTD.
random, V, T = np.random.default_rng(19), len(toy.VOCABULARY), toy.LENGTH
small = dict(vocab_size=V, seq_length=T, embedding_size=16, hidden_size=16, num_hidden_layers=1, intermediate_size=32)
small |= dict(num_attention_heads=2, generator_width=0.5, gen_weight=0.0, disc_weight=1.0)  # L_RTD alone
pair = ElectraPretraining(*configure("tiny", small), dtype=np.float64)
initialize(pair, seed=0)
pair.parameters.flat += 0.1 * random.standard_normal(pair.parameters.size)  # no bias 0, no γ 1
ids, never = toy.batch(120, random), (toy.PAD, toy.CLS, toy.SEP, toy.MASK)
batch = mask_batch(ids, ids != toy.PAD, np.zeros_like(ids), never, toy.MASK, V, pair.pretraining, random)
N = batch.valid.sum()
outcome, joint_cache = pair.forward(batch, (1.0, N), Run(), random.random(batch.positions.size))
gradients = []
for ids, valid, labels in zip(outcome.corrupted_ids, batch.valid, outcome.replaced, strict=True):
    for t in range(valid.sum()):
        logits, cache = pair.discriminator.forward(ids[None], valid[None], np.zeros_like(ids[None]), Run())
        dlogits = (np.arange(T) == t) * (sigmoid(logits) - labels)  # lesson 14; the loss of token t, and of no other
        pair.parameters.zero_grad()
        pair.discriminator.backward(dlogits, cache, Run())
        gradients.append(pair.parameters.grad.copy())
G, signal = np.array(gradients), np.mean(gradients, axis=0)  # [N, P] and [P]
print(f"{N} tokens; length of their mean {np.linalg.norm(signal):.2f}, of one {np.linalg.norm(G, axis=1).mean():.2f} in the mean")

# %% [markdown]
# # Collapsed form
#
# A batch's gradient ĝ is the mean of n tokens' gradients g. Say they are drawn at random, independently, and ḡ is the mean over
# all there are, the signal. The noise, squared, is the mean of |ĝ − ḡ|²:
#
#     |ĝ − ḡ|² = |1/n Σ_i (g_i − ḡ)|² = 1/n² Σ_i Σ_j (g_i − ḡ) · (g_j − ḡ)
#
# For i ≠ j both factors are independent and 0 in the mean, so their product is 0 in the mean. The n terms with i = j are left.
# With σ² for the mean of |g − ḡ|² over all tokens, noise² = n σ² / n² = σ²/n. So 15 % of the tokens have 6.7 times the noise² of
# all.


# %% Check
pair.parameters.zero_grad()
pair.backward(joint_cache, Run())
whole, mine, library = ({"all parameters": x} for x in (pair.parameters.flat, signal, pair.parameters.grad))
lesson.check(lambda: pair.forward(batch, (1.0, N), Run(), None, outcome.samples)[0].disc_loss, whole, mine, library)
products = (G - signal) @ (G - signal).T  # [N, N]: all (g_i − ḡ) · (g_j − ḡ); its diagonal holds the |g − ḡ|²
variance = np.trace(products) / N  # σ²; trace: the sum of the diagonal
COUNTS = (10, 30, 100, 300)  # 2000 batches of so many tokens; multinomial: how often each of the N is drawn
draws = {n: random.multinomial(n, np.full(N, 1 / N), 2000) for n in COUNTS}
draws["all"] = np.repeat(random.multinomial(16, np.full(120, 1 / 120), 2000), batch.valid.sum(axis=1), axis=1)  # 16 sentences
draws["15 %"] = draws["all"] * (random.random((2000, N)) < 0.15)
noise = {}
for name, weights in draws.items():
    shares = weights / weights.sum(axis=1, keepdims=True)
    squared = ((shares @ products) * shares).sum(axis=1)  # |ĝ − ḡ|² of each batch
    n, noise[name], unsure = weights.sum(axis=1).mean(), squared.mean(), squared.std() / np.sqrt(2000)
    assert name not in COUNTS or abs(noise[name] - variance / n) < 4 * unsure  # further off by chance: once in 15 000 times
    print(f"{name:>4}: {n:5.1f} tokens, noise² {noise[name]:.4f} ± {unsure:.4f}, σ²/n {variance / n:.4f}")
factor = noise["15 %"] / noise["all"]
print(f"16 sentences: {factor:.1f} times the noise² with 15 % of the tokens")

# %% [markdown]
# # What a step costs
#
# In whole sentences the factor is not 6.7 but about 10 here: tokens of one sentence are not independent, their gradients partly
# cancel, and 15 % of them lose that. Masked tokens are no random 15 % either: they hold all the replaced ones. And one token of
# BERT's says more: which of V words, not yes or no. So both must be trained, with as many multiplications. Forward, a block has 4
# H² (query, key, value, output) + 2 H F (feed-forward) + 2 T H (scores and means) a token. The generator's output has H E + E V
# at 15 % of the tokens, the discriminator's H² + H at all. Backward has twice as many.


# %% What a step costs, in code
def cost(c, output, share):  # of an encoder with configuration c, and of its output layers at a share of the 32 tokens
    return c.num_hidden_layers * (4 * c.hidden_size**2 + 2 * c.hidden_size * (c.intermediate_size + 32)) + share * output


sizes = dict(embedding_size=64, hidden_size=64, intermediate_size=256, num_attention_heads=2, generator_width=0.5)
CONFIGS = {name: configure("tiny", sizes | {"generator_depth": 0.5, "objective": name}) for name in ("electra", "mlm")}
full = CONFIGS["mlm"][0]
bert = cost(full, (64 + 512) * 64, 5 / 32)  # 5 of 32 tokens are masked
electra = cost(full, 64 * 65, 1) + cost(full.generator(0.5, 0.5), (32 + 512) * 64, 5 / 32) + 64 * 32  # 64 → 32
STEPS = {"electra": 1000, "mlm": round(1000 * electra / bert)}
weights = [shape for name, shape in ElectraPretraining.shapes(*CONFIGS["mlm"]).items() if ".encoder." in name and len(shape) == 2]
lesson.same("encoder, from its arrays", cost(full, 0, 0), np.prod(weights, axis=1).sum() + 2 * 2 * 32 * 64)  # and 2 T H a block
print(f"a token costs ELECTRA {electra:.0f}, BERT {bert:.0f}: {STEPS['electra']} steps against {STEPS['mlm']}")

# %% [markdown]
# # Three probes
#
# A **probe** asks what an encoder knows: its features are frozen, only a linear layer on top learns to say yes or no, to a
# question that neither was trained on. **comma**: all commas are taken out; did one stand after this token? **gap**: a token is
# taken out, the rest closed up; was it a function word (the, of …)? **next**: the text breaks off; would a function word follow?
#
# The layer is the w with the smallest |X w − y|² + |w|². The gradient 2 Xᵀ(X w − y) + 2 w is zero where (XᵀX + 1) w = Xᵀy, with 1
# the identity: a system of equations, solved at once. Half of the examples give w, the other half an AUC.

# %% The probes in code
place = tempfile.TemporaryDirectory()
dataset = prepare(default_corpus(), f"{place.name}/data", 512, held_out_fraction=0.1)
tokenizer, stream = dataset.tokenizer, np.array(dataset.heldout.tokens, np.int32)
chunks, first = stream[: len(stream) // 31 * 31].reshape(-1, 31), stream[:62000]
comma, functional = first == tokenizer.encode(",")[0], class_ids(tokenizer.vocab)[chunks[:, 15]] == 0  # the package's list
PROBES = {  # sequences without their [CLS] and [SEP], the positions asked, the answers
    "comma": (first[~comma][:54000].reshape(-1, 30), slice(1, 31), np.append(comma[1:], False)[~comma][:54000]),
    "gap": (np.delete(chunks, 15, axis=1), [15], functional),
    "next": (chunks[:, :15], [15], functional),
}


def probe(model, ids, where, answers):
    ids = np.pad(ids, ((0, 0), (1, 1)), constant_values=((0, 0), (tokenizer.cls_id, tokenizer.sep_id)))
    tower, hidden, half = model.discriminator or model.generator, np.zeros((*ids.shape, 64), np.float32), len(answers) // 2
    forward_only(lambda *part: tower.encode(*part)[0].reshape(*part[0].shape, 64), hidden, ids, None, np.zeros_like(ids))
    X = np.pad(hidden[:, where].reshape(-1, 64).astype(float), ((0, 0), (0, 1)), constant_values=1.0)  # a column for the bias
    w = np.linalg.solve(X[:half].T @ X[:half] + np.eye(65), X[:half].T @ answers[:half])
    return auc(X[half:] @ w, answers[half:])


# %% Train both, twice
scores = {}
for name, seed in itertools.product(STEPS, (0, 1)):  # all pairs
    trainee, batches, rows = Trainee(ElectraPretraining(*CONFIGS[name])), Batches(dataset, CONFIGS[name][1], seed), []
    initialize(trainee.model, seed)
    for step in range(STEPS[name] + 1):
        if step % (STEPS[name] // 4) == 0:
            rows.append([probe(trainee.model, *question) for question in PROBES.values()])
        trainee.step(batches[step], 2e-3 * min(1.0, (step + 1) / 60), seed, step)
    trainee.close()
    scores[name, seed] = np.array(rows)  # [5, 3]
    print(f"{name:8} seed {seed}:", "   ".join(f"{question} {end:.3f}" for question, end in zip(PROBES, rows[-1], strict=True)))

# %% See: both answers
ends = [np.mean([scores[name, seed][-1] for seed in (0, 1)]) for name in STEPS]
fig = figure(
    10, 6.6, f"All tokens: noise² {factor:.1f} times smaller. Probes: ELECTRA {ends[0]:.2f}, BERT {ends[1]:.2f}",
    "Probes: AUC on held-out text; two seeds each; at 0 the encoder is untrained. Title: mean of probes and seeds at the end.",
)
ax, *panels = fig.subplots(2, 2).ravel()
tidy(ax, "noise of a gradient", "tokens in a batch (log)", "noise² (log)")
ax.loglog(COUNTS, [variance / n for n in COUNTS], color=GREY, label="σ²/n")
ax.loglog(COUNTS, [noise[n] for n in COUNTS], "o", color=BLUE, label="tokens drawn one by one")
ax.loglog([N * 16 / 120, N * 2.4 / 120], [noise["all"], noise["15 %"]], "D", color=VERMILION, label="16 sentences: all, 15 %")
ax.set(xticks=COUNTS, xticklabels=COUNTS, yticks=(0.02, 0.05, 0.1, 0.2, 0.5), yticklabels=(0.02, 0.05, 0.1, 0.2, 0.5))
ax.minorticks_off()
legend(ax)
for i, (ax, question) in enumerate(zip(panels, PROBES, strict=True)):
    tidy(ax, f"probe “{question}”", "share of the compute", "AUC")
    for (name, seed), rows in scores.items():
        label, colour = ("ELECTRA", BLUE) if name == "electra" else ("BERT", VERMILION)
        ax.plot(np.arange(5) / 4, rows[:, i], "o-", color=colour, markersize=4, label=None if seed else label)
    legend(ax, loc="lower right")
lesson.figure(fig)

# %% [markdown]
# # Reading it
#
# Only a difference larger than that between two seeds of one model means anything, and two seeds mean little. When this was
# written "comma" and "gap" were ties. In "next" ELECTRA was ahead by about 0.03, where one BERT moves by 0.02 from quarter to
# quarter: a hint at best. The ways differ more. A quarter through, BERT is far ahead, then hardly gains; ELECTRA's discriminator
# has a plateau of its own. Half the learning rate, tried with one seed, gained neither anything; with one and a half times as
# much ELECTRA stayed stuck.
#
# This is a minute. The paper trained for days: the mean over its tasks is 85.0 for ELECTRA and 82.2 for BERT after equal compute,
# and 82.4 for an ELECTRA whose loss counts masked tokens only. So nearly all of the gain goes with the other 85 % of the tokens.


# %% Your turn 1: how large must a batch be?
def batch_needed(gradients, ratio):
    """gradients [N, P], one a token -> the smallest n with which noise is at most `ratio` times as long as the signal."""
    raise NotImplementedError("yours to write")


def check_batch_needed(function):
    for ratio in (1.0, 0.5):
        n, limit = function(G, ratio), ratio**2 * (signal**2).sum()
        assert n == int(n) and variance / n <= limit < variance / (n - 1), f"ratio {ratio}: n = {n} is too small or too large"


lesson.exercise(
    batch_needed, check_batch_needed,
    "σ²/n ≤ ratio² |ḡ|². The noise is a length; the formula is about its square.",
    "int(np.ceil(variance / (ratio**2 * (signal**2).sum()))), with variance and signal made from the gradients.",
)


# %% Your turn 2: no token twice
def noise_without_return(gradients, n):
    """gradients [N, P] -> the mean of |ĝ − ḡ|² over all batches of n *different* tokens of the N."""
    raise NotImplementedError("yours to write")


def check_noise_without_return(function):
    few = G[:: N // 7][:7]
    for n in (1, 3, 6, 7):
        batches = np.array([few[list(chosen)].mean(axis=0) for chosen in itertools.combinations(range(7), n)])
        expected, got = ((batches - few.mean(axis=0)) ** 2).sum(axis=1).mean(), function(few, n)
        assert abs(got - expected) < 1e-9, f"all batches of {n} of 7 tokens: {expected:.6f}, not {got:.6f}"


lesson.exercise(
    noise_without_return, check_noise_without_return,
    "In the double sum i ≠ j no longer gives 0: who has drawn i cannot draw it again. And all N of g − ḡ add up to 0.",
    "The mean of (g_i − ḡ) · (g_j − ḡ) over i ≠ j is −σ²/(N − 1). There are n terms i = j and n (n − 1) others. Add them up.",
)

# %% [markdown]
# # What comes next
#
# The probes left the encoder as it was. Lesson 20 trains it further, on a task of its own. The real thing:
# `minielectra/objectives/electra.py`, `ElectraPretraining`; `python -m minielectra train --objective mlm` trains BERT.

# %%
lesson.end()
