"""The pictures of an experiment, drawn from its Comparison.

scores.png       score against FLOPs: every seed a dot, the line through the means, and from scratch
differences.png  the paired difference with its interval
layers.png       what a linear probe reads in each layer of each variant
"""

from pathlib import Path

import numpy as np

from minielectra.experiments.comparison import LEVEL, differences, estimate
from minielectra.experiments.experiment_file import UNTRAINED
from minielectra.plots import style

COLUMNS = 3  # of panels
WIDTH, HEIGHT = 4.0, 3.0  # inches of a panel


def draw_comparison(experiment, found, out):
    """Draw all pictures of a Comparison into the folder `out` -> their paths."""
    paths = [style.save(scores_figure(experiment, found), Path(out) / "scores.png")]
    if any(cell.difference for cells in found.cells.values() for cell in cells):
        paths.append(style.save(differences_figure(experiment, found), Path(out) / "differences.png"))
    if found.layers:
        paths.append(style.save(layers_figure(experiment, found), Path(out) / "layers.png"))
    return paths


def scores_figure(experiment, found):
    """Score against FLOPs, a panel for each measure -> Figure."""
    subtitle = (
        "Dots: pre-training seeds; lines: their means. Each budget has runs of its own, decayed to zero.\n"
        f"Dashed: {UNTRAINED}, that is, trained on the task from scratch."
    )
    fig, axes = _panels(found.scores, experiment.title, subtitle)
    for ax, (measure, scores) in zip(axes, found.scores.items(), strict=False):
        _name(ax, measure, experiment.budgets)
        for number, name in enumerate(experiment.variants):
            own = scores.get(name, {})
            budgets = [budget for budget in experiment.budgets if budget in own]
            if not budgets:
                continue
            look = _look(number)
            for budget in budgets:
                values = list(own[budget].values())
                ax.plot([budget] * len(values), values, linestyle="", markersize=3.5, alpha=0.6, **look)
            means = [np.mean(list(own[budget].values())) for budget in budgets]
            ax.plot(budgets, means, color=look["color"], linestyle=_dashes(number), linewidth=1.6, label=name)
        if values := list(scores.get(UNTRAINED, {}).get(0.0, {}).values()):
            ax.axhline(np.mean(values), color=style.GREY, linestyle="--", linewidth=1.2, label=UNTRAINED)
    style.legend(axes[0], loc="best", fontsize=7)
    return fig


def differences_figure(experiment, found):
    """The paired difference of each variant, with its interval, a panel for each measure -> Figure."""
    subtitle = (
        "Score minus that of the variant it is compared with, paired by pre-training seed. "
        f"Dots: seeds; band: {LEVEL} % bootstrap interval of the mean."
    )
    fig, axes = _panels(found.scores, experiment.title, subtitle)
    for ax, (measure, scores) in zip(axes, found.scores.items(), strict=False):
        _name(ax, measure, experiment.budgets)
        ax.axhline(0.0, color=style.INK, linewidth=0.8)
        for number, variant in enumerate(experiment.variants.values()):
            rows = []
            for budget in experiment.budgets if variant.against else ():
                if paired := differences(scores, variant.name, variant.against, budget):
                    values = list(paired.values())
                    rows.append((budget, estimate(values)))
                    dots = {"linestyle": "", "markersize": 3, "alpha": 0.6, **_look(number)}
                    ax.plot([budget] * len(values), values, **dots)
            if rows:
                x, means, low, high = (
                    np.array(column, np.float64)
                    for column in zip(*((b, e.mean, e.low, e.high) for b, e in rows), strict=True)
                )
                band = (None, None) if np.isnan(low).any() else (low, high)
                look = {"color": _look(number)["color"], "linestyle": _dashes(number), "linewidth": 1.6}
                style.line(ax, x, means, *band, **look, label=f"{variant.name} − {variant.against}")
    style.legend(axes[0], loc="best", fontsize=7)
    return fig


def layers_figure(experiment, found):
    """Heat maps of layer × variant, one for each task with frozen probes, at the largest budget -> Figure."""
    subtitle = (
        "A linear probe on each layer of the frozen encoder; layer 0 is the embeddings. Largest budget."
    )
    fig, axes = _panels(found.layers, experiment.title, subtitle)
    for ax, (task, rows) in zip(axes, found.layers.items(), strict=False):
        names = [name for name in (UNTRAINED, *experiment.variants) if name in rows]
        depth = max(len(rows[name]) for name in names)
        grid = np.full((len(names), depth), np.nan)
        for i, name in enumerate(names):
            grid[i, : len(rows[name])] = rows[name]
        ax.imshow(grid, cmap=style.SEQUENTIAL, aspect="auto")
        middle = np.nanmean([np.nanmin(grid), np.nanmax(grid)])
        for (i, j), value in np.ndenumerate(grid):
            if np.isfinite(value):
                color = "white" if value < middle else "black"
                ax.text(j, i, f"{value:.3f}", ha="center", va="center", fontsize=7, color=color)
        style.tidy(ax, task, "layer")
        ax.grid(False)
        ax.set_xticks(range(depth))
        ax.set_yticks(range(len(names)), [style.printable(name, 20) for name in names])
    return fig


def _panels(measures, title, subtitle):
    """A Figure with a panel for each measure, and the panels -> Figure, list of Axes."""
    count = max(1, len(measures))
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    width = max(8.0, WIDTH * columns)
    fig = style.figure(width, HEIGHT * rows + 0.9, style.printable(title, 90), subtitle)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_visible(False)
    return fig, list(axes)


def _name(ax, measure, budgets):
    how, task, metric = measure
    style.tidy(ax, f"{task}, {how}", "FLOPs of pre-training", metric)
    ax.set_xscale("log")
    ax.set_xticks(budgets, [f"{budget:.2g}".replace("+", "") for budget in budgets])
    ax.minorticks_off()


def _look(number):
    """Color and marker of a variant."""
    return {
        "color": style.CYCLE[number % len(style.CYCLE)],
        "marker": style.MARKERS[number % len(style.MARKERS)],
    }


def _dashes(number):
    """The line of a variant, by which the second round of colors differs from the first."""
    return ("-", "--", ":")[number // len(style.CYCLE) % 3]
