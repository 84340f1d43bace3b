# %% [markdown]
# # 12 · The generator: guess the words behind [MASK]
#
# **You will be able to** hide words of a sentence, let an encoder guess them, derive the gradients of its output layers with a
# word table that is used twice, and say whether it learned more than how frequent words are.
#
# **Time** 45 minutes · **needs** 4, 5, 7, 10, 11 · **runs** 8 s
#
# Lesson 10's encoder turns every token into H numbers that know of all other tokens. What can it learn from text alone?
# **Masked language modelling**: put [MASK] in the place of some tokens and ask for the words that stood there. The text is
# question and answer at once. An encoder that is trained on this is our **generator**, so called for what lesson 13 lets it do.
# It shall learn the toy language of lesson 7, where a hidden word can be guessed from others: "this dog sleeps", but "these dogs
# sleep". How many are hidden? Of each sentence K words: 15 % of its tokens, [CLS] and [SEP] counted and padding not, but at least
# one.

# %%
import numpy as np
import toy
from course import begin

from minielectra.electra.corruption import mask_batch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM
from minielectra.gradcheck.checker import gradient_check
from minielectra.nn.layers import Run
from minielectra.ops.reference.linear import linear_backward, linear_forward
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.ops.reference.softmax import softmax_forward
from minielectra.plots.style import BLUE, ORANGE, VERMILION, figure, tidy
from minielectra.pretraining.pretraining_config import PretrainingConfig

lesson = begin("12_generator")

random = np.random.default_rng(12)
V, T, E = len(toy.VOCABULARY), toy.LENGTH, 16
NEVER = (toy.PAD, toy.CLS, toy.SEP, toy.MASK)  # tokens that are never hidden


# %% Hide words
# To choose K, every word gets a random number; sort by it, all other tokens behind, and take the first K. K differs from sentence
# to sentence; arrays [B, K] have room for the largest, and a weight of 0 says that a place in them is not used.
def hide(ids, random):
    """ids [B, T] -> the library's batch; rows [M]: where in [B·T] the M chosen positions are; targets [M]: what stood there"""
    batch = mask_batch(ids, ids != toy.PAD, np.zeros_like(ids), NEVER, toy.MASK, V, PretrainingConfig(seq_length=T), random)
    rows = (np.arange(len(ids))[:, None] * T + batch.positions)[batch.weights > 0]  # position t of sentence b is row b·T + t
    return batch, rows, ids.reshape(-1)[rows]


