"""film_strip.png: one passage, token by token, as the discriminator saw and judged it in the course of training."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from minielectra.errors import InputError
from minielectra.plots import style
from minielectra.plots.statistics import ratio
from minielectra.runs.detection_counts import THRESHOLD

ROWS, COLUMNS = 9, 14


def film_strip(records, n_rows=ROWS, n_columns=COLUMNS):
    """Draw a held-out passage: a column a token, a row an evaluation, colour the probability of being replaced. -> Figure.

    The passage is a typical one, not the best: see `choose_passage`.
    """
    rows = np.unique(np.linspace(0, len(records.steps) - 1, n_rows).round().astype(int))
    sequence, start, stop = choose_passage(records, n_columns)
    part = np.s_[rows, sequence, start:stop]
    scores, replaced = records.scores[part].astype(np.float64), records.replaced_mask[part]
    names = np.array(records.tokens, dtype=object)
    flagged, last = scores[-1] > THRESHOLD, replaced[-1]
    title = (
        f"At step {style.spaced(records.steps[-1])}, {(flagged & last).sum()} of {last.sum()} replaced tokens in this passage "
        f"are flagged, and {(flagged & ~last).sum()} of {(~last).sum()} originals; mean score "
        f"{style.per_cent(float(ratio(scores[-1][last].sum(), last.sum())))} against "
        f"{style.per_cent(float(ratio(scores[-1][~last].sum(), (~last).sum())))}"
    )
    subtitle = (
        "Each row is the passage as the discriminator saw it at that step; the same places are masked each time, and filled by "
        "the generator of that step.\nFramed: really replaced, the original below it. Number: probability of “replaced” "
        "(per cent). A held-out passage of median difficulty."
    )
    return _draw(names[records.seen[part]], scores, records.steps[rows], title, subtitle, replaced,
                 np.broadcast_to(names[records.input_ids[sequence, start:stop]], scores.shape), n_columns)  # fmt: skip


def film_strip_sentence(path, tokens, scores, steps, title, replaced=None):
    """Write the film strip of one sentence that was scored elsewhere, the same tokens at every step.

    path: the PNG; tokens: n strings; scores [R, n] in [0, 1], probability of "replaced"; steps [R]; title: the headline;
    replaced [n] bool: tokens to frame, or None when unknown. Long sentences are wrapped. Returns the path.
    InputError when the shapes disagree or a score is no probability.
    """
    scores, steps = np.asarray(scores, np.float64), np.asarray(steps)
    if not len(tokens) or scores.shape != (len(steps), len(tokens)) or not len(steps):
        raise InputError(f"scores have shape {scores.shape}, expected {len(steps)} steps × {len(tokens)} tokens")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InputError("scores are probabilities: every one must lie between 0 and 1")
    marks = np.zeros(len(tokens), bool) if replaced is None else np.asarray(replaced, bool)
    if marks.shape != (len(tokens),):
        raise InputError(f"replaced has shape {marks.shape}, expected ({len(tokens)},)")
    seen = np.broadcast_to(np.array(list(tokens), dtype=object), scores.shape)
    subtitle = "Colour and number: probability of “replaced” (per cent) at each step of training." + (
        " Framed: really replaced." if marks.any() else ""
    )
    return style.save(_draw(seen, scores, steps, title, subtitle, np.broadcast_to(marks, scores.shape)), path)


def choose_passage(records, n):
    """A typical passage: sequence, start, stop.

    Among the passages of n ordinary tokens with two to five replaced ones at the last evaluation — without [UNK] and from the
    start of a sentence where possible — the one whose contrast (mean score of replaced minus mean score of original tokens) is
    the median.
    """
    n = min(n, max(int(records.counted.sum(1).max()), 1))
    labels, scores = records.labels(len(records.steps) - 1), records.scores[-1].astype(np.float64)
    known = records.counted & (records.input_ids != records.ids.get("[UNK]", -1))
    arrays = (known, records.counted, labels, scores * labels, scores)
    known, counted, replaced, score_replaced, score_all = (_windows(array, n) for array in arrays)
    contrast = ratio(score_replaced, replaced) - ratio(score_all - score_replaced, n - replaced)
    starts = np.zeros(records.input_ids.shape, bool)
    starts[:, 1:] = np.isin(records.input_ids[:, :-1], [records.ids.get(mark, -1) for mark in ("[CLS]", ".", "!", "?")])
    starts = starts[:, : counted.shape[1]]
    full, some = counted == n, (replaced >= 2) & (replaced <= 5)
    readable = (known == n) & some
    preferred = (readable & starts, readable, full & some, full & (replaced > 0), full, counted == counted.max())
    for candidates in preferred:
        if candidates.any():
            break
    where = np.argwhere(candidates)
    order = np.argsort(np.nan_to_num(contrast[candidates]), kind="stable")
    sequence, start = where[order[len(order) // 2]]
    return int(sequence), int(start), int(start) + n


def _windows(array, n):
    """Sums over every n neighbours of a row: [S, L] -> [S, L − n + 1]."""
    total = np.zeros((array.shape[0], array.shape[1] + 1))
    np.cumsum(array, axis=1, out=total[:, 1:])
    return total[:, n:] - total[:, :-n]


def _draw(seen, scores, steps, title, subtitle, replaced, originals=None, n_columns=COLUMNS):
    """seen [R, n] strings, scores [R, n], replaced [R, n] bool, originals [R, n] strings: the strip, wrapped at n_columns."""
    n_rows, n = scores.shape
    columns = min(n, n_columns)
    strips = -(-n // columns)
    width, height = max(2.2 + 0.88 * columns, 9.0), 1.15 + strips * (0.45 + 0.43 * max(n_rows, 4))
    fig = style.figure(width, height, title, subtitle)
    axes = fig.subplots(strips, 1, squeeze=False).ravel()
    colors = ScalarMappable(Normalize(0, 1), "Oranges")
    for strip, ax in enumerate(axes):
        part = slice(strip * columns, min((strip + 1) * columns, n))
        head = seen[0, part] if originals is None else originals[0, part]
        _cells(ax, seen[:, part], scores[:, part], replaced[:, part], None if originals is None else originals[:, part], colors)
        ax.set_xlim(0, columns)
        ax.set_ylim(n_rows, 0)
        ax.set_xticks(np.arange(len(head)) + 0.5, [style.printable(token, 11) for token in head], fontsize=9, style="italic")
        ax.xaxis.tick_top()
        ax.set_yticks(np.arange(n_rows) + 0.5, [style.spaced(step) for step in steps], fontsize=9)
        ax.set_ylabel("training step", fontsize=9)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        if originals is not None:
            ax.text(-0.005, 1.0, "original", transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color=style.GREY)
    bar = fig.colorbar(colors, ax=list(axes), pad=0.01, aspect=30, shrink=0.9)
    bar.set_label("probability of “replaced”", fontsize=9)
    bar.ax.yaxis.set_major_formatter(style.percent_format())
    bar.ax.tick_params(labelsize=8)
    return fig


def _cells(ax, seen, scores, replaced, originals, colors):
    for (row, column), score in np.ndenumerate(scores):
        framed = replaced[row, column]
        ink = "white" if score > 0.62 else style.INK
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=colors.to_rgba(score), edgecolor="white", linewidth=1))
        token = style.printable(seen[row, column], 11)
        ax.text(column + 0.5, row + 0.36, token, ha="center", va="center", fontsize=8.5 if len(token) < 9 else 7, color=ink,
                fontweight="bold" if framed else "normal")  # fmt: skip
        below = f"{100 * score:.0f}"
        if framed:
            frame = Rectangle((column + 0.03, row + 0.04), 0.94, 0.92, fill=False, edgecolor=style.BLUE, linewidth=1.8, zorder=3)
            ax.add_patch(frame)
            if originals is not None:
                below += f" · {style.printable(originals[row, column], 9)}"
        ax.text(column + 0.5, row + 0.76, below, ha="center", va="center", fontsize=6.5, color=ink, alpha=0.8)
