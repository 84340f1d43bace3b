"""film_strip.png: one passage, token by token, as the discriminator saw and judged it during training."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from minielectra.errors import InputError
from minielectra.plots import style
from minielectra.plots.statistics import ratio
from minielectra.runs.detection_counts import THRESHOLD

ROWS, COLUMNS = 9, 14
LONGEST_TITLE = 90  # characters of a sentence that fit above the picture


def film_strip(records, n_rows=ROWS, n_columns=COLUMNS):
    """Draw a held-out passage: a column per token, a row per evaluation -> Figure.

    The colour is the probability of "replaced". The passage is typical, not the best: see `choose_passage`.

    records: DetectionRecords; n_rows: how many evaluations at most; n_columns: how many tokens at most.
    """
    rows = np.unique(np.linspace(0, len(records.steps) - 1, n_rows).round().astype(int))
    sequence, start, stop = choose_passage(records, n_columns)
    part = np.s_[rows, sequence, start:stop]
    scores, replaced = records.scores[part].astype(np.float64), records.replaced_mask[part]
    names = np.array(records.tokens, dtype=object)
    flagged, last = scores[-1] > THRESHOLD, replaced[-1]
    mean_replaced, mean_original = (
        style.per_cent(float(ratio(scores[-1][mask].sum(), mask.sum()))) for mask in (last, ~last)
    )
    step = style.spaced(records.steps[-1])
    title = (
        f"At step {step}, {(flagged & last).sum()} of {last.sum()} replaced tokens "
        f"in this passage are flagged, and {(flagged & ~last).sum()} of {(~last).sum()} originals; "
        f"mean score {mean_replaced} against {mean_original}"
    )
    subtitle = (
        "Each row is the passage as the discriminator saw it at that step. "
        "The same positions are masked every time, and the generator of that step fills them.\n"
        "Framed: really replaced, with the original token below. "
        "Number: probability of “replaced” (per cent). A held-out passage of median difficulty."
    )
    seen, steps = names[records.seen[part]], records.steps[rows]
    originals = np.broadcast_to(names[records.input_ids[sequence, start:stop]], scores.shape)
    return _draw(seen, scores, steps, title, subtitle, replaced, originals, n_columns)


def film_strip_sentence(tokens, scores, steps, title, replaced=None):
    """Draw the film strip of one sentence that was scored elsewhere, the same tokens at every step -> Figure.

    tokens: n strings; scores [R, n]: probabilities of "replaced"; steps [R]; title: the headline; replaced
    [n] bool: tokens to frame, or None if unknown. Long sentences are wrapped. Raises InputError if the shapes
    disagree or a score is not a probability.
    """
    scores, steps = np.asarray(scores, np.float64), np.asarray(steps)
    if not len(tokens) or scores.shape != (len(steps), len(tokens)) or not len(steps):
        raise InputError(
            f"scores have shape {scores.shape}, expected {len(steps)} steps × {len(tokens)} tokens"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InputError("scores are probabilities: every one must lie between 0 and 1")
    framed = np.zeros(len(tokens), bool) if replaced is None else np.asarray(replaced, bool)
    if framed.shape != (len(tokens),):
        raise InputError(f"replaced has shape {framed.shape}, expected ({len(tokens)},)")
    seen = np.broadcast_to(np.array(list(tokens), dtype=object), scores.shape)
    subtitle = "Colour and number: probability of “replaced” (per cent) at each step of training."
    if framed.any():
        subtitle += " Framed: really replaced."
    title = style.printable(title, LONGEST_TITLE)
    return _draw(seen, scores, steps, title, subtitle, np.broadcast_to(framed, scores.shape))


def choose_passage(records, n):
    """A typical passage of n tokens, or of fewer if no sequence is that long: its sequence, start and stop.

    Candidates are passages of ordinary tokens of which two to five are replaced at the last evaluation; if
    possible, without [UNK] and from the start of a sentence. Of these, the one with the median contrast is
    chosen. The contrast is the mean score of the replaced tokens minus the mean score of the original ones.
    """
    n = min(n, max(int(records.counted.sum(1).max()), 1))
    scores = records.scores[-1].astype(np.float64)
    known = records.counted & (records.input_ids != records.ids.get("[UNK]", -1))
    arrays = (known, records.counted, records.replaced_mask[-1], scores * records.replaced_mask[-1], scores)
    known, counted, replaced, score_replaced, score_all = (_windows(array, n) for array in arrays)
    contrast = ratio(score_replaced, replaced) - ratio(score_all - score_replaced, n - replaced)
    starts = np.zeros(records.input_ids.shape, bool)
    before_sentence = [records.ids.get(mark, -1) for mark in ("[CLS]", ".", "!", "?")]
    starts[:, 1:] = np.isin(records.input_ids[:, :-1], before_sentence)
    starts = starts[:, : counted.shape[1]]
    full, some = counted == n, (replaced >= 2) & (replaced <= 5)
    readable = (known == n) & some
    preferred = [readable & starts, readable, full & some]
    preferred += [full & (replaced > 0), full, counted == counted.max()]
    candidates = next(mask for mask in preferred if mask.any())
    where = np.argwhere(candidates)
    order = np.argsort(np.nan_to_num(contrast[candidates]), kind="stable")
    sequence, start = where[order[len(order) // 2]]
    return int(sequence), int(start), int(start) + n


def _windows(array, n):
    """Sums over every n neighbours in a row: [B, T] -> [B, T − n + 1]."""
    total = np.zeros((array.shape[0], array.shape[1] + 1))
    np.cumsum(array, axis=1, out=total[:, 1:])
    return total[:, n:] - total[:, :-n]


def _draw(seen, scores, steps, title, subtitle, replaced, originals=None, n_columns=COLUMNS):
    """The film strip of n tokens at R steps, wrapped after n_columns.

    seen [R, n] strings, scores [R, n], steps [R], replaced [R, n] bool, originals [R, n] strings or None.
    """
    n_rows, n = scores.shape
    columns = min(n, n_columns)
    strips = -(-n // columns)
    width, height = max(2.2 + 0.88 * columns, 9.0), 1.15 + strips * (0.45 + 0.43 * max(n_rows, 4))
    fig = style.figure(width, height, title, subtitle)
    axes = fig.subplots(strips, 1, squeeze=False).ravel()
    colors = ScalarMappable(Normalize(0, 1), "Oranges")
    for strip, ax in enumerate(axes):
        part = slice(strip * columns, min((strip + 1) * columns, n))
        below = None if originals is None else originals[:, part]
        head = seen[0, part] if below is None else below[0]
        _cells(ax, seen[:, part], scores[:, part], replaced[:, part], below, colors)
        ax.set_xlim(0, columns)
        ax.set_ylim(n_rows, 0)
        names = [style.printable(token, 11) for token in head]
        ax.set_xticks(np.arange(len(head)) + 0.5, names, fontsize=9, style="italic")
        ax.xaxis.tick_top()
        ax.set_yticks(np.arange(n_rows) + 0.5, [style.spaced(step) for step in steps], fontsize=9)
        ax.set_ylabel("training step", fontsize=9)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        if originals is not None:
            place = {"transform": ax.transAxes, "ha": "right", "va": "bottom"}
            ax.text(-0.005, 1.0, "original", fontsize=8, color=style.GREY, **place)
    bar = fig.colorbar(colors, ax=list(axes), pad=0.01, aspect=30, shrink=0.9)
    bar.set_label("probability of “replaced”", fontsize=9)
    bar.ax.yaxis.set_major_formatter(style.percent_format())
    bar.ax.tick_params(labelsize=8)
    return fig


def _cells(ax, seen, scores, replaced, originals, colors):
    """Draw a cell for every step and token, with its score; if it is replaced, a frame and the original."""
    for (row, column), score in np.ndenumerate(scores):
        framed = replaced[row, column]
        ink = "white" if score > 0.62 else style.INK
        fill = Rectangle((column, row), 1, 1, facecolor=colors.to_rgba(score), edgecolor="white", linewidth=1)
        ax.add_patch(fill)
        token = style.printable(seen[row, column], 11)
        centred = {"ha": "center", "va": "center", "color": ink}
        look = {"fontsize": 8.5 if len(token) < 9 else 7, "fontweight": "bold" if framed else "normal"}
        ax.text(column + 0.5, row + 0.36, token, **look, **centred)
        below = f"{100 * score:.0f}"
        if framed:
            look = {"fill": False, "edgecolor": style.BLUE, "linewidth": 1.8, "zorder": 3}
            ax.add_patch(Rectangle((column + 0.03, row + 0.04), 0.94, 0.92, **look))
            if originals is not None:
                below += f" · {style.printable(originals[row, column], 9)}"
        ax.text(column + 0.5, row + 0.76, below, fontsize=6.5, alpha=0.8, **centred)
