# %% [markdown]
# # 18 · The plateau, and a start that knows where to look
#
# **You will be able to** recognise the plateau in a loss curve, build an attention head that looks at a
# neighbour from its first step, prove with one identity of the cosine why it does, and show by experiment
# that this is what ends the plateau.
#
# **Time** 50 minutes · **needs** 9, 12, 16, 17 · **runs** 45 s
#
# A **plateau** is a stretch of training in which the loss hardly moves, before it falls again. Masked
# language models begin with one: within a hundred steps they know how frequent tokens are, and then they
# hardly learn anything for millions of tokens. Everything else must come from other positions, through
# attention, and attention starts out blind. All its shares are about 1/T, so every token receives nearly the
# same mean of all others, which says nothing about its neighbours. And as long as nothing useful comes
# through, there is little gradient to tell attention where to look.
#
# **Initialization** is how parameters are filled before the first step. The paper's initialization, here
# called `official`, fills them with random numbers whose spread σ is 0.02. **Local attention** is this
# package's own, made so that a model learns something within minutes: the same model, all of it trainable,
# but the heads of its first layer begin by looking at a neighbour. This lesson builds such a head.

# %%
import tempfile

import numpy as np
from course import LESSON_SETTINGS, begin

from minielectra import objectives
from minielectra.data.dataset.prepare import prepare
from minielectra.data.text.default_corpus import default_corpus
from minielectra.electra.initialization import SHARPNESS, frequencies, initialize, rotation
from minielectra.nn.layers import PassContext
from minielectra.ops.reference.attention import attention_forward
from minielectra.plots.style import BLUE, GREEN, INK, SEQUENTIAL, VERMILION, figure, legend, line, tidy
from minielectra.pretraining.batches import Batches, held_out_batch
from minielectra.pretraining.evaluation import Evaluator, unigram_loss
from minielectra.pretraining.presets import configure
from minielectra.training.engine import make_engine

lesson = begin("18_plateau")
context = PassContext()  # no dropout

# %% Long form: one head that looks one position back
# The position table may hold any numbers. Take waves: for every frequency ω (in radians per position) the
# pair cos ωt, sin ωt, like a clock hand turned by ωt. In the query the hand is turned a little further, by
# ω · offset.
T, WIDTH, OFFSET = 32, 32, -1
omegas = frequencies(WIDTH // 2, T)  # 16 of them, from fast (2.5) to slow (half a turn in T positions)
scores = np.zeros((T, T))
for t in range(T):  # the token that looks
    for s in range(T):  # the token that is looked at
        for omega in omegas:
            turned = omega * t + omega * OFFSET
            query_cos, query_sin = np.cos(turned), np.sin(turned)
            key_cos, key_sin = np.cos(omega * s), np.sin(omega * s)
            scores[t, s] += query_cos * key_cos + query_sin * key_sin
print("scores of position 10:", "   ".join(f"with {s}: {scores[10, s]:.1f}" for s in range(7, 13)))

# %% [markdown]
# # Collapsed form
#
# The addition theorem of the cosine, cos a cos b + sin a sin b = cos(a − b), turns two terms into one:
#
#     score[t, s] = Σ_ω cos ω(t + offset − s)
#
# Every cosine is at most 1. At s = t + offset all are 1, and the score is their number, 16. Anywhere else
# even the slowest cosine is below 1, and the fast ones are far below. So the largest score is at the offset,
# whatever t is. Turning is linear, so a linear layer can do it. Two more theorems give the matrix, the
# **rotation** for one ω by b = ω · offset:
#
#     cos(a + b) = cos b · cos a − sin b · sin a          [cos b  −sin b]   [cos a]
#     sin(a + b) = sin b · cos a + cos b · sin a          [sin b   cos b] · [sin a]        a = ωt
#
# The query weight holds these rotations, the key weight the identity, both on the features that hold
# the waves.

# %% Collapsed form in code
angles = np.arange(T)[:, None] * omegas
waves = np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(T, WIDTH)  # cos, sin, cos, sin, …
turn = np.zeros((WIDTH, WIDTH))
for i, b in enumerate(omegas * OFFSET):
    turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]]
distance = np.arange(T)[:, None] - np.arange(T)  # t − s
cosines = {  # [T, T] each
    offset: np.cos((distance + offset)[..., None] * omegas).sum(axis=2) for offset in (-2, -1, 1, 2)
}
lesson.same("scores, three loops against the sum of cosines", scores, cosines[OFFSET])
lesson.same("scores, three loops against (waves turnᵀ) wavesᵀ", scores, (waves @ turn.T) @ waves.T)
lesson.same("turn against the library's rotation", turn, rotation(OFFSET, WIDTH, T))
for offset, sums in cosines.items():
    looked_at = sums.argmax(axis=1) - np.arange(T)
    assert (looked_at == offset)[2 : T - 2].all()  # not at the ends, which have no such neighbour


