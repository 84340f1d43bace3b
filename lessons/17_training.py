# %% [markdown]
# # 17 · A real run, and the learning curve of every token
#
# **You will be able to** follow a training step of the package line by line, train ELECTRA on real text,
# compute from the run's records how often it notices a wrong "the", with a band that says how sure that is,
# and read learning curves against what knowing nothing would give.
#
# **Time** 60 minutes · **needs** 5, 11, 12, 13, 14, 15, 16 · **runs** 60 s
#
# All parts are there: text as word pieces (lesson 11), the joint step (15), Adam (16). A **run** is a
# training from its first step to its last, and the folder that it leaves. Two kinds of things are written
# into that folder along the way:
#
# - a **checkpoint**: all parameters and Adam's moments m and v at one step. Training can continue from there,
#   and the model can be used;
# - an **evaluation**: losses, and the score of every single token, on held-out text. The text and its masked
#   positions are the same every time.
#
# A number followed over the evaluations is a **learning curve**. There is one for the whole text, and one for
# every token.

# %%
import inspect
import tempfile
from pathlib import Path

import numpy as np
import toy
from course import LESSON_SETTINGS, begin

from minielectra import objectives
from minielectra.backend import Purpose, RandomStream
from minielectra.detect import score_at_checkpoints
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.nn.layers import PassContext
from minielectra.optim.adam import Adam
from minielectra.optim.clipping import clip_scale
from minielectra.plots import film_strip, tokens
from minielectra.plots.statistics import Z, acquisition_step, token_auc, wilson
from minielectra.pretraining.presets import configure
from minielectra.pretraining.run_settings import RunSettings
from minielectra.pretraining.start import start_run
from minielectra.runs.detection_counts import auc
from minielectra.runs.detection_records import DetectionRecords
from minielectra.runs.metrics_log import metric_columns
from minielectra.training.engine import make_engine
from minielectra.training.step import training_step

lesson = begin("17_training")

# %% [markdown]
# # The step that a run repeats
#
# A run is lesson 16's training step, over and over. The package's step does one thing more. It cuts the batch
# into parts, called *shards*, so that two cores can work on two shards at the same time. There is a copy of
# the objective for each shard. All copies use the same weights, and each has a gradient of its own. At the
# end the gradients are added up. Because every loss is divided by the normalizers of the *whole* batch
# (lesson 4), their sum is the gradient of the whole batch.
#
# The next cell prints the step as the package has it. `replicas` are the copies of the objective. On a CPU,
# `to_device` does nothing. The last argument may be memory that every step uses again; lesson 21 is
# about that.

# %% The training step, as the package has it
print(inspect.getsource(training_step))

# %% The same step by hand, with two shards
# `configure` gives two configurations: the sizes of the networks, and how they are trained. Both come from
# the package's smallest settings, `tiny`, except for what we set ourselves. Our networks have half the width.
print("our settings:", LESSON_SETTINGS)
V = len(toy.VOCABULARY)
toy_sizes = {"vocab_size": V, "seq_length": toy.LENGTH, "batch_size": 8, "shards": 2}
model_config, training = configure("tiny", LESSON_SETTINGS | toy_sizes)


def new_objective():
    """ELECTRA's objective with random weights, the same every time."""
    objective = objectives.make(model_config, training, dtype=np.float64)
    initialize(objective, seed=0)
    return objective


RATE, SEED, NUMBER = 1e-3, 0, 5  # step number 5 of a training with seed 0
random = np.random.default_rng(17)
ids = toy.batch(8, random)
valid, segments, special = ids != toy.PAD, np.zeros_like(ids), range(len(toy.SPECIAL))
batch = mask_batch(ids, valid, segments, special, toy.MASK, V, training, random)

