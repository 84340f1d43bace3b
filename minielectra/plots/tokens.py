"""tokens.png: detection of chosen tokens over training, one panel per token."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import auc_interval, ratio, smooth, token_auc, wilson, window
from minielectra.plots.words import choose_tokens

COLUMNS = 4


def tokens(records, chosen=None, curves=None):
    """Draw recall and false alarms of chosen word pieces over training -> Figure.

    records: DetectionRecords; chosen: list of word pieces (default: a mix picked by `choose_tokens`); curves:
    `token_auc(records)`, if the caller has it already. Raises InputError for a piece that is not in the
    vocabulary.
    """
    ids = [records.id_of(token) for token in dict.fromkeys(chosen)] if chosen else choose_tokens(records)
    width = window(len(records.steps))
    false_alarms = records.original[:, ids] - records.kept[:, ids]
    recall, recall_low, recall_high = _rate(records.caught[:, ids], records.replaced[:, ids], width)
    alarms, alarms_low, alarms_high = _rate(false_alarms, records.original[:, ids], width)
    auc, n_replaced, n_original = (array[-1] for array in curves or token_auc(records))
    lowest_auc = auc_interval(auc, n_replaced, n_original)[0]

    rows = max(1, -(-len(ids) // COLUMNS))
    fig = style.figure(12, 1.55 + 2.2 * rows, _finding(records, ids, auc, lowest_auc), _how_to_read(width))
    axes = fig.subplots(rows, min(COLUMNS, max(len(ids), 1)), sharex=True, sharey=True, squeeze=False).ravel()
    # An untrained model may flag everything, so it does not set the scale.
    trained = slice(min(1, len(recall) - 1), None)
    tops = np.concatenate((recall[trained].ravel(), alarms[trained].ravel(), recall_high[-1]))
    top = np.max(tops, where=np.isfinite(tops), initial=0.1)
    for j, (ax, token_id) in enumerate(zip(axes, ids, strict=False)):
        replaced, original = records.replaced[:, token_id].mean(), records.original[:, token_id].mean()
        caption = f"AUC {auc[token_id]:.2f} · {replaced:.0f} replaced, {original:.0f} original"
        caption = caption.replace("nan", "–")
        style.tidy(ax, style.printable(records.tokens[token_id]), percent=True)
        ax.set_title(caption, loc="right", fontsize=7.5, color="#666666")
        look = {"color": style.VERMILION, "linewidth": 1.9, "label": "replaced: share flagged (recall)"}
        style.line(ax, records.steps, recall[:, j], recall_low[:, j], recall_high[:, j], **look)
        look = {"color": style.BLUE, "linewidth": 1.6, "label": "original: share flagged (false alarms)"}
        look |= {"marker": "s", "linestyle": "--"}
        style.line(ax, records.steps, alarms[:, j], alarms_low[:, j], alarms_high[:, j], **look)
        if replaced == 0:
            style.note(ax, "no replaced occurrence")
        style.step_axis(ax, records.steps, "training step" if j // COLUMNS == rows - 1 else "")
        ax.set_ylim(0, min(1.02, 1.1 * top))
        if j % COLUMNS == 0:
            ax.set_ylabel("share flagged", fontsize=9)
    for ax in axes[len(ids) :]:
        ax.set_axis_off()
    if ids:
        place = (0.995, 1 - 0.3 / fig.get_figheight())
        handles = axes[0].get_legend_handles_labels()
        fig.legend(*handles, loc="upper right", ncols=2, fontsize=9, frameon=False, bbox_to_anchor=place)
    return fig


def _rate(successes, total, width):
    """Shares [E, N] pooled over `width` evaluations, and both ends of the Wilson band for one evaluation."""
    successes, total = smooth(successes.astype(float), width), smooth(total.astype(float), width)
    return ratio(successes, total), *wilson(successes, total)


def _finding(records, ids, auc, lowest_auc):
    often = records.replaced.mean(0) >= 5
    known = [i for i in ids if np.isfinite(auc[i]) and often[i]] or [i for i in ids if np.isfinite(auc[i])]
    if not known:
        return "None of these tokens was written over another one often enough to judge"
    best, worst = (pick(known, key=lambda i: auc[i]) for pick in (max, min))

    def name(i):
        return f"“{style.printable(records.tokens[i])}”"

    if not any(lowest_auc[i] > 0.5 for i in known):
        span = f"(AUC {auc[worst]:.2f} to {auc[best]:.2f})"
        return f"For none of these tokens are replaced and original told apart better than by chance {span}"
    if best == worst:
        return f"A replaced {name(best)} is told from an original one with AUC {auc[best]:.2f}"
    return (
        f"Of these tokens, {name(best)} is the easiest to spot as a replacement (AUC {auc[best]:.2f}), "
        f"{name(worst)} the hardest ({auc[worst]:.2f})"
    )


def _how_to_read(width):
    pooled = f", pooled over {width} evaluations" if width > 1 else ""
    return (
        "replaced: the generator wrote this token over another one; original: it belongs there.\n"
        f"Curves: share flagged{pooled}; bands: 95 % Wilson intervals for one evaluation. "
        "Numbers: AUC at the end (0.5 is chance), mean counts per evaluation."
    )
