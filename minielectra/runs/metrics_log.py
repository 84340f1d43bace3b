"""`metrics.jsonl` of a run."""

import json
from pathlib import Path

import numpy as np

from minielectra.errors import InputError


def load_metrics(run_dir):
    """`metrics.jsonl` as columns: dict of [E] float64 arrays sorted by step, NaN where a line has no such figure.

    A last line that is half-written (the run was cut off, or goes on) is ignored; where a step occurs twice the later line wins.
    InputError when the file is missing, has no complete line, or another line is broken.
    """
    path = Path(run_dir) / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise InputError(f"{run_dir} is not a run folder: metrics.jsonl is missing") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from None
    by_step = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            by_step[int(row["step"])] = row
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise InputError(f"{path}, line {number}: not a JSON object with a step") from None
    if not by_step:
        raise InputError(f"{path} holds no evaluation yet")
    rows = [by_step[step] for step in sorted(by_step)]
    names = {name: None for row in rows for name in row}  # a dict keeps the order
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(value):
    """A float, or NaN for whatever is not a number (null, text)."""
    return float(value) if isinstance(value, (int, float)) else np.nan


def read_metrics(folder, up_to=None):
    """The lines of metrics.jsonl as dicts, those of later steps than `up_to` left out, as is a half-written last line."""
    path = Path(folder) / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    metrics = []
    for line in lines:
        try:
            metrics.append(json.loads(line))
        except ValueError:
            break
    return [entry for entry in metrics if up_to is None or entry["step"] <= up_to]
