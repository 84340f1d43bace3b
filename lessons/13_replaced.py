# %% [markdown]
# # 13 · Replaced: draw a word, write it in, label what changed
#
# **You will be able to** draw words with given probabilities, test that a sampler does so, write a generator's guesses into a
# text, and label the tokens that really changed.
#
# **Time** 40 minutes · **needs** 4, 12 · **runs** 3 s
#
# The generator of lesson 12 has probabilities p for every hidden word. A **sample** is one word drawn with these probabilities:
# "cats" in a quarter of all cases if p is 0.25. Write samples where the [MASK]s were, and the text has undergone **corruption**:
# some tokens are **replaced**, and whoever reads it can be asked about *every* token whether it is one of them. That reader will
# be a second network, the discriminator (lesson 14). Here we make its text and its answers, the **discriminator's labels**: 1 for
# replaced, 0 for original.

# %%
import numpy as np
import toy
from course import begin

from minielectra.electra.config import PretrainingConfig
from minielectra.electra.corruption import mask_batch, replace_tokens, sample_categorical
from minielectra.functional.softmax import softmax_forward
from minielectra.plots.style import GREEN, GREY, INK, VERMILION, figure

lesson = begin("13_replaced")
random = np.random.default_rng(13)

# %% Long form: draw one word
# Lay the probabilities end to end: they fill the line from 0 to 1. A random number u, anywhere on it with equal chance, falls
# into the stretch of word v with probability p[v], its length. So walk along the stretches until u is passed.
words = ["dogs", "cats", "birds", "teachers", "dog", "the"]
p = np.array([0.35, 0.25, 0.20, 0.10, 0.07, 0.03])
u, end = 0.62, 0.0
for v in range(len(p)):
    end += p[v]
    print(f"{words[v]:8} ends at {end:.2f}", "← u = 0.62 lies before it: drawn" if u < end else "")
    if u < end:
        break

# %% [markdown]
# # Collapsed form
#
# The word drawn is the number of stretches that end at or before u. With sums up to each word (`cumsum`) this is a comparison and
# a count, for many rows of p at once.
#
# The library walks in two levels: first along sums of blocks of about √V words, then inside one block. With 30 000 words that is
# about 350 comparisons a row, not 30 000. It also multiplies u by the last sum: in float32 p may add up to 0.9999999, and u lie
# beyond it.
#
# Another way to draw, **Gumbel-max**, needs no sums: the word with the largest logit[v] − ln(−ln u[v]), every word with a u of
# its own. Why is that the same law? Let w[v] = exp(logit[v]), so that p[v] = w[v] / Σ w, and t[v] = −ln u[v] / w[v]. Then
#
#     logit[v] − ln(−ln u[v]) = −ln t[v]              largest where t is smallest
#     P(t[v] > s) = P(u[v] < exp(−w[v] s)) = exp(−w[v] s)
#     P(t[v] is the smallest) = ∫ w[v] exp(−w[v] s) · Π_(j≠v) exp(−w[j] s) ds = w[v] ∫ exp(−s Σ w) ds = w[v] / Σ w = p[v]
#
# The integral is from 0 to ∞: w[v] exp(−w[v] s) ds is the chance that t[v] falls between s and s + ds (the derivative of what
# stands above it), the product is the chance that all others come later.


# %% Collapsed form in code
def draw(p, u):
    """p [M, V], u [M] in [0, 1) -> samples [M]"""
    ends = np.cumsum(p, axis=1)
    return (ends <= u[:, None] * ends[:, -1:]).sum(axis=1)


def draw_gumbel(p, u):
    """The same law with u [M, V]."""
    return np.argmax(np.log(p) - np.log(-np.log(u)), axis=1)


assert draw(p[None], np.array([u]))[0] == v
logits = 2.0 * random.standard_normal((5000, 52))
many, u = softmax_forward(logits)[0], random.random(5000)
lesson.same("5000 rows, one level against two", draw(many, u), sample_categorical(many, u))

# %% Check
# Is a sampler right? Draw n times from one p and count. One draw is v or not, 1 or 0: mean p[v], variance p[v] − p[v]². So
# count[v] has mean n p[v] and variance n p[v] (1 − p[v]), and
#
#     X = Σ_v (count[v] − n p[v])² / (n p[v])      has mean Σ_v (1 − p[v]) = V − 1
#
# and a spread (the root of its variance) of about √(2 (V − 1)), which we measure. For a right sampler X stays below the mean plus
# five spreads; for a wrong one it grows with n, without limit.
n, V = 20_000, 12
p = softmax_forward(random.standard_normal(V))[0]
rows = np.tile(p, (n, 1))  # n rows, all p
u = random.random(n)


