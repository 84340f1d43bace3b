# %% [markdown]
# # 13 · Replaced: draw a word, write it in, label what changed
#
# **You will be able to** draw words with given probabilities, test that a sampler does so, write a
# generator's guesses into a text, and label the tokens that really changed.
#
# **Time** 40 minutes · **needs** 4, 12 · **runs** 2 s
#
# Lesson 12's generator gives every word a probability p of standing at a hidden place. A **sample** is one
# word drawn with these probabilities: "cats" in a quarter of all cases if its p is 0.25. Write samples where
# the [MASK]s were, and the text has undergone **corruption**: some tokens are **replaced**, and a reader can
# be asked about *every* token whether it is one of them. Lesson 14 builds that reader. Here we make its text
# and the right answers, the **discriminator's labels**: 1 for replaced, 0 for original.

# %%
import numpy as np
import toy
from course import begin

from minielectra.electra.corruption import mask_batch, replace_tokens, sample_categorical
from minielectra.ops.reference.softmax import softmax_forward
from minielectra.plots.style import GREEN, GREY, INK, VERMILION, figure
from minielectra.pretraining.pretraining_config import PretrainingConfig

lesson = begin("13_replaced")
random = np.random.default_rng(13)

# %% Long form: draw one word
# Lay the probabilities end to end: they fill the line from 0 to 1. A random number u, which may be anywhere
# on that line with equal chance, falls into the stretch of word v with probability p[v], the stretch's
# length. So walk along the stretches until you pass u.
words = ["dogs", "cats", "birds", "teachers", "dog", "the"]
p = np.array([0.35, 0.25, 0.20, 0.10, 0.07, 0.03])
u, end = 0.62, 0.0
for v in range(len(p)):
    end += p[v]
    print(f"{words[v]:8} ends at {end:.2f}", "← the first end above u = 0.62: drawn" if u < end else "")
    if u < end:
        break

# %% [markdown]
# # Collapsed form
#
# The number of the word drawn is the number of stretches that end at or before u. With the sums up to each
# word (`cumsum`), this takes one comparison and one count, for many rows of p at once. Because of rounding
# (lesson 1), the last sum may be 0.9999999, and u may lie beyond it; so u is multiplied by the last sum. (The
# library first walks along the sums of blocks of about √V words, and then inside one block.)


# %% Collapsed form in code
def draw(p, u):
    """p [..., V], u [...] in [0, 1) -> samples [...]"""
    ends = np.cumsum(p, axis=-1)
    return (ends <= u[..., None] * ends[..., -1:]).sum(axis=-1)


lesson.same("one word, walked to and counted", draw(p, np.array(u)), v)
logits = 2.0 * random.standard_normal((5000, 52))
many, u = softmax_forward(logits)[0], random.random(5000)
lesson.same("5000 rows, against the library's", draw(many, u), sample_categorical(many, u))

# %% [markdown]
# # Is a sampler right?
#
# No single draw can tell. Draw n times from one p and count. One draw is v or it is not, which makes 1 or 0,
# with mean p[v] and variance p[v] − p[v]². So count[v] has mean n p[v] and variance n p[v] (1 − p[v]), and
#
#     X = Σ_v (count[v] − n p[v])² / (n p[v])      has mean Σ_v (1 − p[v]) = V − 1
#
# (the mean of each term is that variance divided by n p[v]) and a spread σ, which we measure. For a right
# sampler X stays below the mean plus five spreads; for a wrong one it grows with n, without limit.

# %% Check
n, V = 20_000, 12
p = softmax_forward(random.standard_normal(V))[0]
rows, u = np.tile(p, (n, 1)), random.random(n)  # n rows, all p


def surprise(counts):
    """counts [..., V] of n draws -> X [...]"""
    return ((counts - n * p) ** 2 / (n * p)).sum(axis=-1)


fair = surprise(random.multinomial(n, p, size=1000))  # NumPy's own counts of n draws, a thousand times
bound = fair.mean() + 5 * fair.std()
print(f"X of 1000 right samplers: mean {fair.mean():.1f} of {V - 1}, spread {fair.std():.1f}")
right = {"ours": draw(rows, u), "the library's": sample_categorical(rows, u)}
wrong = {"p squared": draw(rows**2, u), "the likeliest": np.argmax(rows, axis=1)}
for name, samples in (right | wrong).items():
    found = surprise(np.bincount(samples, minlength=V))
    print(f"{name:13}  X = {found:8.1f}  {'ok' if found < bound else 'WRONG'}")
    assert (found < bound) == (name in right)

# %% [markdown]
# # Temperature
#
# A sampler can be made more or less daring: divide the logits by a **temperature** τ before the softmax. As
# exp(l/τ) = (exp l)^(1/τ), this turns p[v] into p[v]^(1/τ) / Σ_j p[j]^(1/τ). τ → 0 leaves only the likeliest
# word, τ = 1 is p, and τ → ∞ makes all words equally likely. ELECTRA draws with τ = 1.

