# %% [markdown]
# # 9 · Self-attention, and the reshape that is not a transpose
#
# **You will be able to** write attention and its gradients, split it into heads, hide padding from it, and
# see where tokens look.
#
# **Time** 50 minutes · **needs** 1, 3, 4, 5, 7, 8 · **runs** 2 s
#
# A linear layer, GELU and layer norm treat every row by itself: no token has seen another so far.
# **Attention** is the step in which every token collects something from the tokens of its sequence, most of
# it from those that match what it looks for. (It is called *self*-attention because each token asks its own
# sequence.) Three linear layers turn each token's row into three rows of D numbers:
#
# - its **query** q[i]: what token i looks for,
# - its **key** k[j]: what token j can be found by,
# - its **value** v[j]: what token j gives to those that find it.
#
#     S[i, j] = Σ_d q[i, d] k[j, d] / √D     the score: how well key j matches query i (more on √D below)
#     P[i, :] = softmax(S[i, :])             what share of its attention token i gives to each j
#     o[i, d] = Σ_j P[i, j] v[j, d]          the output: the values, mixed in these shares, which sum to 1

# %%
import numpy as np
import toy
from course import begin

from minielectra.gradcheck import gradient_check
from minielectra.ops.reference.attention import additive_mask, attention_backward, attention_forward
from minielectra.ops.reference.embedding import embedding_backward
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.ops.reference.softmax import softmax_backward, softmax_forward
from minielectra.plots.style import SEQUENTIAL, figure, tidy

lesson = begin("09_attention")

random = np.random.default_rng(9)
T, D = 5, 3
q, k, v, do = random.standard_normal((4, T, D))  # do is ∂L/∂o, from the layers after this one

# %% Long form: every query meets every key
S, o = np.zeros((T, T)), np.zeros((T, D))
for i, j, d in np.ndindex(T, T, D):  # token i looks at token j
    S[i, j] += q[i, d] * k[j, d] / np.sqrt(D)
P, _ = softmax_forward(S)  # lesson 4, row by row
for i, j, d in np.ndindex(T, T, D):
    o[i, d] += P[i, j] * v[j, d]
print("P: row i is how token i divides its attention", P.round(2), sep="\n")

# Backward: the last loop first. Every number of q, k and v is used T times, so its gradient is a sum.
dP, (dq, dk, dv) = np.zeros((T, T)), np.zeros((3, T, D))
for i, j, d in np.ndindex(T, T, D):
    dP[i, j] += do[i, d] * v[j, d]  # o[i, d] += P[i, j] * v[j, d]
    dv[j, d] += do[i, d] * P[i, j]  # the same line, seen from v
dS = softmax_backward(dP, P)  # P = softmax(S)
for i, j, d in np.ndindex(T, T, D):
    dq[i, d] += dS[i, j] * k[j, d] / np.sqrt(D)  # S[i, j] += q[i, d] * k[j, d] / √D
    dk[j, d] += dS[i, j] * q[i, d] / np.sqrt(D)  # the same line, seen from k

# %% [markdown]
# # Collapsed form
#
# As in lesson 3, write each accumulation as a sum, and see where the index that is summed over stands.
#
#     S[i, j]  = Σ_d q[i, d] k[j, d] / √D      d is last in both: transpose k          S  = q kᵀ / √D
#     o[i, d]  = Σ_j P[i, j] v[j, d]           a product as it is                      o  = P v
#
#     dv[j, d] = Σ_i P[i, j] do[i, d]          i is first in both: transpose P         dv = Pᵀ do
#     dP[i, j] = Σ_d do[i, d] v[j, d]          d is last in both: transpose v          dP = do vᵀ
#     dS[i, j] = P[i, j] (dP[i, j] − Σ_u dP[i, u] P[i, u])
#                                              lesson 4, row by row             dS = P (dP − row sums of dP P)
#     dq[i, d] = Σ_j dS[i, j] k[j, d] / √D     a product as it is                      dq = dS k / √D
#     dk[j, d] = Σ_i dS[i, j] q[i, d] / √D     i is first in both: transpose dS        dk = dSᵀ q / √D


# %% Collapsed form in code
def forward(q, k, v, mask=0.0):
    """q, k, v [..., T, D], mask: added to the scores -> o [..., T, D], P [..., T, T]"""
    # kᵀ is k with its last two axes swapped. If arrays have more axes, @ multiplies matrix by matrix: many
    # sequences at once.
    S = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + mask
    P, _ = softmax_forward(S)
    return P @ v, P


def backward(do, q, k, v, P):
    """do [..., T, D] -> dq, dk, dv [..., T, D]"""
    dv = P.swapaxes(-1, -2) @ do  # o = P v
    dP = do @ v.swapaxes(-1, -2)
    dS = softmax_backward(dP, P) / np.sqrt(q.shape[-1])  # P = softmax(S); S = q kᵀ / √D + mask
    return dS @ k, dS.swapaxes(-1, -2) @ q, dv


o_fast, P_fast = forward(q, k, v)
lesson.same("o, loops against two products", o, o_fast)
lesson.same("dq, dk, dv", (dq, dk, dv), backward(do, q, k, v, P_fast))