batch, rows, targets = hide(toy.batch(2000, random), random)
print(*toy.words(batch.masked_ids[0]))
by_hand = [max(1, round(0.15 * sum(ids != toy.PAD))) for ids in batch.input_ids]
lesson.same("K of 2000 sentences", np.bincount(rows // T), by_hand)  # bincount: how often each number occurs
assert not np.isin(targets, NEVER).any()  # isin: for each entry, whether it is one of those

# %% [markdown]
# # From features to words
#
# On top of the encoder stand the generator's output layers, computed only at the M chosen positions, where something is asked:
#
#     z = h Wᵀ + b           [M, E]     from H features back to the width of the word embeddings
#     x = norm(GELU(z))      [M, E]
#     logits = x wordᵀ + c   [M, V]     a logit for every word
#
# The last product needs a matrix with a row for every word. There is one already, the word table of lesson 7, and the generator
# uses it again: a **tied output matrix**. The logit of a word is the product of its own embedding with x, plus a bias; to say
# "dogs", x has to point where the embedding of "dogs" points. The table is now used twice, and every use adds to its gradient.

# %% A generator, as far as x
generator = ElectraForMaskedLM(ElectraConfig(
    vocab_size=V, embedding_size=E, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
    max_position_embeddings=T, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
), dtype=np.float64)  # fmt: skip
parameters = generator.parameters  # as in lesson 10: values in one long array, `flat`, gradients in another, `grad`
parameters.flat[...] = 0.2 * random.standard_normal(parameters.size)
for name in parameters:
    if name.endswith("LayerNorm.weight"):
        parameters[name].value[...] += 1  # γ: near 1, and not 1
word, c = generator.embeddings.word, generator.output.bias  # each has a .value and a .grad

text = batch, rows, targets = hide(toy.batch(3, random), random)
M, run = len(rows), Run()  # a Run without random numbers: no dropout
hidden, encoded = generator.encode(batch.masked_ids, batch.valid, batch.token_type_ids, run)  # [B·T, H]
z, to_z = generator.dense.forward(hidden[rows], run)
g, to_g = generator.gelu.forward(z, run)
x, to_x = generator.norm.forward(g, run)

# %% Long form: one position, one word at a time
L, logits, dx, dword, dc = 0.0, np.zeros((M, V)), np.zeros((M, E)), np.zeros((V, E)), np.zeros(V)
for m in range(M):
    for v in range(V):
        for e in range(E):
            logits[m, v] += x[m, e] * word.value[v, e]
        logits[m, v] += c.value[v]
    p = softmax_forward(logits[m])[0]
    L += -np.log(p[targets[m]]) / M

    # Backward. Lesson 4: ∂L/∂logit[v] is p[v], less 1 at the target. So every word's row of the table gets a gradient.
    for v in range(V):
        dlogit = (p[v] - (v == targets[m])) / M
        dc[v] += dlogit  # logits[m, v] += c[v]
        for e in range(E):
            dword[v, e] += dlogit * x[m, e]  # logits[m, v] += x[m, e] * word[v, e]
            dx[m, e] += dlogit * word.value[v, e]  # the same line, seen from x
print(f"the last [MASK] stands for {toy.VOCABULARY[targets[-1]]!r}: p = {p[targets[-1]]:.3f}; mean loss {L:.2f} nats")

# %% [markdown]
# # Collapsed form
#
# The loops over m, v and e are a linear layer whose weight is the word table, so lesson 3 has the products:
#
#     dx = dlogits word        dword += dlogitsᵀ x        dc += column sums of dlogits
#
# Picking rows, `hidden[rows]`, is a lookup as in lesson 7: backward, each row's gradient is added where the row came from.

# %% Collapsed form in code
logits_fast, to_logits = linear_forward(x, word.value, c.value)
L_fast, to_L = cross_entropy_forward(logits_fast, targets, np.ones(M), M)
dx_fast = linear_backward(cross_entropy_backward(to_L), to_logits, word.grad, c.grad)  # logits = x wordᵀ + c
for what, long, fast in ("L", L, L_fast), ("dx", dx, dx_fast), ("dword", dword, word.grad), ("dc", dc, c.grad):
    lesson.same(what, long, fast)


# %% Check
# The whole generator: on from your dx, through the layers below, down to the lookup, which is the table's other use.
def forward_backward(batch, rows, targets):
    """-> the mean loss at the chosen positions. Its gradients are left in parameters.grad."""
    logits, cache = generator.forward(batch.masked_ids, batch.valid, batch.token_type_ids, rows, Run())
    loss, to_loss = cross_entropy_forward(logits, targets, np.ones(len(rows), logits.dtype), len(rows))
    parameters.zero_grad()
    generator.backward(cross_entropy_backward(to_loss), cache, Run())
    return loss


dg = generator.norm.backward(dx_fast, to_x, run)  # x = norm(g)
dz = generator.gelu.backward(dg, to_g, run)  # g = GELU(z)
dhidden = np.zeros_like(hidden)
dhidden[rows] += generator.dense.backward(dz, to_z, run)  # z = hidden[rows] Wᵀ + b; no row is picked twice
generator.encode_backward(dhidden, encoded, run)  # as all of these, it adds to the gradients of its parameters
yours = {"word": word.grad.copy(), "all parameters": parameters.grad.copy()}
forward_backward(*text)
library = {"word": word.grad.copy(), "all parameters": parameters.grad.copy()}
lesson.check(lambda: forward_backward(*text), {"word": word.value, "all parameters": parameters.flat}, yours, library)

# %% A mistake, and a check that misses it: one use of two
# Forget the lookup, and keep dword as it came from the output layer. Words that the generator did not read were used once: a
# check that looks at some of them is satisfied.
unread = np.setdiff1d(np.arange(V), batch.masked_ids)  # ids that do not occur
lesson.same(f"dword of {len(unread)} words", dword[unread], library["word"][unread])
lesson.exposes(lambda: forward_backward(*text), {"word": word.value}, {"word": dword})

# %% [markdown]
# # What is a good loss?
#
# Compare with a guesser that does not look at the sentence. Its logits are the same everywhere; all it can learn is one p[v] a
# word. By lesson 4 every position adds p[v] to the gradient at the logit of v, less 1 where v is the target: over n positions
# n p[v] − (how often v is the target). That is zero where p[v] is the share of v in the text. These shares are the **unigram**
# frequencies q (a unigram is a word by itself, without its neighbours), and the mean loss is −Σ_v q[v] log q[v]. Above it, a
# generator knows less than how frequent words are; below it, it has begun to read. This is to be measured on **held-out text**,
# text that the generator is not trained on: the sentences it is trained on it might know by heart.

# %% Train and watch
pool = list(dict.fromkeys(tuple(toy.sentence(random)) for _ in range(7000)))  # each sentence once
train, held = toy.encode(pool[:-500]), hide(toy.encode(pool[-500:]), random)
count = np.bincount(train[~np.isin(train, NEVER)])[len(toy.SPECIAL) :]
q = count / count.sum()
print(f"all words alike: {np.log(V):.2f} nats; unigram: {-(q * np.log(q)).sum():.2f}")

values, generator = parameters.flat, ElectraForMaskedLM(generator.config, dtype=np.float32)  # float32 is faster
parameters = generator.parameters
parameters.flat[...] = values
gap = toy.encode([["these", "old", "[MASK]", "see", "a", "small", "house", "near", "the", "river", "."]])  # it was "dogs"
guesses, steps = {}, 4000
for step in range(steps + 1):
    if step in (0, 1000, steps):
        logits, _ = generator.forward(gap, gap != toy.PAD, np.zeros_like(gap), np.array([3]), Run())
        guesses[step] = softmax_forward(logits)[0][0]
        print(f"step {step:4}: loss on held-out text {forward_backward(*held):.2f}")
    forward_backward(*hide(train[random.integers(len(train), size=16)], random))  # 16 sentences, hidden words new every time
    parameters.flat -= 0.15 * (1 - step / steps) * parameters.grad  # gradient descent, with steps that get shorter

# %% See: first a noun, then the right noun
fig = figure(
    9.5, 3.7, "First it learns that a noun belongs here, then that it is a plural",
    "The generator's ten likeliest words where “dogs” is hidden in “these old dogs see a small house near the river .”\n"
    "Blue: plurals that can see, as the language wants; orange: other nouns; red: no nouns.",
)  # fmt: skip
right = toy.NOUNS[1][: toy.ANIMATE]
for ax, (step, p) in zip(fig.subplots(1, 3), guesses.items(), strict=True):
    words = [toy.VOCABULARY[v] for v in np.argsort(p)[-10:]]
    colours = [BLUE if name in right else ORANGE if name in toy.NOUNS[0] + toy.NOUNS[1] else VERMILION for name in words]
    tidy(ax, f"step {step}: {sum(p[toy.IDS[name]] for name in right):.0%} blue", "probability")
    ax.barh(words, [p[toy.IDS[name]] for name in words], color=colours)
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/12_generator.py --hints`.


# %% Your turn 1: how far does one neighbour lead?
def left_neighbour_loss(train, held, V):
    """A guesser that sees the token before: p[left, word] = (n[left, word] + 1) / (Σ_v n[left, v] + V), n being how often train
    has the word behind `left`. Words: all tokens but [PAD], [CLS], [SEP]. train, held: ids [B, T] -> mean of −log p[left, word]
    over the words of held. (With `train` and `held[0].input_ids` of above it is about 2.2; the generator is at 1.6.)"""
    raise NotImplementedError("yours to write")


def check_left(left_neighbour_loss):
    small = np.array([[2, 5, 6, 3, 0], [2, 5, 7, 3, 0]])
    loss, right = left_neighbour_loss(small, small[:1], 10), -(np.log(3 / 12) + np.log(2 / 12)) / 2
    assert abs(loss - right) < 1e-9, f"train [CLS] 5 6 [SEP], [CLS] 5 7 [SEP], held [CLS] 5 6 [SEP]: {right:.4f}, not {loss:.4f}"


lesson.exercise(
    left_neighbour_loss, check_left,
    "The pairs are ids[:, :-1] and ids[:, 1:]; keep those whose second is a word. [CLS] is a left neighbour like any other.",
    "np.add.at(n, (left, word), 1) counts pairs into n [V, V], repeats too; p = (n + 1) / (n.sum(axis=1, keepdims=True) + V).",
)  # fmt: skip


# %% Your turn 2: the smallest tied model
def tied_backward(dlogits, ids, word):
    """logits = word[ids] wordᵀ: one table, used twice. dlogits [N, V], ids [N] with repeats, word [V, E] -> dword [V, E]"""
    raise NotImplementedError("yours to write")


def check_tied(backward):
    random = np.random.default_rng(2)
    ids, word, dlogits = np.array([4, 1, 4, 4, 0]), random.standard_normal((6, 3)), random.standard_normal((5, 6))
    gradient_check(lambda: (dlogits * (word[ids] @ word.T)).sum(), {"word": word}, {"word": backward(dlogits, ids, word)})


lesson.exercise(
    tied_backward, check_tied,
    "Name the middle: x = word[ids], logits = x wordᵀ. Two lines, two uses of the table.",
    "The second line gives dword += dlogitsᵀ x and dx = dlogits word; the first adds row n of dx to row ids[n], repeats too.",
)  # fmt: skip

# %% [markdown]
# # What comes next
#
# Only at K of a sentence's tokens is something asked. Lesson 13 lets the generator *write* its guesses into the text, so that
# something can be asked about every token.
#
# The real thing: `minielectra/electra/corruption.py`, `mask_batch`; `minielectra/electra/towers.py`, `ElectraForMaskedLM`. Its
# word table will have a third use: lesson 15 adds the gradients of all three.

# %%
lesson.end()
