# %% [markdown]
# # 20 · Fine-tuning: a small head on what was learned
#
# **You will be able to** put a new head on a pre-trained encoder, train both at rates that suit them, and measure what the pre-training
# was worth: against the same network that starts from scratch.
#
# **Time** 45 minutes · **needs** 10, 14, 15, 16 · **runs** 40 s
#
# The discriminator of lesson 15 is thrown away but for its encoder. What it has learned of the language stays: a row of numbers for every
# token, which knows the token's neighbours. **Fine-tuning** goes on training this encoder for another purpose, a **task**, with a small new
# layer on top, the **head** (not an attention head: the word has both meanings), and with few examples that somebody has labelled.
#
# Three heads serve most tasks; H features come out of the encoder, L is the number of labels:
#
#     a label for every token       logits[b, t] = W h[b, t] + b                  [B, T, L]    which part of speech is this word?
#     a label for the sequence      Linear, GELU, Linear on h[b, 0], at [CLS]     [B, L]       is this review friendly?
#     a stretch of the text         two numbers for every token: how well an      [B, T, 2]    where is the answer?
#                                   answer starts there, how well it ends there
#
# Our task is the first: say of every word of the toy language whether it is a determiner, a noun, a verb, an adjective or a preposition.

# %%
import numpy as np
import toy
from course import begin

from minielectra.electra.corruption import mask_batch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import ElectraForSequenceClassification, HeadConfig
from minielectra.finetuning.objective import Finetuning
from minielectra.finetuning.sequences import TaskBatch
from minielectra.nn.layers import Run
from minielectra.objectives.electra import ElectraPretraining
from minielectra.ops.reference.losses import cross_entropy_backward, cross_entropy_forward
from minielectra.optim.schedule import learning_rate
from minielectra.plots.style import BLUE, ORANGE, figure, legend, percent_format, tidy
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.training.step import Trainee

lesson = begin("20_finetuning")

PARTS = ("determiner", "noun", "verb", "adjective", "preposition", ".")
GROUPS = (toy.DETERMINERS, toy.NOUNS, (*toy.INTRANSITIVE, *toy.TRANSITIVE), (toy.ADJECTIVES,), (toy.PREPOSITIONS,), ((".",),))
PART_OF = np.zeros(len(toy.VOCABULARY), np.int32)  # id -> label; that of markers is not asked
for label, groups in enumerate(GROUPS):
    for group in groups:
        PART_OF[[toy.IDS[word] for word in group]] = label


def labelled(ids):
    """ids [B, T] -> TaskBatch: a target for every token, weight 1 where it is a word."""
    words = (ids >= len(toy.SPECIAL)).astype(np.float32)
    return TaskBatch(ids, np.zeros_like(ids), ids != toy.PAD, PART_OF[ids], words)


# %% Long form: the head, one token at a time
# h: what the encoder says of four tokens, the last of which is padding. w says whose label counts, Z how many they are.
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
# Nothing is new: a head is a linear layer (lesson 3) under a cross-entropy (lesson 4) whose weights w are 0 where there is nothing to
# say: at [CLS], [SEP] and padding, and, where words come in several pieces (lesson 11), at all pieces but the first. What matters is
# that dh goes on, into the encoder and down to the word table: the whole network learns the task.

# %% Check
value, cache = cross_entropy_forward(h @ W.T + b, targets, w, Z)
dlogits = cross_entropy_backward(cache)
lesson.same("loss", loss, value)


def head_loss():
    return cross_entropy_forward(h @ W.T + b, targets, w, Z)[0]


collapsed = {"h": dlogits @ W, "W": dlogits.T @ h, "b": dlogits.sum(axis=0)}
lesson.check(head_loss, {"h": h, "W": W, "b": b}, {"h": dh, "W": dW, "b": db}, collapsed)

# %% A mistake, and a check that misses it
# The label of a sequence is read off [CLS]. Rows lie one sequence after the other, so those of [CLS] are 0, T, 2·T, …: h[::T]. Whoever
# writes h[:B] gets the right shape, and the right rows too as long as there is one sequence.
sizes = {"vocab_size": 52, "embedding_size": 6, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 10, "max_position_embeddings": 14}
model = ElectraForSequenceClassification(HeadConfig(**sizes, labels=("one", "many")), dtype=np.float64)
model.parameters.flat[...] = 0.5 * random.standard_normal(model.parameters.size)


