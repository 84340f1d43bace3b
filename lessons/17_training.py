# %% [markdown]
# # 17 · A real run, and the learning curve of every token
#
# **You will be able to** train ELECTRA on real text, compute from its records how often it notices a wrong "the", with a band
# that says how sure that is, and read learning curves against what knowing nothing would give.
#
# **Time** 50 minutes · **needs** 5, 11, 12, 13, 14, 15, 16 · **runs** 60 s
#
# All parts are there: text as word pieces (lesson 11), the joint step (15), Adam (16). A **run** is a training from its first
# step to its last, and the folder that it leaves. Two kinds of things are written into that folder along the way:
#
# - a **checkpoint**: all parameters and Adam's moments at one step. Training can go on from there, and the model can be asked;
# - an **evaluation**: losses and every single score on held-out text, the same text with the same masked positions every time.
#
# A number followed over the evaluations is a **learning curve**. There is one for the whole text, and one for every token.

# %%
import tempfile
from pathlib import Path

import numpy as np
from course import begin

from minielectra.plots import film_strip, tokens
from minielectra.plots.statistics import Z, acquisition_step, token_auc, wilson
from minielectra.pretraining.load import score_at_checkpoints
from minielectra.pretraining.start import launch
from minielectra.runs.detection_counts import auc
from minielectra.runs.detection_records import DetectionRecords
from minielectra.runs.metrics_log import metric_columns

lesson = begin("17_training")

# %% Train
# What `python -m minielectra train` does. Its smallest settings are called `tiny`; here they are made smaller: a minute instead
# of four. The text is the documentation of Python and its libraries; a vocabulary is learned from it first, as in lesson 11.
sizes = dict(embedding_size=64, hidden_size=64, intermediate_size=256, num_attention_heads=2, generator_width=0.5)
sizes["generator_depth"] = 0.5  # layers too
place = tempfile.TemporaryDirectory()  # removed when the lesson ends; a run of your own is kept in runs/
settings = {"preset": "tiny", "steps": 1500, "eval_every": 100, "checkpoint_every": 150, "seed": 0}
folder, _ = launch(settings, sizes, Path(place.name) / "run", default_minutes=None)
print("left in the folder:", ", ".join(sorted(path.name for path in folder.iterdir())))

# %% Long form: one token, one evaluation
# How well is a wrong "the" noticed at the end? `detection.npz` has what is needed: E evaluations of S sequences of T tokens with
# up to K masked ones. A token with a score above ½ is flagged. A wrong "the" is called caught; a right one, not flagged, is kept.
records = DetectionRecords.load(folder)
E, S, T = records.scores.shape  # the discriminator's probability of "replaced"
K = records.positions.shape[1]  # positions [S, K] are masked; samples [E, S, K]: what the generator wrote there
THE, e = records.id_of("the"), E - 1
special = [records.id_of(name) for name in ("[PAD]", "[CLS]", "[SEP]")]
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
        if seen[t] == records.input_ids[s, t]:  # it belongs here (or the generator guessed right, which is the same)
            original += 1
            kept += not flagged
        else:  # the generator wrote it over another token
            replaced += 1
            caught += flagged
print(f"“the”: {original} times original, {kept} of them kept; {replaced} times replaced, {caught} of them caught")
print(f"recall {caught} / {replaced} = {caught / replaced:.3f}; false alarms (right, but flagged) {original - kept} / {original}")


# %% Collapsed form: all tokens at once
# Write all samples into a copy of the text, compare, and let bincount (lesson 12) count by token: the one that *stands* there.
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
# k of n were caught; in other sentences k would be another number. If a token is caught with probability p, then k has mean n p
# and variance n p (1 − p) (lesson 13), so k/n has mean p and the spread σ = √(p (1 − p)/n). For a large n its values are spread
# like the bell curve of lesson 5: 95 % of them within 1.96 σ of p, as Φ(1.96) − Φ(−1.96) = 0.95. Write z for 1.96.
#
# A **confidence band** turns this round: it holds all p from which k/n is at most z σ away. In long form: try all p. Collapsed:
# at both ends of the band (k/n − p)² = z² p (1 − p)/n, and this quadratic equation has the solutions (Wilson's band)
#
#     p = [k/n + z²/2n ± z √( (k/n)(1 − k/n)/n + z²/4n² )] / (1 + z²/n)
#
# The common mistake is to put k/n for p in σ: k/n ± z √((k/n)(1 − k/n)/n). That is simpler, and has no width for k = 0, as if the
# rate were known.