# %% The model, from three starts
# The generator alone (the objective "mlm"), at half the width of `tiny`: 2 layers, 64 features, 2 heads.
# "blind" is local attention without the looking: the same waves and the same other weights, but random
# queries and keys in the first layer.
settings = LESSON_SETTINGS | {
    "objective": "mlm",
    "mask_keep_fraction": 0.0,  # every chosen token becomes [MASK]: none is kept, …
    "mask_random_fraction": 0.0,  # … and none is replaced by a random one
}


def start(name, dtype=np.float32):
    """The objective "mlm" before its first step, from one of three starts."""
    kind = "official" if name == "official" else "local_attention"
    model = objectives.make(*configure("tiny", settings | {"initialization": kind}), dtype=dtype)
    initialize(model, seed=0)
    if name == "blind":  # the rows of the first layer's weight: 64 for queries, 64 for keys, 64 for values
        weight = model.generator.encoder.blocks[0].attention.project.weight.value
        weight[:128] = np.random.default_rng(2).normal(0.0, 64**-0.5, (128, 64))
    return model


def position_scores(model, head):
    """The part of a head's scores [T, T] that comes from the position table, before the division by √D."""
    table = model.generator.embeddings.position.value[:T, :WIDTH]
    weight = model.generator.encoder.blocks[0].attention.project.weight.value
    query, key, _ = weight.reshape(3, 2, 32, 64)[:, head, :, :WIDTH]
    return (table @ query.T) @ (table @ key.T).T


def first_layer(model, batch):
    """The first layer on text -> attention [heads, T, T], the mean over sequences; output [B·T, H], twice.

    The first output is computed by hand, the second by the layer.
    """
    x, _ = model.generator.embeddings.forward(batch.masked_ids, batch.segments, context)  # with layer norm
    layer = model.generator.encoder.blocks[0].attention
    qkv, _ = layer.project.forward(x, context)
    q, k, v = qkv.reshape(-1, T, 3, 2, 32).transpose(2, 0, 3, 1, 4)  # each [B, heads, T, 32]
    output, cache = attention_forward(q, k, v)
    y, _ = layer.forward(x, None, batch.masked_ids.shape, context)
    return cache.p.mean(axis=0), output.swapaxes(1, 2).reshape(x.shape), y


place = tempfile.TemporaryDirectory()
dataset = prepare(default_corpus(), f"{place.name}/data", 512)
config = start("official").config
held_out = held_out_batch(dataset, config, 0, 400)
full = held_out.shard(np.flatnonzero(held_out.valid.all(axis=1))[:100])  # 100 sequences without padding

# %% Check
model = start("local", np.float64)  # the package's
for head, offset in enumerate((-1, 1)):
    expected = SHARPNESS**2 * 2 / 64 * cosines[offset]  # the waves are √(2/64) high
    lesson.same(f"head {head}", position_scores(model, head), expected)
_, by_hand, by_layer = first_layer(model, full)
lesson.same("the first layer's output on text, by hand against the layer", by_hand, by_layer)

# %% A mistake, and a check that misses it
# Words must not use the features that hold positions, or a word looks at itself. So the word table begins
# with zeros there. Not here:
spoilt = start("local", np.float64)
in_the_way = 0.125 * np.random.default_rng(1).standard_normal((512, WIDTH))
spoilt.generator.embeddings.word.value[:, :WIDTH] = in_the_way
peak = position_scores(spoilt, 0).argmax(axis=1)[1:] - np.arange(1, T)
print("scores of the position table peak at −1 all the same:", (peak == -1).all())
for name, m in (("as the library starts", model), ("with words in the way", spoilt)):
    P = first_layer(m, full)[0][0]  # head 0
    before, itself = np.diag(P, -1).mean(), np.diag(P)[1:].mean()  # np.diag(P, -1): one below the diagonal
    print(f"on text, {name}: the token before gets {before:.0%}, the token itself {itself:.0%}")

# %% Train from the three starts
STEPS, EVERY, RATE = 800, 40, 2e-3
batches = Batches(dataset, config, 0)
unigram = unigram_loss(dataset.train.token_counts(512), held_out, dataset.tokenizer.special_ids)
curves, maps = {}, {}
for name in ("official", "blind", "local"):
    engine = make_engine(start(name))  # lesson 17's step, with a half of each batch on each of two processors
    model = engine.objective
    evaluate = Evaluator(model, held_out, 0, threads=2)
    maps[name, "at the start"], curves[name] = first_layer(model, full)[0], []
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            metrics, _ = evaluate()
            curves[name].append(metrics["gen_loss"])
        if step < STEPS:
            rate = RATE * min(1.0, (step + 1) / 60)  # 60 steps of warm-up, then constant
            engine.step(batches[step], rate, 0, step)
    maps[name, f"after {STEPS} steps"] = first_layer(model, full)[0]
    engine.close()
    shown = [f"{curves[name][i]:.2f}" for i in (0, 5, 10, 20)]
    print(f"{name:9} held-out loss at steps 0, 200, 400, 800:", *shown)

