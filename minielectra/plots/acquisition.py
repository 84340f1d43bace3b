"""acquisition_heatmap.png and acquisition_frequency.png: when each token was learned, and whether frequency explains it."""

import numpy as np
from matplotlib.lines import Line2D

from minielectra.plots import style
from minielectra.plots.statistics import ACQUIRED, acquisition_step, auc_interval, token_auc, window
from minielectra.plots.words import class_ids, is_continuation, well_counted

ENOUGH = 3  # evaluations
MOST = 400  # tokens at most, those with the most evidence
CELL = "chance that a planted occurrence scores higher than a genuine one (AUC)"


def acquisition_heatmap(records, n_tokens=40, curves=None):
    """Draw tokens (rows, by when they were acquired) against steps. -> Figure.

    records: DetectionRecords; curves: `token_auc(records)` when the caller has it already.
    """
    auc, planted, genuine = curves or token_auc(records)
    most = well_counted(planted.mean(0), genuine.mean(0), MOST)
    ids = most[np.unique(np.linspace(0, len(most) - 1, n_tokens).round().astype(int))] if len(most) else most
    when = _when(records, auc[:, ids], planted[:, ids], genuine[:, ids])
    order = np.lexsort((-np.nan_to_num(auc[-1, ids]), np.nan_to_num(when, nan=np.inf)))
    ids, when = ids[order], when[order]

    acquired = np.isfinite(when).sum()
    title = f"{acquired} of these {len(ids)} tokens have been acquired by step {style.spaced(records.steps[-1])}"
    if not len(ids):
        title = "No token was both planted and genuine often enough to follow"
    elif len(records.steps) < ENOUGH:
        title = f"Too few evaluations to say when a token is acquired: {len(records.steps)}"
    elif acquired:
        title += f"; first “{style.printable(records.tokens[ids[0]])}”"
    width = window(len(records.steps))
    subtitle = (
        f"A cell: {CELL}; white: cannot tell; grey: no planted occurrence.\n"
        f"Acquired (black dot): AUC stays at {ACQUIRED} or above from there on, and at the end its 95 % interval excludes 0.5.\n"
        f"{len(ids)} tokens, evenly chosen from the {len(most)} planted most."
        + (f" Smoothed over {width} evaluations." if width > 1 else "")
    )
    fig = style.figure(9.5, 2.0 + 0.205 * max(len(ids), 6), title, subtitle)
    ax = style.tidy(fig.subplots())
    if not len(ids):
        style.note(ax, "nothing to show yet")
        return fig
    reach = max(0.2, float(np.nanquantile(np.abs(auc[:, ids] - 0.5), 0.98)))  # the colours span 0.5 ± reach
    mesh = ax.pcolormesh(_edges(records.steps), np.arange(len(ids) + 1) - 0.5, auc[:, ids].T,
                         cmap=style.DIVERGING, vmin=0.5 - reach, vmax=0.5 + reach, rasterized=True)  # fmt: skip
    ax.set_facecolor("#BBBBBB")
    ax.grid(False)
    ax.plot(when, np.arange(len(ids)), "o", color="black", markersize=4, markeredgecolor="white", markeredgewidth=0.6)
    ax.set_yticks(np.arange(len(ids)), [style.printable(records.tokens[i]) for i in ids], fontsize=8)
    ax.tick_params(axis="y", length=0)
    counts = ax.secondary_yaxis("right")
    counts.set_yticks(np.arange(len(ids)), [f"{planted[:, i].mean():.0f} / {genuine[:, i].mean():.0f}" for i in ids])
    counts.tick_params(labelsize=7, colors=style.GREY, length=0)
    counts.spines["right"].set_visible(False)
    counts.set_ylabel("planted / genuine occurrences an evaluation", fontsize=8, color=style.GREY)
    ax.set_ylim(len(ids) - 0.5, -0.5)
    style.step_axis(ax, records.steps)
    ax.set_xlim(_edges(records.steps)[[0, -1]])
    bar = fig.colorbar(mesh, ax=ax, pad=0.02, aspect=35, shrink=0.8, extend="both")
    bar.set_label("detection AUC of the token", fontsize=9)
    bar.ax.axhline(ACQUIRED, color="black", linewidth=1.2)
    bar.ax.tick_params(labelsize=8)
    return fig


def _when(records, auc, planted, genuine):
    """`acquisition_step`, but NaN where chance may explain it: at the end the AUC's 95 % interval must exclude 0.5.

    auc, planted, genuine [E, N] -> [N]. All NaN while there are too few evaluations for "stays above" to mean anything.
    """
    certain = (auc_interval(auc[-1], planted[-1], genuine[-1])[0] > 0.5) & (len(records.steps) >= ENOUGH)
    return np.where(certain, acquisition_step(records.steps, auc), np.nan)


def _edges(steps):
    """[E + 1] cell borders half-way between evaluations."""
    steps = np.asarray(steps, np.float64)
    if len(steps) == 1:
        return steps[0] + np.array([-0.5, 0.5]) * max(steps[0], 1)
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate(([2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]))