# %% The band in code
def band(k, n):
    middle, width = k / n + Z**2 / (2 * n), Z * np.sqrt(k / n * (1 - k / n) / n + Z**2 / (4 * n**2))
    return (middle - width) / (1 + Z**2 / n), (middle + width) / (1 + Z**2 / n)


p = np.linspace(0, 1, 1_000_001)
possible = p[np.abs(caught / replaced - p) <= Z * np.sqrt(p * (1 - p) / replaced)]
lesson.same("band of “the”, all p tried against the formula", possible[[0, -1]], band(caught, replaced), tolerance=1e-5)
lesson.same("the formula against the library", band(caught, replaced), wilson(caught, replaced))
print("recall of “the”: {:.3f}, band {:.3f} to {:.3f}".format(caught / replaced, *band(caught, replaced)))

# %% A mistake, and a check that misses it
# A 95 % band should hold the true rate in about 95 % of all experiments. Do 100 000, with 60 tokens each.
for true in (0.5, 0.02):
    k = np.random.default_rng(17).binomial(60, true, 100_000)  # how many of 60 are caught, each with this probability
    low, high = band(k, 60)
    good, bad = np.mean((low <= true) & (true <= high)), np.mean(np.abs(true - k / 60) <= Z * np.sqrt(k / 60 * (1 - k / 60) / 60))
    print(f"true rate {true}: Wilson's band holds it in {good:.1%} of all experiments, the simple one in {bad:.1%}")
    assert abs(good - 0.95) < 0.02 and (abs(bad - 0.95) < 0.02) == (true == 0.5)  # at one half nothing is noticed

# %% The whole run, beside what knowing nothing gives
metrics = metric_columns(folder)
print(f"unigram {metrics['unigram_entropy'][0]:.2f}\n   step   L_MLM     AUC   recall   accuracy   always “original”")
for i in [0, 1, 2, 3, 4, 5, 6, 9, 12, 15]:
    row = [metrics[name][i] for name in ("step", "gen_loss", "disc_auc", "disc_recall", "disc_accuracy", "baseline_accuracy")]
    print("{:7.0f}  {:6.2f}   {:5.3f}   {:6.3f}     {:6.3f}   {:17.3f}".format(*row))
here = records.counted  # [S, T] bool: neither padding nor [CLS] nor [SEP]
words = auc(records.scores[2][here], records.replaced_mask[2][here])
print(f"AUC at step {records.steps[2]} without [CLS] and [SEP]: {words:.3f}")

# %% [markdown]
# # Reading it
#
# - **L_MLM against unigram.** Near it the generator knows how frequent tokens are; below it, it knows *context*.
# - **AUC against 0.5.** It is 0.58 at once and stays there for 400 steps. About half of that is cheap: [CLS] and [SEP] are never
#   replaced, and take part in the run's figures. The last line leaves them out.
# - **Accuracy against always "original".** For hundreds of steps the two can hardly be told apart. Look at it last.
# - **Recall.** A token is flagged once the discriminator is more than half sure. So recall rises after AUC.
# - **Step 0** is chance: random parameters may flag nearly everything, or nothing.
#
# AUC may also *fall* while all goes well, because it measures a discriminator against its generator. Samples of a perfect
# generator would be spread like the original tokens. Nobody could tell them apart: AUC 0.5.
#
# # Token by token
#
# The figure has a panel for each of eight tokens. Orange: of its *replaced* occurrences, where the generator wrote it over
# another token, the share that is flagged. Blue: the same for its *original* occurrences, where it belongs. The AUC above a
# panel compares only occurrences of this token, replaced and original, so that being frequent does not help. We say a token is
# acquired at the step from which this AUC stays at 0.6 or above; that step is its **acquisition**. (Few tokens make AUC jump, so
# the library averages over three evaluations first.)

