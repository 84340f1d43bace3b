# %% [markdown]
# # 19 · Why all tokens: ELECTRA against BERT at equal compute
#
# **You will be able to** say how much more reliable a gradient is when every token takes part, count what a
# training step costs, and compare two encoders fairly, whatever comes out.
#
# **Time** 60 minutes · **needs** 14, 15, 17, 18 · **runs** 75 s
#
# **BERT** is a masked language model with an encoder of full size, which is kept for later use. ELECTRA keeps
# the discriminator. It learns from every token, where BERT learns only from the 15 % that are masked. How
# much do the other tokens add to a gradient? And which encoder is better after **equal compute**, that is,
# after as many multiplications for one as for the other?
#
# A batch's gradient is an estimate. Its mean over many batches is the **signal**. The **noise** is one
# batch's distance from the signal.

# %%
import itertools
import tempfile

import numpy as np
import toy
from course import LESSON_SETTINGS, begin

from minielectra import objectives
from minielectra.data.dataset.prepare import prepare
from minielectra.data.text.default_corpus import default_corpus
from minielectra.electra.corruption import MaskedNormalizers, mask_batch
from minielectra.electra.initialization import initialize
from minielectra.nn.inference import forward_only
from minielectra.nn.layers import PassContext
from minielectra.ops.reference.losses import sigmoid
from minielectra.plots.style import BLUE, GREY, VERMILION, figure, legend, tidy
from minielectra.plots.words import CLASSES, class_ids
from minielectra.pretraining.batches import Batches
from minielectra.pretraining.presets import configure
from minielectra.runs.detection_counts import auc
from minielectra.training.engine import make_engine

lesson = begin("19_all_tokens")
random, context = np.random.default_rng(19), PassContext()  # no dropout

# %% Long form: the gradient of one token at a time
# A small generator and discriminator, untrained; 120 sentences of the toy language; and every token's own
# gradient of L_RTD.
V, T = len(toy.VOCABULARY), toy.LENGTH
small = {
    "vocab_size": V,
    "seq_length": T,
    "embedding_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "generator_width": 0.5,
    "gen_weight": 0.0,  # L_RTD alone
    "disc_weight": 1.0,
}
pair = objectives.make(*configure("tiny", LESSON_SETTINGS | small), dtype=np.float64)
initialize(pair, seed=0)
pair.parameters.flat[...] += 0.1 * random.standard_normal(pair.parameters.size)  # no bias is 0, no γ is 1
ids, never = toy.batch(120, random), (toy.PAD, toy.CLS, toy.SEP, toy.MASK)
batch = mask_batch(ids, ids != toy.PAD, np.zeros_like(ids), never, toy.MASK, V, pair.config, random)
N = batch.valid.sum()
normalizers = MaskedNormalizers(chosen=1.0, tokens=N)
outcome, joint_cache = pair.forward(batch, normalizers, context, random.random(batch.positions.size))
gradients = []
for ids, valid, labels in zip(outcome.corrupted_ids, batch.valid, outcome.replaced, strict=True):
    one, segments = ids[None], np.zeros_like(ids[None])  # a batch of one sentence
    for t in range(valid.sum()):
        logits, cache = pair.discriminator.forward(one, valid[None], segments, context)
        # lesson 14; the loss of token t and no other
        dlogits = (np.arange(T) == t) * (sigmoid(logits) - labels)
        pair.parameters.zero_grad()
        pair.discriminator.backward(dlogits, cache, context)
        gradients.append(pair.parameters.grad.copy())
G = np.array(gradients)  # [N, P]
signal = G.mean(axis=0)  # [P]
print(f"{N} tokens; length of their mean gradient {np.linalg.norm(signal):.2f}, ", end="")
print(f"of one token's {np.linalg.norm(G, axis=1).mean():.2f} on average")

# %% [markdown]
# # Collapsed form
#
# A batch's gradient ĝ is the mean of n tokens' gradients g. Suppose the tokens are drawn at random,
# independently of each other, and ḡ is the mean over all tokens there are, the signal. The noise, squared, is
# the mean of |ĝ − ḡ|²:
#
#     |ĝ − ḡ|² = |1/n Σ_i (g_i − ḡ)|² = 1/n² Σ_i Σ_j (g_i − ḡ) · (g_j − ḡ)
#
# For i ≠ j the two factors are independent, and 0 on average, so their product is 0 on average. The n terms
# with i = j are left. With σ² for the mean of |g − ḡ|² over all tokens, noise² = n σ² / n² = σ²/n. So a batch
# of 15 % of the tokens has 6.7 times the noise² of a batch of all tokens.


