"""What was measured, as a Markdown table, as JSON and as a picture."""

import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

REFERENCE = "lean"
SIZE_TITLES = {"S": "S: ELECTRA-small, 16 × 128 tokens", "T": "T: 4 layers × 128, 32 × 64 tokens"}
DASH = "–"


@dataclass
class Result:
    """One contender in one setting: milliseconds of every timed step, a list for each round."""

    setting: str
    contender: str
    rounds: list = field(default_factory=list)
    busy_rounds: list = field(default_factory=list)  # the same with another process on one core
    failure: str | None = None
    flops: float | None = None  # that a step needs
    before_mb: float | None = None  # resident before the first step
    peak_mb: float | None = None  # and the most, after the last one
    how: str = ""  # what a contender chose to do

    @property
    def ms(self):
        """Median of all timed steps, or None where there are none."""
        return _median(self.rounds)

    @property
    def busy_ms(self):
        """The same beside another process."""
        return _median(self.busy_rounds)

    @property
    def quartiles(self):
        """(first, third) quartile of all timed steps, ms."""
        return tuple(np.percentile(np.concatenate(self.rounds), (25, 75)))

    def ratio(self, other):
        """Median over the rounds of (own median / the other's in the same round). Slow drift cancels."""
        pairs = zip(self.rounds, other.rounds, strict=False)
        return statistics.median(statistics.median(own) / statistics.median(theirs) for own, theirs in pairs)

    def as_dict(self):
        """For JSON: the figures of the table, and every time."""
        return vars(self) | {"median_ms": self.ms, "busy_median_ms": self.busy_ms}


def _median(rounds):
    return statistics.median(t for times in rounds for t in times) if rounds else None


def machine(cores, threads, versions):
    """One line: processor, cores used, versions of what was measured. No names of hosts, no paths."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    libraries = {
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} ({blas['name']} {blas['version']})",
    }
    names = {"torch": "PyTorch", "transformers": "transformers", "cupy": "CuPy"}
    libraries |= {label: versions[key] for key, label in names.items() if key in versions}
    used = f"{min(threads, cores)} of {cores} core{'s' if cores > 1 else ''}"
    parts = [_processor(), used, *([versions["gpu"]] if "gpu" in versions else [])]
    return ", ".join([*parts, *(f"{name} {version}" for name, version in libraries.items())])


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def table(results, busy=False):
    """Markdown, one row per result. Empty columns are left out; a failure stands in the row's last column."""
    reference = {r.setting: r for r in results if r.contender == REFERENCE and r.rounds}
    rows = []
    for r in results:
        row = dict.fromkeys(
            (
                *("setting", "contender", "ms", "quartiles", f"× {REFERENCE}", "GFLOP/s"),
                *("peak MB", "before step 1", "busy ms", "× quiet", "note"),
            ),
            DASH,
        )
        row |= {"setting": r.setting, "contender": r.contender, "note": r.how or DASH}
        if r.rounds:
            row |= {"ms": f"**{number(r.ms)}**", "quartiles": "–".join(map(number, r.quartiles))}
            if r.setting in reference:
                row[f"× {REFERENCE}"] = f"{r.ratio(reference[r.setting]):.2f}"
            if r.flops:
                row["GFLOP/s"] = number(r.flops / r.ms / 1e6)
        if r.peak_mb is not None:
            row |= {"peak MB": f"{r.peak_mb:.0f}", "before step 1": f"{r.before_mb:.0f}"}
        if r.busy_rounds:
            row |= {"busy ms": number(r.busy_ms), "× quiet": f"{r.busy_ms / r.ms:.2f}"}
        if r.failure:
            row["note"] = f"failed: {r.failure}"
        rows.append(row)
    return markdown(rows)


def markdown(rows):
    """A Markdown table of dicts with the same keys; columns that are a dash everywhere are left out."""
    columns = [name for name in rows[0] if any(row[name] != DASH for row in rows)]
    cells = [columns, *([row[name] for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    numeric = [all(line[i][:1] in "*0123456789–" for line in cells[1:]) for i in range(len(columns))]
    rule = (
        "|"
        + "|".join("-" * (w + 1) + (":" if right else "-") for w, right in zip(widths, numeric, strict=True))
        + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def number(x):
    """A figure with three digits that mean something: 1204, 87.3, 9.46."""
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def picture(results, machine_line, path, what):
    """Milliseconds as grouped bars, a panel per size or case and a group per dropout -> the path."""
    from minielectra.plots import style

    results = [r for r in results if r.rounds]
    panels = {}
    for r in results:
        panels.setdefault(r.setting.partition(",")[0], {}).setdefault(r.setting, []).append(r)
    groups = sorted((group for panel in panels.values() for group in panel.values()), key=len, reverse=True)
    contenders = list(dict.fromkeys(r.contender for group in groups for r in group))
    palette = (
        style.BLUE,
        style.ORANGE,
        style.GREEN,
        style.PURPLE,
        style.SKY,
        style.VERMILION,
        style.YELLOW,
        style.GREY,
    )
    colors = {name: palette[i % len(palette)] for i, name in enumerate(contenders)}
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    subtitle = f"Median, and its ratio to {REFERENCE}'s; the thin line joins the quartiles. Lower is better."
    subtitle = f"{subtitle}\n{machine_line}"
    fig = style.figure(max(9.0, 4.5 * columns), 1.4 + 3.6 * lines, what, subtitle)
    axes = fig.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.remove()
    for ax, (title, panel) in zip(axes, panels.items(), strict=False):
        _bars(ax, panel, colors, style.INK)
        style.tidy(ax, SIZE_TITLES.get(title, title), ylabel="ms")
        ax.grid(False, axis="x")
        ax.tick_params(axis="x", length=0)
    handles = {
        label: bar for ax in fig.axes for bar, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    options = {
        "loc": "outside lower center",
        "ncols": min(6, len(contenders)),
        "frameon": False,
        "fontsize": 9,
    }
    fig.legend([handles[name] for name in contenders], contenders, **options)
    return style.save(fig, path)


def _bars(ax, panel, colors, ink):
    """panel: {setting: [Result]}, a group of bars each."""
    place, ticks = 0.0, []
    for group in panel.values():
        ticks.append(place + (len(group) - 1) / 2)
        reference = next((r for r in group if r.contender == REFERENCE), None)
        for r in group:
            ax.bar(place, r.ms, 0.86, color=colors[r.contender], label=r.contender)
            ax.plot([place, place], r.quartiles, color=ink, linewidth=1)
            text = number(r.ms) + (
                f"\n{r.ratio(reference):.2f} ×" if reference and r is not reference else ""
            )
            ax.annotate(
                text,
                (place, max(r.ms, r.quartiles[1])),
                (0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
            place += 1.0
        place += 0.8
    ax.set_xticks(ticks, [name.partition(", ")[2] for name in panel])
    ax.set_ylim(0, ax.get_ylim()[1] * 1.14)