# %% See: the learning curves of tokens
lesson.figure(tokens.tokens(records, ["the", "to", "is", "and", ".", ",", "##s", "##ed"]))
curves, n_replaced, n_original = token_auc(records)  # each [E, V]
when = acquisition_step(records.steps, curves)  # [V], NaN ("not a number") where a token is not acquired
enough = (n_replaced.mean(axis=0) >= 20) & (n_original.mean(axis=0) >= 20)
order = [i for i in np.argsort(when) if enough[i] and np.isfinite(when[i])]  # argsort: the indices, lowest value first
print(f"of {enough.sum()} tokens replaced 20 times per evaluation or more, {len(order)} are acquired; the first and last:")
print(", ".join(f"{records.tokens[i]} ({when[i]:.0f})" for i in [*order[:8], *order[-8:]]))

# %% [markdown]
# # One sentence through training
#
# A **film strip** shows one text through training, a row a step, the colour the probability of "replaced". Ours is a sentence in
# which we replace two words by hand, "and" by "the" and "list" by "of"; the run's checkpoints judge it one after the other.

# %% See: a film strip
right, wrong = "The name is a string, and the value is a list.", "The name is a string, the the value is a of."
(names, scores, steps), (right_names, right_scores, _) = (score_at_checkpoints(folder, text) for text in (wrong, right))
by_hand = np.array(names) != right_names  # where the word pieces differ
title = "“the” for “and” ends at {:.0%}, “of” for “list” at {:.0%}".format(*scores[-1][by_hand])
lesson.figure(film_strip.film_strip_sentence(names, scores, steps, title, by_hand), "sentence")
print("at the last checkpoint:")
for wrong_score, right_score, i in zip(scores[-1][by_hand], right_scores[-1][by_hand], np.flatnonzero(by_hand), strict=True):
    print(f"    “{names[i]}” {wrong_score:.0%}, in its place “{right_names[i]}” would have {right_score:.0%}")
# The "a" before "of" is suspected too, though we did not touch it: of two tokens that do not fit, either may be the wrong one.

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/17_training.py --hints`.


# %% Your turn 1: when was it acquired?
def acquired_at(steps, curve, threshold):
    """steps [E], rising; curve [E], where NaN (not measured) counts as below -> the first step from which the curve stays at or
    above the threshold to the end; None where it does not end there."""
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


lesson.exercise(acquired_at, check_acquired_at,
    "Walk from the last evaluation to the first, as long as the curve is at or above the threshold.",
    "Start with None; i in reversed(range(len(steps))): stop at `not curve[i] >= threshold`, else keep steps[i].")


# %% Your turn 2: can the probabilities be taken at their word?
def calibration(scores, replaced, bins):
    """Of the tokens with scores near 0.3, 30 % should be replaced. Cut 0 … 1 into equal bins. scores [N] in [0, 1], replaced [N]
    bool -> mean score [bins], share replaced [bins] (both NaN where a bin is empty), number of tokens [bins]."""
    raise NotImplementedError("yours to write")


def check_calibration(function):
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.3, 0.9, 1.0])
    means, shares, n = function(scores, np.array([False, False, True, True, False, True, True]), 4)
    assert list(n) == [3, 2, 0, 2], f"tokens in each bin: 3, 2, 0, 2, not {list(n)}; a score of exactly 1 belongs to the last"
    assert np.isnan([means[2], shares[2]]).all(), "the third bin holds no token: both NaN"
    assert np.allclose([*means[:2], means[3]], [0.1, 0.3, 0.95]), f"mean scores 0.1, 0.3, NaN, 0.95, not {means}"
    assert np.allclose([*shares[:2], shares[3]], [1 / 3, 0.5, 1.0]), f"shares 1/3, 1/2, NaN, 1, not {shares}"
    here = records.counted
    for row in zip(*function(records.scores[-1][here].astype(float), records.replaced_mask[E - 1][here], 5), strict=True):
        print("    mean score {:.2f}   really replaced {:.2f}   ({} tokens)".format(*row))


lesson.exercise(calibration, check_calibration,
    "The bin of a score is the whole part of score · bins. Where does that put a score of 1?",
    "np.minimum((scores * bins).astype(int), bins - 1); np.bincount(index, what, minlength=bins) sums; 0/0: NaN.")

# %% [markdown]
# # What comes next
#
# This run left the unigram line within a few hundred steps. Lesson 18 shows how training gets stuck there, and how it does not.
#
# The real thing: `minielectra/pretraining/start.py`, `launch`; `minielectra/pretraining/evaluation.py`, `Evaluator`; in a terminal
# `python -m minielectra train`, four minutes that lead further, and `python -m minielectra plot RUN --sentence "…"`.

# %%
lesson.end()