# %% Check: the gradient
def rtd_loss():
    outcome_now, _ = pair.forward(batch, normalizers, context, samples=outcome.samples)
    return outcome_now.disc_loss


pair.parameters.zero_grad()
pair.backward(joint_cache, context)
name = "all parameters"
lesson.check(rtd_loss, {name: pair.parameters.flat}, {name: signal}, {name: pair.parameters.grad})

# %% Check: the noise
# Draw 2000 batches for each size. multinomial: how often each of the N tokens is drawn.
COUNTS = (10, 30, 100, 300)  # tokens in a batch
draws = {n: random.multinomial(n, np.full(N, 1 / N), 2000) for n in COUNTS}
sentences = random.multinomial(16, np.full(120, 1 / 120), 2000)  # 16 sentences, with all their tokens
draws["all"] = np.repeat(sentences, batch.valid.sum(axis=1), axis=1)
draws["15 %"] = draws["all"] * (random.random((2000, N)) < 0.15)

products = (G - signal) @ (G - signal).T  # [N, N]: all (g_i − ḡ) · (g_j − ḡ); the diagonal holds the |g − ḡ|²
variance = np.trace(products) / N  # σ²; trace: the sum of the diagonal
noise = {}
for name, weights in draws.items():
    shares = weights / weights.sum(axis=1, keepdims=True)
    squared = ((shares @ products) * shares).sum(axis=1)  # |ĝ − ḡ|² of each batch
    n, noise[name], unsure = weights.sum(axis=1).mean(), squared.mean(), squared.std() / np.sqrt(2000)
    if name in COUNTS:  # by chance it is further off once in 15 000 times
        assert abs(noise[name] - variance / n) < 4 * unsure
    print(f"{name:>4}: {n:5.1f} tokens, noise² {noise[name]:.4f} ± {unsure:.4f}, σ²/n {variance / n:.4f}")
factor = noise["15 %"] / noise["all"]
print(f"16 sentences: {factor:.1f} times the noise² with 15 % of the tokens")

# %% [markdown]
# # What a step costs
#
# For whole sentences the factor is not 6.7 but about 10 here. The tokens of one sentence are not independent,
# and their gradients partly cancel. A 15 % sample loses this cancellation. Nor are masked tokens a random
# 15 %: all the replaced tokens are among them. And one of BERT's tokens says more: which of V words it is,
# not just yes or no. So arithmetic alone cannot decide. Both must be trained, with the same number of
# multiplications.
#
# In the forward pass a block does, per token, 4 H² (query, key, value, output) + 2 H F (feed-forward) + 2 T H
# (scores and means). The generator's output layers do H E + E V at 15 % of the tokens, the discriminator's
# H² + H at every token. The backward pass takes twice as many.

# %% What a step costs, in code
LENGTH, MASKED = 32, 5  # tokens in a sequence of these lessons, and how many of them are masked
CONFIGS = {name: configure("tiny", LESSON_SETTINGS | {"objective": name}) for name in ("electra", "mlm")}
full, _ = CONFIGS["mlm"]  # the encoder of full size, which both have
E, H, V = full.embedding_size, full.hidden_size, full.vocab_size


def encoder_cost(config):
    """Multiplications per token of an encoder, forward."""
    width = config.hidden_size
    block = 4 * width**2 + 2 * width * config.intermediate_size + 2 * LENGTH * width
    return config.num_hidden_layers * block


small_generator = full.generator(0.5, 0.5)
narrow = small_generator.hidden_size
bert = encoder_cost(full) + MASKED / LENGTH * (H * E + E * V)
discriminator = encoder_cost(full) + H * H + H
# E → narrow first
generator = E * narrow + encoder_cost(small_generator) + MASKED / LENGTH * (narrow * E + E * V)
electra = discriminator + generator
STEPS = {"electra": 1000, "mlm": round(1000 * electra / bert)}

# The same from the arrays: every weight is one multiplication; scores and means have no weights.
shapes = objectives.make(*CONFIGS["mlm"]).parameters.shapes
weights = [shape for name, shape in shapes.items() if ".encoder." in name and len(shape) == 2]
from_arrays = np.prod(weights, axis=1).sum() + full.num_hidden_layers * 2 * LENGTH * H
lesson.same("encoder, from its arrays", encoder_cost(full), from_arrays)
print(
    f"a token costs ELECTRA {electra:.0f}, BERT {bert:.0f}: {STEPS['electra']} steps against {STEPS['mlm']}"
)

