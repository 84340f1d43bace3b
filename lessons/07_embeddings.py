# %% [markdown]
# # 7 · Embeddings: a lookup copies, so its gradient adds
#
# **You will be able to** turn sentences into rows of numbers, derive what a gradient does when rows are only
# copied, and add it up without losing the words that occur twice.
#
# **Time** 40 minutes · **needs** 2, 3, 4, 5 · **runs** 3 s
#
# A text is cut into **tokens**, here words and full stops. All the tokens that a network knows, in a fixed
# order, are its **vocabulary**, and a token's number in that order is the token's **id**. An id says *which*,
# not *how much*: token 12 is not twice token 6. So every token of the vocabulary gets a row of E numbers of
# its own, its **embedding**, which is learned like any weight. All of these rows, stacked, are a **lookup
# table** [V, E]. (V is lesson 4's V: a network answers with the same words that it can read.)
#
# The tokens of one example, in order, are a **sequence** of length T. B sequences that are processed together
# are a **batch**:
#
#     ids [B, T]   table [V, E]   y [B, T, E]          y[b, t] = table[ids[b, t]]
#
# An array cannot have a ragged edge, so shorter sequences are filled up to length T with tokens that mean
# nothing, the **padding**.
#
# We read a toy language, `lessons/toy.py`: 52 tokens and a few rules of grammar. Three of the tokens are
# markers: [CLS] opens a sequence, [SEP] closes it, and [PAD], id 0, is the padding.

# %%
import numpy as np
import toy
from course import begin

from minielectra.gradcheck import gradient_check
from minielectra.ops.reference.embedding import (
    embedding_backward,
    embedding_forward,
    embeddings_backward,
    embeddings_forward,
)
from minielectra.ops.reference.linear import linear_backward, linear_forward
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.plots.style import BLUE, GREEN, ORANGE, PURPLE, VERMILION, figure, tidy

lesson = begin("07_embeddings")

random = np.random.default_rng(7)
ids = toy.batch(3, random)  # the ids of three random sentences
(B, T), V, E = ids.shape, len(toy.VOCABULARY), 4
table = random.standard_normal((V, E))
dy = random.standard_normal((B, T, E))
print(f"{B} sequences of {T} tokens, from a vocabulary of {V}. The first one:")
print(*toy.words(ids[0]))  # words: the way back, without the padding
print(*ids[0])

# %% Long form: copy forwards, add backwards
y = np.zeros((B, T, E))
for b, t, e in np.ndindex(B, T, E):  # three loops in one
    y[b, t, e] = table[ids[b, t], e]

# A copy is the simplest operation of all: nudge a number of the table by δ, and its copy in y moves by δ. So
# the number gets dy unchanged. It is *added*, because a number of the table is copied to every place where
# its token occurs. There is no gradient for ids: they are whole numbers, and a 12 cannot be nudged a little.
dtable = np.zeros((V, E))
for b, t, e in np.ndindex(B, T, E):
    dtable[ids[b, t], e] += dy[b, t, e]  # y[b, t, e] = table[ids[b, t], e]

print(f"{B * T} places, {np.count_nonzero(dtable.any(axis=1))} of {V} rows of the table got a gradient")

# %% [markdown]
# # Collapsed form
#
# For the forward pass NumPy has it built in: `table[ids]`, with an array of whole numbers as index, takes
# those rows, in the order and shape of ids. For the backward pass, forget which sequence a place is in and
# number all N = B·T places from 0. With lesson 2's [a = b], 1 or 0:
#
#     dtable[v] = Σ_n [ids[n] = v] dy[n]
#
# This is called a **scatter-add**: rows are scattered over a table, and those that fall on the same place add
# up. It could be done as a matrix product with the matrix of all [ids[n] = v], but nearly all of that matrix
# is zeros. Instead, sort the places by their ids. Equal ids then stand side by side, in one run for every
# token that occurs:
#
#     place n      0  1  2  3  4  5        order      1  4 | 0  2  5 | 3      the places, sorted by their ids
#     ids[n]       5  2  5  9  2  5        ordered    2  2 | 5  5  5 | 9      their ids
#                                          starts     0      2         5      where a run begins
#
# Each run's rows of dy are summed, and the sum is added to the table: rows 1 and 4 to dtable[2], rows 0, 2
# and 5 to dtable[5].


# %% Collapsed form in code
def scatter_sum(ids, rows):
    """ids [N], rows [N, E] -> the different ids among them, and the sum of the rows of each"""
    order = np.argsort(ids, kind="stable")  # stable: places with equal ids keep their order
    ordered = ids[order]
    # flatnonzero: where it is True, which is at the beginning and wherever the id changes
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    # reduceat: the sum from each start up to the next
    return ordered[starts], np.add.reduceat(rows[order], starts, axis=0)


