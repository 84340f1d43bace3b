"""calibration.png: whether the probabilities are true, and what each threshold gives."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import ratio, wilson
from minielectra.runs.detection_counts import THRESHOLD, auc

BINS = 12


def calibration(records, n_curves=4):
    """Draw the reliability diagram, a histogram of the scores, and the ROC curves of several steps -> Figure.

    All tokens except padding take part ([CLS] and [SEP] too), as in the figures of metrics.jsonl.

    records: DetectionRecords; n_curves: how many ROC curves at most.
    """
    shown = np.unique(np.linspace(0, len(records.steps) - 1, n_curves).round().astype(int))
    scores, replaced = _judged(records, -1)
    subtitle = (
        f"Left: step {style.spaced(records.steps[-1])}; {style.spaced(replaced.sum())} of "
        f"{style.spaced(replaced.size)} held-out tokens are replaced. On the diagonal, 30 % of the tokens "
        "with a score of 30 % are replaced. Bars: 95 % Wilson intervals.\n"
        "Right: each curve runs through all thresholds; its marker is the threshold 0.5. "
        "Further up and to the left is better."
    )
    fig = style.figure(12, 6.2, _finding(scores, replaced), subtitle)
    grid = fig.add_gridspec(2, 2, height_ratios=(3.2, 1), width_ratios=(1, 1.05))
    reliability = fig.add_subplot(grid[0, 0])
    _reliability(reliability, scores, replaced)
    _histogram(fig.add_subplot(grid[1, 0], sharex=reliability), scores, replaced)
    _roc(fig.add_subplot(grid[:, 1]), records, shown)
    return fig


def _judged(records, e):
    """The tokens of evaluation e without padding: their scores [N] float32, which are replaced [N] bool."""
    return records.scores[e][records.valid].astype(np.float32), records.replaced_mask[e][records.valid]


def _bins(scores, replaced):
    """Mean score, number of replaced and of all tokens in each of BINS equal bins of [0, 1]: three [BINS]."""
    index = np.minimum((scores * BINS).astype(int), BINS - 1)
    total = np.bincount(index, minlength=BINS)
    mean_score = ratio(np.bincount(index, scores, minlength=BINS), total)
    return mean_score, np.bincount(index, replaced, minlength=BINS), total


def _finding(scores, replaced):
    predicted, n_replaced, total = _bins(scores, replaced)
    if not total.sum():
        return "There are no tokens to judge"
    low, high = np.quantile(scores, (0.05, 0.95))
    if high - low < 0.1:
        span = f"{style.per_cent(low)} to {style.per_cent(high)}"
        return f"The discriminator gives nearly the same score to every token: {span}"
    error = np.nansum(np.abs(predicted - ratio(n_replaced, total)) * total) / total.sum()
    verdict = "can be trusted" if error < 0.02 else "are roughly right" if error < 0.06 else "are off"
    points = f"{100 * error:.1f} percentage points"
    return f"The discriminator's probabilities {verdict}: mean calibration error {points}"


def _reliability(ax, scores, replaced):
    style.tidy(ax, "Reliability", ylabel="really replaced", percent=True)
    predicted, n_replaced, total = _bins(scores, replaced)
    used = total > 0
    low, high = (bound[used] for bound in wilson(n_replaced, total))
    observed = ratio(n_replaced, total)[used]
    ax.plot([0, 1], [0, 1], color=style.BLACK, linestyle=":", linewidth=1.2, label="perfectly calibrated")
    share = ratio(replaced.sum(), replaced.size)
    label = f"share replaced, {style.per_cent(float(share))}"
    ax.axhline(share, color=style.GREY, linestyle="--", linewidth=1, label=label)
    ax.vlines(predicted[used], low, high, color=style.VERMILION, linewidth=1.3)
    look = {"color": style.VERMILION, "markersize": 5, "linewidth": 1.6}
    ax.plot(predicted[used], observed, "o-", label="discriminator", **look)
    ax.set_ylim(-0.02, 1.02)
    ax.tick_params(labelbottom=False)
    style.legend(ax, loc="upper left")


def _histogram(ax, scores, replaced):
    style.tidy(ax, xlabel="predicted probability of being replaced", ylabel="tokens (log)")
    edges = np.linspace(0, 1, BINS + 1)
    for where, color, name in ((~replaced, style.BLUE, "original"), (replaced, style.VERMILION, "replaced")):
        counts, _ = np.histogram(scores[where], edges)
        if counts.any():
            ax.stairs(counts, edges, color=color, linewidth=1.6, label=name)
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_formatter(style.percent_format())
    style.legend(ax, loc="upper right", ncols=2)


def roc_curve(scores, replaced):
    """The ROC curve: false-alarm rates and recalls, both rising from 0 to 1, a point for each distinct score.

    scores [N], replaced [N] bool -> two [P] float64 arrays; NaN without original or without replaced tokens.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.nonzero(np.diff(scores[order]))[0]  # equal scores move the curve in one step
    ends = np.append(last_of_tie, len(order) - 1)
    caught, alarms = np.cumsum(replaced[order])[ends], np.cumsum(~replaced[order])[ends]
    return np.append(0.0, ratio(alarms, (~replaced).sum())), np.append(0.0, ratio(caught, replaced.sum()))


def _roc(ax, records, shown):
    xlabel, ylabel = "originals flagged (false-alarm rate)", "replaced flagged (recall)"
    style.tidy(ax, "ROC at several steps", xlabel, ylabel, percent=True)
    ax.plot([0, 1], [0, 1], color=style.BLACK, linestyle=":", linewidth=1.2, label="guessing (AUC 0.50)")
    colors = (style.GREY, style.SKY, style.BLUE, style.VERMILION)[-len(shown) :]
    for e, color in zip(shown, colors, strict=True):
        scores, replaced = _judged(records, e)
        if replaced.all() or not replaced.any():
            continue
        x, y = roc_curve(scores, replaced)
        name = f"step {style.spaced(records.steps[e])} (AUC {auc(scores, replaced):.2f})"
        ax.plot(x, y, color=color, linewidth=2, label=name)
        at_threshold = (scores[~replaced] > THRESHOLD).mean(), (scores[replaced] > THRESHOLD).mean()
        ax.plot(*at_threshold, "o", color=color, markersize=8, markeredgecolor="white")
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.xaxis.set_major_formatter(style.percent_format())
    style.legend(ax, loc="lower right", fontsize=9)
