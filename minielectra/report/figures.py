"""Which curves and figures a report shows, in which order, and what each is compared with."""

from typing import NamedTuple

import numpy as np

from minielectra.plots.learning import has_discriminator


class Series(NamedTuple):
    """One curve: a column of the metrics, or a value that never changes."""

    column: str
    label: str
    color: str = "ink"  # a name in PALETTE of write_report.py
    baseline: bool = False  # what a model reaches that knows nothing of the context
    constant: float | None = None


class Chart(NamedTuple):
    """Curves that share their axes."""

    title: str
    unit: str
    series: tuple[Series, ...]
    percent: bool = False  # whether the values are shares


class Figure(NamedTuple):
    """A row of the summary: a column of the metrics at the end."""

    column: str
    label: str
    knows_nothing: str | float | None = None  # a column, or a value
    percent: bool = False
    compares: bool = False  # whether it may compare runs


_GENERATOR = (
    Chart(
        "Generator: loss on masked tokens",
        "cross-entropy (nats)",
        (
            Series("train_gen_loss", "training", "sky"),
            Series("gen_loss", "held-out", "blue"),
            Series("unigram_entropy", "knowing only the frequencies", baseline=True),
        ),
    ),
    Chart(
        "Generator: how often it guesses the original",
        "share of masked tokens",
        (
            Series("gen_accuracy", "most probable token", "blue"),
            Series("sample_accuracy", "sampled token", "orange"),
        ),
        percent=True,
    ),
)
_CORRECTOR = (  # a full-size network that predicts words
    Chart(
        "Corrector: loss on masked tokens",
        "cross-entropy (nats)",
        (
            Series("train_corrector_loss", "training", "orange"),
            Series("corrector_loss", "held-out", "vermilion"),
            Series("unigram_entropy", "knowing only the frequencies", baseline=True),
        ),
    ),
    Chart(
        "Corrector: how often it guesses the original",
        "share of masked tokens",
        (Series("corrector_accuracy", "most probable token", "vermilion"),),
        percent=True,
    ),
)
_DISCRIMINATOR = (
    Chart(
        "Discriminator: loss",
        "binary cross-entropy (nats)",
        (
            Series("train_disc_loss", "training", "orange"),
            Series("disc_loss", "held-out", "vermilion"),
            Series("share_entropy", "knowing only the share replaced", baseline=True),
        ),
    ),
    Chart(
        "Discriminator: telling replaced from original",
        "area under the ROC curve",
        (
            Series("disc_auc", "generator’s replacements", "vermilion"),
            Series("fixed_auc", "fixed wrong words", "blue"),
            Series("chance", "chance", baseline=True, constant=0.5),
        ),
    ),
    Chart(
        "Discriminator at threshold 0.5",
        "share",
        (
            Series("disc_precision", "precision", "blue"),
            Series("disc_balanced_accuracy", "balanced accuracy", "green"),
            Series("disc_recall", "recall", "vermilion"),
            Series("fixed_top1", "fixed wrong word ranks first", "sky"),
        ),
        percent=True,
    ),
    Chart(
        "Discriminator: accuracy, which is misleading",
        "share of tokens judged correctly",
        (
            Series("disc_accuracy", "discriminator", "vermilion"),
            Series("baseline_accuracy", "always “original”", baseline=True),
        ),
        percent=True,
    ),
)
_MACHINE = (
    Chart("Learning rate", "", (Series("learning_rate", "at the last step", "green"),)),
    Chart(
        "Speed", "tokens per second", (Series("tokens_per_second", "since the last evaluation", "purple"),)
    ),
)
_AXES = ("step", "tokens", "seconds", "flops")

FIGURES = (
    Figure("gen_loss", "generator: loss on masked tokens (nats)", "unigram_entropy", compares=True),
    Figure("gen_accuracy", "generator: masked tokens guessed", percent=True),
    Figure("corrector_loss", "corrector: loss on masked tokens (nats)", "unigram_entropy"),
    Figure("corrector_accuracy", "corrector: masked tokens guessed", percent=True),
    Figure("disc_auc", "discriminator: AUC", 0.5),
    Figure("disc_recall", "discriminator: replaced tokens caught (recall)", 0.0, percent=True),
    Figure("disc_precision", "discriminator: flagged tokens really replaced (precision)", percent=True),
    Figure("fixed_auc", "discriminator: AUC on fixed wrong words", 0.5, compares=True),
    Figure(
        "fixed_top1",
        "discriminator: the fixed wrong word ranks first in its sentence",
        percent=True,
        compares=True,
    ),
)


def with_share_entropy(metrics):
    """The columns of a run's metrics, and the loss of a discriminator that knows only the share replaced."""
    if "baseline_accuracy" not in metrics:
        return metrics
    replaced = np.clip(1 - metrics["baseline_accuracy"], 1e-12, 1 - 1e-12)
    entropy = -replaced * np.log(replaced) - (1 - replaced) * np.log(1 - replaced)
    return metrics | {"share_entropy": entropy}


def charts_for(all_metrics):
    """The charts of these runs: those of the house, and one for every other column that holds a number.

    all_metrics: the columns of each run, {name: [E]} -> list of Chart.
    """
    columns = {
        name: None for metrics in all_metrics for name, values in metrics.items() if np.isfinite(values).any()
    }
    discriminator = any(map(has_discriminator, all_metrics))
    known = (*_GENERATOR, *_CORRECTOR, *(_DISCRIMINATOR if discriminator else ()), *_MACHINE)
    charts = [
        chart._replace(series=series)
        for chart in known
        if (series := tuple(one for one in chart.series if one.column in columns or one.constant is not None))
        and any(not one.baseline for one in series)
    ]
    drawn = {
        one.column for chart in (*_GENERATOR, *_CORRECTOR, *_DISCRIMINATOR, *_MACHINE) for one in chart.series
    }
    others = [name for name in columns if name not in drawn and name not in _AXES]
    return charts + [Chart(name, name, (Series(name, name, "blue"),)) for name in others]