# %% Temperature in code
for τ in (0.25, 1.0, 4.0):
    hot = softmax_forward(np.log(p) / τ)[0]  # log p are logits of p: their softmax is p
    lesson.same(f"τ = {τ:4}, largest p {hot.max():.2f}", hot, p ** (1 / τ) / (p ** (1 / τ)).sum())

# %% Three generators, from ignorant to good
# Now for sentences, with words hidden as in lesson 12. Instead of training generators we count, in 6000
# sentences, how often each word followed the token on its left, or stood between its two neighbours. If these
# never occurred, or are hidden too, any word may be drawn.
V, T = len(toy.VOCABULARY), toy.LENGTH  # from here on
text, ids = toy.batch(6000, random), toy.batch(3000, random)
special, segments = range(len(toy.SPECIAL)), np.zeros_like(ids)
settings = PretrainingConfig(seq_length=T)
batch = mask_batch(ids, ids != toy.PAD, segments, special, toy.MASK, V, settings, random)
used = batch.weights > 0  # [B, K]: False if a sentence has fewer than K chosen positions
every = np.arange(len(ids))[:, None]


def neighbour(side):
    """The token before (−1) or after (1) each chosen position, [B, K]."""
    return batch.masked_ids[every, np.clip(batch.positions + side, 0, T - 1)]  # clip: keeps within 0 … T − 1


left, right = neighbour(-1), neighbour(1)
is_word = np.arange(V) >= len(special)
between = np.zeros((V, V, V))  # [left, right, word]
middle = text[:, 1:-1]
np.add.at(between, (text[:, :-2], text[:, 2:], middle), is_word[middle])  # add.at: += one after the other
counts = {
    "any word": np.zeros((*used.shape, V)),
    "left neighbour": between.sum(axis=1)[left],
    "both neighbours": between[left, right],
}
any_word = is_word / is_word.sum()
generators = {  # p [B, K, V]
    name: (n + any_word) / (n.sum(axis=-1, keepdims=True) + 1) for name, n in counts.items()
}

# %% Long form and collapsed form: write in and label
# If the generator guesses the original word, the text stays as it was: the token counts as original, although
# it was chosen.
samples = draw(generators["both neighbours"], random.random(used.shape))  # [B, K]
corrupted, labels = ids.copy(), np.zeros(ids.shape, bool)
for b in range(len(ids)):
    for k in range(used.shape[1]):
        if used[b, k]:
            t = batch.positions[b, k]
            corrupted[b, t] = samples[b, k]
            labels[b, t] = samples[b, k] != ids[b, t]
# Tokens that were not chosen are the same in both texts. So one comparison of the two texts gives the labels.
lesson.same("labels, one by one against one comparison", labels, corrupted != ids)
library = replace_tokens(ids, batch.positions, used, samples)
lesson.same("text and labels, against the library's", [corrupted, labels], library)

# %% A mistake, and a check that misses it: right guesses labelled replaced
# Label every chosen token as replaced. These are about 15 % of all tokens, and no others are labelled: a
# check of shares is satisfied.
wrong_labels = batch.masked_ids != ids
share, right_share = wrong_labels[batch.valid].mean(), labels[batch.valid].mean()
print(f"share labelled: {share:.1%}; right labels: {right_share:.1%}")
# Compare the ids: some tokens labelled replaced are what they were. The better the generator, the more lies
# of this kind.
lies = wrong_labels & (corrupted == ids)
print(f"{lies.sum() / wrong_labels.sum():.0%} of these labels are false")
assert lies.any() and not (labels & (corrupted == ids)).any()

# %% [markdown]
# # How many are replaced?
#
# At a chosen position the original word is drawn with probability p[original]; it is replaced with
# probability 1 − p[original]:
#
#     expected share replaced  =  share chosen  ×  (1 − mean p[original])
#
# As a generator gets better, it replaces fewer tokens. And no gradient flows back to it from the reader of
# the text. A sample is a whole number: change the logits a little, and it stays what it is, or jumps. Its
# derivative is 0 wherever it has one.

# %% Check the share, and that no gradient flows
# take_along_axis: in every row, the entries at that row's positions. [B, K]
original = np.take_along_axis(ids, batch.positions, axis=1)
texts = {}
for name, p in generators.items():
    samples = draw(p, random.random(used.shape))
    texts[name], labels = replace_tokens(ids, batch.positions, used, samples)
    hit = np.take_along_axis(p, original[:, :, None], axis=2)[:, :, 0][used].mean()  # mean p[original]
    tokens = batch.valid.sum()
    expected, measured = used.sum() / tokens * (1 - hit), labels[batch.valid].mean()
    print(f"{name:15}  p[original] {hit:.3f}   replaced: expected {expected:.4f}, measured {measured:.4f}")
    assert abs(measured - expected) < 4 * np.sqrt(expected / tokens)

few, prices = logits[:4].copy(), random.standard_normal(52)  # a loss: a price for each word drawn


def loss():
    return prices[draw(softmax_forward(few)[0], u[:4])].sum()


