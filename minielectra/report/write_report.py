"""The report as a file: the page of `page/` with its style, its script and what it says, in one."""

from importlib import resources
from pathlib import Path

from minielectra.errors import InputError, reason
from minielectra.formats.html_page import html_page, write_page
from minielectra.plots import style
from minielectra.report.contents import report_contents

# The palette of the pictures. The page's own style adds `ink`, which depends on light or dark.
PALETTE = {
    name: getattr(style, name.upper())
    for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "yellow")
}
# In this order, because a class has to stand before what uses it.
SCRIPTS = (
    "text.js",
    "statistics.js",
    "records.js",
    "state.js",
    "scales.js",
    "chart.js",
    "combobox.js",
    "parts.js",
    "learning.js",
    "tokens.js",
    "strip.js",
    "confusions.js",
    "calibration.js",
    "settings.js",
    "main.js",
)


def write_report(run_dirs, out=None):
    """Write the report of one run, or of two side by side -> its path.

    run_dirs: the runs' folders; out: the file, by default `report.html` in the first run's folder, or for two
    runs `report-NAME.html` with the second one's name.
    Raises InputError for a folder without a run or without records that can be shown, and for a file that
    cannot be written; what was there before then stays as it was.
    """
    return save_report(report_contents(run_dirs), default_path(run_dirs) if out is None else Path(out))


def save_report(contents, out, refresh=None):
    """Write a page of what `report_contents` returns -> its path, `out`.

    refresh: seconds after which the page loads itself again, or None. Raises InputError if it cannot be
    written.
    """
    palette = "".join(f"--{name}:{color};" for name, color in PALETTE.items())
    text = html_page(
        title="minielectra: report",
        body=_page("report.html"),
        style=f":root{{{palette}}}\n{_page('report.css')}",
        script="\n".join(map(_page, SCRIPTS)),
        data={"contents": contents | {"live": refresh and {"seconds": refresh}}},
    )
    try:
        write_page(out, text)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({reason(error)}); choose another --out") from None
    return out


def default_path(run_dirs):
    """Where the report of these runs goes, if nobody says."""
    first, *others = map(Path, run_dirs)
    name = "-".join(["report", *(path.absolute().name for path in others)])
    return first / f"{name}.html"


def _page(name):
    return resources.files("minielectra.report").joinpath("page", name).read_text(encoding="utf-8")
