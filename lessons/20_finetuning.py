# %% [markdown]
# # 20 · Fine-tuning: a small head on what was learned
#
# **You will be able to** put a new head on a pre-trained encoder, train both at rates that suit them, and
# measure what the pre-training was worth, against the same network trained from scratch.
#
# **Time** 45 minutes · **needs** 10, 14, 15, 16 · **runs** 40 s
#
# Of the discriminator of lesson 15 we keep only the encoder. It has kept what it learned about the language:
# it turns every token into a row of numbers that depends on the token's neighbours. **Fine-tuning** continues
# to train this encoder for another purpose, a **task**, with a small new layer on top, the **head** (not an
# attention head: the word has both meanings), and with a few examples that somebody has labelled.
#
# Three heads are enough for most tasks. H features come out of the encoder, and L is the number of labels:
#
#     a label for every token     logits[b, t] = W h[b, t] + b               [B, T, L]  which part of speech?
#     a label for the sequence    Linear, GELU, Linear on h[b, 0], at [CLS]  [B, L]     is the review good?
#     a stretch of the text       two numbers for every token: how well an   [B, T, 2]  where is the answer?
#                                 answer starts there, how well it ends there
#
# Our task is of the first kind: say of every word of the toy language whether it is a determiner, a noun, a
# verb, an adjective or a preposition.

# %%
from dataclasses import asdict

import numpy as np
import toy
from course import begin

from minielectra import objectives
from minielectra.electra.corruption import mask_batch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import (
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    HeadConfig,
)
from minielectra.finetuning.objective import FinetuningObjective
from minielectra.finetuning.sequences import TaskBatch
from minielectra.finetuning.task_losses import TaggingLoss
from minielectra.nn.layers import PassContext
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.optim.schedule import learning_rate
from minielectra.plots.style import BLUE, ORANGE, figure, legend, percent_format, tidy
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.training.engine import make_engine

lesson = begin("20_finetuning")

PARTS = ("determiner", "noun", "verb", "adjective", "preposition", ".")
GROUPS = (  # the words of each part of speech, in groups
    toy.DETERMINERS,
    toy.NOUNS,
    (*toy.INTRANSITIVE, *toy.TRANSITIVE),
    (toy.ADJECTIVES,),
    (toy.PREPOSITIONS,),
    ((".",),),
)
PART_OF = np.zeros(len(toy.VOCABULARY), np.int32)  # id -> label; nobody asks for that of the markers
for label, groups in enumerate(GROUPS):
    for group in groups:
        PART_OF[[toy.IDS[word] for word in group]] = label


def labelled(ids):
    """ids [B, T] -> the library's TaskBatch: a label for every token, and weight 1 if the token is a word."""
    is_word = (ids >= len(toy.SPECIAL)).astype(np.float32)
    return TaskBatch(ids, np.zeros_like(ids), ids != toy.PAD, targets=PART_OF[ids], weights=is_word)


# %% Long form: the head, one token at a time
# h: the encoder's features of four tokens, of which the last is padding. w says whose label counts, and Z how
# many count.
random = np.random.default_rng(20)
H, L = 3, 5
h, W, b = random.standard_normal((4, H)), random.standard_normal((L, H)), random.standard_normal(L)
targets, w = np.array([2, 0, 4, 1]), np.array([1.0, 1.0, 1.0, 0.0])
Z = w.sum()
loss, dh, dW, db = 0.0, np.zeros_like(h), np.zeros_like(W), np.zeros_like(b)
for n in range(4):
    logits = [sum(W[label, i] * h[n, i] for i in range(H)) + b[label] for label in range(L)]
    e = np.exp(np.array(logits) - max(logits))
    p = e / e.sum()
    loss += -w[n] * np.log(p[targets[n]]) / Z
    for label in range(L):
        dlogit = w[n] * (p[label] - (label == targets[n])) / Z  # lesson 4
        db[label] += dlogit  # logit = W h + b
        for i in range(H):
            dW[label, i] += dlogit * h[n, i]
            dh[n, i] += dlogit * W[label, i]
print("dh of the padding:", dh[3])

# %% [markdown]
# # Collapsed form
#
# Nothing is new: a head is a linear layer (lesson 3) under a cross-entropy (lesson 4). The weights w are 0
# where there is nothing to label: at [CLS], [SEP] and padding and, if words come in several pieces
# (lesson 11), at all pieces but the first. What matters is that dh goes on, into the encoder and down to the
# word table: the whole network learns the task.

# %% Check
value, cache = cross_entropy_forward(h @ W.T + b, targets, w, Z)
dlogits = cross_entropy_backward(cache)
lesson.same("loss", loss, value)


def head_loss():
    return cross_entropy_forward(h @ W.T + b, targets, w, Z)[0]