ours, gradients, losses = new_objective(), [], []
for i, part in enumerate((slice(0, 4), slice(4, 8))):
    ours.parameters.zero_grad()  # zero
    context = PassContext(random=RandomStream((SEED, Purpose.STEP, NUMBER, i)))  # a stream for each shard
    outcome, cache = ours.forward(batch.shard(part), batch.normalizers(), context)  # forward
    ours.backward(cache, context)  # backward
    gradients.append(ours.parameters.grad.copy())
    losses.append(outcome.losses)
gradient = gradients[0] + gradients[1]
norm = np.sqrt((gradient**2).sum())
scale = clip_scale(norm, training.clip_norm)  # clip
Adam(ours.parameters, training).update(gradient, RATE, scale, NUMBER)  # update
for i, (mlm, rtd) in enumerate(losses):
    print(f"shard {i}: its share of L_MLM {mlm:.3f}, of L_RTD {rtd:.3f}")
print(f"norm of the gradient {norm:.2f}, multiplied by {scale:.3f}")

# %% Check: by hand, plainly, and on two threads
# An *engine* runs steps. The plain one calls `training_step`. Another runs the same parts of it on threads,
# one shard on each, and a third in processes. They add the gradients in the same order, so the results agree
# to the last bit.
plain = make_engine(new_objective(), workers="plain")
result = plain.step(batch, RATE, SEED, NUMBER)
lesson.same("losses, by hand against the package's", np.sum(losses, axis=0), result.losses)
lesson.same("norm of the gradient", norm, result.grad_norm)
weights = plain.objective.parameters.flat
lesson.same("weights after the step", ours.parameters.flat, weights)
threads = make_engine(new_objective(), workers="threads")
assert threads.step(batch, RATE, SEED, NUMBER) == result
assert np.array_equal(threads.objective.parameters.flat, weights)
print(f"on {threads.n_workers} threads: the same, to the last bit")
threads.close()

