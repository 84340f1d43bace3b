"""The common look of all pictures: palette, axes, labels, saving.

Nothing here touches matplotlib's global state (no pyplot, no rcParams): every property is set on the object
that it belongs to. So pictures can be drawn in threads.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from minielectra.formats.files import make_folder, replacing
from minielectra.plots import fonts

# Okabe and Ito (2008): people with any common form of colour blindness can tell them apart.
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
YELLOW = "#F0E442"
BLACK = "#000000"

CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # for groups, each with its marker
MARKERS = "osD^vP"
GREY, INK, FAINT = "#8A8A8A", "#222222", "#E4E4E4"
SEQUENTIAL = "cividis"  # colour maps
DIVERGING = "PuOr_r"
DPI = 150


def figure(width, height, title, subtitle=""):
    """A white Figure, in inches. The title states the finding; the subtitle says how to read the picture."""
    fig = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    fig.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.05)
    lines = 1 + (subtitle.count("\n") + 1 if subtitle else 0)
    top = 1 - (0.32 + 0.2 * lines) / height
    fig.get_layout_engine().set(rect=(0, 0, 1, top))
    fig.text(0.012, 1 - 0.12 / height, title, ha="left", va="top", fontsize=13, fontweight="bold", color=INK)
    fig.text(
        0.012, 1 - 0.40 / height, subtitle, ha="left", va="top", fontsize=9, color="#555555", linespacing=1.3
    )
    return fig


def tidy(ax, title="", xlabel="", ylabel="", percent=False):
    """Give `ax` a light grid, two spines and small labels -> ax. percent: write the y axis in per cent."""
    ax.set_title(title, loc="left", fontsize=10, color=INK)
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.grid(True, color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    if percent:
        ax.yaxis.set_major_formatter(percent_format())
    return ax


def step_axis(ax, steps, label="training step"):
    """Make x an axis of training steps: whole numbers, 4k for 4 000. A single one gets room on both sides."""
    low, high = float(np.min(steps)), float(np.max(steps))
    pad = 0.02 * (high - low) or max(1.0, 0.5 * high)
    ax.set_xlim(low - pad, high + pad)
    ax.xaxis.set_major_locator(
        MaxNLocator(5, integer=True, steps=(1, 2, 5, 10)) if high > low else FixedLocator([low])
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
    ax.set_xlabel(label, fontsize=9, color=INK)


def short(number):
    """A number for an axis: 500, 4k, 2.5k, 1.2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def percent_format():
    """A formatter for an axis of shares: 40%, 2.5%. It belongs to one axis, so every call makes a new one."""
    return FuncFormatter(lambda x, _: f"{100 * x:.3g}%")


def spaced(number):
    """A whole number for a sentence, in groups of three: 4 000."""
    return f"{round(float(number)):,}".replace(",", "\u2009")


def per_cent(share):
    """A share for a sentence: 31 %, 0.4 %, "–" for NaN."""
    if not np.isfinite(share):
        return "–"
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def line(ax, x, y, low=None, high=None, color=BLUE, marker="o", **kwargs):
    """Draw a curve without its NaN, and the band from low to high if they are given: x, y, low, high [E].

    Markers are drawn on at most 12 points, because more would hide the curve.
    """
    finite = np.isfinite(y)
    size = 3.5 if finite.sum() <= 12 else 0
    ax.plot(x[finite], y[finite], color=color, marker=marker, markersize=size, **kwargs)
    if low is not None:
        if finite.sum() == 1:  # a band would have no width: draw a bar instead
            ax.vlines(x[finite], low[finite], high[finite], color=color, alpha=0.4, linewidth=4)
        else:
            ax.fill_between(x[finite], low[finite], high[finite], color=color, alpha=0.16, linewidth=0)


def legend(ax, **kwargs):
    """Add a small legend without a frame, if there is anything to name."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(**{"fontsize": 8, "frameon": False, "handlelength": 1.6, "labelcolor": INK} | kwargs)


def note(ax, text):
    """Write a sentence in the middle of an empty panel."""
    ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=9, color=GREY, wrap=True
    )


def printable(token, longest=14):
    r"""A token, or any text of the user's, as it can be drawn: on one line, of at most `longest` characters.

    □ stands for each character that no font has (see fonts.py). Dollars are written as \$, because matplotlib
    reads what is between two of them as a formula.
    """
    token = "".join(map(fonts.drawable, " ".join(token.split())))
    token = token if len(token) <= longest else token[: longest - 1] + "…"
    return token.replace("$", r"\$")


def save(fig, path):
    """Write a Figure as a PNG -> its path. Missing folders are made; a reader never sees half a picture."""
    path = Path(path)
    make_folder(path.parent)
    fonts.use_fallbacks(fig)
    with replacing(path) as beside:
        fig.savefig(beside, format="png", dpi=DPI, facecolor="white")
    return path