# %% Why √D
# A score is a sum of D products, so its variance grows like D (lesson 8). The larger the scores, the more of
# its attention softmax gives to a single key, and there its gradient P (dP − …) is nearly 0. Divided by √D,
# scores keep the variance of one product, whatever D is.
# 16 queries meet 16 keys, with D = 256:
raw = random.standard_normal((200, 16, 256)) @ random.standard_normal((200, 256, 16))
dP = random.standard_normal(raw.shape)
scores = raw / np.sqrt(256), raw
divided, plain = (np.abs(softmax_backward(dP, softmax_forward(S)[0])).mean() for S in scores)
print(f"at D = 256, scores that are not divided get a gradient {divided / plain:.1f} times smaller")

# %% [markdown]
# # Heads and a mask
#
# One query is not much: a word may have to know both its neighbour and the verb of its sentence. So there are
# A **heads**, and each does all of the above on its own. The outputs of the linear layers are rows
# [B·T, A·D], one for each token of a batch; head a owns the features from a·D to a·D + D − 1. They are cut as
# lesson 1 cut its groups: first the shape, then the axes.
#
# Padding has keys too, and no query may find them. An **attention mask** is added to the scores: 0 where a
# key may be seen, the lowest number of the dtype where it may not. Softmax turns that into a share of
# exactly 0.

# %% Heads and a mask in code
B, A, T, D = 2, 3, 5, 4


def split(x):
    """rows [B·T, A·D], or [B, T, A·D] -> [B, A, T, D]"""
    return x.reshape(-1, T, A, D).swapaxes(1, 2)  # −1: whatever is left for this axis


q, k, v, do = map(split, random.standard_normal((4, B * T, A * D)))
valid = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)  # the second sequence is two tokens shorter
# [B, 1, 1, T]: the same for all heads and queries.
mask = np.where(valid, 0.0, np.finfo(q.dtype).min)[:, None, None, :]
o, P = forward(q, k, v, mask)
print("what padding gets, from all heads and queries together:", P[1, :, :, 3:].sum())

# %% Check
# The backward pass has no line for the mask: it is a constant that is added, and where it makes P 0, dS = P
# (…) is 0 as well. The library's `additive_mask` makes the same mask.
_, cache = attention_forward(q, k, v, additive_mask(valid, q.dtype))
gradients = backward(do, q, k, v, P), attention_backward(do, cache)
yours, library = (dict(zip("qkv", three, strict=True)) for three in gradients)
lesson.check(lambda: (do * forward(q, k, v, mask)[0]).sum(), {"q": q, "k": k, "v": v}, yours, library)


# %% A mistake, and a check that misses it
# Someone takes kᵀ for the variable: S = q kᵀ / √D, so its gradient is qᵀ dS / √D, [B, A, D, T]. That is
# right. Then it has to become [B, A, T, D], and reshape can do that. But a reshape keeps the order of the
# numbers and cuts them into other rows, whereas a transpose moves them.
def wrong_dk(do, q, k, v, P):
    turned = backward(do, q, k, v, P)[1].swapaxes(-1, -2)  # qᵀ dS / √D
    return turned.reshape(k.shape)  # should be turned.swapaxes(-1, -2)


print(f"The shape is right. With D = 1, so are the values: there is only one order to keep. Not at D = {D}.")
q1, k1, v1, do1 = (array[..., :1].copy() for array in (q, k, v, do))
_, P1 = forward(q1, k1, v1)
lesson.check(lambda: (do1 * forward(q1, k1, v1)[0]).sum(), {"k": k1}, {"k": wrong_dk(do1, q1, k1, v1, P1)})
wrong = wrong_dk(do, q, k, v, P)
lesson.exposes(lambda: (do * forward(q, k, v, mask)[0]).sum(), {"k": k}, {"k": wrong})

# %% [markdown]
# # Two questions to learn
#
# Every sentence of the toy language has one verb. For each word, head 0 has to say which word stands *before*
# it, and head 1 which word is the *verb*. A token's own row knows neither: head 0 has to look for a place,
# head 1 for a kind of word. Nobody tells them where to look. They only find out how wrong an answer was.
#
# The model is as small as possible. Lesson 7's tables hold 3·A·D numbers for every word and for every
# position, and the sum of the two is cut into q, k and v. A head's output *is* the logits of its answer, one
# number per word, so D = V.

