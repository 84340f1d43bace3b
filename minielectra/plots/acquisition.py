"""acquisition_heatmap.png, acquisition_frequency.png: when each token was acquired, and how frequent it is.

A token is acquired at the step from which its detection AUC stays at ACQUIRED or above, if chance cannot
explain that.
"""

import numpy as np
from matplotlib.lines import Line2D

from minielectra.plots import style
from minielectra.plots.statistics import ACQUIRED, acquisition_step, auc_interval, token_auc, window
from minielectra.plots.words import class_ids, is_continuation, well_counted

ENOUGH = 3  # evaluations, before "stays above" means anything
MOST = 400  # tokens at most, those with the most evidence
RULE = f"its AUC stays at {ACQUIRED} or above from there on, and at the end its 95 % interval excludes 0.5"


def acquisition_heatmap(records, n_tokens=40, curves=None):
    """Draw the AUC of tokens (rows, in order of acquisition) at every evaluation (columns) -> Figure.

    records: DetectionRecords; curves: `token_auc(records)`, if the caller has it already.
    """
    auc, n_replaced, n_original = curves or token_auc(records)
    most = well_counted(n_replaced.mean(0), n_original.mean(0), MOST)
    ids = most[np.unique(np.linspace(0, len(most) - 1, n_tokens).round().astype(int))] if len(most) else most
    when = _when(records, auc[:, ids], n_replaced[:, ids], n_original[:, ids])
    order = np.lexsort((-np.nan_to_num(auc[-1, ids]), np.nan_to_num(when, nan=np.inf)))
    ids, when = ids[order], when[order]

    width = window(len(records.steps))
    smoothed = f" Smoothed over {width} evaluations." if width > 1 else ""
    subtitle = (
        "A cell: the chance that the token gets a higher score where the generator wrote it (replaced) "
        "than where it belongs (original): AUC.\n"
        f"White: 0.5, chance; grey: no replaced occurrence.{smoothed}\n"
        f"Black dot: the token is acquired, that is, {RULE}.\n"
        f"{len(ids)} tokens, evenly spread over the {len(most)} with the most evidence."
    )
    fig = style.figure(9.5, 2.2 + 0.205 * max(len(ids), 6), _heatmap_finding(records, ids, when), subtitle)
    ax = style.tidy(fig.subplots())
    if not len(ids):
        style.note(ax, "nothing to show yet")
        return fig
    reach = max(0.2, float(np.nanquantile(np.abs(auc[:, ids] - 0.5), 0.98)))  # the colours span 0.5 ± reach
    colors = {"cmap": style.DIVERGING, "vmin": 0.5 - reach, "vmax": 0.5 + reach}
    rows = np.arange(len(ids) + 1) - 0.5
    mesh = ax.pcolormesh(_edges(records.steps), rows, auc[:, ids].T, rasterized=True, **colors)
    ax.set_facecolor("#BBBBBB")
    ax.grid(False)
    dot = {"color": "black", "markersize": 4, "markeredgecolor": "white", "markeredgewidth": 0.6}
    ax.plot(when, np.arange(len(ids)), "o", **dot)
    ax.set_yticks(np.arange(len(ids)), [style.printable(records.tokens[i]) for i in ids], fontsize=8)
    ax.tick_params(axis="y", length=0)
    counts = ax.secondary_yaxis("right")
    means = [f"{n_replaced[:, i].mean():.0f} / {n_original[:, i].mean():.0f}" for i in ids]
    counts.set_yticks(np.arange(len(ids)), means)
    counts.tick_params(labelsize=7, colors=style.GREY, length=0)
    counts.spines["right"].set_visible(False)
    counts.set_ylabel("replaced / original occurrences per evaluation", fontsize=8, color=style.GREY)
    ax.set_ylim(len(ids) - 0.5, -0.5)
    style.step_axis(ax, records.steps)
    ax.set_xlim(_edges(records.steps)[[0, -1]])
    bar = fig.colorbar(mesh, ax=ax, pad=0.02, aspect=35, shrink=0.8, extend="both")
    bar.set_label("detection AUC of the token", fontsize=9)
    bar.ax.axhline(ACQUIRED, color="black", linewidth=1.2)
    bar.ax.tick_params(labelsize=8)
    return fig