# %% See: the plateau
below = [unigram - curves[name][-1] for name in ("official", "local")]
fig = figure(
    8,
    4.2,
    f"The paper's start ends {below[0]:.2f} nats below unigram, local attention {below[1]:.2f}",
    "Loss at masked positions of held-out text; same model, text, steps and learning rate.\n"
    "“Blind” is local attention without the looking: queries and keys of its first layer start\n"
    "as random numbers.",
)
ax = tidy(fig.subplots(), xlabel="training step", ylabel="nats")
for (name, curve), colour in zip(curves.items(), (VERMILION, GREEN, BLUE), strict=True):
    line(ax, np.arange(0, STEPS + 1, EVERY), np.array(curve), color=colour, label=name)
ax.axhline(unigram, color=INK, linestyle="--", label=f"unigram, {unigram:.2f}")
legend(ax)
lesson.figure(fig)

# %% See: where the first layer looks
fig = figure(
    9.5,
    6.2,
    "Local attention starts one off the diagonal, the paper's start looks everywhere alike",
    "Mean shares of attention in the first layer, over 100 held-out sequences. Row: the position that\n"
    "looks; column: the position looked at. Bright: a large share. Below: after training, in which all\n"
    "weights were free to move.",
)
for axes, when in zip(fig.subplots(2, 3), ("at the start", f"after {STEPS} steps"), strict=True):
    for ax, name, head in zip(axes, ("official", "local", "local"), (0, 0, 1), strict=True):
        ylabel = "position that looks" if name == "official" else ""
        tidy(ax, f"{name}, head {head}, {when}", "position looked at", ylabel)
        image = ax.imshow(maps[name, when][head], cmap=SEQUENTIAL, vmin=0, vmax=0.6)
        ax.grid(False)
fig.colorbar(image, ax=fig.axes, shrink=0.6, label="share of attention")
lesson.figure(fig, "maps")

# %% [markdown]
# # An honest reading
#
# - It is the *looking* that ends the plateau: "blind" has the waves and the larger weights too, and stays on
#   it. (One seed, one text.)
# - The plateau does not last forever: at the end the official curve is a little below unigram. Only runs of
#   minutes need another start.
# - Nothing is held fixed. Where the heads look later is the result of training: compare the two rows.
# - In the joint step λ matters too: lesson 15 showed how the generator's share of the word table drowns at
#   λ = 50. These lessons have λ = 3.
#
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/18_plateau.py
# --hints`.


# %% Your turn 1: turn the keys instead
def key_turn(offset, omegas):
    """The matrix [2F, 2F] for the *keys* with which a head looks at t + offset. omegas [F].

    The head's query weight is the identity.
    """
    raise NotImplementedError("yours to write")


def check_key_turn(function):
    for offset in (-2, 1, 3):
        matrix = function(offset, omegas)
        assert np.shape(matrix) == (WIDTH, WIDTH), f"the shape is {np.shape(matrix)}, not {(WIDTH, WIDTH)}"
        looked_at = (waves @ (waves @ matrix.T).T)[10].argmax()
        assert looked_at == 10 + offset, (
            f"offset {offset}: position 10 looks at {looked_at}, not at {10 + offset}"
        )


lesson.exercise(
    key_turn,
    check_key_turn,
    "A score is Σ cos(how far the query is turned − how far the "
    "key is turned). When is that Σ cos 0 at s = t + offset?",
    "cos ω(t − (s − offset)): the key is turned by −offset. Build the blocks as in “Collapsed form in code”.",
)


# %% Your turn 2: how sharp is sharp enough?
def neighbour_share(sharpness, omegas, T, t, offset):
    """The share of position t's attention that goes to t + offset, of T positions -> a number.

    Query and key weights are both multiplied by sharpness. Scores are divided by √(2F). Only positions count.
    """
    raise NotImplementedError("yours to write")


def check_neighbour_share(function):
    for sharpness, t, offset in ((0.0, 10, -1), (0.5, 10, -1), (1.0, 0, 1), (1.5, 20, 2)):
        q, k = ((sharpness * waves @ m.T)[None, None] for m in (rotation(offset, WIDTH, T), np.eye(WIDTH)))
        _, cache = attention_forward(q, k, k)
        expected, got = cache.p[0, 0, t, t + offset], function(sharpness, omegas, T, t, offset)
        case = f"sharpness {sharpness}, t = {t}, offset {offset}"
        assert abs(got - expected) < 1e-9, f"{case}: {expected:.4f}, not {got:.4f}"


lesson.exercise(
    neighbour_share,
    check_neighbour_share,
    "All T scores of the row are needed, for the softmax. How "
    "often does sharpness appear in a product of query and key?",
    "scores = sharpness² · Σ_ω cos ω(t + offset − s) / √(2F) "
    "for s = 0 … T − 1; softmax; the entry t + offset.",
)

# %% [markdown]
# # What comes next
#
# The generator predicts 15 % of the tokens; the discriminator judges all of them. Lesson 19 asks what that is
# worth: how much more reliable the gradient becomes, and whether ELECTRA learns more than a masked language
# model does with the same amount of arithmetic.
#
# The real thing: `minielectra/electra/initialization.py`, `initialize` and `rotation`; docs/LOG.md, "leaving
# the plateau".

# %%
lesson.end()