# %% Two heads learn
T, A, D = toy.LENGTH, 2, len(toy.VOCABULARY)
word = 0.5 * random.standard_normal((D, 3 * A * D))
position = 0.5 * random.standard_normal((T, 3 * A * D))
RATE = 30  # so high because a word occurs in few of a step's answers
verbs = [toy.IDS[name] for names in (*toy.INTRANSITIVE, *toy.TRANSITIVE) for name in names]
sentence = "these old dogs see a small house near the quiet river ."
shown = toy.encode([sentence.split()])
maps = []
for step in range(301):
    ids = np.concatenate([shown, toy.batch(16, random)])  # [B, T]; the sentences are new in every step
    before = np.roll(ids, 1, axis=1)  # every column one place to the right
    verb = ids[np.isin(ids, verbs)]  # isin: where ids is one of these. [B], because a sentence has one verb
    verb = np.broadcast_to(verb[:, None], ids.shape)  # the answer is the same for all tokens of a sentence
    targets = np.stack([before, verb], axis=1)  # [B, A, T]
    words = (ids > toy.SEP) & (before > toy.SEP)  # words that follow words: the markers have the lowest ids
    asked = np.stack([words] * A, axis=1)
    asked[0] = False  # we look at the sentence that is shown, and do not learn from it

    q, k, v = map(split, np.split(word[ids] + position, 3, axis=2))
    o, cache = attention_forward(q, k, v, additive_mask(ids != toy.PAD, q.dtype))
    answers = o.reshape(-1, D), targets.reshape(-1), asked.reshape(-1)
    loss, answered = cross_entropy_forward(*answers, asked.sum())
    if step in (0, 300):
        print(f"step {step:3}: {loss:.3f} nats per answer")
        maps += [*cache.p[0]]  # P of the sentence that is shown, both heads

    dq, dk, dv = attention_backward(cross_entropy_backward(answered).reshape(o.shape), cache)
    # `split` and `np.split`, undone: join, then swap the axes back, then the shape.
    dqkv = np.concatenate([dq, dk, dv], axis=1).swapaxes(1, 2).reshape(-1, T, 3 * A * D)
    dword = np.zeros_like(word)
    embedding_backward(dqkv.reshape(-1, 3 * A * D), ids.reshape(-1), dword)  # word[ids] + …
    dposition = dqkv.sum(axis=0)  # … + position
    word -= RATE * dword
    position -= RATE * dposition

# %% See: where a token looks, before and after training
fig = figure(
    14,
    4.1,
    "One head has learned to look one place back, the other for the verb",
    "Each row is one token's query, and its cells sum to 1: dark is 0, bright yellow is 1.\n"
    "(Tokens without a row were not asked.)",
)
names = toy.words(shown[0])
titles = (
    "head 0, before training",
    "head 1, before training",
    "head 0, trained: the word before",
    "head 1, trained: the verb",
)
for ax, title, P in zip(fig.subplots(1, 4), titles, maps, strict=True):
    tidy(ax, title, "key: the token looked at", "query: the token that looks").grid(False)
    ax.imshow(P[2:-1], vmin=0, vmax=1, cmap=SEQUENTIAL)
    ax.set_xticks(range(T), names, rotation=90)
    ax.set_yticks(range(T - 3), names[2:-1])
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Two functions to write. Hints: `python lessons/09_attention.py --hints`.


# %% Your turn 1: the row sum without P
def row_sums(do, o):
    """Σ_j dP[i, j] P[i, j] for every query i, with D products instead of T, from do and o alone.

    do, o [B, A, T, D] -> [B, A, T, 1]
    """
    raise NotImplementedError("yours to write")


def check_row_sums(row_sums):
    q, k, v, do = np.random.default_rng(2).standard_normal((4, 2, 3, 5, 4))
    o, P = forward(q, k, v)
    expected = (do @ v.swapaxes(-1, -2) * P).sum(axis=-1, keepdims=True)
    lesson.same("row sums", row_sums(do, o), expected)


lesson.exercise(
    row_sums,
    check_row_sums,
    "Put dP[i, j] = Σ_d do[i, d] v[j, d] into the sum, and move the sum over j inside.",
    "Σ_j Σ_d do[i, d] v[j, d] P[i, j] = Σ_d do[i, d] (Σ_j P[i, j] v[j, d]), and the bracket has a name.",
)


# %% Your turn 2: asking another sequence
def cross_attention_backward(do, q, m):
    """o = softmax(q mᵀ / √D) m: T tokens ask R tokens of another sequence.

    The rows m of that sequence are both its keys and its values.
    do, q [B, A, T, D], m [B, A, R, D] -> dq [B, A, T, D], dm [B, A, R, D]
    """
    raise NotImplementedError("yours to write")


def check_cross(backward):
    random = np.random.default_rng(3)
    (q, do), m = random.standard_normal((2, 2, 3, 5, 4)), random.standard_normal((2, 3, 6, 4))
    dq, dm = backward(do, q, m)
    gradient_check(lambda: (do * forward(q, m, m)[0]).sum(), {"q": q, "m": m}, {"q": dq, "m": dm})


lesson.exercise(
    cross_attention_backward,
    check_cross,
    "Call m k in one place and v in the other, and ask what the two gradients have to do with dm.",
    "forward(q, m, m) gives P, backward(do, q, m, m, P) gives "
    "dq, dk, dv. m is used twice, so its gradient is dk + dv.",
)

# %% [markdown]
# # What comes next
#
# Attention moves information between tokens, and does little else: its output is a mix of values. Lesson 10
# combines it with the layers that work on each token alone, and stacks the result many times without losing
# the gradient on the way.
#
# The real thing: `minielectra/ops/reference/attention.py`; the heads: `SelfAttention` in
# `minielectra/nn/encoder.py`.

# %%
lesson.end()