def surprise(samples):
    return ((np.bincount(samples, minlength=V) - n * p) ** 2 / (n * p)).sum()


counts = random.multinomial(n, p, size=1000)  # NumPy's own: how often each word came in n draws, a thousand times
fair = ((counts - n * p) ** 2 / (n * p)).sum(axis=1)
print(f"X of 1000 right samplers: mean {fair.mean():.1f} of {V - 1}, spread {fair.std():.1f} of {np.sqrt(2 * (V - 1)):.1f}")
bound = V - 1 + 5 * np.sqrt(2 * (V - 1))
right = {"walk": draw(rows, u), "library": sample_categorical(rows, u), "Gumbel": draw_gumbel(rows, random.random((n, V)))}
wrong = {"the next word": (draw(rows, u) + 1) % V, "p squared": draw(rows**2, u), "argmax": np.argmax(rows, axis=1)}
for name, samples in (right | wrong).items():
    ok = surprise(samples) < bound
    print(f"{name:13}  X = {surprise(samples):8.1f}  {'ok' if ok else 'WRONG'}   {len(set(samples))} different words")
    assert ok == (name in right)

# %% A mistake, and a check that misses it: the likeliest word instead of a sample
# argmax, the likeliest word, is no sample. A check that asks whether drawn words are likely ones is more than satisfied:
print(f"mean probability of what was drawn: {p[right['walk']].mean():.2f}; with argmax {p[wrong['argmax']].mean():.2f}")
# X exposed it above. In a text, argmax would replace a hidden word always by the same one, and never by any other.

# %% [markdown]
# # Temperature
#
# How daring a sampler is can be set: divide the logits by a **temperature** τ before softmax. Since exp(l/τ) = (exp l)^(1/τ),
# this is
#
#     p[v]^(1/τ) / Σ_j p[j]^(1/τ)
#
# τ → 0 leaves only the likeliest word (argmax), τ = 1 is p, τ → ∞ makes all words equally likely. ELECTRA draws with τ = 1.

# %% Temperature in code
logit = np.log(p)
for τ in (0.25, 1.0, 4.0):
    hot = softmax_forward(logit / τ)[0]
    assert np.allclose(hot, p ** (1 / τ) / (p ** (1 / τ)).sum())
    lesson.same(f"τ = {τ}, largest p {hot.max():.2f}", draw(np.tile(hot, (n, 1)), u), sample_categorical(rows, u, temperature=τ))

# %% Three generators, from ignorant to good
# They need no training: any word; unigram frequencies; how often each word stood between these two neighbours, counted in 6000
# sentences. Where two neighbours never occurred, or one is hidden too, the last falls back on unigram frequencies.
V = len(toy.VOCABULARY)  # from here on
text = toy.batch(6000, random)
real = np.arange(V) >= len(toy.SPECIAL)  # words, not special tokens
unigram = np.bincount(text.reshape(-1), minlength=V) * real
unigram = unigram / unigram.sum()
between = np.zeros((V, V, V))  # [left, right, word]
np.add.at(between, (text[:, :-2], text[:, 2:], text[:, 1:-1]), 1.0 * real[text[:, 1:-1]])

ids = toy.batch(3000, random)
special = (toy.PAD, toy.CLS, toy.SEP, toy.MASK)
batch = mask_batch(
    ids, ids != toy.PAD, np.zeros_like(ids), special, toy.MASK, V, PretrainingConfig(seq_length=toy.LENGTH), random
)  # fmt: skip
used, every = batch.weights > 0, np.arange(len(ids))[:, None]
left, right = (batch.masked_ids[every, np.clip(batch.positions + side, 0, toy.LENGTH - 1)] for side in (-1, 1))
generators = {  # p [B, K, V]
    "any word": np.broadcast_to(real / real.sum(), (*used.shape, V)),
    "unigram": np.broadcast_to(unigram, (*used.shape, V)),
    "neighbours": (between[left, right] + unigram) / (between[left, right].sum(-1, keepdims=True) + 1),
}

