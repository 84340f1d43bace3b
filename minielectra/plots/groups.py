"""groups.png: which kinds of tokens are detected: by frequency, position, word class, and start or continuation of a word."""

from itertools import pairwise

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import auc_interval, ratio, smooth, wilson, window
from minielectra.plots.words import CLASSES, class_ids, frequency_bands, is_continuation
from minielectra.runs.detection_counts import THRESHOLD, grouped_auc


def groups(records):
    """Draw recall, balanced accuracy and AUC over training for four ways of grouping the tokens seen. -> Figure."""
    groupings = [_by_frequency(records), _by_position(records), _by_class(records), _by_piece(records)]
    curves = [_measure(records, group, len(names)) for _, names, group in groupings]
    fig = style.figure(12.5, 12.2, _finding(groupings, curves), _how_to_read(window(len(records.steps))))
    axes = fig.subplots(len(groupings), 3, sharex=True, sharey="col")
    columns = ("recall", "balanced accuracy", "AUC")
    for row, ((heading, names, _), measured) in enumerate(zip(groupings, curves, strict=True)):
        for ax, column in zip(axes[row], columns, strict=True):
            style.tidy(ax, f"By {heading}: {column}", percent=column != "AUC")
            for g, name in enumerate(names):
                if not measured["planted"][g]:
                    continue
                value, low, high = (array[:, g] for array in measured[column])
                label = f"{name}  (n = {style.spaced(measured['planted'][g])})"
                style.line(ax, records.steps, value, low, high, color=style.CYCLE[g], marker=style.MARKERS[g],
                           linewidth=1.7, label=label)  # fmt: skip
            if column != "recall":
                ax.axhline(0.5, color=style.BLACK, linestyle=":", linewidth=1.2)
            style.step_axis(ax, records.steps, "training step" if row == len(groupings) - 1 else "")
        handles = axes[row, 2].get_legend_handles_labels()
        axes[row, 2].legend(*handles, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False,
                            title="tokens seen", title_fontsize=8, alignment="left")  # fmt: skip
    for ax, column in zip(axes[0], columns, strict=True):  # the rows share their y axes
        ax.set_ylim(*_limits([measured[column][0] for measured in curves], column))
    return fig


def _limits(values, column):
    """A y range for curves [E, G]; the first of several evaluations (untrained) does not set the scale."""
    values = np.concatenate([value[min(1, len(value) - 1) :].ravel() for value in values])
    values = np.append(values[np.isfinite(values)], (0, 0.1) if column == "recall" else (0.45, 0.55))
    margin = 0.12 * np.ptp(values)
    return (0 if column == "recall" else values.min() - margin), min(values.max() + margin, 1.01)


def _how_to_read(width):
    pooled = f"Smoothed over {width} evaluations. " if width > 1 else ""
    return (
        "A token belongs to the group of what the discriminator sees; n = replaced tokens an evaluation. "
        f"{pooled}Bands: 95 % (Wilson; Hanley–McNeil for AUC) for one evaluation.\n"
        "Dotted: the always-“original” baseline (balanced accuracy 50 %, AUC 0.5, recall 0). "
        "Recall depends on how ready to flag a model is; AUC does not."
    )


def _finding(groupings, curves):
    """Name the widest gap in AUC at the end, among groups whose intervals do not overlap."""
    widest, sentence = 0.0, "No kind of token is clearly detected better than another"
    for (heading, names, _), measured in zip(groupings, curves, strict=True):
        final, low, high = (array[-1] for array in measured["AUC"])
        if np.isfinite(final).sum() < 2:
            continue
        best, worst = np.nanargmax(final), np.nanargmin(final)
        gap = final[best] - final[worst]
        if gap > widest and low[best] > high[worst]:
            widest = gap
            sentence = (
                f"Detection differs most by {heading}: {names[best]} (AUC {final[best]:.2f}) "
                f"against {names[worst]} ({final[worst]:.2f})"
            )
    return sentence


def _measure(records, group, n_groups):
    """Curves of each group: dict of (value, low, high), each [E, G], and "planted" [G] (mean replaced an evaluation).

    group [E, S, L] int, −1 for tokens in no group. Each evaluation is one call of `bincount` for every group at once.
    """
    shape = (len(records.steps), n_groups)
    planted, caught, genuine, kept = (np.zeros(shape) for _ in range(4))
    auc = np.full(shape, np.nan)
    for e in range(len(records.steps)):
        inside = records.counted & (group[e] >= 0)
        of, labels, scores = group[e][inside], records.labels(e)[inside], records.scores[e][inside]
        flagged = scores > THRESHOLD
        for array, where in ((planted, labels), (caught, labels & flagged), (genuine, ~labels), (kept, ~labels & ~flagged)):
            array[e] = np.bincount(of[where], minlength=n_groups)
        auc[e] = grouped_auc(scores, labels, of, n_groups)
    width = window(len(records.steps))
    auc = smooth(auc, width, weights=planted)
    planted, caught, genuine, kept = (smooth(array, width) for array in (planted, caught, genuine, kept))
    recall, specificity = ratio(caught, planted), ratio(kept, genuine)
    (recall_low, recall_high), (spec_low, spec_high) = wilson(caught, planted), wilson(kept, genuine)
    balanced = (recall + specificity) / 2
    return {  # two independent proportions: their deviations add as squares (Newcombe 1998)
        "recall": (recall, recall_low, recall_high),
        "balanced accuracy": (
            balanced,
            balanced - np.hypot(recall - recall_low, specificity - spec_low) / 2,
            balanced + np.hypot(recall_high - recall, spec_high - specificity) / 2,
        ),
        "AUC": (auc, *auc_interval(auc, planted, genuine)),
        "planted": planted.mean(0),
    }


def _by_frequency(records):
    occurrences = np.bincount(records.seen[:, records.counted].ravel(), minlength=len(records.tokens))
    band, ranges = frequency_bands(records.train_counts, occurrences)
    names = [f"{style.short(low)}–{style.short(high)} times".removeprefix(f"{style.short(high)}–") for low, high in ranges]
    return "training frequency", names, band[records.seen]


def _by_position(records, parts=4):
    length = records.input_ids.shape[1]
    edges = np.unique(np.linspace(0, length, parts + 1).astype(int))
    part = np.searchsorted(edges, np.arange(length), side="right") - 1
    names = [f"positions {low}–{high - 1}" for low, high in pairwise(edges)]
    return "position", names, np.broadcast_to(part, records.seen.shape)


def _by_class(records):
    return "word class", list(CLASSES), class_ids(records.tokens)[records.seen]


def _by_piece(records):
    group = np.where(class_ids(records.tokens) >= 0, is_continuation(records.tokens).astype(int), -1)
    return "place in the word", ["starts a word", "continues one (##)"], group[records.seen]
