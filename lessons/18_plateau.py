# %% [markdown]
# # 18 · The plateau, and a start that knows where to look
#
# **You will be able to** recognise the plateau in a loss curve, build an attention head that looks at a neighbour from its first step,
# prove with one identity of the cosine why it does, and show by experiment that this is what ends the plateau.
#
# **Time** 50 minutes · **needs** 9, 12, 16, 17 · **runs** 45 s
#
# A **plateau** is a stretch of training in which the loss hardly moves, before it falls again. Masked language models begin with
# one: they learn how frequent tokens are, within a hundred steps, and then nothing for a long time. There is a reason. Everything
# else must come from other positions, through attention. But attention starts out blind: all shares are about 1/T, so each token
# receives nearly the same mean of all others, from which a neighbour cannot be read. And as long as nothing useful comes through
# attention, there is little gradient that would tell attention where to look. docs/LOG.md and the paper's settings: tens of
# millions of tokens.
#
# **Initialization** is how the parameters are filled before the first step. The paper's, called `official` here, is random
# numbers with a standard deviation of 0.02. The other one is **local attention**: the same model, all of it trainable, but the
# heads of the first layer begin by looking at a neighbour. This lesson builds such a head.

# %%
import tempfile

import numpy as np
from course import begin

from minielectra.data.default_corpus import default_corpus
from minielectra.data.prepare import prepare
from minielectra.electra.config import configure
from minielectra.electra.initialization import SHARPNESS, frequencies, initialize, rotation
from minielectra.electra.pretraining import ElectraPretraining
from minielectra.functional.attention import attention_forward
from minielectra.nn.layers import Run
from minielectra.plots.style import BLUE, GREEN, INK, SEQUENTIAL, VERMILION, figure, legend, line, tidy
from minielectra.training.batches import Batches, held_out_batch
from minielectra.training.evaluation import Evaluator
from minielectra.training.step import Trainee
from minielectra.training.trainer import unigram_loss

lesson = begin("18_plateau")

# %% Long form: one head that looks one position back
# The position table may hold any numbers. Take waves: for every frequency ω (radians a position) the pair cos ωt, sin ωt.
# Position t is then a set of clock hands, one a frequency, that have turned by ωt. The query is turned a little further, by ω ·
# offset.
T, WIDTH, OFFSET = 32, 32, -1
omegas = frequencies(
    WIDTH // 2, T
)  # 16 of them, from fast (2.5) to slow (half a turn in T positions), each by the same factor slower
scores = np.zeros((T, T))
for t in range(T):  # the token that looks
    for s in range(T):  # the token that is looked at
        for omega in omegas:
            query_cos, query_sin = np.cos(omega * t + omega * OFFSET), np.sin(omega * t + omega * OFFSET)
            key_cos, key_sin = np.cos(omega * s), np.sin(omega * s)
            scores[t, s] += query_cos * key_cos + query_sin * key_sin
print("position 10 looks at:", " ".join(f"{s}: {scores[10, s]:.1f}" for s in range(7, 13)))

# %% [markdown]
# # Collapsed form
#
# The addition theorem of the cosine, cos a cos b + sin a sin b = cos(a − b), makes one term of two:
#
#     score[t, s] = Σ_ω cos ω(t + offset − s)
#
# Every cosine is at most 1. Where s = t + offset all of them are 1 and the score is the number of frequencies, 16. Anywhere else
# the fast ones disagree. That is the proof: the largest score stands at the offset, whatever t is. And turning is linear, so a
# linear layer can do it, with the other two theorems written as a matrix, the **rotation** for one ω:
#
#     cos(a + b) = cos b · cos a − sin b · sin a          [cos b  −sin b]   [cos a]
#     sin(a + b) = sin b · cos a + cos b · sin a          [sin b   cos b] · [sin a]        a = ωt, b = ω · offset
#
# So: query weight = rotations, key weight = identity, both on the features that hold the waves.

# %% Collapsed form in code
angles = np.arange(T)[:, None] * omegas
waves = np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(T, WIDTH)  # cos, sin, cos, sin, …
turn = np.zeros((WIDTH, WIDTH))
for i, omega in enumerate(omegas):
    b = omega * OFFSET
    turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]]
