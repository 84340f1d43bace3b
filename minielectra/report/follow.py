"""The report of a run that trains: written again at every evaluation, until the training ends."""

import contextlib
import time
from pathlib import Path

import numpy as np

from minielectra.errors import InputError
from minielectra.formats.locks import LOCK_NAME, is_held
from minielectra.report.contents import report_contents
from minielectra.report.write_report import default_path, save_report, write_report
from minielectra.runs import run_folder
from minielectra.runs.metrics_log import metric_columns

POLL = 2.0  # seconds between two looks at the folder
SHORTEST, LONGEST = 5, 60  # seconds after which the page loads itself again


def follow_report(run_dirs, out=None, written=lambda path: None, waiting=lambda why: None, poll=POLL):
    """Write the report at every evaluation, and once more, without refreshing, at the end -> its path.

    run_dirs, out: as for `write_report`. `written` is called with the path each time; `waiting` with a
    sentence when there is nothing to show yet. It ends when no process works in the folders. An interruption
    goes through after a last page, which does not refresh, is written.
    Raises InputError as `write_report` does.
    """
    for run_dir in run_dirs:
        run_folder.load(run_dir)
    out = default_path(run_dirs) if out is None else Path(out)
    shown = reported = None
    try:
        while any(is_held(Path(run_dir) / LOCK_NAME) for run_dir in run_dirs):
            now = [_stamp(run_dir) for run_dir in run_dirs]
            if now != shown:
                try:
                    contents, seconds = report_contents(run_dirs), _refresh(run_dirs)
                except (InputError, OSError) as error:  # nothing evaluated yet, or between two files
                    if str(error) != reported:
                        reported = str(error)
                        waiting(reported)
                else:
                    save_report(contents, out, seconds)
                    shown = now
                    written(out)
            time.sleep(poll)
    except KeyboardInterrupt:
        if shown is not None:
            with contextlib.suppress(InputError, OSError):
                write_report(run_dirs, out)
        raise
    path = write_report(run_dirs, out)
    written(path)
    return path


def _stamp(run_dir):
    """What changes with every evaluation."""
    with contextlib.suppress(OSError):
        about = (Path(run_dir) / "metrics.jsonl").stat()
        return about.st_mtime_ns, about.st_size
    return None


def _refresh(run_dirs):
    """Seconds after which a page is loaded again: half of what lies between two evaluations."""
    between = [np.diff(metric_columns(run_dir).get("seconds", np.zeros(1)))[-3:] for run_dir in run_dirs]
    known = np.concatenate(between)
    known = known[np.isfinite(known)]
    return float(np.clip(known.mean() / 2, SHORTEST, LONGEST).round()) if len(known) else SHORTEST