def _heatmap_finding(records, ids, when):
    if not len(ids):
        return "No token is replaced often enough and original often enough to follow"
    if len(records.steps) < ENOUGH:
        return f"Too few evaluations to say when a token is acquired: {len(records.steps)}"
    acquired, step = np.isfinite(when).sum(), style.spaced(records.steps[-1])
    sentence = f"{acquired} of these {len(ids)} tokens have been acquired by step {step}"
    return sentence + (f"; “{style.printable(records.tokens[ids[0]])}” was the first" if acquired else "")


def _when(records, auc, n_replaced, n_original):
    """`acquisition_step`, but NaN where chance may explain the AUC at the end: its 95 % interval holds 0.5.

    auc, n_replaced, n_original [E, N] -> [N]. All NaN while there are fewer than ENOUGH evaluations.
    """
    certain = auc_interval(auc[-1], n_replaced[-1], n_original[-1])[0] > 0.5
    enough = len(records.steps) >= ENOUGH
    return np.where(certain & enough, acquisition_step(records.steps, auc), np.nan)


def _edges(steps):
    """The borders between cells, half-way between evaluations: [E] -> [E + 1]."""
    steps = np.asarray(steps, np.float64)
    if len(steps) == 1:
        return steps[0] + np.array([-0.5, 0.5]) * max(steps[0], 1)
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate(([2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]))


def acquisition_frequency(records, curves=None, n_labels=45):
    """Draw each token's step of acquisition against its training count -> Figure.

    Tokens that are not acquired are ticks at the top.

    records: DetectionRecords; curves: `token_auc(records)`, if the caller has it already; n_labels: how many
    dots get a name at most.
    """
    auc, n_replaced, n_original = curves or token_auc(records)
    ids = well_counted(n_replaced.mean(0), n_original.mean(0), MOST)
    ids = ids[records.train_counts[ids] > 0]
    when = _when(records, auc[:, ids], n_replaced[:, ids], n_original[:, ids])
    counts = records.train_counts[ids].astype(float)

    subtitle = (
        f"Each dot is a token at the step at which it is acquired, that is, {RULE}.\n"
        "AUC: its replaced against its original occurrences. "
        f"Shown: the {len(ids)} tokens with the most evidence. Larger dot: replaced more often."
    )
    fig = style.figure(10.5, 6.8, _frequency_finding(counts, when), subtitle)
    xlabel = "occurrences in the training text (log scale)"
    ax = style.tidy(fig.subplots(), xlabel=xlabel, ylabel="step of acquisition")
    if not len(ids):
        style.note(ax, "no token is replaced often enough and original often enough")
        return fig
    acquired = np.isfinite(when)
    steps = np.asarray(records.steps, np.float64)
    span = steps[-1] - steps[0] or max(steps[-1], 1.0)
    shelf = steps[-1] + 0.1 * span  # where tokens that are not acquired stand
    y = np.where(acquired, when, shelf)
    often = n_replaced[:, ids].mean(0)
    size = 12 + 70 * np.sqrt(often / often.max())
    kinds = _kinds(np.array(records.tokens, dtype=object)[ids])
    for _, kind, color, marker in kinds:
        dots, ticks = kind & acquired, kind & ~acquired
        if dots.any():
            ax.scatter(counts[dots], y[dots], size[dots], color=color, marker=marker, alpha=0.75, linewidth=0)
        ax.plot(counts[ticks], y[ticks], "|", color=color, markersize=13, markeredgewidth=1.3)
    if not acquired.all():
        ax.axhspan(shelf - 0.05 * span, shelf + 0.05 * span, color="#F2F2F2", zorder=0)
        text = f"not acquired yet, or too few occurrences to be sure: {(~acquired).sum()} tokens"
        left = ax.get_yaxis_transform()
        ax.text(0.005, shelf + 0.065 * span, text, fontsize=8, color=style.GREY, transform=left, va="bottom")
    ax.set_xscale("log")
    ax.set_ylim(steps[0] - 0.05 * span, steps[-1] + 0.05 * span if acquired.all() else shelf + 0.13 * span)
    ax.set_yticks([tick for tick in ax.get_yticks() if steps[0] <= tick <= steps[-1]])
    ax.yaxis.set_major_formatter(lambda value, _: style.short(value))
    names = [style.printable(records.tokens[i]) for i in ids]
    _label_some(ax, fig, counts, y, np.sqrt(size) / 2, names, acquired, n_labels)
    handles = [
        Line2D([], [], linestyle="", color=color, marker=mark, label=name) for name, _, color, mark in kinds
    ]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    return fig