# %% [markdown]
# # Three probes
#
# A **probe** asks what an encoder knows. The encoder's features are frozen; only a linear layer on top of
# them learns, to say yes or no to a question that neither model was trained on. **comma**: all commas are
# removed; was there one after this token? **gap**: a token is removed and the rest closed up; was it a
# function word (the, of …)? **next**: the text breaks off; would a function word follow?
#
# The layer is the w with the smallest |X w − y|² + |w|². The gradient 2 Xᵀ(X w − y) + 2 w is zero if
# (XᵀX + 1) w = Xᵀy, where 1 is the identity: a system of equations, which can be solved at once. Half of the
# examples determine w, and the other half give an AUC.

# %% The probes in code
place = tempfile.TemporaryDirectory()
dataset = prepare(default_corpus(), f"{place.name}/data", 512, held_out_fraction=0.1)
tokenizer, stream = dataset.tokenizer, np.array(dataset.heldout.tokens, np.int32)
FUNCTION_WORD = CLASSES.index("closed class")  # the package has a list of them


def comma_probe():
    """Commas taken out -> sequences [B, 30], answers for all of their tokens."""
    text = stream[:62000]
    is_comma = text == tokenizer.encode(",")[0]
    comma_follows = np.append(is_comma[1:], False)
    count = 54000  # a little less than what is left without the commas
    return text[~is_comma][:count].reshape(-1, 30), comma_follows[~is_comma][:count]


