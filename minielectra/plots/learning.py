"""learning.png: the whole run at a glance, with the baselines that ignore the context."""

import numpy as np

from minielectra.plots import style
from minielectra.plots.statistics import ratio


def has_discriminator(metrics):
    """Whether any evaluation has a figure of the discriminator (with the MLM objective none has)."""
    return any(np.isfinite(metrics[name]).any() for name in ("disc_loss", "disc_auc") if name in metrics)


def learning(metrics, preset=None):
    """Draw the overview: two rows of three panels, or one row if there is no discriminator -> Figure.

    metrics: columns from `runs.metrics_log.metric_columns`; preset: its name, for the line under the title.
    """
    if has_discriminator(metrics):
        height = 7.4
        has_generator = np.isfinite(_column(metrics, "gen_loss")).any()
        first = _gen_loss if has_generator else _learning_rate
        panels = (first, _gen_accuracy, _disc_loss, _disc_auc, _disc_rates, _disc_accuracy)
    else:
        height = 4.4
        panels = (_gen_loss, _gen_accuracy, _learning_rate)
    fig = style.figure(12, height, finding(metrics), _describe(metrics, preset))
    axes = fig.subplots(len(panels) // 3, 3, squeeze=False).ravel()
    for index, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
        panel(ax, metrics)
        style.step_axis(ax, metrics["step"])
        style.legend(ax, loc="best")
        if index < 3:
            _time_axis(ax, metrics)
    return fig


def _column(metrics, name):
    """A column of the metrics [E], all NaN if no line has it."""
    return metrics.get(name, np.full(len(metrics["step"]), np.nan))


def _last(metrics, name):
    """The last finite value of a column, or NaN."""
    values = _column(metrics, name)
    values = values[np.isfinite(values)]
    return values[-1] if len(values) else np.nan


def finding(metrics):
    """What the run has reached, in one sentence."""
    if not has_discriminator(metrics):
        return _mlm_finding(metrics)
    names = ("disc_recall", "disc_precision", "disc_accuracy", "baseline_accuracy")
    recall, precision, accuracy, baseline = (_last(metrics, name) for name in names)
    replaced = 1 - baseline
    false_alarms = ratio((1 - accuracy) - replaced * (1 - recall), 1 - replaced)  # errors that are not misses
    steps = style.spaced(metrics["step"][-1])
    sentence = f"After {steps} steps, {style.per_cent(recall)} of replaced tokens are caught"
    if np.isfinite(false_alarms) and np.isfinite(precision):
        sentence += f", with {style.per_cent(max(float(false_alarms), 0))} false alarms"
    return f"{sentence}; AUC {_last(metrics, 'disc_auc'):.2f}".replace("nan", "–")


def _mlm_finding(metrics):
    name = "corrector" if np.isfinite(_last(metrics, "corrector_loss")) else "gen"
    steps, share = style.spaced(metrics["step"][-1]), style.per_cent(_last(metrics, f"{name}_accuracy"))
    loss = f"loss {_last(metrics, f'{name}_loss'):.2f} nats"
    return f"After {steps} steps, the first guess for a masked token is right {share} of the time; {loss}"


def _describe(metrics, preset):
    parts = [f"preset {preset}"] if preset else []
    figures = (
        ("tokens", lambda tokens: f"{style.short(tokens)} tokens"),
        ("seconds", lambda seconds: f"{_duration(seconds)} of training"),
        ("tokens_per_second", lambda rate: f"{style.short(rate)} tokens/s"),
    )
    parts += [text(_last(metrics, name)) for name, text in figures if np.isfinite(_last(metrics, name))]
    parts.append(
        "measured on held-out text unless marked “training”; dotted: baselines that ignore the context"
    )
    text = " · ".join(parts)
    if np.isfinite(_last(metrics, "fixed_auc")):
        text += (
            "\nThe generator's replacements get harder to tell as it learns; "
            "the fixed wrong words are the same at every step and in every run"
        )
    return text


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def _time_axis(ax, metrics):
    """Repeat the x axis at the top, in elapsed time."""
    steps, seconds = metrics["step"], _column(metrics, "seconds")
    known = np.isfinite(seconds)
    if known.sum() < 2:
        return
    ticks = [tick for tick in ax.get_xticks() if steps[known][0] < tick <= steps[known][-1]]
    top = ax.secondary_xaxis("top")
    top.set_ticks(ticks, [_duration(s) for s in np.interp(ticks, steps[known], seconds[known])])
    top.tick_params(labelsize=7, colors=style.GREY, length=2)
    top.spines["top"].set_visible(False)


def _plot(ax, metrics, name, label, color, marker="o"):
    values = _column(metrics, name)
    if np.isfinite(values).any():
        style.line(ax, metrics["step"], values, color=color, marker=marker, label=label, linewidth=1.8)


def _baseline(ax, metrics, values, label):
    look = {"color": style.BLACK, "linestyle": ":", "linewidth": 1.3, "label": label}
    finite = np.isfinite(values)
    if finite.sum() == 1:
        ax.axhline(values[finite][0], **look)
    elif finite.any():
        ax.plot(metrics["step"][finite], values[finite], **look)


def _gen_loss(ax, metrics):
    style.tidy(ax, "Generator: loss on masked tokens", ylabel="cross-entropy (nats)")
    _plot(ax, metrics, "train_gen_loss", "training", style.SKY)
    _plot(ax, metrics, "gen_loss", "held-out", style.BLUE)
    _plot(ax, metrics, "corrector_loss", "the corrector's, held-out", style.VERMILION, "s")
    _baseline(ax, metrics, _column(metrics, "unigram_entropy"), "knowing only the frequencies")


def _gen_accuracy(ax, metrics):
    style.tidy(
        ax, "Generator: how often it guesses the original", ylabel="share of masked tokens", percent=True
    )
    _plot(ax, metrics, "gen_accuracy", "most probable token", style.BLUE)
    _plot(ax, metrics, "sample_accuracy", "sampled token", style.ORANGE, "s")
    ax.set_ylim(bottom=0)


def _learning_rate(ax, metrics):
    style.tidy(ax, "Learning rate", ylabel="learning rate")
    _plot(ax, metrics, "learning_rate", None, style.GREEN)
    ax.set_ylim(bottom=0)


def _disc_loss(ax, metrics):
    style.tidy(ax, "Discriminator: loss", ylabel="binary cross-entropy (nats)")
    replaced = np.clip(1 - _column(metrics, "baseline_accuracy"), 1e-12, 1 - 1e-12)
    _plot(ax, metrics, "train_disc_loss", "training", style.ORANGE)
    _plot(ax, metrics, "disc_loss", "held-out", style.VERMILION)
    entropy = -replaced * np.log(replaced) - (1 - replaced) * np.log(1 - replaced)
    _baseline(ax, metrics, entropy, "knowing only the share replaced")


def _disc_auc(ax, metrics):
    style.tidy(ax, "Discriminator: telling replaced from original", ylabel="area under the ROC curve")
    _plot(ax, metrics, "disc_auc", "generator's replacements", style.VERMILION)
    _plot(ax, metrics, "fixed_auc", "fixed wrong words", style.BLUE, "s")
    ax.axhline(0.5, color=style.BLACK, linestyle=":", linewidth=1.3, label="chance")


def _disc_rates(ax, metrics):
    style.tidy(ax, "Discriminator at threshold 0.5", ylabel="share", percent=True)
    _plot(ax, metrics, "disc_precision", "precision", style.BLUE)
    _plot(ax, metrics, "disc_balanced_accuracy", "balanced accuracy", style.GREEN, "D")
    _plot(ax, metrics, "disc_recall", "recall", style.VERMILION, "s")
    _plot(ax, metrics, "fixed_top1", "fixed wrong word ranks first", style.SKY, "^")
    ax.axhline(0.5, color=style.BLACK, linestyle=":", linewidth=1.3)
    ax.set_ylim(0, 1.02)


def _disc_accuracy(ax, metrics):
    title, ylabel = "Discriminator: accuracy, which is misleading", "share of tokens judged correctly"
    style.tidy(ax, title, ylabel=ylabel, percent=True)
    _plot(ax, metrics, "disc_accuracy", "discriminator", style.VERMILION)
    _baseline(ax, metrics, _column(metrics, "baseline_accuracy"), "always “original”")
