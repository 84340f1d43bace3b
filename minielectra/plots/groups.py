"""groups.png: which kinds of tokens are detected: by frequency, position, word class, and place in the word.

Dimensions: E evaluations, B held-out sequences of T positions, V vocabulary entries, G groups.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import auc_interval, ratio, smooth, wilson, window
from minielectra.plots.words import CLASSES, class_ids, frequency_bands, is_continuation
from minielectra.runs.detection_counts import THRESHOLD, grouped_auc

COLUMNS = ("recall", "balanced accuracy", "AUC")


class Grouping(NamedTuple):
    """One way to divide the tokens seen."""

    heading: str
    names: list[str]  # of the G groups
    group: np.ndarray  # [E, B, T] int, −1 for a token in no group


class Measured(NamedTuple):
    """The curves of the groups of one grouping."""

    curves: dict  # for each of COLUMNS: (value, low, high), each [E, G]
    n_replaced: np.ndarray  # [G] mean per evaluation


def groups(records):
    """Draw recall, balanced accuracy and AUC over training, for four groupings of the tokens -> Figure."""
    groupings = [_by_frequency(records), _by_position(records), _by_class(records), _by_piece(records)]
    measured = [_measure(records, grouping.group, len(grouping.names)) for grouping in groupings]
    fig = style.figure(12.5, 12.2, _finding(groupings, measured), _how_to_read(window(len(records.steps))))
    axes = fig.subplots(len(groupings), len(COLUMNS), sharex=True, sharey="col")
    for row, (grouping, groups_measured) in enumerate(zip(groupings, measured, strict=True)):
        for ax, column in zip(axes[row], COLUMNS, strict=True):
            style.tidy(ax, f"By {grouping.heading}: {column}", percent=column != "AUC")
            _curves(ax, records.steps, grouping.names, groups_measured, column)
            style.step_axis(ax, records.steps, "training step" if row == len(groupings) - 1 else "")
        place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False, "alignment": "left"}
        handles = axes[row, 2].get_legend_handles_labels()
        axes[row, 2].legend(*handles, title="tokens seen", fontsize=8, title_fontsize=8, **place)
    for ax, column in zip(axes[0], COLUMNS, strict=True):  # the rows share their y axes
        ax.set_ylim(*_limits([one.curves[column][0] for one in measured], column))
    return fig


def _curves(ax, steps, names, measured, column):
    for g, name in enumerate(names):
        if not measured.n_replaced[g]:
            continue
        value, low, high = (array[:, g] for array in measured.curves[column])
        look = {"color": style.CYCLE[g], "marker": style.MARKERS[g], "linewidth": 1.7}
        label = f"{name}  (n = {style.spaced(measured.n_replaced[g])})"
        style.line(ax, steps, value, low, high, label=label, **look)
    if column != "recall":
        ax.axhline(0.5, color=style.BLACK, linestyle=":", linewidth=1.2)


def _limits(values, column):
    """A y range for curves [E, G]; the first of several evaluations (untrained) does not set the scale."""
    values = np.concatenate([value[min(1, len(value) - 1) :].ravel() for value in values])
    values = np.append(values[np.isfinite(values)], (0, 0.1) if column == "recall" else (0.45, 0.55))
    margin = 0.12 * np.ptp(values)
    return (0 if column == "recall" else values.min() - margin), min(values.max() + margin, 1.01)


def _how_to_read(width):
    smoothed = f"Smoothed over {width} evaluations. " if width > 1 else ""
    return (
        "Tokens are grouped by what the discriminator sees; n = replaced tokens per evaluation. "
        f"{smoothed}Bands: 95 % intervals for one evaluation (Wilson; AUC: Hanley–McNeil).\n"
        "Dotted: always answering “original” (balanced accuracy 50 %, AUC 0.5, recall 0). "
        "Recall depends on how readily a model flags tokens; AUC does not."
    )


def _finding(groupings, measured):
    """Name the widest gap in AUC at the end, among groups whose intervals do not overlap."""
    widest, sentence = 0.0, "No kind of token is clearly detected better than another"
    for grouping, groups_measured in zip(groupings, measured, strict=True):
        final, low, high = (array[-1] for array in groups_measured.curves["AUC"])
        if np.isfinite(final).sum() < 2:
            continue
        best, worst = np.nanargmax(final), np.nanargmin(final)
        gap = final[best] - final[worst]
        if gap > widest and low[best] > high[worst]:
            widest, (heading, names, _) = gap, grouping
            extremes = f"{names[best]} (AUC {final[best]:.2f}) against {names[worst]} ({final[worst]:.2f})"
            sentence = f"Detection differs most by {heading}: {extremes}"
    return sentence


def _measure(records, group, n_groups):
    """The curves of all groups. group [E, B, T] int, −1 for tokens in no group -> Measured."""
    shape = (len(records.steps), n_groups)
    n_replaced, caught, n_original, kept = (np.zeros(shape) for _ in range(4))
    auc = np.full(shape, np.nan)
    for e in range(len(records.steps)):
        inside = records.counted & (group[e] >= 0)
        of, replaced, scores = group[e][inside], records.replaced_mask[e][inside], records.scores[e][inside]
        flagged = scores > THRESHOLD
        n_replaced[e] = np.bincount(of[replaced], minlength=n_groups)
        caught[e] = np.bincount(of[replaced & flagged], minlength=n_groups)
        n_original[e] = np.bincount(of[~replaced], minlength=n_groups)
        kept[e] = np.bincount(of[~replaced & ~flagged], minlength=n_groups)
        auc[e] = grouped_auc(scores, replaced, of, n_groups)
    width = window(len(records.steps))
    auc = smooth(auc, width, weights=n_replaced)
    n_replaced, caught, n_original, kept = (
        smooth(array, width) for array in (n_replaced, caught, n_original, kept)
    )
    recall, specificity = ratio(caught, n_replaced), ratio(kept, n_original)
    (recall_low, recall_high), (kept_low, kept_high) = wilson(caught, n_replaced), wilson(kept, n_original)
    balanced = (recall + specificity) / 2
    # Two independent proportions: the squares of their deviations add up (Newcombe 1998).
    balanced_low = balanced - np.hypot(recall - recall_low, specificity - kept_low) / 2
    balanced_high = balanced + np.hypot(recall_high - recall, kept_high - specificity) / 2
    curves = {
        "recall": (recall, recall_low, recall_high),
        "balanced accuracy": (balanced, balanced_low, balanced_high),
        "AUC": (auc, *auc_interval(auc, n_replaced, n_original)),
    }
    return Measured(curves, n_replaced.mean(0))


def _by_frequency(records):
    occurrences = np.bincount(records.seen[:, records.counted].ravel(), minlength=len(records.tokens))
    band, ranges = frequency_bands(records.train_counts, occurrences)
    spans = [(style.short(low), style.short(high)) for low, high in ranges]
    names = [f"{low}–{high} times" if low != high else f"{high} times" for low, high in spans]
    return Grouping("training frequency", names, band[records.seen])


def _by_position(records, parts=4):
    length = records.input_ids.shape[1]
    edges = np.unique(np.linspace(0, length, parts + 1).astype(int))
    part = np.searchsorted(edges, np.arange(length), side="right") - 1
    names = [f"positions {low}–{high - 1}" for low, high in pairwise(edges)]
    return Grouping("position", names, np.broadcast_to(part, records.seen.shape))


def _by_class(records):
    return Grouping("word class", list(CLASSES), class_ids(records.tokens)[records.seen])


def _by_piece(records):
    group = np.where(class_ids(records.tokens) >= 0, is_continuation(records.tokens).astype(int), -1)
    return Grouping("place in the word", ["starts a word", "continues a word (##)"], group[records.seen])
