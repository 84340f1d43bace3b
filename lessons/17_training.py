# %% [markdown]
# # 17 · A real run, and the learning curve of every token
#
# **You will be able to** train ELECTRA on real text, compute from its records how often the discriminator notices a wrong "the", with a
# band that says how sure that is, and read learning curves against what knowing nothing would give.
#
# **Time** 50 minutes · **needs** 11, 12, 14, 15, 16 · **runs** 50 s
#
# All parts are there: text as word pieces (lesson 11), the joint step (15), Adam (16). A **run** is a training from its first step to its
# last, and the folder that it leaves. Two kinds of things are written into that folder along the way:
#
# - a **checkpoint**: all parameters and Adam's moments at one step, so that training can go on from there, and the model can be asked;
# - an **evaluation**: the losses and every single score on held-out text. It is the same text, with the same positions masked, every
#   time. Only the generator's samples and the discriminator's scores are new.
#
# A number followed over the evaluations is a **learning curve**. There is one for the whole text, and one for every token.

# %%
import tempfile
from pathlib import Path

import numpy as np
from course import begin

from minielectra.detection import auc
from minielectra.inference import score_at_checkpoints
from minielectra.plots import film_strip, learning, tokens
from minielectra.plots.records import DetectionRecords, load_metrics
from minielectra.plots.statistics import Z, acquisition_step, token_auc, wilson
from minielectra.training.launch import launch

lesson = begin("17_training")