collapsed = {"h": dlogits @ W, "W": dlogits.T @ h, "b": dlogits.sum(axis=0)}
lesson.check(head_loss, {"h": h, "W": W, "b": b}, {"h": dh, "W": dW, "b": db}, collapsed)

# %% A mistake, and a check that misses it
# The label of a sequence is read off at [CLS]. The rows of one sequence follow those of another, so the rows
# of [CLS] are 0, T, 2·T, …: h[::T]. Somebody who writes h[:B] gets the right shape, and even the right rows
# as long as there is only one sequence.
sizes = {
    "vocab_size": 52,
    "max_position_embeddings": 14,
    "embedding_size": 6,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 10,
}
model = ElectraForSequenceClassification(HeadConfig(**sizes, labels=("one", "many")), dtype=np.float64)
model.parameters.flat[...] = 0.5 * random.standard_normal(model.parameters.size)


def careless(ids):
    """The head on h[:B] -> logits [B, 2]."""
    context = PassContext()  # no dropout
    hidden, _ = model.encode(ids, ids != toy.PAD, np.zeros_like(ids), context)
    x = hidden[: len(ids)].copy()
    for layer in (model.dense, model.activation, model.out):
        x, _ = layer.forward(x, context)
    return x


for count in (1, 3):
    ids = toy.batch(count, random)
    agree = np.allclose(careless(ids), model(ids, ids != toy.PAD))
    verdict = "agrees with" if agree else "differs from"
    print(f"{count} sequence{'s' if count > 1 else ''}: h[:B] {verdict} the library")
assert not agree

# %% [markdown]
# # How fast each layer may learn
#
# The head knows nothing yet and has far to go. The encoder knows a lot and should not forget it, and its
# lowest layers least of all, because what they do is needed for every task. So with each layer further from
# the head, the learning rate is multiplied by `layer_decay`, which is below 1: **layer-wise decay**. ELECTRA
# gives the head the depth layers + 2, layer i (counted from 0) the depth i + 1, and the embeddings the
# depth 0:
#
#     rate at depth d = rate of the head · layer_decay^(layers + 2 − d)
#
# Everything else is as in lesson 16: Adam, a warm-up, and a line that falls to 0, only shorter. And the
# result has to be compared with a control: the same network, task and steps, but **from scratch**, that is,
# starting from random numbers as the pre-training did.