distance = np.arange(T)[:, None] + OFFSET - np.arange(T)  # t + offset − s
lesson.same("scores, three loops against the sum of cosines", scores, np.cos(distance[..., None] * omegas).sum(axis=2))
lesson.same("scores, three loops against (waves turnᵀ) wavesᵀ", scores, (waves @ turn.T) @ waves.T)
lesson.same("turn against the library's rotation", turn, rotation(OFFSET, WIDTH, T))
for offset in (-2, -1, 1, 2):
    where = ((waves @ rotation(offset, WIDTH, T).T) @ waves.T).argmax(axis=1)
    inside = (np.arange(T) + offset >= 0) & (np.arange(T) + offset < T)
    assert (where - np.arange(T))[inside].tolist() == [offset] * inside.sum()


# %% The model, from three starts
# The generator alone (the objective is called "mlm"), at half the width of `tiny`: 2 layers, 64 features, 2 heads. "blind" is
# local attention without the looking: the same waves, the same sizes of all weights, but random queries and keys in the first
# layer.
settings = dict(objective="mlm", mask_keep_fraction=0.0, mask_random_fraction=0.0, embedding_size=64, hidden_size=64)
settings |= dict(intermediate_size=256, num_attention_heads=2)
FIRST, POSITIONS = "generator.electra.encoder.layer.0.attention.self.", "electra.embeddings.position_embeddings.weight"
WORDS = "electra.embeddings.word_embeddings.weight"


def start(name, dtype=np.float32):
    kind = "official" if name == "official" else "local_attention"
    model = ElectraPretraining(*configure("tiny", settings | {"initialization": kind}), dtype=dtype)
    initialize(model, seed=0)
    for part in ("query", "key") if name == "blind" else ():
        weight = model.parameters[f"{FIRST}{part}.weight"].value
        weight[...] = np.random.default_rng(len(part)).standard_normal(weight.shape) * weight.shape[1] ** -0.5
    return model


def first_layer(model, batch):
    """Shares [heads, T, T] of the first layer's attention, mean over the sequences [B, T] of a batch; its output [B·T, H]."""
    x, _ = model.generator.embeddings.forward(batch.masked_ids, batch.token_type_ids, Run())  # layer norm is in it
    parts = (model.parameters[f"{FIRST}{part}.{kind}"].value for part in ("query", "key", "value") for kind in ("weight", "bias"))
    q, k, v = ((x @ W.T + b).reshape(len(batch.masked_ids), T, 2, -1).swapaxes(1, 2) for W, b in zip(*[parts] * 2, strict=True))
    output, cache = attention_forward(q, k, v)
    return cache[3].mean(axis=0), output.swapaxes(1, 2).reshape(x.shape)


place = tempfile.TemporaryDirectory()
dataset = prepare(default_corpus(), f"{place.name}/data", 512)
pretraining = start("official").pretraining
held_out = held_out_batch(dataset, pretraining, 0, 400)
full = held_out.shard(np.flatnonzero(held_out.valid.all(axis=1))[:100])  # 100 sequences without padding

# %% Check
# The package's start, in float64: scores from the position table alone, then the real first layer on real text.
model = start("local", np.float64)
table = model.parameters[POSITIONS].value[:T, :WIDTH]
for head, offset in enumerate((-1, 1)):
    query, key = (
        model.parameters[f"{FIRST}{part}.weight"].value[head * 32 : head * 32 + 32, :WIDTH] for part in ("query", "key")
    )
    expected = np.cos((np.arange(T)[:, None] + offset - np.arange(T))[..., None] * omegas).sum(axis=2)
    lesson.same(f"head {head}", (table @ query.T) @ (table @ key.T).T, SHARPNESS**2 * 2 / 64 * expected)
shares, output = first_layer(model, full)
x, _ = model.generator.embeddings.forward(full.masked_ids, full.token_type_ids, Run())
y, _ = model.generator.encoder.blocks[0].attention.forward(x, None, full.masked_ids.shape, Run())
lesson.same("the first layer's output on text, by hand against the layer", output, y)
at_offset = np.mean([shares[0, t, t - 1] for t in range(1, T)])
print(f"on text, head 0 gives {at_offset:.0%} of its attention to the token before; all alike would be {1 / T:.0%}")