def careless(ids):
    hidden, _ = model.encode(ids, ids != toy.PAD, np.zeros_like(ids), Run())
    x, run = hidden[: len(ids)].copy(), Run()
    for layer in (model.dense, model.gelu, model.out):
        x, _ = layer.forward(x, run)
    return x


for count in (1, 3):
    ids = toy.batch(count, random)
    agree = np.allclose(careless(ids), model(ids, ids != toy.PAD))
    print(f"{count} sequence{'s' if count > 1 else ''}: h[:B] {'agrees with' if agree else 'differs from'} the library")
assert not agree

# %% [markdown]
# # How fast each layer may learn
#
# The head knows nothing and has to move far. The encoder knows a lot and should not forget it, its lowest layers least of all, since what
# all tasks need is there. So every layer further from the head learns at a rate `layer_decay` times smaller: **layer-wise decay**. ELECTRA
# counts the head as depth layers + 2, layer i (from 0) as i + 1 and the embeddings as 0:
#
#     rate of depth d = rate of the head · layer_decay^(layers + 2 − d)
#
# Everything else is lesson 16's: Adam, warm-up and a line that falls to 0, only shorter. And whatever comes out has to be held against a
# control: the same network, task and steps **from scratch**, that is, from the numbers that the pre-training had begun with.