def acquisition_frequency(records, curves=None, n_labels=45):
    """Draw each token's step of acquisition against its training count; those not acquired as a rug on top. -> Figure."""
    auc, planted, genuine = curves or token_auc(records)
    ids = well_counted(planted.mean(0), genuine.mean(0), MOST)
    ids = ids[records.train_counts[ids] > 0]
    when, counts = _when(records, auc[:, ids], planted[:, ids], genuine[:, ids]), records.train_counts[ids].astype(float)
    acquired = np.isfinite(when)

    fig = style.figure(10.5, 6.8, _finding(counts, when), (
        f"A dot: a token; acquired: its AUC (planted against genuine occurrences) stays at {ACQUIRED} or above from there on,\n"
        f"and at the end its 95 % interval excludes 0.5. Shown: the {len(ids)} tokens with the most evidence. "
        "Bigger: planted more often."
    ))  # fmt: skip
    ax = style.tidy(fig.subplots(), xlabel="occurrences in the training text (log scale)", ylabel="step of acquisition")
    if not len(ids):
        style.note(ax, "no token was both planted and genuine often enough")
        return fig
    steps = np.asarray(records.steps, np.float64)
    span = steps[-1] - steps[0] or max(steps[-1], 1.0)
    shelf = steps[-1] + 0.1 * span
    y = np.where(acquired, when, shelf)
    size = 12 + 70 * np.sqrt(planted[:, ids].mean(0) / planted[:, ids].mean(0).max())
    classes, pieces = class_ids(records.tokens)[ids], is_continuation(records.tokens)[ids]
    kinds = (
        ("closed class", classes == 0, style.BLUE, "o"), ("open class", (classes == 1) & ~pieces, style.VERMILION, "s"),
        ("continuation piece", pieces, style.GREEN, "^"), ("punctuation, digits", (classes >= 2) & ~pieces, style.PURPLE, "D"),
    )  # fmt: skip
    for _, kind, color, marker in kinds:
        if (kind & acquired).any():
            ax.scatter(counts[kind & acquired], y[kind & acquired], size[kind & acquired], color=color, marker=marker,
                       alpha=0.75, linewidth=0)  # fmt: skip
        ax.plot(counts[kind & ~acquired], y[kind & ~acquired], "|", color=color, markersize=13, markeredgewidth=1.3)
    if not acquired.all():
        ax.axhspan(shelf - 0.05 * span, shelf + 0.05 * span, color="#F2F2F2", zorder=0)
        waiting = f"not acquired yet, or too few occurrences to be sure: {(~acquired).sum()} tokens"
        ax.text(0.005, shelf + 0.065 * span, waiting, fontsize=8, color=style.GREY,
                transform=ax.get_yaxis_transform(), va="bottom")  # fmt: skip
    ax.set_xscale("log")
    ax.set_ylim(steps[0] - 0.05 * span, steps[-1] + 0.05 * span if acquired.all() else shelf + 0.13 * span)
    ax.set_yticks([tick for tick in ax.get_yticks() if steps[0] <= tick <= steps[-1]])
    ax.yaxis.set_major_formatter(lambda value, _: style.short(value))
    _label_some(ax, fig, counts, y, np.sqrt(size) / 2, [style.printable(records.tokens[i]) for i in ids], acquired, n_labels)
    handles = [Line2D([], [], color=color, marker=marker, linestyle="", label=name) for name, _, color, marker in kinds]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    return fig


def _finding(counts, when):
    acquired = np.isfinite(when)
    if acquired.sum() < 10:
        return f"{acquired.sum()} of {len(when)} tokens acquired so far: too few to relate to frequency"
    # Spearman's rank correlation over all tokens; those not acquired come last, tied
    rank = lambda values: np.mean([np.searchsorted(np.sort(values), values, side) for side in ("left", "right")], 0)  # noqa: E731
    a, b = rank(counts), rank(np.where(acquired, when, np.inf))
    if not a.std() or not b.std():
        return f"{acquired.sum()} of {len(when)} tokens acquired, all at the same time"
    correlation = np.corrcoef(a, b)[0, 1]
    verb = "Frequent tokens are acquired earlier" if correlation < -0.2 else (
        "Frequent tokens are acquired later" if correlation > 0.2 else "Frequency hardly predicts when a token is acquired"
    )  # fmt: skip
    return f"{verb} (rank correlation {correlation:+.2f}); {acquired.sum()} of {len(when)} acquired".replace("-", "−")


def _label_some(ax, fig, x, y, radius, names, acquired, n_labels):
    """Name dots (radius in points), spread over the picture, leaving out every label that would touch an earlier one."""
    fig.draw_without_rendering()  # settles the layout, so that data can be measured in pixels
    at = ax.transData.transform(np.column_stack((x, y)))
    taken = []
    spread = np.concatenate([np.argsort(-x, kind="stable")[start::7] for start in range(7)])  # over the whole range of x
    candidates = [*spread[acquired[spread]], *spread[~acquired[spread]]]
    for i in candidates:
        gap, width, height = radius[i] + 2, 6 + 8.5 * len(names[i]), 14  # points, then pixels at 100 dpi, generous
        box = (at[i, 0] + gap, at[i, 1] - height / 2, at[i, 0] + gap + width, at[i, 1] + height / 2)
        inside = ax.bbox.x0 <= box[0] and box[2] <= ax.bbox.x1 and ax.bbox.y0 <= box[1] and box[3] <= ax.bbox.y1
        free = all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken)
        on_dots = ((at[:, 0] > at[i, 0] + 1) & (at[:, 0] < box[2] + 6) & (np.abs(at[:, 1] - at[i, 1]) < 11)).any()
        if inside and free and not on_dots and len(taken) < n_labels:
            taken.append(box)
            ax.annotate(names[i], (x[i], y[i]), (gap, 0), textcoords="offset points", fontsize=8, va="center", color=style.INK)
