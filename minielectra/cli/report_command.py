"""The command that writes a page to explore a run."""

import os
import sys
from dataclasses import dataclass

from minielectra.cli.command import Options, command
from minielectra.errors import InputError
from minielectra.settings import Settings, setting


@dataclass(frozen=True)
class ReportOptions(Settings):
    """The options of `report`."""

    runs: list[str] = setting(help="a run, or two runs to compare", metavar="RUN", positional=True)
    out: str | None = setting(
        None,
        "the file to write",
        metavar="FILE.html",
        shown_default="RUN/report.html; of two runs, RUN/report-NAME.html with the name of the second",
    )
    live: bool = setting(
        False, "while a run trains: write the file again at every evaluation, and let the page refresh itself"
    )


@command(
    Options(ReportOptions),
    examples=(
        "runs/books",
        "runs/books --out books.html",
        "runs/books --live",
        "runs/books runs/law --out both.html",
    ),
)
def report(options):
    """Write a page to explore a run in a browser.

    It is one file that opens from disk and loads nothing: learning curves, the detection of any token, the
    film strip, confusions, calibration and settings. Of two runs, it shows them side by side. Prints the name
    of the file. With --live, Ctrl-C ends it; the run goes on.
    """
    from minielectra.report import follow_report, write_report

    for name in options.runs:
        if name.endswith(".html") and not os.path.isdir(name):
            raise InputError(f"{name}: not a run; if it is the file to write, give it as --out {name}")
    if not options.live:
        print(write_report(options.runs, options.out))
        return
    announced = set()

    def written(path):
        if path not in announced:
            print(path, flush=True)
            announced.add(path)

    def waiting(why):
        print(f"waiting: {why}", file=sys.stderr, flush=True)

    follow_report(options.runs, options.out, written, waiting)