lesson.check(loss, {"logits": few}, {"logits": np.zeros_like(few)})

# %% See: how hard are replacements to see?
# Take a simple reader: it knows which words ever stood side by side in the 6000 sentences, and notices a pair
# that never did.
side_by_side = np.zeros((V, V), bool)
side_by_side[text[:, :-1], text[:, 1:]] = True
shown = np.flatnonzero((ids != toy.PAD).sum(1) == 13)[:3]  # three sentences of eleven words
fig = figure(
    11,
    5.6,
    "The better the generator, the harder its replacements are to see",
    "Three sentences, corrupted by three generators. Red: replaced, with the original below.\n"
    "Green: chosen, but guessed right. Noticed: the token and a word next to it make a pair\n"
    "that never occurs in 6000 sentences.",
)
for ax, (name, corrupted) in zip(fig.subplots(3, 1), texts.items(), strict=True):
    odd = ~side_by_side[corrupted[:, :-1], corrupted[:, 1:]]  # [B, T − 1], of tokens t and t + 1
    noticed = (odd[:, :-1] | odd[:, 1:])[(corrupted != ids)[:, 1:-1]].mean()
    ax.set_title(f"{name}: {noticed:.0%} of replaced tokens noticed", loc="left", fontsize=10, color=INK)
    for y, t in np.ndindex(3, 11):
        was, now, chosen = (array[shown[y], t + 1] for array in (ids, corrupted, wrong_labels))
        edge = GREEN if was == now else VERMILION
        frame = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": edge} if chosen else None
        below = toy.VOCABULARY[was] if was != now else ""
        ax.text(t, y, toy.VOCABULARY[now], ha="center", va="center", fontsize=9, bbox=frame)
        ax.text(t, y + 0.45, below, ha="center", va="center", fontsize=7.5, color=GREY)
    ax.set(xlim=(-0.6, 10.6), ylim=(2.7, -0.5))
    ax.set_axis_off()
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Write the first function, repair the second, and run the file again. Hints: `python lessons/13_replaced.py
# --hints`.


# %% Your turn 1: draw with a temperature
def draw_at(p, τ, u):
    """p [M, V], all above 0, temperature τ > 0, u [M] -> samples [M]. It works for τ = 0.01, too (p¹⁰⁰)."""
    raise NotImplementedError("yours to write")


def check_draw_at(draw_at):
    random = np.random.default_rng(1)
    p, u = softmax_forward(3 * random.standard_normal((400, 9)))[0], random.random(400)
    for τ in (0.5, 1.0, 3.0):
        same = np.array_equal(draw_at(p, τ, u), sample_categorical(p, u, τ))
        assert same, f"these are not the library's words at τ = {τ}"
    with np.errstate(all="ignore"):
        cold = draw_at(np.full((3, 5000), 1 / 5000), 0.01, np.array([0.00005, 0.50003, 0.9999]))
    message = "5000 equally likely words are still equally likely at τ = 0.01: has p¹⁰⁰ become 0?"
    assert np.array_equal(cold, [0, 2500, 4999]), message


lesson.exercise(
    draw_at,
    check_draw_at,
    "p^(1/τ), then draw. But (1/5000)¹⁰⁰ is 10⁻³⁷⁰, which is too small for a float64 and becomes 0.",
    "A factor common to the whole row cancels. Which factor makes "
    "the row's largest number 1, as lesson 4 does for softmax?",
)


# %% Your turn 2: repair the share of replaced tokens
def replaced_share(input_ids, positions, used, samples, valid):
    """The share of replaced tokens among all tokens that are not padding.

    input_ids, valid [B, T]; positions, used, samples [B, K] -> a number
    """
    labels = np.zeros(input_ids.shape, bool)
    labels[np.arange(len(labels))[:, None], positions] = True
    return labels.mean()


def check_share(replaced_share):
    ids = np.array([[2, 5, 6, 7, 3, 0], [2, 8, 3, 0, 0, 0]])
    positions, used = np.array([[1, 3], [1, 2]]), np.array([[True, True], [True, False]])
    for samples, share in (([[5, 9], [9, 9]], 2 / 8), ([[5, 7], [8, 9]], 0.0), ([[6, 6], [6, 9]], 3 / 8)):
        found = replaced_share(ids, positions, used, np.array(samples), ids != 0)
        example = f"samples {samples} for {ids.tolist()}"
        assert abs(found - share) < 1e-12, f"{example}: the share is {share}, not {found:.3f}"


lesson.exercise(
    replaced_share,
    check_share,
    "Three things are wrong: right guesses, unused places in `positions`, and what the mean is taken over.",
    "Write in the samples where `used` is True, compare with input_ids, "
    "and take the mean over [valid] only. `replace_tokens` may help.",
)

# %% [markdown]
# # What comes next
#
# We have texts in which every token is original or replaced, and we know which. Lesson 14 builds the network
# that finds out.
#
# The real thing: `minielectra/electra/corruption.py`, `sample_categorical` and `replace_tokens`.

# %%
lesson.end()