# %% Train
# This is what `python -m minielectra train` does, with smaller networks than `tiny` has: it takes a minute or
# two instead of four. The text is the documentation of Python and its libraries. A vocabulary is learned from
# it first, as in lesson 11.
place = tempfile.TemporaryDirectory()  # removed when the lesson ends; a run of your own is kept in runs/
settings = RunSettings(
    preset="tiny", overrides=LESSON_SETTINGS, steps=1500, eval_every=100, checkpoint_every=150, seed=0
)
folder, _ = start_run(settings, Path(place.name) / "run")
print("left in the folder:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% Long form: one token, one evaluation
# How well is a wrong "the" noticed at the end? `detection.npz` has what we need: E evaluations of B sequences
# of T tokens, with up to K masked positions in each. A token with a score above ½ is flagged. If a wrong
# "the" is flagged, it is caught; if a right one is not flagged, it is kept.
records = DetectionRecords.load(folder)
E, B, T = records.scores.shape  # the discriminator's probability of "replaced"
# positions [B, K] are masked; samples [E, B, K]: what the generator wrote there
K = records.positions.shape[1]
THE, e = records.id_of("the"), E - 1
special = [records.id_of(name) for name in ("[PAD]", "[CLS]", "[SEP]")]
original = kept = replaced = caught = 0
for b in range(B):
    seen = records.input_ids[b].copy()  # what the discriminator reads: the text …
    for k in range(K):
        if records.position_valid[b, k]:
            seen[records.positions[b, k]] = records.samples[e, b, k]  # … with the generator's samples in it
    for t in range(T):
        if seen[t] != THE or records.input_ids[b, t] in special:
            continue
        flagged = records.scores[e, b, t] > 0.5
        if seen[t] == records.input_ids[b, t]:  # it was here all along (or the generator guessed right)
            original += 1
            kept += not flagged
        else:  # the generator wrote it over another token
            replaced += 1
            caught += flagged
print(f"“the”: {original} times original, {kept} of them kept;", end=" ")
print(f"{replaced} times replaced, {caught} of them caught")
alarms = original - kept
print(f"recall {caught} / {replaced} = {caught / replaced:.3f};", end=" ")
print(f"false alarms (right, but flagged) {alarms} / {original}")


# %% Collapsed form: all tokens at once
# Write all samples into a copy of the text, compare, and let bincount (lesson 12) count per token, that is,
# per token that the discriminator *sees*.
def count(e):
    """Evaluation e -> counts [V] of original, kept, replaced, caught."""
    rows, slots = np.nonzero(records.position_valid)  # the numbers b and k of all masked positions
    seen = records.input_ids.copy()
    seen[rows, records.positions[rows, slots]] = records.samples[e, rows, slots]
    counted = ~np.isin(records.input_ids, special)
    same, flagged = seen == records.input_ids, records.scores[e] > 0.5
    where = (counted & same, counted & same & ~flagged, counted & ~same, counted & ~same & flagged)
    return [np.bincount(seen[mask], minlength=len(records.tokens)) for mask in where]


every = np.array([count(e) for e in range(E)])  # [E, 4, V]
lesson.same("“the”, loops against counts", every[-1, :, THE], [original, kept, replaced, caught])

# %% Check
# The trainer counted too, after each evaluation, and wrote it down.
for i, name in enumerate(("original", "kept", "replaced", "caught")):
    what = f"{name}: all tokens and evaluations against the run's record"
    lesson.same(what, every[:, i], getattr(records, name))

# %% [markdown]
# # How sure is a share?
#
# k of n were caught; in other sentences k would be another number. If a token is caught with probability p,
# then k has mean n p and variance n p (1 − p) (lesson 13), so k/n has mean p and the spread σ = √(p
# (1 − p)/n). For a large n its values are distributed like the bell curve of lesson 5: 95 % of them lie
# within 1.96 σ of p, as Φ(1.96) − Φ(−1.96) = 0.95. Write z for 1.96.
#
# A **confidence band** turns this around: it holds all p from which k/n is at most z σ away. The long form
# tries all p. The collapsed form is a formula: at both ends of the band (k/n − p)² = z² p (1 − p)/n, and this
# quadratic equation has the solutions (Wilson's band)
#
#     p = [k/n + z²/2n ± z √( (k/n)(1 − k/n)/n + z²/4n² )] / (1 + z²/n)
#
# The common mistake is to put k/n in place of p in σ: k/n ± z √((k/n)(1 − k/n)/n). That is simpler, but for
# k = 0 the band has no width, as if the rate were known exactly.


# %% The band in code
def band(k, n):
    """The lowest and the highest p that fit k of n."""
    middle = k / n + Z**2 / (2 * n)
    width = Z * np.sqrt(k / n * (1 - k / n) / n + Z**2 / (4 * n**2))
    return (middle - width) / (1 + Z**2 / n), (middle + width) / (1 + Z**2 / n)


p = np.linspace(0, 1, 1_000_001)
possible = p[np.abs(caught / replaced - p) <= Z * np.sqrt(p * (1 - p) / replaced)]
ends = band(caught, replaced)
lesson.same("band of “the”, all p tried against the formula", possible[[0, -1]], ends, tolerance=1e-5)
lesson.same("the formula against the library", ends, wilson(caught, replaced))
print("recall of “the”: {:.3f}, band {:.3f} to {:.3f}".format(caught / replaced, *ends))

# %% A mistake, and a check that misses it
# A 95 % band should contain the true rate in about 95 % of all experiments. Do 100 000 of them, with 60
# tokens each.
for true in (0.5, 0.02):
    # how many of 60 are caught, each with this probability
    k = np.random.default_rng(17).binomial(60, true, 100_000)
    low, high = band(k, 60)
    good = np.mean((low <= true) & (true <= high))
    bad = np.mean(np.abs(true - k / 60) <= Z * np.sqrt(k / 60 * (1 - k / 60) / 60))
    print(f"true rate {true}: contained in Wilson's band in {good:.1%} of the experiments,", end=" ")
    print(f"in the simple one in {bad:.1%}")
    assert abs(good - 0.95) < 0.02 and (abs(bad - 0.95) < 0.02) == (true == 0.5)

# %% The whole run, beside what knowing nothing gives
metrics = metric_columns(folder)
print(f"unigram {metrics['unigram_entropy'][0]:.2f}")
print("   step   L_MLM     AUC   recall   accuracy   always “original”")
columns = ("step", "gen_loss", "disc_auc", "disc_recall", "disc_accuracy", "baseline_accuracy")
for i in [0, 1, 2, 3, 4, 5, 6, 9, 12, 15]:
    row = [metrics[name][i] for name in columns]
    print("{:7.0f}  {:6.2f}   {:5.3f}   {:6.3f}     {:6.3f}   {:17.3f}".format(*row))
here = records.counted  # [B, T]: neither [CLS] nor [SEP]
words = auc(records.scores[2][here], records.replaced_mask[2][here])
print(f"AUC at step {records.steps[2]} without [CLS] and [SEP]: {words:.3f}")

# %% [markdown]
# # Reading it
#
# - **L_MLM against unigram.** Near it the generator knows how frequent tokens are; below it, it knows
#   *context*.
# - **AUC against 0.5.** It is 0.58 at once and stays there for 400 steps. About half of that is cheap: [CLS]
#   and [SEP] are never replaced, and they are included in the run's figures. The last line leaves them out.
# - **Accuracy against always "original".** For hundreds of steps the two can hardly be told apart. Look at
#   it last.
# - **Recall.** A token is flagged once the discriminator is more than half sure. So recall rises after AUC.
# - **Step 0** is chance: random parameters may flag nearly everything, or nothing.
#
# AUC may also *fall* while all goes well, because it measures a discriminator against its generator. The
# samples of a perfect generator would be distributed like the original tokens, and nobody could tell them
# apart: AUC 0.5.
#
# # Token by token
#
# The figure has a panel for each of eight tokens. Red: of its *replaced* occurrences, where the generator
# wrote it over another token, the share that is flagged. Blue: the same for its *original* occurrences, where
# it belongs. The AUC above a panel compares only occurrences of this token, replaced and original, so a
# token's frequency does not help. We call a token acquired at the step from which this AUC stays at 0.6 or
# above; that step is its **acquisition**. (If occurrences are few, AUC jumps, so the library first averages
# over three evaluations.)

# %% See: the learning curves of tokens
lesson.figure(tokens.tokens(records, ["the", "to", "is", "and", ".", ",", "##s", "##ed"]))
curves, replaced, original = token_auc(records)  # each [E, V]
when = acquisition_step(records.steps, curves)  # [V], NaN ("not a number") if a token is not acquired
enough = (replaced.mean(axis=0) >= 20) & (original.mean(axis=0) >= 20)
# argsort: the indices, lowest value first
order = [i for i in np.argsort(when) if enough[i] and np.isfinite(when[i])]
print(f"{enough.sum()} tokens are replaced 20 times per evaluation or more; {len(order)} are acquired.")
acquired = [f"{records.tokens[i]} ({when[i]:.0f})" for i in [*order[:8], *order[-8:]]]
print("The first and the last:", ", ".join(acquired))

# %% [markdown]
# # One sentence through training
#
# A **film strip** shows one text through training: one row per step, with the probability of "replaced" as
# colour. Ours is a sentence in which we replace two words by hand, "and" by "the" and "list" by "of". The
# run's checkpoints judge it one after the other.

# %% See: a film strip
right, wrong = (
    "The name is a string, and the value is a list.",
    "The name is a string, the the value is a of.",
)
names, scores, steps = score_at_checkpoints(folder, wrong)
right_names, right_scores, _ = score_at_checkpoints(folder, right)
by_hand = np.array(names) != right_names  # where the word pieces differ
title = "“the” for “and” ends at {:.0%}, “of” for “list” at {:.0%}".format(*scores[-1][by_hand])
lesson.figure(film_strip.film_strip_sentence(names, scores, steps, title, by_hand), "sentence")
print("at the last checkpoint:")
for i in np.flatnonzero(by_hand):
    wrong_score, right_score = scores[-1][i], right_scores[-1][i]
    print(f"    “{names[i]}” {wrong_score:.0%}; in its place “{right_names[i]}” would have {right_score:.0%}")
# The "a" before "of" is suspected too, although we did not touch it: if two tokens do not fit together,
# either may be the wrong one.

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/17_training.py
# --hints`.


# %% Your turn 1: when was it acquired?
def acquired_at(steps, curve, threshold):
    """The first step from which the curve stays at or above the threshold; None if it does not end there.

    steps [E], rising; curve [E], where NaN (not measured) counts as below.
    """
    raise NotImplementedError("yours to write")


def check_acquired_at(function):
    for curve, expected, hint in (
        ([0.5, 0.6, 0.7, 0.8], 200, "0.6 is at the threshold, which counts"),
        ([0.7, 0.5, 0.7, 0.8], 300, "it was above before, but did not stay there"),
        ([0.7, 0.7, 0.8, 0.5], None, "it ends below"),
        ([0.7, np.nan, 0.8, 0.9], 300, "NaN counts as below"),
    ):
        got = function(np.array([100, 200, 300, 400]), np.array(curve), 0.6)
        assert got == expected, f"curve {curve}: {expected}, not {got} ({hint})"


lesson.exercise(
    acquired_at,
    check_acquired_at,
    "Walk from the last evaluation to the first, as long as the curve is at or above the threshold.",
    "Start with None; for i in reversed(range(len(steps))): stop at "
    "`not curve[i] >= threshold`, otherwise remember steps[i].",
)


# %% Your turn 2: can the probabilities be taken at their word?
def calibration(scores, replaced, bins):
    """Of the tokens with scores near 0.3, 30 % should be replaced. Cut 0 … 1 into `bins` equal bins and see.

    scores [N] in [0, 1], replaced [N] bool -> mean score [bins], share replaced [bins] (both NaN for an empty
    bin), number of tokens [bins].
    """
    raise NotImplementedError("yours to write")


def check_calibration(function):
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.3, 0.9, 1.0])
    means, shares, n = function(scores, np.array([False, False, True, True, False, True, True]), 4)
    message = f"tokens in each bin: 3, 2, 0, 2, not {list(n)}; a score of exactly 1 belongs to the last bin"
    assert list(n) == [3, 2, 0, 2], message
    assert np.isnan([means[2], shares[2]]).all(), "the third bin holds no token: both NaN"
    assert np.allclose([*means[:2], means[3]], [0.1, 0.3, 0.95]), (
        f"mean scores 0.1, 0.3, NaN, 0.95, not {means}"
    )
    assert np.allclose([*shares[:2], shares[3]], [1 / 3, 0.5, 1.0]), f"shares 1/3, 1/2, NaN, 1, not {shares}"
    last_scores, last_replaced = records.scores[-1][here].astype(float), records.replaced_mask[-1][here]
    for row in zip(*function(last_scores, last_replaced, 5), strict=True):
        print("    mean score {:.2f}   really replaced {:.2f}   ({} tokens)".format(*row))


lesson.exercise(
    calibration,
    check_calibration,
    "The bin of a score is the integer part of score · bins. Where does that put a score of 1?",
    "np.minimum((scores * bins).astype(int), bins - 1); "
    "np.bincount(index, what, minlength=bins) sums; 0/0: NaN.",
)

# %% [markdown]
# # What comes next
#
# This run left the unigram line within a few hundred steps. Lesson 18 shows how training can get stuck there,
# and how to avoid that.
#
# The real thing: `minielectra/training/step.py`, `training_step`, and `engine.py` beside it;
# `minielectra/pretraining/start.py`, `start_run`; `minielectra/pretraining/evaluation.py`, `Evaluator`. In a
# terminal: `python -m minielectra train`, four minutes that lead further, and then `python -m minielectra
# plot RUN --sentence "…"`.

# %%
lesson.end()