# %% Long form: write in and label
# A generator that guesses right leaves the text as it was: that token is an original one, though it was chosen.
p = generators["neighbours"]
samples = draw(p.reshape(-1, V), random.random(used.size)).reshape(used.shape)  # [B, K]
corrupted, labels = ids.copy(), np.zeros(ids.shape, bool)
for b in range(len(ids)):
    for k in range(used.shape[1]):
        if used[b, k]:
            t = batch.positions[b, k]
            corrupted[b, t] = samples[b, k]
            labels[b, t] = samples[b, k] != ids[b, t]

# %% Collapsed form: write in and label
# All tokens that were not chosen are equal to the original, so the labels are one comparison of the two texts.
corrupted_library, labels_library = replace_tokens(ids, batch.positions, used, samples)
lesson.same("corrupted", corrupted, corrupted_library)
lesson.same("labels", corrupted != ids, labels)
lesson.same("labels, library", labels_library, labels)

# %% A mistake, and a check that misses it: right guesses labelled replaced
# Label every chosen token as replaced. They are about 15 % of all, and no label stands elsewhere: a check of shares is satisfied.
wrong_labels = batch.masked_ids != ids
print(f"share labelled: {wrong_labels[batch.valid].mean():.1%}; right labels: {labels[batch.valid].mean():.1%}")
# Compare the ids: tokens called replaced that are what they were. The better the generator, the more such lies.
lies = wrong_labels & (corrupted == ids)
print(f"{lies.sum() / wrong_labels.sum():.0%} of these labels are false")
assert lies.any() and not (labels & (corrupted == ids)).any()

# %% [markdown]
# # How many are replaced?
#
# At a chosen position the original word is drawn with probability p[original], so it is replaced with probability 1 −
# p[original]:
#
#     expected share replaced  =  share chosen  ×  (1 − mean p[original])
#
# A generator that gets better replaces less. And nothing flows back: a sample is a whole number; change the logits a little and
# it stays what it is, or jumps. Its derivative is 0 wherever it has one, so the discriminator cannot tell the generator what to
# write.

# %% Check the share, and that no gradient flows
chosen_share = used.sum() / batch.valid.sum()
original = np.take_along_axis(ids, batch.positions, axis=1)
texts = {}
for name, p in generators.items():
    samples = draw(p.reshape(-1, V), random.random(used.size)).reshape(used.shape)
    texts[name], labels = replace_tokens(ids, batch.positions, used, samples)
    hit = np.take_along_axis(p, original[:, :, None], axis=2)[:, :, 0][used].mean()  # mean p[original]
    expected, measured = chosen_share * (1 - hit), labels[batch.valid].mean()
    print(f"{name:10}  p[original] {hit:.3f}   replaced: expected {expected:.4f}, measured {measured:.4f}")
    assert abs(measured - expected) < 4 * np.sqrt(expected / batch.valid.sum())

few, u, table = logits[:4].copy(), random.random(4), random.standard_normal((52, 3))
lesson.check(lambda: table[draw(softmax_forward(few)[0], u)].sum(), {"logits": few}, {"logits": np.zeros_like(few)})

# %% See: how hard are replacements to see?
# A simple reader: it knows which two words ever stood side by side in the 6000 sentences, and notices a pair that never did.
side_by_side = np.zeros((V, V), bool)
side_by_side[text[:, :-1], text[:, 1:]] = True
shown = np.flatnonzero((ids != toy.PAD).sum(1) == 13)[:3]  # three sentences of eleven words
fig = figure(
    11, 5.6, "The better the generator, the harder its replacements are to see",
    "Three sentences, corrupted by three generators. Red: replaced, below it what stood there; green: chosen, guessed right.\n"
    "Noticed: makes, with a word beside it, a pair of neighbours that never occurs in 6000 sentences.",
)  # fmt: skip
for ax, (name, corrupted) in zip(fig.subplots(3, 1), texts.items(), strict=True):
    odd = ~side_by_side[corrupted[:, :-1], corrupted[:, 1:]]  # pair (t, t + 1)
    noticed = np.pad(odd, ((0, 0), (1, 0))) | np.pad(odd, ((0, 0), (0, 1)))  # pad: a column of False in front, behind
    ax.set_title(f"{name}: {noticed[corrupted != ids].mean():.0%} of replaced tokens noticed", loc="left", fontsize=10, color=INK)
    for y, b in enumerate(shown):
        for t in range(1, 12):
            changed, chosen = corrupted[b, t] != ids[b, t], batch.masked_ids[b, t] != ids[b, t]
            frame = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": VERMILION if changed else GREEN}
            ax.text(t, y, toy.VOCABULARY[corrupted[b, t]], ha="center", va="center", fontsize=9, bbox=frame if chosen else None)
            if changed:
                ax.text(t, y + 0.45, toy.VOCABULARY[ids[b, t]], ha="center", va="center", fontsize=7.5, color=GREY)
    ax.set(xlim=(0.4, 11.6), ylim=(2.7, -0.5))
    ax.set_axis_off()
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Write the first two functions, repair the third, and run the file again. Hints: `python lessons/13_replaced.py --hints`.