# Pieces of 31 tokens; the one in the middle is number 15.
pieces = stream[: len(stream) // 31 * 31].reshape(-1, 31)
functional = class_ids(tokenizer.vocab)[pieces[:, 15]] == FUNCTION_WORD
# Each probe: sequences without [CLS] and [SEP], the positions asked (with [CLS] as position 0), the answers.
commas, comma_answers = comma_probe()
PROBES = {
    "comma": (commas, slice(1, 31), comma_answers),
    "gap": (np.delete(pieces, 15, axis=1), [15], functional),
    "next": (pieces[:, :15], [15], functional),
}


def features(objective, ids):
    """What the encoder that will be kept says about every token: ids [B, T] -> [B, T, H]."""
    tower = objective.encoder_tower  # the discriminator; if there is none, the masked language model

    def encode(ids, valid, segments, context):
        hidden, _ = tower.encode(ids, valid, segments, context)
        return hidden.reshape(*ids.shape, H)

    found = np.zeros((*ids.shape, H), np.float32)
    forward_only(encode, found, ids, None, np.zeros_like(ids))  # fills `found`, some sequences at a time
    return found


def probe(objective, ids, where, answers):
    """The AUC of a linear layer on frozen features, on the second half of the examples."""
    ends = ((tokenizer.cls_id, tokenizer.sep_id),)
    ids = np.pad(ids, ((0, 0), (1, 1)), constant_values=((0, 0), *ends))  # [CLS] … [SEP]
    X = features(objective, ids)[:, where].reshape(-1, H).astype(float)
    X = np.pad(X, ((0, 0), (0, 1)), constant_values=1.0)  # a column of ones for the bias
    half = len(answers) // 2
    w = np.linalg.solve(X[:half].T @ X[:half] + np.eye(H + 1), X[:half].T @ answers[:half])
    return auc(X[half:] @ w, answers[half:])


# %% Train both, twice
scores = {}  # (objective, seed) -> AUCs [5, 3]: after each quarter of the steps, for each probe
for name, seed in itertools.product(STEPS, (0, 1)):  # all pairs
    objective = objectives.make(*CONFIGS[name])
    initialize(objective, seed)
    engine, batches = make_engine(objective), Batches(dataset, objective.config, seed)
    steps, rows = STEPS[name], []
    for step in range(steps + 1):
        if step % (steps // 4) == 0:
            rows.append([probe(engine.objective, *question) for question in PROBES.values()])
        if step < steps:
            rate = 2e-3 * min(1.0, (step + 1) / 60)  # 60 steps of warm-up, then constant
            engine.step(batches[step], rate, seed, step)
    engine.close()
    scores[name, seed] = np.array(rows)
    shown = [f"{question} {end:.3f}" for question, end in zip(PROBES, rows[-1], strict=True)]
    print(f"{name:8} seed {seed}:", "   ".join(shown))

# %% See: both answers
ends = [np.mean([scores[name, seed][-1] for seed in (0, 1)]) for name in STEPS]
fig = figure(
    10,
    6.6,
    f"All tokens: noise² {factor:.1f} times smaller. Probes: ELECTRA {ends[0]:.2f}, BERT {ends[1]:.2f}",
    "Probes: AUC on held-out text; two seeds each; at 0 the encoder is untrained.\n"
    "In the title: the mean over probes and seeds at the end.",
)
ax, *panels = fig.subplots(2, 2).ravel()
tidy(ax, "noise of a gradient", "tokens in a batch (log)", "noise² (log)")
ax.loglog(COUNTS, [variance / n for n in COUNTS], color=GREY, label="σ²/n")
ax.loglog(COUNTS, [noise[n] for n in COUNTS], "o", color=BLUE, label="tokens drawn one by one")
sixteen = [N * 16 / 120, 0.15 * N * 16 / 120], [noise["all"], noise["15 %"]]
ax.loglog(*sixteen, "D", color=VERMILION, label="16 sentences: all, 15 %")
levels = (0.02, 0.05, 0.1, 0.2, 0.5)
ax.set(xticks=COUNTS, xticklabels=COUNTS, yticks=levels, yticklabels=levels)
ax.minorticks_off()
legend(ax)
for i, (ax, question) in enumerate(zip(panels, PROBES, strict=True)):
    tidy(ax, f"probe “{question}”", "share of the compute", "AUC")
    for (name, seed), rows in scores.items():
        label, colour = ("ELECTRA", BLUE) if name == "electra" else ("BERT", VERMILION)
        label = label if seed == 0 else None  # one entry in the legend for both seeds
        ax.plot(np.arange(5) / 4, rows[:, i], "o-", color=colour, markersize=4, label=label)
    legend(ax, loc="lower right")
lesson.figure(fig)

# %% [markdown]
# # Reading it
#
# Only a difference larger than that between two seeds of one model means anything, and two seeds mean little.
# When this was written, "comma" and "gap" were ties. In "next" ELECTRA was ahead by about 0.03, while a
# single BERT moves by 0.02 from quarter to quarter: a hint at best. The courses of training differ more. A
# quarter of the way through, BERT is far ahead, and then hardly gains; ELECTRA's discriminator has a plateau
# of its own. Half the learning rate, tried with one seed, helped neither; with one and a half times the rate
# ELECTRA stayed stuck.
#
# This took a minute. The paper trained for days. The mean over its tasks is 85.0 for ELECTRA and 82.2 for
# BERT after equal compute, and 82.4 for an ELECTRA whose loss counts only the masked tokens. So nearly all of
# the gain comes from the other 85 % of the tokens.


# %% Your turn 1: how large must a batch be?
def batch_needed(gradients, ratio):
    """The smallest n for which the noise is at most `ratio` times as long as the signal.

    gradients [N, P], one per token.
    """
    raise NotImplementedError("yours to write")


def check_batch_needed(function):
    for ratio in (1.0, 0.5):
        n, limit = function(G, ratio), ratio**2 * (signal**2).sum()
        smallest = n == int(n) and variance / n <= limit < variance / (n - 1)
        assert smallest, f"ratio {ratio}: n = {n} is too small or too large"


lesson.exercise(
    batch_needed,
    check_batch_needed,
    "σ²/n ≤ ratio² |ḡ|². The noise is a length; the formula is about its square.",
    "int(np.ceil(variance / (ratio**2 * (signal**2).sum()))), "
    "with variance and signal computed from the gradients.",
)


# %% Your turn 2: no token twice
def noise_without_return(gradients, n):
    """gradients [N, P] -> the mean of |ĝ − ḡ|² over all batches of n *different* tokens of the N."""
    raise NotImplementedError("yours to write")


def check_noise_without_return(function):
    few = G[:: N // 7][:7]
    mean = few.mean(axis=0)
    for n in (1, 3, 6, 7):
        batches = [few[list(chosen)].mean(axis=0) for chosen in itertools.combinations(range(7), n)]
        expected, got = ((np.array(batches) - mean) ** 2).sum(axis=1).mean(), function(few, n)
        assert abs(got - expected) < 1e-9, f"all batches of {n} of 7 tokens: {expected:.6f}, not {got:.6f}"


lesson.exercise(
    noise_without_return,
    check_noise_without_return,
    "In the double sum i ≠ j no longer gives 0: if i has been drawn, "
    "it cannot be drawn again. And all N of g − ḡ add up to 0.",
    "The mean of (g_i − ḡ) · (g_j − ḡ) over i ≠ j is −σ²/(N − 1). "
    "There are n terms i = j and n (n − 1) others. Add them up.",
)

# %% [markdown]
# # What comes next
#
# The probes left the encoder as it was. Lesson 20 trains it further, on a task of its own.
#
# The real thing: `minielectra/objectives/`, with a file for each objective: `electra.py` and `mlm.py`.
# `python -m minielectra train --objective mlm` trains BERT.

# %%
lesson.end()