y_fast = table[ids]
dtable_fast = np.zeros((V, E))
tokens, sums = scatter_sum(ids.reshape(-1), dy.reshape(-1, E))
dtable_fast[tokens] += sums  # y = table[ids]; the tokens are all different, so each is added to once
lesson.same("y, number by number against table[ids]", y, y_fast)
lesson.same("dtable, number by number against sorted runs", dtable, dtable_fast)

# %% [markdown]
# # Three tables
#
# A word has the same embedding wherever it stands: as sets of rows, "dog sees cat" and "cat sees dog" are the
# same. So there is a table for places as well. A token's **position** is its number t in the sequence, and
# each position has a learned row. If a sequence has two parts, a third table says which part a token is in,
# its **segment**, 0 or 1. The three rows are added:
#
#     y[b, t] = word[ids[b, t]] + position[t] + segment[segments[b, t]]
#
# In the backward pass a sum passes dy on to each of the three. Words and segments are looked up, so their
# gradients are scatter-adds. Every sequence reads position t once, and the positions are already in order, so
# their gradient is a plain sum: dposition[t] = Σ_b dy[b, t].

# %% Check
segments = random.integers(2, size=(B, T))  # random zeros and ones: harder than the 0 … 0 1 … 1 of real text
position = random.standard_normal((T + 2, E))  # two positions more than are read
word, segment = table, random.standard_normal((2, E))
tables = {"word": word, "position": position, "segment": segment}
yours, library = ({name: np.zeros_like(rows) for name, rows in tables.items()} for _ in range(2))

for name, index in ("word", ids), ("segment", segments):
    used, sums = scatter_sum(index.reshape(-1), dy.reshape(-1, E))
    yours[name][used] += sums  # y = word[ids] + … + segment[segments]
yours["position"][:T] += dy.sum(axis=0)  # … + position[t] + …

_, cache = embeddings_forward(ids, segments, word, position, segment)
# The library has the rows of all tokens in one array, [B·T, E].
embeddings_backward(dy.reshape(-1, E), cache, *library.values())
lesson.check(lambda: (dy * (word[ids] + position[:T] + segment[segments])).sum(), tables, yours, library)


# %% A mistake, and a check that misses it
# Why sort at all? The forward pass reads table[ids], so add to dtable[ids]: that looks like its mirror image.
# But NumPy takes the rows out, adds to each, and writes them back. A row that was taken out twice is written
# back twice, and the second time undoes the first.
def careless(ids, dy):
    dtable = np.zeros((V, E))
    dtable[ids] += dy
    return dtable


dy = random.standard_normal((7, E))
for sentence in ("these old dogs see a cat .", "the old dog sees the cat ."):
    ids = np.array([toy.IDS[token] for token in sentence.split()])  # IDS: the id of each token
    print(sentence)
    # seven different ids, or one of them twice
    check = lesson.check if len(set(ids)) == 7 else lesson.exposes
    check(lambda ids=ids: (dy * table[ids]).sum(), {"table": table}, {"table": careless(ids, dy)})

# %% See: a table that has learned
# What can a table learn? Two numbers for each token and one linear layer learn to guess the next token, by
# gradient descent on lesson 4's loss. Nobody tells them what a noun is.
batch = toy.batch(512, random)
real = batch[:, 1:] != toy.PAD  # padding is not worth guessing
# A mask as an index takes the elements where it is True: [N].
this, following = batch[:, :-1][real], batch[:, 1:][real]
table, W, bias = 0.1 * random.standard_normal((V, 2)), 0.1 * random.standard_normal((V, 2)), np.zeros(V)
for _ in range(400):
    dtable, dW, dbias = np.zeros_like(table), np.zeros_like(W), np.zeros_like(bias)
    x, looked_up = embedding_forward(this, table)
    logits, multiplied = linear_forward(x, W, bias)
    loss, guessed = cross_entropy_forward(logits, following, np.ones(len(this)), len(this))
    dlogits = cross_entropy_backward(guessed)
    dx = linear_backward(dlogits, multiplied, dW, dbias)
    embedding_backward(dx, looked_up, dtable)
    for array, gradient in (table, dtable), (W, dW), (bias, dbias):
        array -= 3.0 * gradient
print(f"loss after 400 steps: {loss:.2f} nats; knowing nothing costs log {V} = {np.log(V):.2f} (lesson 4)")

