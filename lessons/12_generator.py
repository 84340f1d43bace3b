# %% [markdown]
# # 12 · The generator: guess the words behind [MASK]
#
# **You will be able to** hide words of a sentence, let an encoder guess them, derive the gradients of its
# output layers with a word table that is used twice, and say whether it learned more than how frequent
# words are.
#
# **Time** 45 minutes · **needs** 4, 5, 7, 10, 11 · **runs** 8 s
#
# Lesson 10's encoder turns every token into H numbers that depend on all other tokens. What can it learn from
# text alone? **Masked language modelling**: put [MASK] in the place of some tokens, and ask for the words
# that stood there. The text is both question and answer. An encoder that is trained in this way is our
# **generator**, named after what lesson 13 lets it do. It will learn the toy language of lesson 7, in which a
# hidden word can be guessed from others: "this dog sleeps", but "these dogs sleep". We hide K tokens per
# sentence, 15 % of its length, but at least one. [CLS] and [SEP] count towards that length; padding does not.

# %%
import numpy as np
import toy
from course import begin

from minielectra.electra.corruption import mask_batch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM
from minielectra.gradcheck import gradient_check
from minielectra.nn.layers import PassContext
from minielectra.ops.reference.linear import linear_backward, linear_forward
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.ops.reference.softmax import softmax_forward
from minielectra.plots.style import BLUE, ORANGE, VERMILION, figure, tidy
from minielectra.pretraining.pretraining_config import PretrainingConfig

lesson = begin("12_generator")

random = np.random.default_rng(12)
V, T, E = len(toy.VOCABULARY), toy.LENGTH, 16
NEVER = (toy.PAD, toy.CLS, toy.SEP, toy.MASK)  # tokens that are never hidden
settings = PretrainingConfig(seq_length=T)  # how the package trains; here it says that 15 % are hidden
context = PassContext()  # without random numbers: no dropout


# %% Hide words
# To choose K words, every word gets a random number. Sort by it, with all other tokens at the end, and take
# the first K. K differs from sentence to sentence, so arrays [B, K] have room for the largest K, and a weight
# of 0 marks a place that is not used.
def hide(ids, random):
    """ids [B, T] -> batch, rows, targets.

    batch: the library's MaskedBatch, with the arrays input_ids, masked_ids, segments, valid [B, T] and
    positions, weights [B, K]; rows [M]: where in [B·T] the M chosen positions are; targets [M]: the words
    that stood there.
    """
    valid, segments = ids != toy.PAD, np.zeros_like(ids)  # a sentence is one segment, number 0
    batch = mask_batch(ids, valid, segments, NEVER, toy.MASK, V, settings, random)
    rows = np.arange(len(ids))[:, None] * T + batch.positions  # position t of sentence b is row b·T + t
    rows = rows[batch.weights > 0]
    return batch, rows, ids.reshape(-1)[rows]


