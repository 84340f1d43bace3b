"""calibration.png: are the probabilities true, and what does every threshold give? Reliability diagram and ROC curves."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import ratio, wilson
from minielectra.runs.detection_counts import THRESHOLD, auc

BINS = 12


def calibration(records, n_curves=4):
    """Draw predicted against observed share of replaced tokens, the scores' histogram, and ROC curves at several steps.

    All tokens but padding take part ([CLS] and [SEP] too), as in the metrics of `metrics.jsonl`. -> Figure.
    """
    shown = np.unique(np.linspace(0, len(records.steps) - 1, n_curves).round().astype(int))
    scores, labels = records.scores[-1][records.valid].astype(np.float32), records.labels(len(records.steps) - 1)[records.valid]
    fig = style.figure(12, 6.2, _finding(scores, labels), (
        f"Left: step {style.spaced(records.steps[-1])}, {style.spaced(labels.sum())} replaced among {style.spaced(labels.size)} "
        "held-out tokens; bars: 95 % Wilson intervals; on the diagonal, 30 % of the tokens with score 30 % are\nreplaced. "
        "Right: each curve runs through all thresholds; the marker is the threshold 0.5; up and to the left is better."
    ))  # fmt: skip
    grid = fig.add_gridspec(2, 2, height_ratios=(3.2, 1), width_ratios=(1, 1.05))
    reliability = fig.add_subplot(grid[0, 0])
    _reliability(reliability, scores, labels)
    _histogram(fig.add_subplot(grid[1, 0], sharex=reliability), scores, labels)
    _roc(fig.add_subplot(grid[:, 1]), records, shown)
    return fig


def _bins(scores, labels):
    """Mean score, replaced and all tokens in each of BINS equal bins of [0, 1]: three [BINS] arrays."""
    index = np.minimum((scores * BINS).astype(int), BINS - 1)
    total = np.bincount(index, minlength=BINS)
    return ratio(np.bincount(index, scores, minlength=BINS), total), np.bincount(index, labels, minlength=BINS), total


def _finding(scores, labels):
    predicted, replaced, total = _bins(scores, labels)
    if not total.sum():
        return "No tokens to judge"
    low, high = np.quantile(scores, (0.05, 0.95))
    if high - low < 0.1:
        return f"The discriminator says nearly the same of every token: scores of {style.per_cent(low)} to {style.per_cent(high)}"
    error = np.nansum(np.abs(predicted - ratio(replaced, total)) * total) / total.sum()
    verdict = "can be taken at their word" if error < 0.02 else "are roughly right" if error < 0.06 else "are off"
    return f"The discriminator's probabilities {verdict}: mean calibration error {100 * error:.1f} percentage points"


def _reliability(ax, scores, labels):
    style.tidy(ax, "Reliability", ylabel="really replaced", percent=True)
    predicted, replaced, total = _bins(scores, labels)
    used = total > 0
    low, high = (bound[used] for bound in wilson(replaced, total))
    observed = ratio(replaced, total)[used]
    ax.plot([0, 1], [0, 1], color=style.BLACK, linestyle=":", linewidth=1.2, label="perfectly calibrated")
    share = ratio(labels.sum(), labels.size)
    ax.axhline(share, color=style.GREY, linestyle="--", linewidth=1, label=f"share replaced, {style.per_cent(float(share))}")
    ax.vlines(predicted[used], low, high, color=style.VERMILION, linewidth=1.3)
    ax.plot(predicted[used], observed, "o-", color=style.VERMILION, markersize=5, linewidth=1.6, label="discriminator")
    ax.set_ylim(-0.02, 1.02)
    ax.tick_params(labelbottom=False)
    style.legend(ax, loc="upper left")


def _histogram(ax, scores, labels):
    style.tidy(ax, xlabel="predicted probability of being replaced", ylabel="tokens (log)")
    edges = np.linspace(0, 1, BINS + 1)
    for where, color, name in ((~labels, style.BLUE, "original"), (labels, style.VERMILION, "replaced")):
        counts, _ = np.histogram(scores[where], edges)
        if counts.any():
            ax.stairs(counts, edges, color=color, linewidth=1.6, label=name)
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_formatter(style.percent_format())
    style.legend(ax, loc="upper right", ncols=2)


def roc_curve(scores, labels):
    """Points of the ROC curve, one for each distinct score: false-alarm rates and recalls, both rising from 0 to 1.

    scores [N], labels [N] bool -> two [P] float64 arrays; NaN when a class is empty.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.nonzero(np.diff(scores[order]))[0], len(order) - 1)  # ties move the curve in one step
    hits, alarms = np.cumsum(labels[order])[ends], np.cumsum(~labels[order])[ends]
    return np.append(0.0, ratio(alarms, (~labels).sum())), np.append(0.0, ratio(hits, labels.sum()))


def _roc(ax, records, shown):
    style.tidy(ax, "ROC at several steps", "originals flagged (false-alarm rate)", "replaced flagged (recall)", percent=True)
    ax.plot([0, 1], [0, 1], color=style.BLACK, linestyle=":", linewidth=1.2, label="guessing (AUC 0.50)")
    colors = (style.GREY, style.SKY, style.BLUE, style.VERMILION)[-len(shown) :]
    for e, color in zip(shown, colors, strict=True):
        scores, labels = records.scores[e][records.valid].astype(np.float32), records.labels(e)[records.valid]
        if labels.all() or not labels.any():
            continue
        x, y = roc_curve(scores, labels)
        name = f"step {style.spaced(records.steps[e])} (AUC {auc(scores, labels):.2f})"
        ax.plot(x, y, color=color, linewidth=2, label=name)
        ax.plot((scores[~labels] > THRESHOLD).mean(), (scores[labels] > THRESHOLD).mean(), "o", color=color,
                markersize=8, markeredgecolor="white")  # fmt: skip
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.xaxis.set_major_formatter(style.percent_format())
    style.legend(ax, loc="lower right", fontsize=9)