# %% A mistake, and a check that misses it
# The word's own embedding lies on the same features as its position, unless the word table begins with zeros there. Put numbers
# there:
spoilt = start("local", np.float64)
word = spoilt.parameters[WORDS].value
word[:, :WIDTH] = 0.125 * np.random.default_rng(1).standard_normal((512, WIDTH))  # of the size of all other features
table = spoilt.parameters[POSITIONS].value[:T, :WIDTH]
query, key = (spoilt.parameters[f"{FIRST}{part}.weight"].value[:32, :WIDTH] for part in ("query", "key"))
still = ((table @ query.T) @ (table @ key.T).T).argmax(axis=1)[1:] - np.arange(1, T)
print("scores of the position table still peak at −1:", (still == -1).all(), "— a check without words is satisfied")
for name, m in (("as the library starts", model), ("with words in the way", spoilt)):
    shares = first_layer(m, full)[0][0]
    print(f"{name}: the token before gets {np.diag(shares, -1).mean():.0%}, the token itself {np.diag(shares)[1:].mean():.0%}")
# diag(·, −1): the numbers one below the diagonal. A token is similar to itself, and that now counts too.

# %% Train from the three starts
STEPS, EVERY, RATE = 800, 40, 2e-3
batches = Batches(dataset, pretraining, 0)
unigram = unigram_loss(dataset.train.token_counts(512), held_out, dataset.tokenizer.special_ids)
curves, maps = {}, {}
for name in ("official", "blind", "local"):
    trainee = Trainee(start(name))  # the training step of the package: two halves of a batch on two processors, then Adam
    evaluate = Evaluator(trainee.model, held_out, 0, threads=2)
    maps[name, "at the start"], curves[name] = first_layer(trainee.model, full)[0], []
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            curves[name].append(evaluate()[0]["gen_loss"])
        if step < STEPS:
            trainee.step(batches[step], RATE * min(1.0, (step + 1) / 60), 0, step)  # 60 steps of warm-up, then constant
    maps[name, f"after {STEPS} steps"] = first_layer(trainee.model, full)[0]
    trainee.close()
    print(f"{name:9} held-out loss at steps 0, 200, 400, 800:", *(f"{curves[name][i]:.2f}" for i in (0, 5, 10, 20)))
print(f"unigram   {unigram:.2f} nats")

# %% See: the plateau
gap = {name: unigram - curve[-1] for name, curve in curves.items()}
fig = figure(
    7.5, 4.2, f"{STEPS} steps: {gap['official']:.2f} nats below unigram from the paper's start, {gap['local']:.2f} from local attention",
    "Loss at masked positions of held-out text; same model, text, steps and learning rate. “Blind” has everything of local\n"
    "attention but the looking: queries and keys of its first layer start as random numbers.",
)  # fmt: skip
ax = tidy(fig.subplots(), xlabel="training step", ylabel="nats")
for (name, curve), colour in zip(curves.items(), (VERMILION, GREEN, BLUE), strict=True):
    line(ax, np.arange(0, STEPS + 1, EVERY), np.array(curve), color=colour, label=name)
ax.axhline(unigram, color=INK, linestyle="--", label="unigram")
legend(ax)
lesson.figure(fig)

# %% See: where the first layer looks
fig = figure(
    9.5, 6.2, "Local attention starts one step off the diagonal, and the paper's start looks everywhere alike",
    "Mean shares of attention in the first layer, over 100 held-out sequences. Row: the position that looks; column: the position\n"
    "looked at. Bright: a large share. Below: the same heads after training; all of these weights were free to move.",
)  # fmt: skip
columns = (("official", 0), ("local", 0), ("local", 1))
for row, axes in enumerate(fig.subplots(2, 3)):
    for ax, (name, head) in zip(axes, columns, strict=True):
        when = ("at the start", f"after {STEPS} steps")[row]
        tidy(ax, f"{name}, head {head}, {when}", "position looked at", "position that looks" if name == "official" else "")
        image = ax.imshow(maps[name, when][head], cmap=SEQUENTIAL, vmin=0, vmax=0.6)
        ax.grid(False)
fig.colorbar(image, ax=fig.axes, shrink=0.6, label="share of attention")
lesson.figure(fig, "maps")