def _kinds(tokens):
    """(name, which of the tokens [N] bool, colour, marker) of each kind of token."""
    classes, pieces = class_ids(tokens), is_continuation(tokens)
    return (
        ("closed class", classes == 0, style.BLUE, "o"),
        ("open class", (classes == 1) & ~pieces, style.VERMILION, "s"),
        ("continuation piece", pieces, style.GREEN, "^"),
        ("punctuation, digits", (classes >= 2) & ~pieces, style.PURPLE, "D"),
    )


def _frequency_finding(counts, when):
    acquired = np.isfinite(when)
    if acquired.sum() < 10:
        return f"{acquired.sum()} of {len(when)} tokens acquired so far: too few to relate to frequency"
    # Spearman's rank correlation over all tokens; those not acquired come last, tied
    a, b = _ranks(counts), _ranks(np.where(acquired, when, np.inf))
    if not a.std() or not b.std():
        return f"{acquired.sum()} of {len(when)} tokens acquired, all at the same time"
    correlation = np.corrcoef(a, b)[0, 1]
    if correlation < -0.2:
        verdict = "Frequent tokens are acquired earlier"
    elif correlation > 0.2:
        verdict = "Frequent tokens are acquired later"
    else:
        verdict = "Frequency hardly predicts when a token is acquired"
    numbers = f"(rank correlation {correlation:+.2f}); {acquired.sum()} of {len(when)} acquired"
    return f"{verdict} {numbers}".replace("-", "−")


def _ranks(values):
    """The rank of each value among all, [N] -> [N] float64; equal values share their mean rank."""
    return np.mean([np.searchsorted(np.sort(values), values, side) for side in ("left", "right")], axis=0)


def _label_some(ax, fig, x, y, radius, names, acquired, n_labels):
    """Name some dots, spread over the picture, so that no label touches a dot or another label.

    x, y [N] in data units; radius [N] in points; names [N]; acquired [N] bool: these are tried first.
    """
    fig.draw_without_rendering()  # settles the layout, so that data can be measured in pixels
    at = ax.transData.transform(np.column_stack((x, y)))
    taken = []
    order = np.argsort(-x, kind="stable")
    spread = np.concatenate([order[start::7] for start in range(7)])  # over the whole range of x
    for i in (*spread[acquired[spread]], *spread[~acquired[spread]]):
        gap, width = radius[i] + 2, 6 + 8.5 * len(names[i])
        left, low, high = at[i, 0] + gap, at[i, 1] - 7, at[i, 1] + 7  # generous, in pixels at 100 dpi
        box = (left, low, left + width, high)
        frame = ax.bbox
        inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
        free = all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken)
        near = (at[:, 0] > at[i, 0] + 1) & (at[:, 0] < box[2] + 6) & (np.abs(at[:, 1] - at[i, 1]) < 11)
        if inside and free and not near.any() and len(taken) < n_labels:
            taken.append(box)
            place = {"xytext": (gap, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(names[i], (x[i], y[i]), fontsize=8, color=style.INK, **place)
