"""learning.png: the whole run at a glance, every discriminator curve beside the baseline that always says "original"."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import ratio


def has_discriminator(metrics):
    """Whether any evaluation has a discriminator's figure (with the MLM objective none has)."""
    return any(np.isfinite(metrics[name]).any() for name in ("disc_loss", "disc_auc") if name in metrics)


def learning(metrics, settings=None):
    """Draw the overview: 2 × 3 panels, or one row of 3 when there is no discriminator.

    metrics: columns from `load_metrics`; settings: `run.json`, for the line under the title -> Figure.
    """
    if not has_discriminator(metrics):
        fig = style.figure(12, 4.4, _mlm_finding(metrics), _describe(metrics, settings))
        panels = (_mlm_loss, _generator_accuracy, _learning_rate)
    else:
        fig = style.figure(12, 7.4, _finding(metrics), _describe(metrics, settings))
        panels = (_mlm_loss, _generator_accuracy, _disc_loss, _disc_auc, _disc_rates, _disc_accuracy)
    axes = fig.subplots(len(panels) // 3, 3, squeeze=False).ravel()
    for index, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
        panel(ax, metrics)
        style.step_axis(ax, metrics["step"])
        style.legend(ax, loc="best")
        if index < 3:
            _time_axis(ax, metrics)
    return fig


def column(metrics, name):
    """A column of the metrics, all NaN when no line has it."""
    return metrics.get(name, np.full(len(metrics["step"]), np.nan))


def _last(metrics, name):
    values = column(metrics, name)
    values = values[np.isfinite(values)]
    return values[-1] if len(values) else np.nan


def _finding(metrics):
    recall, precision, accuracy, baseline = (
        _last(metrics, name) for name in ("disc_recall", "disc_precision", "disc_accuracy", "baseline_accuracy")
    )
    replaced = 1 - baseline
    false_alarms = ratio((1 - accuracy) - replaced * (1 - recall), 1 - replaced)  # errors that are not misses
    sentence = f"After {style.spaced(metrics['step'][-1])} steps {style.per_cent(recall)} of replaced tokens are caught"
    if np.isfinite(false_alarms) and np.isfinite(precision):
        sentence += f", with {style.per_cent(max(float(false_alarms), 0))} false alarms"
    return f"{sentence}; AUC {_last(metrics, 'disc_auc'):.2f}".replace("nan", "–")


def _mlm_finding(metrics):
    return (
        f"After {style.spaced(metrics['step'][-1])} steps the masked token is the first guess "
        f"{style.per_cent(_last(metrics, 'gen_accuracy'))} of the time; loss {_last(metrics, 'gen_loss'):.2f} nats"
    )


def _describe(metrics, settings):
    parts = []
    settings = settings or {}
    preset = settings.get("preset") or (settings.get("settings") or {}).get("preset")
    if preset:
        parts.append(f"preset {preset}")
    if np.isfinite(_last(metrics, "tokens")):
        parts.append(f"{style.short(_last(metrics, 'tokens'))} tokens")
    if np.isfinite(_last(metrics, "seconds")):
        parts.append(f"{_duration(_last(metrics, 'seconds'))} of training")
    if np.isfinite(_last(metrics, "tokens_per_second")):
        parts.append(f"{style.short(_last(metrics, 'tokens_per_second'))} tokens/s")
    parts.append("held-out text unless marked “training”; dotted: baselines that learn nothing from context")
    return " · ".join(parts)


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def _time_axis(ax, metrics):
    """The same axis once more on top, in elapsed time."""
    steps, seconds = metrics["step"], column(metrics, "seconds")
    known = np.isfinite(seconds)
    if known.sum() < 2:
        return
    ticks = [tick for tick in ax.get_xticks() if steps[known][0] < tick <= steps[known][-1]]
    top = ax.secondary_xaxis("top")
    top.set_ticks(ticks, [_duration(s) for s in np.interp(ticks, steps[known], seconds[known])])
    top.tick_params(labelsize=7, colors=style.GREY, length=2)
    top.spines["top"].set_visible(False)


def _plot(ax, metrics, name, label, color, marker="o", linestyle="-"):
    values = column(metrics, name)
    if np.isfinite(values).any():
        style.line(ax, metrics["step"], values, color=color, marker=marker, label=label, linewidth=1.8, linestyle=linestyle)


def _baseline(ax, metrics, values, label):
    finite = np.isfinite(values)
    if finite.sum() == 1:
        ax.axhline(values[finite][0], color=style.BLACK, linestyle=":", linewidth=1.3, label=label)
    elif finite.any():
        ax.plot(metrics["step"][finite], values[finite], color=style.BLACK, linestyle=":", linewidth=1.3, label=label)


def _mlm_loss(ax, metrics):
    style.tidy(ax, "Generator: loss on masked tokens", ylabel="cross-entropy (nats)")
    _plot(ax, metrics, "train_gen_loss", "training", style.SKY)
    _plot(ax, metrics, "gen_loss", "held-out", style.BLUE)
    _baseline(ax, metrics, column(metrics, "unigram_entropy"), "predicting frequencies")


def _generator_accuracy(ax, metrics):
    style.tidy(ax, "Generator: how often it hits the original", ylabel="share of masked tokens", percent=True)
    _plot(ax, metrics, "gen_accuracy", "most probable token", style.BLUE)
    _plot(ax, metrics, "sample_accuracy", "sampled token", style.ORANGE, "s")
    ax.set_ylim(bottom=0)


def _learning_rate(ax, metrics):
    style.tidy(ax, "Learning rate", ylabel="learning rate")
    _plot(ax, metrics, "learning_rate", None, style.GREEN)
    ax.set_ylim(bottom=0)


def _disc_loss(ax, metrics):
    style.tidy(ax, "Discriminator: loss", ylabel="binary cross-entropy (nats)")
    replaced = np.clip(1 - column(metrics, "baseline_accuracy"), 1e-12, 1 - 1e-12)
    _plot(ax, metrics, "train_disc_loss", "training", style.ORANGE)
    _plot(ax, metrics, "disc_loss", "held-out", style.VERMILION)
    entropy = -replaced * np.log(replaced) - (1 - replaced) * np.log(1 - replaced)
    _baseline(ax, metrics, entropy, "knowing only the share replaced")


def _disc_auc(ax, metrics):
    style.tidy(ax, "Discriminator: telling replaced from original", ylabel="area under the ROC curve")
    _plot(ax, metrics, "disc_auc", "AUC", style.VERMILION)
    ax.axhline(0.5, color=style.BLACK, linestyle=":", linewidth=1.3, label="chance")


def _disc_rates(ax, metrics):
    style.tidy(ax, "Discriminator at threshold 0.5", ylabel="share", percent=True)
    _plot(ax, metrics, "disc_precision", "precision", style.BLUE)
    _plot(ax, metrics, "disc_balanced_accuracy", "balanced accuracy", style.GREEN, "D")
    _plot(ax, metrics, "disc_recall", "recall", style.VERMILION, "s")
    ax.axhline(0.5, color=style.BLACK, linestyle=":", linewidth=1.3)
    ax.set_ylim(0, 1.02)


def _disc_accuracy(ax, metrics):
    style.tidy(ax, "Discriminator: accuracy, which flatters", ylabel="share of tokens judged right", percent=True)
    _plot(ax, metrics, "disc_accuracy", "discriminator", style.VERMILION)
    _baseline(ax, metrics, column(metrics, "baseline_accuracy"), "always “original”")
