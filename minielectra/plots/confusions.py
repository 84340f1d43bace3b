"""confusions.png: which replacements fooled the discriminator, which it saw through, and what the generator proposes."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import ratio, wilson
from minielectra.runs.detection_counts import THRESHOLD


def confusions(records, last=5, n_pairs=22):
    """Draw original → replacement pairs of the last few evaluations, and the generator's proposals. -> Figure."""
    last = min(last, len(records.steps))
    pairs, caught, total = _pairs(records, last)
    fig = style.figure(13, 7.6, _finding(records, pairs, caught, total), (
        f"Original → replacement, over the last {last} evaluation{'s' * (last > 1)} (the same masked positions at each).\n"
        "Middle: pairs seen five times or more first, by the lower end of the 95 % Wilson interval. "
        "Right: what is sampled for the originals masked most often; outlined: the original itself."
    ))  # fmt: skip
    left, middle, right = fig.subplots(1, 3)
    most_fooled = [i for i in np.lexsort((caught, -(total - caught)))[:n_pairs] if total[i] > caught[i]]
    _bars(left, records, pairs[most_fooled], (total - caught)[most_fooled], total[most_fooled],
          "Fooled most often", "fooled", style.VERMILION)  # fmt: skip
    surely_caught = wilson(caught, total)[0] if len(pairs) else np.zeros(0)
    surely_caught[total < 5] -= 1  # after all pairs that say more
    best_caught = [i for i in np.argsort(-surely_caught, kind="stable")[:n_pairs] if caught[i]]
    _bars(middle, records, pairs[best_caught], caught[best_caught], total[best_caught],
          "Caught most reliably", "caught", style.BLUE)  # fmt: skip
    _proposals(right, records, last)
    return fig


def _pairs(records, last):
    """Distinct (original, replacement) pairs [P, 2] of the last evaluations, times caught [P], times in all [P]."""
    where = records.replaced_mask[-last:] & records.counted
    vocab = len(records.tokens)
    original = np.broadcast_to(records.input_ids, where.shape)[where].astype(np.int64)
    code, pair, total = np.unique(original * vocab + records.seen[-last:][where], return_inverse=True, return_counts=True)
    caught = np.bincount(pair, records.scores[-last:][where] > THRESHOLD, minlength=len(code)).astype(int)
    return np.column_stack((code // vocab, code % vocab)), caught, total


def _finding(records, pairs, caught, total):
    if not len(pairs):
        return "Nothing was replaced: the generator's samples all equal the originals"
    fooled = ratio((total - caught).sum(), total.sum())
    i = np.argmax(total - caught)
    original, replacement = (style.printable(records.tokens[token]) for token in pairs[i])
    return (
        f"{style.per_cent(float(fooled))} of replacements go unnoticed; most often “{original}” → “{replacement}” "
        f"({total[i] - caught[i]} of {total[i]})"
    )


def _bars(ax, records, pairs, successes, total, title, verb, color):
    style.tidy(ax, title, xlabel="replacements (pale: all; full: " + verb + ")")
    if not len(pairs):
        ax.set(xticks=[], yticks=[])
        return style.note(ax, f"none {verb}")
    y = np.arange(len(pairs))
    ax.barh(y, total, color=color, alpha=0.22, height=0.78)
    ax.barh(y, successes, color=color, height=0.78)
    for row in y:
        ax.text(total[row], row, f" {successes[row]}/{total[row]}", va="center", fontsize=8, color=style.INK)
    names = [" → ".join(style.printable(records.tokens[token], 11) for token in pair) for pair in pairs]
    ax.set_yticks(y, names, fontsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(len(pairs), 8) - 0.4, -0.6)
    ax.set_xlim(0, 1.22 * total.max())
    ax.xaxis.set_major_locator(style.MaxNLocator(6, integer=True))
    ax.grid(False, axis="y")


def _proposals(ax, records, last, n_rows=14, n_proposals=5):
    """Stacked shares of what the generator samples in place of the most often masked originals."""
    style.tidy(ax, "What the generator proposes", xlabel="share of samples")
    valid = records.position_valid
    masked = np.take_along_axis(records.input_ids, np.where(valid, records.positions, 0), axis=1)[valid]
    vocab = len(records.tokens)
    times = np.bincount(masked, minlength=vocab)
    rows = [i for i in np.argsort(-times, kind="stable")[:n_rows] if times[i]]
    if not rows:
        return style.note(ax, "nothing was masked")
    samples = records.samples[-last:][:, valid]
    all_counts = [np.bincount(samples[:, masked == original].ravel(), minlength=vocab) for original in rows]
    widest = max(np.sort(counts)[-n_proposals:].sum() / counts.sum() for counts in all_counts)
    for y, (original, counts) in enumerate(zip(rows, all_counts, strict=True)):
        left = 0.0
        for rank, token in enumerate(np.argsort(-counts, kind="stable")[:n_proposals]):
            share = counts[token] / counts.sum()
            if not share:
                break
            ax.barh(y, share, left=left, height=0.8, color=style.GREEN if token == original else style.SKY,
                    alpha=0.85 if token == original else 0.62 - 0.1 * rank, linewidth=1.4 if token == original else 0.6,
                    edgecolor="black" if token == original else "white", zorder=3 if token == original else 2)  # fmt: skip
            name = records.tokens[token]
            if share > widest * (0.012 + 0.027 * len(name[:9])):
                ax.text(left + share / 2, y, style.printable(name, 9), ha="center", va="center", fontsize=7.5, zorder=4)
            left += share
        ax.text(1.01, y, f"×{times[original]}", transform=ax.get_yaxis_transform(), va="center", fontsize=7.5, color=style.GREY)
    ax.set_yticks(range(len(rows)), [style.printable(records.tokens[i], 11) for i in rows], fontsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(len(rows), 8) - 0.4, -0.6)
    ax.set_xlim(0, widest)
    ax.xaxis.set_major_locator(style.MaxNLocator(5, steps=(1, 2, 5, 10)))
    ax.xaxis.set_major_formatter(style.percent_format())
    ax.grid(False)
    return None
