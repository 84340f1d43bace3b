"""confusions.png: which replacements fooled the discriminator, which were caught, what is proposed."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import ratio, wilson
from minielectra.runs.detection_counts import THRESHOLD

# Bars of what the generator samples: the original token itself, and others.
GUESSED = {"color": style.GREEN, "alpha": 0.85, "linewidth": 1.4, "edgecolor": "black", "zorder": 3}
OTHER = {"color": style.SKY, "linewidth": 0.6, "edgecolor": "white", "zorder": 2}


def confusions(records, last=5, n_pairs=22):
    """Draw the original → replacement pairs of the last evaluations, and the generator's proposals -> Figure.

    records: DetectionRecords; last: how many evaluations; n_pairs: how many pairs in each list at most.
    """
    last = min(last, len(records.steps))
    pairs, caught, total = _pairs(records, last)
    missed = total - caught
    evaluations = f"the last {last} evaluations" if last > 1 else "the last evaluation"
    subtitle = (
        f"Original → replacement in {evaluations}; the same positions are masked every time. "
        "Middle: sorted by the lower end of the 95 % Wilson interval; "
        "pairs seen fewer than five times come last.\n"
        "Right: what the generator samples for the tokens masked most often; outlined: the original token."
    )
    fig = style.figure(13, 7.6, _finding(records, pairs, missed, total), subtitle)
    left, middle, right = fig.subplots(1, 3)

    order = np.lexsort((caught, -missed))[:n_pairs]
    shown = [i for i in order if missed[i]]
    style.tidy(left, "Fooled most often", xlabel="replacements (pale: all; solid: fooled)")
    _bars(left, records, pairs[shown], missed[shown], total[shown], style.VERMILION, "none fooled")

    certainty = wilson(caught, total)[0] if len(pairs) else np.zeros(0)
    certainty[total < 5] -= 1  # after all pairs with more evidence
    order = np.argsort(-certainty, kind="stable")[:n_pairs]
    shown = [i for i in order if caught[i]]
    style.tidy(middle, "Caught most reliably", xlabel="replacements (pale: all; solid: caught)")
    _bars(middle, records, pairs[shown], caught[shown], total[shown], style.BLUE, "none caught")

    _proposals(right, records, last)
    return fig


def _pairs(records, last):
    """The distinct (original, replacement) pairs [P, 2]; how often each was caught [P], and seen [P]."""
    where = records.replaced_mask[-last:] & records.counted
    vocab = len(records.tokens)
    original = np.broadcast_to(records.input_ids, where.shape)[where].astype(np.int64)
    code = original * vocab + records.seen[-last:][where]
    code, pair, total = np.unique(code, return_inverse=True, return_counts=True)
    caught = np.bincount(pair, records.scores[-last:][where] > THRESHOLD, minlength=len(code)).astype(int)
    return np.column_stack((code // vocab, code % vocab)), caught, total


def _finding(records, pairs, missed, total):
    if not len(pairs):
        return "Nothing was replaced: the generator's samples all equal the originals"
    share = style.per_cent(float(ratio(missed.sum(), total.sum())))
    i = np.argmax(missed)
    original, replacement = (style.printable(records.tokens[token]) for token in pairs[i])
    worst = f"“{original}” → “{replacement}” ({missed[i]} of {total[i]})"
    return f"{share} of replacements go unnoticed; most often {worst}"


def _bars(ax, records, pairs, successes, total, color, none):
    """Draw a list of pairs [P, 2]: a pale bar for `total` [P], over it a solid one for `successes` [P].

    none: what to say if there are no pairs.
    """
    if not len(pairs):
        ax.set(xticks=[], yticks=[])
        style.note(ax, none)
        return
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
    """Draw what the generator samples for the tokens masked most often: a bar of shares for each of them."""
    style.tidy(ax, "What the generator proposes", xlabel="share of samples")
    valid = records.position_valid
    masked = np.take_along_axis(records.input_ids, np.where(valid, records.positions, 0), axis=1)[valid]
    vocab = len(records.tokens)
    times = np.bincount(masked, minlength=vocab)
    rows = [i for i in np.argsort(-times, kind="stable")[:n_rows] if times[i]]
    if not rows:
        style.note(ax, "nothing was masked")
        return
    samples = records.samples[-last:][:, valid]
    all_counts = [np.bincount(samples[:, masked == original].ravel(), minlength=vocab) for original in rows]
    widest = max(np.sort(counts)[-n_proposals:].sum() / counts.sum() for counts in all_counts)
    right = ax.get_yaxis_transform()
    for y, (original, counts) in enumerate(zip(rows, all_counts, strict=True)):
        left = 0.0
        for rank, token in enumerate(np.argsort(-counts, kind="stable")[:n_proposals]):
            share = counts[token] / counts.sum()
            if not share:
                break
            look = GUESSED if token == original else OTHER | {"alpha": 0.62 - 0.1 * rank}
            ax.barh(y, share, left=left, height=0.8, **look)
            name = records.tokens[token]
            if share > widest * (0.012 + 0.027 * len(name[:9])):  # the name fits into its bar
                place = {"ha": "center", "va": "center", "zorder": 4}
                ax.text(left + share / 2, y, style.printable(name, 9), fontsize=7.5, **place)
            left += share
        ax.text(1.01, y, f"×{times[original]}", transform=right, va="center", fontsize=7.5, color=style.GREY)
    ax.set_yticks(range(len(rows)), [style.printable(records.tokens[i], 11) for i in rows], fontsize=8.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(len(rows), 8) - 0.4, -0.6)
    ax.set_xlim(0, widest)
    ax.xaxis.set_major_locator(style.MaxNLocator(5, steps=(1, 2, 5, 10)))
    ax.xaxis.set_major_formatter(style.percent_format())
    ax.grid(False)
