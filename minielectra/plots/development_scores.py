"""finetuning.png: the development score over training, for pre-trained models and from scratch."""

from pathlib import Path

import numpy as np

from minielectra.formats.reading import read_json
from minielectra.plots import style

COLORS = {"pre-trained": style.BLUE, "from scratch": style.ORANGE}
NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearmanr": "Spearman correlation",
    "exact_match": "exact match",
    "precision": "precision",
    "recall": "recall",
}


def draw(directory):
    """Draw the picture of a fine-tuned directory from its results.json -> path of finetuning.png.

    Raises InputError if results.json is missing or damaged.
    """
    directory = Path(directory)
    path = directory / "results.json"
    return style.save(finetuning(read_json(path, f"{path}: missing")), directory / "finetuning.png")


def finetuning(results):
    """Draw the first two metrics, one panel each -> Figure. results: what `finetuning.experiment` returns."""
    shown = results["metrics"][:2]
    subtitle = (
        f"{results['task']}: scores on {results['n_dev']:,} development examples "
        f"after training on {results['n_train']:,}.\n"
        "Thin line: one seed; dot: its evaluation that was kept; thick line: mean over the seeds."
    )
    fig = style.figure(8 if len(shown) == 1 else 11, 4.4, _finding(results), subtitle)
    for ax, metric in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        style.tidy(ax, xlabel="epoch", ylabel=NAMES.get(metric, metric))
        for start, summary in results["starts"].items():
            color = COLORS.get(start, style.GREY)
            curves = [[_number(entry[metric]) for entry in seed["history"]] for seed in summary["seeds"]]
            epochs = [entry["epoch"] for entry in summary["seeds"][0]["history"]]
            for curve, seed in zip(curves, summary["seeds"], strict=True):
                ax.plot(epochs, curve, color=color, linewidth=0.8, alpha=0.5)
                ax.plot(seed["best"]["epoch"], _number(seed["best"][metric]), "o", color=color, markersize=4)
            ax.plot(epochs, np.mean(curves, axis=0), color=color, linewidth=2, label=start)
        style.legend(ax, loc="lower right")
    return fig


def _finding(results):
    metric = results["metrics"][0]
    parts = []
    for start, summary in results["starts"].items():
        deviation = summary["deviation"][metric]
        spread = "" if deviation is None else f" ± {deviation:.3f}"
        parts.append(f"{_number(summary['mean'][metric]):.3f}{spread} {start}")
    return f"{NAMES.get(metric, metric)} {', '.join(parts)}"


def _number(value):
    """A score of results.json, where NaN is null."""
    return np.nan if value is None else value
