"""tokens.png: detection over training, one panel a token."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import auc_interval, ratio, smooth, token_auc, wilson, window
from minielectra.plots.words import choose_tokens

COLUMNS = 4


def tokens(records, chosen=None, curves=None):
    """Draw recall and false alarms of chosen word pieces over training.

    records: DetectionRecords; chosen: list of vocabulary entries (default: a mix picked by `choose_tokens`);
    curves: `token_auc(records)` when the caller has it already -> Figure.
    InputError when an entry is not in the vocabulary.
    """
    ids = [records.id_of(token) for token in dict.fromkeys(chosen)] if chosen else choose_tokens(records)
    width = window(len(records.steps))
    recall, recall_low, recall_high = _rate(records.caught[:, ids], records.replaced[:, ids], width)
    alarms, alarms_low, alarms_high = _rate(records.original[:, ids] - records.kept[:, ids], records.original[:, ids], width)
    auc, planted, genuine = (array[-1] for array in curves or token_auc(records))
    surely = auc_interval(auc, planted, genuine)[0]

    rows = max(1, -(-len(ids) // COLUMNS))
    fig = style.figure(12, 1.55 + 2.2 * rows, _finding(records, ids, auc, surely), _how_to_read(width))
    axes = fig.subplots(rows, min(COLUMNS, max(len(ids), 1)), sharex=True, sharey=True, squeeze=False).ravel()
    trained = slice(min(1, len(recall) - 1), None)  # an untrained model may flag everything: it does not set the scale
    tops = np.concatenate((recall[trained].ravel(), alarms[trained].ravel(), recall_high[-1]))
    top = np.max(tops, where=np.isfinite(tops), initial=0.1)
    for j, (ax, token_id) in enumerate(zip(axes, ids, strict=False)):
        n_planted, n_genuine = records.replaced[:, token_id].mean(), records.original[:, token_id].mean()
        caption = f"AUC {auc[token_id]:.2f} · mean {n_planted:.0f} planted, {n_genuine:.0f} genuine".replace("nan", "–")
        style.tidy(ax, style.printable(records.tokens[token_id]), percent=True)
        ax.set_title(caption, loc="right", fontsize=7.5, color="#666666")
        style.line(ax, records.steps, recall[:, j], recall_low[:, j], recall_high[:, j],
                   color=style.VERMILION, linewidth=1.9, label="planted: flagged (recall)")  # fmt: skip
        style.line(ax, records.steps, alarms[:, j], alarms_low[:, j], alarms_high[:, j], color=style.BLUE, marker="s",
                   linestyle="--", linewidth=1.6, label="genuine: flagged (false alarm)")  # fmt: skip
        if n_planted == 0:
            style.note(ax, "never planted")
        style.step_axis(ax, records.steps, "training step" if j // COLUMNS == rows - 1 else "")
        ax.set_ylim(0, min(1.02, 1.1 * top))
        if j % COLUMNS == 0:
            ax.set_ylabel("share flagged", fontsize=9)
    for ax in axes[len(ids) :]:
        ax.set_axis_off()
    if ids:
        fig.legend(*axes[0].get_legend_handles_labels(), loc="upper right", ncols=2, fontsize=9, frameon=False,
                   bbox_to_anchor=(0.995, 1 - 0.3 / fig.get_figheight()))  # fmt: skip
    return fig


def _rate(successes, total, width):
    """Share [E, N] pooled over `width` evaluations, and its Wilson band for the count of one evaluation."""
    successes, total = smooth(successes.astype(float), width), smooth(total.astype(float), width)
    return ratio(successes, total), *wilson(successes, total)


def _finding(records, ids, auc, surely):
    often = records.replaced.mean(0) >= 5
    known = [i for i in ids if np.isfinite(auc[i]) and often[i]] or [i for i in ids if np.isfinite(auc[i])]
    if not known:
        return "None of these tokens was planted often enough to say anything"
    best, worst = (pick(known, key=lambda i: auc[i]) for pick in (max, min))

    def name(i):
        return f"“{style.printable(records.tokens[i])}”"

    if not any(surely[i] > 0.5 for i in known):
        return f"Not one of these tokens is told from a planted one beyond chance (AUC {auc[worst]:.2f} to {auc[best]:.2f})"
    if best == worst:
        return f"A planted {name(best)} is told from a genuine one with AUC {auc[best]:.2f}"
    return f"Of these, a planted {name(best)} is told apart best (AUC {auc[best]:.2f}), {name(worst)} worst ({auc[worst]:.2f})"


def _how_to_read(width):
    pooled = f"Pooled over {width} evaluations. " if width > 1 else ""
    return (
        "planted: the generator wrote this token over another; genuine: it belongs there; counts are per evaluation.\n"
        f"{pooled}Bands: 95 % Wilson intervals for one evaluation's count. AUC at the end; 0.5 = the two cannot be told apart."
    )