batch, rows, targets = hide(toy.batch(2000, random), random)
print(*toy.words(batch.masked_ids[0]))
by_hand = [max(1, round(0.15 * sum(ids != toy.PAD))) for ids in batch.input_ids]
lesson.same("K of 2000 sentences", np.bincount(rows // T), by_hand)  # bincount: how often each number occurs
assert not np.isin(targets, NEVER).any()  # isin: for each entry, whether it is one of those

# %% [markdown]
# # From features to words
#
# The generator's output layers come after the encoder. They are computed only at the M chosen positions,
# where there is something to guess:
#
#     z = h Wᵀ + b           [M, E]     from H features back to the width of the word embeddings
#     x = norm(GELU(z))      [M, E]
#     logits = x wordᵀ + c   [M, V]     a logit for every word
#
# The last product needs a matrix with a row for every word. There is one already, the word table of lesson 7,
# and the generator uses it again: a **tied output matrix**. The logit of a word is the product of the word's
# embedding with x, plus a bias; to say "dogs", x has to point in the direction of the embedding of "dogs".
# The table is now used twice, and every use adds to its gradient.

# %% A generator, as far as x
config = ElectraConfig(
    vocab_size=V,
    max_position_embeddings=T,
    embedding_size=E,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=64,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
generator = ElectraForMaskedLM(config, dtype=np.float64)
# as in lesson 10: values in one long array, `flat`, gradients in another, `grad`
parameters = generator.parameters
parameters.flat[...] = 0.2 * random.standard_normal(parameters.size)
for name in parameters:
    if name.endswith("LayerNorm.weight"):
        parameters[name].value[...] += 1  # γ: near 1, and not 1
word, c = generator.embeddings.word, generator.output.bias  # each has a .value and a .grad

text = batch, rows, targets = hide(toy.batch(3, random), random)
M = len(rows)
hidden, encoded = generator.encode(batch.masked_ids, batch.valid, batch.segments, context)  # [B·T, H]
z, to_z = generator.dense.forward(hidden[rows], context)
g, to_g = generator.activation.forward(z, context)
x, to_x = generator.norm.forward(g, context)

# %% Long form: one position, one word at a time
L, logits, dx, dword, dc = 0.0, np.zeros((M, V)), np.zeros((M, E)), np.zeros((V, E)), np.zeros(V)
for m in range(M):
    for v in range(V):
        for e in range(E):
            logits[m, v] += x[m, e] * word.value[v, e]
        logits[m, v] += c.value[v]
    p = softmax_forward(logits[m])[0]
    L += -np.log(p[targets[m]]) / M

    # Backward. Lesson 4: ∂L/∂logit[v] is p[v], minus 1 at the target. So the table's row of every word gets a
    # gradient.
    for v in range(V):
        dlogit = (p[v] - (v == targets[m])) / M
        dc[v] += dlogit  # logits[m, v] += c[v]
        for e in range(E):
            dword[v, e] += dlogit * x[m, e]  # logits[m, v] += x[m, e] * word[v, e]
            dx[m, e] += dlogit * word.value[v, e]  # the same line, seen from x
last = targets[-1]
print(f"the last [MASK] stands for {toy.VOCABULARY[last]!r}: p = {p[last]:.3f}; mean loss {L:.2f} nats")

# %% [markdown]
# # Collapsed form
#
# The loops over m, v and e are a linear layer whose weight is the word table, so lesson 3 has the products:
#
#     dx = dlogits word        dword += dlogitsᵀ x        dc += column sums of dlogits
#
# Picking rows, `hidden[rows]`, is a lookup as in lesson 7: in the backward pass, each row's gradient is added
# where the row came from.

# %% Collapsed form in code
logits_fast, to_logits = linear_forward(x, word.value, c.value)
L_fast, to_L = cross_entropy_forward(logits_fast, targets, np.ones(M), M)
dlogits_fast = cross_entropy_backward(to_L)
dx_fast = linear_backward(dlogits_fast, to_logits, word.grad, c.grad)  # logits = x wordᵀ + c
for what, long, fast in (
    ("L", L, L_fast),
    ("dx", dx, dx_fast),
    ("dword", dword, word.grad),
    ("dc", dc, c.grad),
):
    lesson.same(what, long, fast)


# %% Check
# The whole generator: from your dx on, through the layers below, down to the lookup, which is the table's
# other use.
def forward_backward(batch, rows, targets):
    """-> the mean loss at the chosen positions. Its gradients are left in parameters.grad."""
    logits, cache = generator.forward(batch.masked_ids, batch.valid, batch.segments, rows, context)
    loss, to_loss = cross_entropy_forward(logits, targets, np.ones(len(rows), logits.dtype), len(rows))
    parameters.zero_grad()
    generator.backward(cross_entropy_backward(to_loss), cache, context)
    return loss


dg = generator.norm.backward(dx_fast, to_x, context)  # x = norm(g)
dz = generator.activation.backward(dg, to_g, context)  # g = GELU(z)
dhidden = np.zeros_like(hidden)
# z = hidden[rows] Wᵀ + b; no row is picked twice
dhidden[rows] += generator.dense.backward(dz, to_z, context)
# like all of these, it adds to its parameters' gradients
generator.encode_backward(dhidden, encoded, context)
yours = {"word": word.grad.copy(), "all parameters": parameters.grad.copy()}
forward_backward(*text)
library = {"word": word.grad.copy(), "all parameters": parameters.grad.copy()}
inputs = {"word": word.value, "all parameters": parameters.flat}
lesson.check(lambda: forward_backward(*text), inputs, yours, library)

# %% A mistake, and a check that misses it: one of two uses
# Forget the lookup, and keep dword as it came from the output layer. Words that the generator did not read
# are used only once: a check that looks only at those is satisfied.
unread = np.setdiff1d(np.arange(V), batch.masked_ids)  # ids that do not occur
lesson.same(f"dword of {len(unread)} words", dword[unread], library["word"][unread])
lesson.exposes(lambda: forward_backward(*text), {"word": word.value}, {"word": dword})

# %% [markdown]
# # What is a good loss?
#
# Compare it with a guesser that does not look at the sentence. Its logits are the same everywhere, so all it
# can learn is one p[v] per word. By lesson 4 every position adds p[v] to the gradient at the logit of v, and
# subtracts 1 if v is the target. Over n positions that makes n p[v] − (how often v is the target). It is zero
# if p[v] is the share of v in the text. These shares are the **unigram** frequencies q (a unigram is a word
# by itself, without its neighbours), and the mean loss is −Σ_v q[v] log q[v]. Above it, a generator does not
# even know how frequent words are; below it, the generator has begun to read. This must be measured on
# **held-out text**, that is, on text that the generator is not trained on. The sentences that it is trained
# on it might know by heart.

# %% Train and watch
pool = list(dict.fromkeys(tuple(toy.sentence(random)) for _ in range(7000)))  # each sentence once
train, held = toy.encode(pool[:-500]), hide(toy.encode(pool[-500:]), random)
count = np.bincount(train[~np.isin(train, NEVER)])[len(toy.SPECIAL) :]
q = count / count.sum()
print(f"all words alike: {np.log(V):.2f} nats; unigram: {-(q * np.log(q)).sum():.2f}")

values, generator = parameters.flat, ElectraForMaskedLM(config, dtype=np.float32)  # float32 is faster
parameters = generator.parameters
parameters.flat[...] = values
sentence = "these old [MASK] see a small house near the river ."  # it was "dogs"
gap = toy.encode([sentence.split()])
guesses, steps = {}, 4000
for step in range(steps + 1):
    if step in (0, 1000, steps):
        logits, _ = generator.forward(gap, gap != toy.PAD, np.zeros_like(gap), np.array([3]), context)
        guesses[step] = softmax_forward(logits)[0][0]
        print(f"step {step:4}: loss on held-out text {forward_backward(*held):.2f}")
    chosen = random.integers(len(train), size=16)
    forward_backward(*hide(train[chosen], random))  # other words are hidden every time
    # Gradient descent, with ever shorter steps. [...] is the whole array: it is changed in place.
    parameters.flat[...] -= 0.15 * (1 - step / steps) * parameters.grad

# %% See: first a noun, then the right noun
fig = figure(
    9.5,
    3.7,
    "First it learns that a noun belongs here, then that it is a plural",
    "The generator's ten most likely words for a gap: “these old ___ see a small house near the river .”\n"
    "Blue: plurals of what can see, as the grammar demands; orange: other nouns; red: not nouns.",
)
right = toy.NOUNS[1][: toy.ANIMATE]
nouns = toy.NOUNS[0] + toy.NOUNS[1]
for ax, (step, p) in zip(fig.subplots(1, 3), guesses.items(), strict=True):
    words = [toy.VOCABULARY[v] for v in np.argsort(p)[-10:]]
    colours = [BLUE if name in right else ORANGE if name in nouns else VERMILION for name in words]
    tidy(ax, f"step {step}: {sum(p[toy.IDS[name]] for name in right):.0%} blue", "probability")
    ax.barh(words, [p[toy.IDS[name]] for name in words], color=colours)
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/12_generator.py
# --hints`.


# %% Your turn 1: how far does one neighbour lead?
def left_neighbour_loss(train, held, V):
    """The mean of −log p[left, word] over the words of `held`, for a guesser that sees only the token before.

    p[left, word] = (n[left, word] + 1) / (Σ_v n[left, v] + V), where n counts how often the word follows
    `left` in `train`. Words: all tokens except [PAD], [CLS], [SEP]. train, held: ids [B, T].
    (With the cells above, `train` and `held[0].input_ids` give about 2.2; the generator is at 1.6.)
    """
    raise NotImplementedError("yours to write")


def check_left(left_neighbour_loss):
    small = np.array([[2, 5, 6, 3, 0], [2, 5, 7, 3, 0]])
    loss, right = left_neighbour_loss(small, small[:1], 10), -(np.log(3 / 12) + np.log(2 / 12)) / 2
    example = "train [CLS] 5 6 [SEP], [CLS] 5 7 [SEP], held [CLS] 5 6 [SEP]"
    assert abs(loss - right) < 1e-9, f"{example}: {right:.4f}, not {loss:.4f}"


lesson.exercise(
    left_neighbour_loss,
    check_left,
    "The pairs are ids[:, :-1] and ids[:, 1:]; keep those whose second "
    "token is a word. [CLS] is a left neighbour like any other.",
    "np.add.at(n, (left, word), 1) counts pairs in n [V, V], including "
    "repeats; p = (n + 1) / (n.sum(axis=1, keepdims=True) + V).",
)


# %% Your turn 2: the smallest tied model
def tied_backward(dlogits, ids, word):
    """logits = word[ids] wordᵀ: one table, used twice.

    dlogits [N, V], ids [N] with repeats, word [V, E] -> dword [V, E]
    """
    raise NotImplementedError("yours to write")


def check_tied(backward):
    random = np.random.default_rng(2)
    ids, word = np.array([4, 1, 4, 4, 0]), random.standard_normal((6, 3))
    dlogits = random.standard_normal((5, 6))
    dword = backward(dlogits, ids, word)
    gradient_check(lambda: (dlogits * (word[ids] @ word.T)).sum(), {"word": word}, {"word": dword})


lesson.exercise(
    tied_backward,
    check_tied,
    "Name the middle: x = word[ids], logits = x wordᵀ. Two lines, two uses of the table.",
    "The second line gives dword += dlogitsᵀ x and dx = dlogits word; "
    "the first adds row n of dx to row ids[n], including repeats.",
)

# %% [markdown]
# # What comes next
#
# The generator is asked about only K of a sentence's tokens. Lesson 13 lets it *write* its guesses into the
# text, so that something can be asked about every token.
#
# The real thing: `minielectra/electra/corruption.py`, `mask_batch`; `minielectra/electra/towers.py`,
# `ElectraForMaskedLM`. The word table will have a third use: lesson 15 adds the gradients of all three.

# %%
lesson.end()