(one, many), a = toy.NOUNS, toy.ANIMATE  # the first nouns are dogs and children, the others things
things = [*one[a:], *many[a:]]
groups = (
    ("a, this, every", toy.DETERMINERS[0][1:], BLUE),
    ("the", ["the"], BLUE),
    ("these, some, all", toy.DETERMINERS[1][1:], BLUE),
    ("old, small, …", toy.ADJECTIVES, ORANGE),
    ("dog, cat, …", one[:a], GREEN),
    ("dogs, cats, …", many[:a], GREEN),
    ("house, rivers, …\nsleeps, wait, …", [*things, *toy.INTRANSITIVE[0], *toy.INTRANSITIVE[1]], VERMILION),
    ("sees, like, …\nnear, behind, …", [*toy.TRANSITIVE[0], *toy.TRANSITIVE[1], *toy.PREPOSITIONS], PURPLE),
)
fig = figure(
    7.4,
    4.8,
    "Words that are followed alike end up side by side",
    "The learned table: every word is placed by its two numbers. The groups and colours are ours:\n"
    "the network only saw which token comes next. After “rivers” and after “sleeps” comes a full stop\n"
    "or a preposition.",
)
ax = tidy(fig.subplots(), xlabel="embedding, first number", ylabel="embedding, second number")
for label, names, colour in groups:
    places = table[[toy.IDS[name] for name in names]]
    ax.plot(*places.T, "o", color=colour, markersize=5, alpha=0.7)
    ax.text(
        places[:, 0].mean(), places[:, 1].min() - 0.12, label, fontsize=9, color=colour, ha="center", va="top"
    )
ax.margins(0.15)
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# One function to write and one to repair. Hints: `python lessons/07_embeddings.py --hints`.


# %% Your turn 1: a sentence as the mean of its words
def mean_of_words_backward(dy, ids, table):
    """y[b] = the mean of table[ids[b, t]] over the tokens of sequence b that are not padding (id 0).

    dy [B, E], ids [B, T] int, table [V, E] -> dtable [V, E]. The row of the padding gets nothing.
    """
    raise NotImplementedError("yours to write")


def check_mean_of_words(backward):
    random = np.random.default_rng(1)
    ids = np.array([[2, 4, 4, 1, 3], [2, 1, 3, 0, 0], [2, 3, 0, 0, 0]])
    dy, table = random.standard_normal((3, 4)), random.standard_normal((6, 4))
    dtable = backward(dy, ids, table)
    assert not dtable[0].any(), "the padding's row (id 0) took part in no mean, so its gradient is 0"

    def loss():
        return sum((d * table[row[row != 0]].mean(axis=0)).sum() for d, row in zip(dy, ids, strict=True))

    gradient_check(loss, {"table": table}, {"table": dtable})


lesson.exercise(
    mean_of_words_backward,
    check_mean_of_words,
    "Two steps: the lookup, then a mean over the real tokens. If k "
    "rows are in the mean, what is the gradient of one of them?",
    "drows[b, t] = dy[b] / k[b] at real tokens and 0 at padding; "
    "k = (ids != 0).sum(axis=1). Broadcast it to [B, T, E].",
    "Then the lookup's backward: scatter_sum, or the package's "
    "embedding_backward(drows, ids, dtable), for rows [N, E].",
)


# %% Your turn 2: repair this backward
def pair_backward(dy, first, second, table):
    """y[n] = table[first[n]] · table[second[n]], feature by feature: one table, read twice.

    dy [N, E], first, second [N] int, table [V, E] -> dtable [V, E]
    """
    dtable = np.zeros_like(table)
    dtable[first] = dy * table[second]
    dtable[second] = dy * table[first]
    return dtable


def check_pair(backward):
    random = np.random.default_rng(2)
    dy, table = random.standard_normal((2, 3)), random.standard_normal((4, 3))
    # First all ids differ; then come the other ways in which two uses can meet.
    for f, s in ([0, 1], [2, 3]), ([0, 1], [1, 2]), ([0, 0], [1, 2]), ([0, 1], [3, 3]):
        dtable = backward(dy, np.array(f), np.array(s), table)
        gradient_check(lambda f=f, s=s: (dy * table[f] * table[s]).sum(), {"table": table}, {"table": dtable})


lesson.exercise(
    pair_backward,
    check_pair,
    "If something is used more than once, its uses add up. Count the "
    "ways in which a row of the table can be used more than once.",
    "= has to become +=, but that still loses ids that repeat "
    "within `first` or within `second`: the mistake above.",
    "Two scatter-adds into the same dtable: the package's embedding_backward(rows, ids, dtable) adds.",
)

# %% [markdown]
# # What comes next
#
# A table has a row for every word, which is enough numbers to learn a small text by heart. Lesson 8 makes
# that harder, on purpose: it throws numbers away at random, and needs randomness that can be repeated.
#
# The real thing: `minielectra/ops/reference/embedding.py`, `embeddings_forward` and `embeddings_backward`;
# `minielectra/backend/arrays.py`, `scatter_add`.

# %%
lesson.end()