# %% Your turn 1: draw with a temperature
def draw_at(logits, τ, u):
    """logits [M, V], temperature τ > 0, u [M] -> samples [M], also for τ = 0.01 and logits of 1000."""
    raise NotImplementedError("yours to write")


def check_draw_at(draw_at):
    random = np.random.default_rng(1)
    logits, u = 3 * random.standard_normal((400, 9)), random.random(400)
    p = softmax_forward(logits)[0]
    for τ in (0.5, 1.0, 3.0):
        assert np.array_equal(draw_at(logits, τ, u), sample_categorical(p, u, τ)), f"other words than the library's at τ = {τ}"
    with np.errstate(all="ignore"):
        cold = draw_at(1000 * logits, 0.01, u)
    assert np.array_equal(cold, logits.argmax(axis=1)), "at τ = 0.01 the likeliest word is left: do the numbers overflow?"


lesson.exercise(
    draw_at, check_draw_at,
    "logits / τ, softmax, draw. Lesson 4 says how softmax does not overflow.",
    "`softmax_forward(logits / τ)[0]` subtracts the largest logit of each row first.",
)  # fmt: skip


# %% Your turn 2: the expected share
def expected_share(p, original, used, valid):
    """p [B, K, V], original [B, K] ids, used [B, K] bool (False: an empty slot), valid [B, T] bool (False: padding)
    -> expected share of replaced tokens among all tokens that are not padding."""
    raise NotImplementedError("yours to write")


def check_expected(expected_share):
    p = np.array([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], [[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]]])
    used, valid = np.array([[True, True], [True, False]]), np.array([[True] * 5, [True] * 3 + [False] * 2])
    share = expected_share(p, np.array([[1, 2], [0, 2]]), used, valid)
    assert abs(share - (0.7 + 0.2 + 0.4) / 8) < 1e-12, f"0.7, 0.2 and 0.4 replaced tokens of 8 are {1.3 / 8:.4f}, not {share:.4f}"


lesson.exercise(
    expected_share, check_expected,
    "Every used slot contributes 1 − p[original], an empty one nothing. Divide by the number of tokens, padding not counted.",
    "np.take_along_axis(p, original[:, :, None], axis=2)[:, :, 0] is p[original], [B, K].",
)  # fmt: skip


# %% Your turn 3: repair the share of replaced tokens
def replaced_share(input_ids, positions, used, samples, valid):
    """-> share of replaced tokens among all that are not padding. input_ids, valid [B, T]; positions, used, samples [B, K]."""
    labels = np.zeros(input_ids.shape, bool)
    labels[np.arange(len(labels))[:, None], positions] = True
    return labels.mean()


def check_share(replaced_share):
    ids = np.array([[2, 5, 6, 7, 3, 0], [2, 8, 3, 0, 0, 0]])
    positions, used = np.array([[1, 3], [1, 4]]), np.array([[True, True], [True, False]])
    for samples, share in (([[5, 9], [9, 9]], 2 / 8), ([[5, 7], [8, 9]], 0.0), ([[6, 6], [6, 9]], 3 / 8)):
        found = replaced_share(ids, positions, used, np.array(samples), ids != 0)
        assert abs(found - share) < 1e-12, f"samples {samples} for {ids.tolist()}: the share is {share}, not {found:.3f}"


lesson.exercise(
    replaced_share, check_share,
    "Three things are wrong: right guesses, empty slots, and what is counted.",
    "Write the samples in where `used`, compare with input_ids, and take the mean over [valid] only. `replace_tokens` may help.",
)  # fmt: skip

# %% [markdown]
# # What comes next
#
# We have texts in which every token is either original or replaced, and we know which. Lesson 14 builds the network that finds
# out.
#
# The real thing: `minielectra/electra/corruption.py`, `sample_categorical` and `replace_tokens`.

# %%
lesson.end()
