"""What a report says of runs, read from their folders: one JSON-able dict that the page draws."""

import dataclasses
import math
from pathlib import Path

from minielectra import __version__
from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError, shown
from minielectra.plots.acquisition import ENOUGH, RULE
from minielectra.plots.film_strip import COLUMNS, choose_passage
from minielectra.plots.learning import finding, has_discriminator
from minielectra.plots.statistics import ACQUIRED
from minielectra.plots.words import choose_tokens
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.pretraining.run_settings import RunSettings
from minielectra.report.figures import FIGURES, charts_for, with_share_entropy
from minielectra.report.packed_records import LEVELS, MOST_BYTES, pack_records, spread
from minielectra.runs import run_folder
from minielectra.runs.detection_records import DetectionRecords
from minielectra.runs.metrics_log import metric_columns

MOST_ROWS = 1000  # evaluations whose metrics a page holds
MOST_RUNS = 2
_DEFAULT_TOKENS = (2, 1, 0, 1)  # function words, content words, punctuation marks, continuation pieces

# Entries of run.json, as headings; a class says what each setting in it means. `fields` holds the same
# values as the two configurations before they are known.
_GROUPS = (
    ("settings", "settings of the run", RunSettings),
    ("config", "model", ElectraConfig),
    ("pretraining", "pre-training", PretrainingConfig),
    ("fields", "chosen before the data was read", None),
)


def report_contents(run_dirs):
    """Everything on the page of one or two runs -> a JSON-able dict.

    Raises InputError if a folder is not a run's, if its records are missing, damaged or hold no evaluation
    yet, or if there are more than two runs.
    """
    if not 1 <= len(run_dirs) <= MOST_RUNS:
        raise InputError(f"a report shows one run or two, got {len(run_dirs)}")
    all_metrics = [_metrics(run_dir) for run_dir in run_dirs]
    names = _names(run_dirs)
    runs = [
        _run(Path(run_dir), name, metrics, MOST_BYTES // len(run_dirs))
        for run_dir, name, metrics in zip(run_dirs, names, all_metrics, strict=True)
    ]
    charts = [
        chart._asdict() | {"series": [series._asdict() for series in chart.series]}
        for chart in charts_for(all_metrics)
    ]
    return {
        "version": __version__,
        "levels": LEVELS,
        "acquired": {"auc": ACQUIRED, "evaluations": ENOUGH, "rule": RULE},
        "charts": charts,
        "figures": [figure._asdict() for figure in FIGURES],
        "runs": runs,
    }


def _metrics(run_dir):
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise InputError(f"{run_dir} is not a run folder: no such directory")
    run_folder.load(run_dir)
    return with_share_entropy(metric_columns(run_dir))


def _names(run_dirs):
    """What the page calls the runs: their folders' names, with more of the path if these are the same."""
    paths = [Path(run_dir).absolute() for run_dir in run_dirs]
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in map(Path, run_dirs)]


def _run(run_dir, name, metrics, most_bytes):
    info = run_folder.load(run_dir)
    rows = spread(len(metrics["step"]), MOST_ROWS)
    contents = {
        "name": name,
        "preset": info["settings"].get("preset"),
        "seed": info["settings"].get("seed"),
        "plannedSteps": info.get("steps"),
        "finding": finding(metrics),
        "metrics": {column: [_plain(x) for x in values[rows].tolist()] for column, values in metrics.items()},
        "evaluations": len(metrics["step"]),
        "settings": _settings(info),
        "detection": None,
    }
    if has_discriminator(metrics):
        records = DetectionRecords.load(run_dir)
        contents["detection"] = {
            "tokens": records.tokens,
            "chosen": choose_tokens(records, _DEFAULT_TOKENS),
            "passage": choose_passage(records, COLUMNS)[0],
            "count": len(records.steps),
            **pack_records(records, most_bytes),
        }
    return contents


def _plain(number):
    """A float as short as a page needs it; null for NaN."""
    return float(f"{number:.9g}") if math.isfinite(number) else None


def _settings(info):
    """Every entry of run.json -> list of {"group", "name", "value", "meaning"}, all texts."""
    groups = [(entry, heading, kind) for entry, heading, kind in _GROUPS if isinstance(info.get(entry), dict)]
    if "config" in info and "pretraining" in info:
        groups = [group for group in groups if group[0] != "fields"]
    rows = []
    for entry, heading, kind in groups:
        meanings = _meanings(kind) if kind else {}
        rows += [_row(heading, name, value, meanings.get(name, "")) for name, value in _flat(info[entry])]
    listed = {entry for entry, _, _ in _GROUPS}
    rest = {name: value for name, value in info.items() if name not in listed}
    return rows + [_row("record", name, value, "") for name, value in _flat(rest)]


def _meanings(kind):
    return {field.name: field.metadata.get("help", "") for field in dataclasses.fields(kind)}


def _flat(entries, prefix=""):
    """(name, value) of every entry of a dict; those of a dict in it are called "outer.inner"."""
    for name, value in entries.items():
        if isinstance(value, dict) and value and not prefix:
            yield from _flat(value, f"{name}.")
        else:
            yield f"{prefix}{name}", value


def _row(group, name, value, meaning):
    return {"group": group, "name": name, "value": _words(value), "meaning": meaning}


def _words(value):
    """A value of run.json as a person reads it."""
    if value is None or value == [] or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else shown(value, 1000)