# %% [markdown]
# # An honest reading
#
# - It is the *looking* that ends the plateau, not the larger weights or the waves: "blind" has those too.
# - The plateau is no wall. The official curve is a little below unigram at the end, and would go on. With enough steps the start
#   matters less, which is why the package uses `official` for `small` and larger, and local attention for runs of minutes.
# - Nothing is held fixed. What the heads do afterwards is what training made of them; compare the lower row with the upper.
# - In the joint step another thing keeps the generator back: lesson 15 showed how at λ = 50 the discriminator's share drowns the
#   generator's in the word table. `tiny` has λ = 3. In docs/LOG.md λ = 3 with β₂ = 0.98 is at 4.37 nats after 1 200 steps, λ = 10
#   with β₂ = 0.999 at 4.53; the two were changed at once, so how much is due to which is not known.
# - One seed, one model size, one text.
#
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/18_plateau.py --hints`.


# %% Your turn 1: turn the keys instead
def key_turn(offset, omegas):
    """The matrix [2F, 2F] for the *keys* that makes a head look at t + offset when the query weight is the identity. omegas [F]."""
    raise NotImplementedError("yours to write")


def check_key_turn(function):
    for offset in (-2, 1, 3):
        matrix = function(offset, omegas)
        assert np.shape(matrix) == (WIDTH, WIDTH), f"the shape is {np.shape(matrix)}, not {(WIDTH, WIDTH)}"
        looked_at = (waves @ (waves @ matrix.T).T)[10].argmax()
        assert looked_at == 10 + offset, f"offset {offset}: position 10 looks at {looked_at}, not at {10 + offset}"
        assert np.allclose(waves @ matrix.T @ turn.T, waves @ rotation(-offset + OFFSET, WIDTH, T).T), "not a rotation"


lesson.exercise(
    key_turn, check_key_turn,
    "The score is Σ cos(ω · (what the query has turned) − ω · (what the key has turned)). When is that Σ cos 0 at s = t + offset?",
    "cos ω(t − (s − offset)): the key is turned by −offset. Build the blocks as in “Collapsed form in code”.",
)  # fmt: skip


# %% Your turn 2: how sharp is sharp enough?
def neighbour_share(sharpness, omegas, T, t, offset):
    """Query and key weights are both multiplied by sharpness, scores are divided by √(2F). What share of position t's attention
    goes to t + offset, of T positions? A number; nothing but positions counts."""
    raise NotImplementedError("yours to write")


def check_neighbour_share(function):
    for sharpness, t, offset in ((0.0, 10, -1), (0.5, 10, -1), (1.0, 0, 1), (1.5, 20, 2)):
        table = sharpness * waves
        q, k = ((table @ m.T)[None, None] for m in (rotation(offset, WIDTH, T), np.eye(WIDTH)))
        expected = attention_forward(q, k, k)[1][3][0, 0, t, t + offset] if sharpness else 1 / T
        got = function(sharpness, omegas, T, t, offset)
        assert abs(got - expected) < 1e-9, f"sharpness {sharpness}, t = {t}, offset {offset}: {expected:.4f}, not {got:.4f}"


lesson.exercise(
    neighbour_share, check_neighbour_share,
    "All T scores of the row are needed, for the softmax. How often does sharpness stand in a product of query and key?",
    "scores = sharpness² · Σ_ω cos ω(t + offset − s) / √(2F) for s = 0 … T − 1; softmax; the entry t + offset.",
)  # fmt: skip


# %% Your turn 3: the height of the plateau
def unigram_level(train_counts, ids):
    """The mean loss on held-out tokens ids [N] of a guesser that knows train_counts [V], each increased by one: a held-out token
    that never occurred in training would cost an infinite loss otherwise."""
    raise NotImplementedError("yours to write")


def check_unigram_level(function):
    got = function(np.array([6, 2, 0]), np.array([0, 0, 1, 2]))
    expected = -(2 * np.log(7 / 11) + np.log(3 / 11) + np.log(1 / 11)) / 4
    assert abs(got - expected) < 1e-12, f"counts 6, 2, 0 and tokens 0, 0, 1, 2: {expected:.4f}, not {got:.4f}"
    words = held_out.input_ids[~np.isin(held_out.input_ids, dataset.tokenizer.special_ids)]
    assert abs(function(dataset.train.token_counts(512), words) - unigram) < 1e-9, "on the real text it should be the dashed line"


lesson.exercise(
    unigram_level, check_unigram_level,
    "Probabilities come from the training text, the tokens whose loss is averaged from the other.",
    "q = (train_counts + 1) / (train_counts + 1).sum(); the mean of −ln q[ids].",
)  # fmt: skip

# %% [markdown]
# # What comes next
#
# The generator predicts 15 % of the tokens, the discriminator judges all of them. Lesson 19 asks what that is worth: how much
# surer a gradient gets, and whether ELECTRA learns more than a masked language model does with the same arithmetic.
#
# The real thing: `minielectra/electra/initialization.py`, `initialize` and `rotation`; docs/LOG.md, "leaving the plateau".

# %%
lesson.end()