# %% Train
# This is what `python -m minielectra train --steps 1500 …` calls. The text is English that Python and its libraries bring along: their
# documentation. The settings are called `tiny`; here with half their width and a generator of one layer, for a minute instead of five.
# A number of steps is given, not of minutes, so that the result does not depend on how fast the machine is.
SMALLER = {
    "embedding_size": 64, "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2,
    "generator_width": 0.5, "generator_depth": 0.5,
}  # fmt: skip
place = tempfile.TemporaryDirectory()  # removed when the lesson ends; a run of your own is kept in runs/
settings = {"preset": "tiny", "steps": 1500, "eval_every": 100, "checkpoint_every": 150, "seed": 0}
folder, _ = launch(settings, SMALLER, Path(place.name) / "run", default_minutes=None)
print("left in the folder:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% Long form: one token, one evaluation
# `detection.npz` holds the scores. E evaluations of S sequences of T tokens, K of them masked in each:
records = DetectionRecords.load(folder)
E, S, T = records.scores.shape  # the discriminator's probability of "replaced"
K = records.positions.shape[1]  # which positions are masked; samples [E, S, K]: what the generator wrote there
THE, e = records.id_of("the"), E - 1
special = [records.id_of(name) for name in ("[PAD]", "[CLS]", "[SEP]")]
print(f"{E} evaluations, {S} sequences of {T} tokens, {K} masked positions; evaluation {e} is step {records.steps[e]}")

original = kept = replaced = caught = 0
for s in range(S):
    seen = records.input_ids[s].copy()  # what the discriminator reads: the text …
    for k in range(K):
        if records.position_valid[s, k]:
            seen[records.positions[s, k]] = records.samples[e, s, k]  # … with the generator's samples in it
    for t in range(T):
        if seen[t] != THE or records.input_ids[s, t] in special:
            continue
        flagged = records.scores[e, s, t] > 0.5
        if seen[t] == records.input_ids[s, t]:  # this "the" belongs here (or the generator guessed right, which is the same)
            original += 1
            kept += not flagged
        else:  # the generator planted it
            replaced += 1
            caught += flagged
print(f"“the”: {original} times original, {kept} of them kept; {replaced} times replaced, {caught} of them caught")
print(f"recall {caught} / {replaced} = {caught / replaced:.3f}; false alarms {original - kept} / {original}")

# %% [markdown]
# # Collapsed form: all tokens at once
#
# Write all samples into a copy of the text, compare, and let bincount (lesson 12) count by token. "Replaced" is counted under the token
# that *stands* there: a wrong "the" is one that the generator wrote.


# %% Collapsed form in code
def count(e):
    """Evaluation e -> counts [V] of original, kept, replaced, caught."""
    rows, slots = np.nonzero(records.position_valid)  # the numbers s and k of all masked positions
    seen = records.input_ids.copy()
    seen[rows, records.positions[rows, slots]] = records.samples[e, rows, slots]
    counted, same, flagged = ~np.isin(records.input_ids, special), seen == records.input_ids, records.scores[e] > 0.5
    where = (counted & same, counted & same & ~flagged, counted & ~same, counted & ~same & flagged)
    return [np.bincount(seen[mask], minlength=len(records.tokens)) for mask in where]


every = np.array([count(e) for e in range(E)])  # [E, 4, V]
lesson.same("“the”, loops against counts", every[-1, :, THE], [original, kept, replaced, caught])

# %% Check
# The trainer counted too, after each evaluation, and wrote it down.
for i, name in enumerate(("original", "kept", "replaced", "caught")):
    lesson.same(f"{name}: all tokens and evaluations against the run's record", every[:, i], getattr(records, name))

# %% [markdown]
# # How sure is a share?
#
# k of n were caught. Had other sentences been held out, k would be another number. Say a token is caught with probability p. Then k/n
# varies around p: caught or not, 1 or 0, has the variance p (1 − p), and the mean of n such numbers has the variance p (1 − p)/n. (The
# root of a variance is called standard deviation.) 95 % of a normal distribution lies within z = 1.96 standard deviations of its middle.
# A **confidence band** turns this round. It holds all p that go with what was seen: those from which k/n is at most z standard
# deviations away. In long form: try all p. Collapsed: at its two ends both are equal,
#
#     (k/n − p)² = z² p (1 − p)/n
#     (1 + z²/n) p² − (2k/n + z²/n) p + (k/n)² = 0          all on one side, ordered by powers of p
#
#     p = [k/n + z²/2n ± z √( (k/n)(1 − k/n)/n + z²/4n² )] / (1 + z²/n)
#
# by the formula for quadratic equations. It is called Wilson's interval. The common mistake is to put k/n for p on the right-hand side
# of the first line: k/n ± z √((k/n)(1 − k/n)/n). That is simpler, and for k = 0 the band has no width, as if the rate were known.


# %% The band in code
def band(k, n):
    middle, width = k / n + Z**2 / (2 * n), Z * np.sqrt(k / n * (1 - k / n) / n + Z**2 / (4 * n**2))
    return (middle - width) / (1 + Z**2 / n), (middle + width) / (1 + Z**2 / n)


def simple_band(k, n):
    width = Z * np.sqrt(k / n * (1 - k / n) / n)
    return k / n - width, k / n + width


p = np.linspace(0, 1, 1_000_001)
possible = p[np.abs(caught / replaced - p) <= Z * np.sqrt(p * (1 - p) / replaced)]
lesson.same("band of “the”, all p tried against the formula", possible[[0, -1]], band(caught, replaced), tolerance=1e-5)
lesson.same("the formula against the library", band(caught, replaced), wilson(caught, replaced))
print("recall of “the”: {:.3f}, band {:.3f} to {:.3f}".format(caught / replaced, *band(caught, replaced)))

# %% A mistake, and a check that misses it
# A 95 % band should hold the true rate in about 95 % of all experiments. Do 100 000, with 60 tokens each.
for true in (0.5, 0.02):
    k = np.random.default_rng(17).binomial(60, true, 100_000)  # how many of 60 are caught, each with this probability
    good, bad = (np.mean((low <= true) & (true <= high)) for low, high in (band(k, 60), simple_band(k, 60)))
    print(f"true rate {true}: Wilson's band holds it in {good:.1%} of all experiments, the simple one in {bad:.1%}")
    assert abs(good - 0.95) < 0.02 and (abs(bad - 0.95) < 0.02) == (true == 0.5)  # at one half nothing is noticed

# %% See: the whole run
metrics = load_metrics(folder)
lesson.figure(learning.learning(metrics), "run")
print("   step   L_MLM   L_RTD     AUC   AUC, words only   recall   accuracy   always “original”")
for i in range(0, E, 3):
    row = [metrics[name][i] for name in ("step", "gen_loss", "disc_loss", "disc_auc")]
    words = auc(records.scores[i][records.counted], records.labels(i)[records.counted])  # without [CLS] and [SEP]
    row += [words, *(metrics[name][i] for name in ("disc_recall", "disc_accuracy", "baseline_accuracy"))]
    print("{:7.0f}  {:6.2f}  {:6.3f}  {:6.3f}   {:15.3f}   {:6.3f}     {:6.3f}   {:17.3f}".format(*row))
print(f"unigram: {metrics['unigram_entropy'][-1]:.2f} nats")

# %% [markdown]
# # Reading it
#
# - **L_MLM against unigram.** Above that line the generator knows less than how frequent tokens are, and for some hundred steps it stays
#   near it. What it has learned from *context* is the distance below.
# - **AUC against 0.5.** It soon is at 0.58, and stays there for hundreds of steps. More than half of that is cheap: [CLS] and [SEP] are
#   never replaced, and take part in the run's figures. The column beside it leaves them out.
# - **Accuracy against always "original".** For hundreds of steps the two can hardly be told apart. It is the last number to look at.
# - **Recall.** A token is flagged once the discriminator is more than half sure. So recall rises after AUC.
#
# AUC may also *fall* while all goes well, because it measures a discriminator against its generator. Think of a perfect generator, one
# whose probabilities are those of the language: its samples and the original tokens follow the same law, so nobody can tell them
# apart, and AUC is 0.5. In the five-minute run of docs/LOG.md AUC is highest after 1 800 steps, and falls while the generator improves.
#
# # Token by token
#
# The next figure has a panel a token. Red: what share of the planted ones is flagged. Blue: what share of the genuine ones is flagged
# by mistake. The AUC above a panel compares only occurrences of this one token, a planted "the" with genuine ones: that the token is
# frequent does not help there. We say a token is acquired at the first evaluation from which this AUC stays at 0.6 or above; that step
# is its **acquisition**. (The library averages over three evaluations first, since AUCs of rare tokens jump.)

# %% See: the learning curves of tokens
lesson.figure(tokens.tokens(records, ["the", "to", "is", "and", ".", ",", "##s", "##ed"]))

curves, planted, genuine = token_auc(records)  # each [E, V]
when = acquisition_step(records.steps, curves)
enough = (planted.mean(axis=0) >= 10) & (genuine.mean(axis=0) >= 10)
order = [i for i in np.argsort(when) if enough[i] and np.isfinite(when[i])]
print(f"of {enough.sum()} tokens that are planted ten times an evaluation or more, {len(order)} are acquired")
for name, several in (("first", order[:10]), ("last", order[-10:])):
    print(f"{name}:", ", ".join(f"{records.tokens[i]} ({when[i]:.0f})" for i in several))

# %% [markdown]
# # Film strips
#
# A **film strip** shows one text through training: a row for each of several steps, the colour the probability of "replaced". The
# first strip is a held-out passage, not the best one but one of median difficulty. The same places are masked in every row; what
# stands there is what the generator of that step wrote. The second is a sentence of our own, in which two words were replaced by
# hand; the run's checkpoints judge it one after the other.

# %% See: film strips
lesson.figure(film_strip.film_strip(records), "passage")

right, wrong = "The name is a string, and the value is a list.", "The name is a string, the the value is a of."
names, scores, steps = score_at_checkpoints(folder, wrong)
by_hand = np.array(names) != score_at_checkpoints(folder, right)[0]  # where the word pieces differ
title = "“the” for “and” ends at {:.0%}, “of” for “list” at {:.0%}".format(*scores[-1][by_hand])
path = film_strip.film_strip_sentence(lesson.figures / "17_training-sentence.png", names, scores, steps, title, by_hand)
print("figure:", path)

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/17_training.py --hints`.


# %% Your turn 1: when was it acquired?
def acquired_at(steps, curve, threshold):
    """steps [E], rising; curve [E], NaN (not measured) counts as below -> the first step from which the curve stays at or above
    the threshold to the end; None where it does not end there."""
    raise NotImplementedError("yours to write")


def check_acquired_at(function):
    for curve, expected, hint in (
        ([0.5, 0.6, 0.7, 0.8], 200, "0.6 is at the threshold, which counts"),
        ([0.7, 0.5, 0.7, 0.8], 300, "it was above before, but did not stay there"),
        ([0.7, 0.7, 0.8, 0.5], None, "it ends below"),
        ([0.7, np.nan, 0.8, 0.9], 300, "NaN counts as below"),
        ([0.7, 0.8, 0.9, 0.9], 100, "it was above all the time"),
    ):
        got = function(np.array([100, 200, 300, 400]), np.array(curve), 0.6)
        assert got == expected, f"curve {curve}: {expected}, not {got} ({hint})"


lesson.exercise(
    acquired_at, check_acquired_at,
    "Walk from the last evaluation to the first, as long as the curve is at or above the threshold.",
    "Start with None; for i in reversed(range(len(steps))): leave where `not curve[i] >= threshold`, else remember steps[i].",
)  # fmt: skip


# %% Your turn 2: can the probabilities be taken at their word?
def calibration(scores, replaced, bins):
    """Of the tokens with scores near 0.3, 30 % should be replaced. Cut 0 … 1 into equal bins: scores [N] in [0, 1], replaced [N] bool
    -> mean score [bins], share replaced [bins] (both NaN where a bin is empty), number of tokens [bins]."""
    raise NotImplementedError("yours to write")


def check_calibration(function):
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.3, 0.9, 1.0])
    means, shares, n = function(scores, np.array([False, False, True, True, False, True, True]), 4)
    assert list(n) == [3, 2, 0, 2], f"tokens in each bin: 3, 2, 0, 2, not {list(n)}; a score of exactly 1 belongs to the last"
    assert np.isnan([means[2], shares[2]]).all(), "the third bin holds no token: both NaN"
    for what, got, expected in (("mean scores", means, [0.1, 0.3, 0.95]), ("shares", shares, [1 / 3, 0.5, 1.0])):
        assert np.allclose(np.array(got)[[0, 1, 3]], expected), f"{what} {expected} in bins 1, 2 and 4, not {got}"
    here = records.counted
    for row in zip(*function(records.scores[-1][here].astype(float), records.labels(E - 1)[here], 5), strict=True):
        print("    mean score {:.2f}   really replaced {:.2f}   ({} tokens)".format(*row))


lesson.exercise(
    calibration, check_calibration,
    "The bin of a score is the whole part of score · bins. Where does that put a score of 1?",
    "index = np.minimum((scores * bins).astype(int), bins - 1); np.bincount(index, weights, minlength=bins) sums; 0/0 is NaN.",
)  # fmt: skip

# %% [markdown]
# # What comes next
#
# This run left the unigram line within a few hundred steps. That is not the rule: lesson 18 shows how training can be stuck there, and
# what a good start does about it.
#
# The real thing: `minielectra/training/launch.py`, `launch`; `minielectra/training/evaluation.py`, `Evaluator`;
# `minielectra/detection.py`, `count_detections`; `minielectra/plots/`, all pictures; in a terminal `python -m minielectra train`, which
# takes five minutes and comes further, and `python -m minielectra plot RUN --sentence "…"`.

# %%
lesson.end()