# %% Pre-train
larger = {"embedding_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
config = ElectraConfig(**sizes | larger, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
pretraining = PretrainingConfig(
    batch_size=32,
    seq_length=toy.LENGTH,
    learning_rate=3e-3,
    disc_weight=5.0,
    shards=1,
    adam_beta2=0.98,
    generator_width=0.5,
    initialization="local_attention",
)


def untrained(seed):
    """ELECTRA's objective before its first step."""
    objective = objectives.make(config, pretraining)
    initialize(objective, seed)
    return objective


engine, random, steps = make_engine(untrained(seed=0)), np.random.default_rng(1), 1500
special = range(len(toy.SPECIAL))
for step in range(steps):
    ids = toy.batch(32, random)
    valid, segments = ids != toy.PAD, np.zeros_like(ids)
    batch = mask_batch(ids, valid, segments, special, toy.MASK, len(toy.VOCABULARY), pretraining, random)
    result = engine.step(batch, learning_rate(step, steps, 3e-3, 90), 0, step)
print(f"pre-trained: generator {result.gen_loss:.2f}, discriminator {result.disc_loss:.3f} nats")
trained = engine.objective.discriminator.standalone_state()  # {name: array} of this network alone
engine.close()


# %% Fine-tune
def finetune(examples, pretrained, seed):
    """ids [B, T] of labelled sentences -> the fine-tuned model. Unless `pretrained`: from scratch."""
    # In the library, fine-tuning is an objective too: an encoder with a head, and a loss.
    settings = FinetuningConfig(learning_rate=3e-3, layer_decay=0.8, batch_size=16, shards=1)
    head_config = HeadConfig(**asdict(config), labels=PARTS)
    objective = FinetuningObjective(head_config, settings, ElectraForTokenClassification, TaggingLoss())
    start = trained if pretrained else untrained(seed).discriminator.standalone_state()
    head = {
        "classifier.weight": 0.02 * np.random.default_rng(seed).standard_normal((len(PARTS), 32)),
        "classifier.bias": np.zeros(len(PARTS)),
    }
    source = start | head
    objective.parameters.load_state({name: source[name] for name in objective.parameters})
    engine, order = make_engine(objective), np.random.default_rng(seed)
    for step in range(100):
        batch = labelled(examples[order.permutation(len(examples))[:16]])
        engine.step(batch, learning_rate(step, 100, 3e-3, 10), seed, step)
    engine.close()
    return engine.objective.model


# %% See: words that no label was ever given for
# From scratch the network can learn the words that it is shown; about the others it knows only what stands
# around them. Pre-training has seen all words, without labels, and has put a noun near the other nouns. So we
# count only the words that no labelled sentence contained.
test = toy.batch(200, np.random.default_rng(9))
counts, curves = (1, 2, 4, 8, 16, 32), {True: [], False: []}
for count in counts:
    for pretrained, curve in curves.items():
        shares = []
        for seed in range(3):
            examples = toy.batch(count, np.random.default_rng([seed, 77]))
            tagger = finetune(examples, pretrained, seed)
            guess = tagger(test, test != toy.PAD).argmax(axis=-1)
            unseen = (test >= len(toy.SPECIAL)) & ~np.isin(test, examples)
            shares.append((guess == PART_OF[test])[unseen].mean() if unseen.any() else np.nan)
        curve.append(shares)
curves = {pretrained: np.array(curve) for pretrained, curve in curves.items()}
NAMES = {True: "pre-trained", False: "from scratch"}
for pretrained, curve in curves.items():
    print(f"{NAMES[pretrained]:12}", *(f"{100 * x:3.0f} %" for x in curve.mean(axis=1)))
fig = figure(
    7,
    4,
    "Pre-training knows words that nobody has labelled",
    "Words that occur in no labelled sentence. Thick: the mean of three draws of sentences; thin: each draw.",
)
ax = tidy(fig.subplots(), xlabel="labelled sentences", ylabel="their part of speech is right")
for pretrained, colour in ((True, BLUE), (False, ORANGE)):
    curve = curves[pretrained]
    ax.plot(counts, curve, color=colour, linewidth=0.7, alpha=0.6)
    ax.plot(counts, curve.mean(axis=1), color=colour, linewidth=2.4, label=NAMES[pretrained])
ax.set_xscale("log", base=2)
ax.set_xticks(counts, [str(count) for count in counts])
ax.set_ylim(0, 1.02)
ax.yaxis.set_major_formatter(percent_format())
legend(ax, loc="lower right")
lesson.figure(fig)

# %% [markdown]
# # Your turn
#
# Write the first function, repair the second, and run the file again. Hints: `python lessons/20_finetuning.py
# --hints`.


# %% Your turn 1: which pieces carry the label
def first_piece_weights(pieces):
    """The word pieces of a sequence, with [CLS] and [SEP] -> a list of weights, one per piece.

    1.0 at the first piece of every word, 0.0 elsewhere.
    """
    raise NotImplementedError("yours to write")


def check_first_pieces(weights):
    given = ["[CLS]", "un", "##aff", "##able", "prices", "##!", "[SEP]", "[PAD]"]
    found = [float(x) for x in weights(given)]
    assert len(found) == len(given), "one weight for every piece"
    assert found[2] == found[3] == 0.0, "a piece that continues a word carries no label of its own"
    assert found == [0, 1, 0, 0, 1, 0, 0, 0], "1 at `un` and `prices` and nowhere else"


lesson.exercise(
    first_piece_weights,
    check_first_pieces,
    "A piece begins a word unless it starts with ## …",
    "… or is one of toy.SPECIAL.",
)


# %% Your turn 2: the best stretch
def best_span(start, end, longest):
    """(a, b) with the largest start[a] + end[b] among those with a ≤ b < a + longest.

    start, end [T]: the logits that an answer starts or ends at each token. This version looks at the two
    separately: repair it.
    """
    return int(np.argmax(start)), int(np.argmax(end))


def check_best_span(best):
    random = np.random.default_rng(5)
    for _ in range(50):
        start, end = random.standard_normal((2, 9))
        a, b = best(start, end, 3)
        assert a <= b, "an answer cannot end before it starts"
        assert b < a + 3, "longer than allowed"
        allowed = [start[i] + end[j] for i in range(9) for j in range(i, min(9, i + 3))]
        assert start[a] + end[b] >= max(allowed) - 1e-12, "another stretch is better"


lesson.exercise(
    best_span,
    check_best_span,
    "Two loops: over a, and over the b that a allows. Keep the best pair.",
    "max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])",
)

# %% [markdown]
# # What comes next
#
# On real files it is one command: `python -m minielectra finetune sst-2 --model RUN --train … --dev …
# --control`. `predict` and `evaluate` then use what it wrote, and `docs/finetuning.md` says how well it does.
# Lesson 21 makes all of this fast.
#
# The real thing, in `minielectra/finetuning/`: `heads.py` (the three heads), `losses.py`, `objective.py`
# (`FinetuningObjective`, with `rate_factor`), `loop.py` (which evaluates on the way and keeps the best
# moment), and `tasks/`, a file for each task.

# %%
lesson.end()
