"""metrics.jsonl: one line per evaluation, a JSON object with the step and the figures measured there.

The trainer appends through `MetricsLog`. `read_metrics` is the only parser; `metric_columns` turns its rows
into columns for the pictures.
"""

import sys
from pathlib import Path

import numpy as np

from minielectra.errors import InputError
from minielectra.formats import limits
from minielectra.formats.files import append_text, set_aside, write_text
from minielectra.formats.json_text import is_integer, is_number, json_text, parse_json
from minielectra.formats.reading import check_ordinary, read_bytes

_NEEDED = ("tokens", "seconds")  # what the trainer counts on, if it is there


class MetricsLog:
    """The metrics.jsonl of a run that goes on: call `restore` once, then `append` at every evaluation.

    Lines are appended, not written beside and renamed like other files, so that an evaluation costs the same
    however many came before. If the process is killed while it writes, the last line is half there;
    `read_metrics` ignores it and `restore` removes it.
    """

    def __init__(self, run_dir):
        """run_dir: the folder of the run. Nothing is read or written yet."""
        self.run_dir = Path(run_dir)
        self.rows = []  # one dict per evaluation, in order of step

    def restore(self, step):
        """Keep the evaluations up to `step` of an earlier process (−1: none).

        Later ones are removed, because they will be done again. A file with damaged lines is set aside under
        another name, which one line on standard error says, and the other lines are kept. Raises OSError for
        a file that may not be read.
        """
        path = _path(self.run_dir)
        try:
            rows = read_metrics(self.run_dir) if path.exists() else []
        except InputError as fault:
            rows = _sound_rows(path)
            aside = set_aside(path, "damaged")
            told = f"set aside as {aside.name}; the training goes on, with the {len(rows)} sound lines of it"
            print(f"{fault}; {told}", file=sys.stderr)
        self.rows = [row for row in rows if row["step"] <= step]
        write_text(path, "".join(map(_line, self.rows)))

    def append(self, row):
        """Write the figures of an evaluation. row: a JSON-able dict with an integer `step`, the latest."""
        append_text(_path(self.run_dir), _line(row))
        self.rows.append(row)


def read_metrics(run_dir):
    """The evaluations of a run, a list of dicts in order of step.

    A last line that is half-written is ignored: the run was cut off there, or is writing it now. If a step
    occurs twice, the later line wins. Raises InputError if the file is missing or cannot be read, or if
    another line is damaged.
    """
    path = _path(run_dir)
    try:
        *lines, last = _lines(path)
    except FileNotFoundError:
        raise InputError(f"{run_dir} is not a run folder: metrics.jsonl is missing") from None
    by_step = {}
    for number, line in enumerate(lines, 1):
        row = _parse(line)
        if row is None and line.strip():
            raise InputError(
                f"{path}, line {number}: not a JSON object with a step; delete this line to use the others"
            )
        if row is not None:
            by_step[row["step"]] = row
    if (row := _parse(last)) is not None:
        by_step[row["step"]] = row
    return [by_step[step] for step in sorted(by_step)]


def _lines(path):
    """The lines of a file. Raises InputError if it is no file or too large, and OSError if it is not read."""
    check_ordinary(path)
    return read_bytes(path, limits.JSON).decode("utf-8", "replace").rstrip().split("\n")


def _sound_rows(path):
    """The evaluations in a damaged file, as far as they can be read, in order of step."""
    try:
        rows = [row for row in map(_parse, _lines(path)) if row is not None]
    except InputError:  # not a file, or an endless one
        return []
    by_step = {row["step"]: row for row in rows}
    return [by_step[step] for step in sorted(by_step)]


def metric_columns(run_dir):
    """The evaluations of a run as columns: {name: [E] float64}, in order of step.

    NaN stands where a line has no such figure, or has something else than a number. Raises InputError as
    `read_metrics` does, and if there is no evaluation yet.
    """
    rows = read_metrics(run_dir)
    if not rows:
        raise InputError(f"{_path(run_dir)} holds no evaluation yet")
    names = {name: None for row in rows for name in row}  # a dict, because it keeps the order
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _path(run_dir):
    return Path(run_dir) / "metrics.jsonl"


def _line(row):
    return json_text(row) + "\n"


def _parse(line):
    """A line as a dict with an integer `step`, or None if it is not one."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not is_integer(row.get("step")):
        return None
    return row if all(is_number(row.get(name, 0)) for name in _NEEDED) else None


def _number(value):
    return float(value) if is_number(value) else float("nan")