# %% Pre-train, then fine-tune
config = ElectraConfig(**sizes | {"embedding_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
                       hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
pretraining = PretrainingConfig(batch_size=32, seq_length=toy.LENGTH, learning_rate=3e-3, disc_weight=5.0, shards=1,
                                adam_beta2=0.98, generator_width=0.5, initialization="local_attention")
joint = ElectraPretraining(config, pretraining)
initialize(joint, seed=0)
trainee, random, steps = Trainee(joint), np.random.default_rng(1), 1500
for step in range(steps):
    ids = toy.batch(32, random)
    batch = mask_batch(ids, ids != toy.PAD, np.zeros_like(ids), range(5), toy.MASK, len(toy.VOCABULARY), pretraining, random)
    result = trainee.step(batch, learning_rate(step, steps, 3e-3, 90), 0, step)
print(f"pre-trained: generator {result.gen_loss:.2f}, discriminator {result.disc_loss:.3f} nats")
encoder = {name.removeprefix("discriminator."): x.copy() for name, x in trainee.model.parameters.state().items()}


def finetune(examples, pretrained, seed):
    """ids [B, T] of labelled sentences -> the fine-tuned Finetuning model. pretrained: else it starts from scratch."""
    fields = {name: getattr(config, name) for name in config.__dataclass_fields__}
    settings = FinetuningConfig(head="tagging", learning_rate=3e-3, layer_decay=0.8, batch_size=16, shards=1)
    tagger = Finetuning(HeadConfig(**fields, labels=PARTS), settings)
    start = ElectraPretraining(config, pretraining)  # the same starting point as before the pre-training
    initialize(start, seed)
    fresh = {name.removeprefix("discriminator."): x for name, x in start.parameters.state().items()}
    head = {
        "classifier.weight": 0.02 * np.random.default_rng(seed).standard_normal((len(PARTS), 32)),
        "classifier.bias": np.zeros(len(PARTS)),
    }
    source = {**(encoder if pretrained else fresh), **head}
    tagger.parameters.load_state({name: source[name] for name in tagger.parameters})
    trainee, order = Trainee(tagger), np.random.default_rng(seed)
    for step in range(100):
        batch = labelled(examples[order.permutation(len(examples))[:16]])
        trainee.step(batch, learning_rate(step, 100, 3e-3, 10), seed, step)
    return trainee.model


# %% See: words that no label was ever given for
# From scratch the network can learn the words it is shown; of the others it knows only what stands around them. Pre-training has seen
# them all, without labels, and put a noun near the other nouns. So count separately the words that no labelled sentence contained.
test = toy.batch(200, np.random.default_rng(9))
counts, curves = (1, 2, 4, 8, 16, 32), {True: [], False: []}
for count in counts:
    for pretrained, curve in curves.items():
        shares = []
        for seed in range(3):
            examples = toy.batch(count, np.random.default_rng([seed, 77]))
            guess = finetune(examples, pretrained, seed).model(test, test != toy.PAD).argmax(axis=-1)
            unseen = (test >= len(toy.SPECIAL)) & ~np.isin(test, examples)
            shares.append((guess == PART_OF[test])[unseen].mean() if unseen.any() else np.nan)
        curve.append(shares)
curves = {pretrained: np.array(curve) for pretrained, curve in curves.items()}
for pretrained, curve in curves.items():
    print(f"{'pre-trained' if pretrained else 'from scratch':12}", *(f"{100 * x:3.0f} %" for x in curve.mean(axis=1)))
fig = figure(7, 4, "Pre-training knows words that nobody has labelled",
             "words that stood in no labelled sentence; thick: mean of three draws of sentences, thin: each")
ax = tidy(fig.subplots(), xlabel="labelled sentences", ylabel="their part of speech is right")
for pretrained, color in ((True, BLUE), (False, ORANGE)):
    ax.plot(counts, curves[pretrained], color=color, linewidth=0.7, alpha=0.6)
    ax.plot(
        counts, curves[pretrained].mean(axis=1), color=color, linewidth=2.4, label="pre-trained" if pretrained else "from scratch"
    )
ax.set_xscale("log", base=2)
ax.set_xticks(counts, [str(count) for count in counts])
ax.set_ylim(0, 1.02)
ax.yaxis.set_major_formatter(percent_format())
legend(ax, loc="lower right")
lesson.figure(fig)


# %% Your turn 1: which pieces carry the label
def first_piece_weights(pieces):
    """Word pieces of one sequence, with [CLS] and [SEP] -> list of weights: 1.0 at the first piece of every word, else 0.0."""
    raise NotImplementedError("yours to write")


def check_first_pieces(weights):
    given = ["[CLS]", "un", "##aff", "##able", "prices", "##!", "[SEP]", "[PAD]"]
    found = [float(x) for x in weights(given)]
    assert len(found) == len(given), "one weight for every piece"
    assert found[2] == found[3] == 0.0, "a piece that continues a word carries no label of its own"
    assert found == [0, 1, 0, 0, 1, 0, 0, 0], "1 at `un` and `prices` and nowhere else"


lesson.exercise(first_piece_weights, check_first_pieces,
                "A piece begins a word unless it starts with ## …", "… or is one of toy.SPECIAL.")


# %% Your turn 2: the best stretch
def best_span(start, end, longest):
    """start, end [T]: logits that an answer starts, ends at a token -> (a, b) with the largest start[a] + end[b] among those with
    a ≤ b < a + longest."""
    return int(np.argmax(start)), int(np.argmax(end))  # takes each on its own: repair it


def check_best_span(best):
    random = np.random.default_rng(5)
    for _ in range(50):
        start, end = random.standard_normal((2, 9))
        a, b = best(start, end, 3)
        assert a <= b, "an answer cannot end before it starts"
        assert b < a + 3, "longer than allowed"
        allowed = [start[i] + end[j] for i in range(9) for j in range(i, min(9, i + 3))]
        assert start[a] + end[b] >= max(allowed) - 1e-12, "another stretch is better"


lesson.exercise(best_span, check_best_span, "Two loops: over a, and over the b that a allows. Keep the best.",
                "max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])")

# %% [markdown]
# # What comes next
#
# On real files it is one command: `python -m minielectra finetune sst-2 --model RUN --train … --dev … --control`, and `predict` and `evaluate`
# with what comes out; the README has what it reaches. Lesson 21 makes all of this fast.
#
# The real thing: `minielectra/finetuning/heads.py` (the three heads), `tasks/objective.py` (`Finetuning`: losses, `rate_factor`),
# `tasks/finetuning.py` (`finetune`, with an evaluation to choose the best moment), `tasks/tagging.py`, `classification.py`, `answering.py`.

# %%
lesson.end()
