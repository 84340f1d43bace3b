"""What an experiment leaves to read: table.md, results.json, and the pictures."""

from pathlib import Path

from minielectra.experiments.comparison import LEVEL, PAIRS, compare
from minielectra.experiments.comparison_pictures import draw_comparison
from minielectra.experiments.experiment_file import UNTRAINED
from minielectra.formats.files import write_text
from minielectra.formats.json_text import json_text

ABOUT = (
    f"Scores: mean ± standard deviation over n pre-training seeds. Differences are paired by seed, with a "
    f"{LEVEL} % interval (bootstrap over pre-training seeds) and their standard error. A difference of more "
    "than two standard errors is in bold."
)


def write_report(experiment, runs, results, chosen, out):
    """Write table.md, results.json and the pictures into the folder `out` -> the table.

    runs: the Runs that are reported; results {name: result} of those that are done; chosen: what [tuning]
    chose.
    """
    found, out = compare(experiment, runs, results), Path(out)
    table = format_comparison(experiment, runs, results, found, chosen)
    write_text(out / "table.md", table)
    record = {
        "title": experiment.title,
        "baseline": experiment.baseline,
        "chosen": chosen,
        "runs": [_run_record(run, results[run.name]) for run in runs if run.name in results],
        "measures": [
            {
                "measure": list(measure),
                "cells": [_as_dict(cell) for cell in cells],
                "slopes": {variant: slope._asdict() for variant, slope in found.slopes[measure].items()},
            }
            for measure, cells in found.cells.items()
        ],
        "layers": found.layers,
    }
    write_text(out / "results.json", json_text(record, indent=1) + "\n")
    draw_comparison(experiment, found, out)
    return table


def format_comparison(experiment, runs, results, found, chosen):
    """The Comparison as Markdown."""
    done = sum(run.name in results for run in runs)
    lines = [f"# {experiment.title}", "", f"{done} of {len(runs)} runs. {ABOUT}"]
    for variant, values in chosen.items():
        lines += [
            "",
            f"Chosen for {variant}: {', '.join(_chosen(experiment, *item) for item in values.items())}.",
        ]
    lines += ["", *_costs(runs, results)]
    for measure, cells in found.cells.items():
        how, task, metric = measure
        lines += ["", f"## {how}: {task} ({metric})", ""]
        lines += [
            "| FLOPs | variant | n | score | difference | interval | error |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_row(cell) for cell in cells]
        if how == PAIRS:
            lines += ["", _pair_methods(runs, results)]
        for variant, slope in found.slopes[measure].items():
            against = experiment.variants[variant].against
            spread = "" if slope.low is None else f" ({slope.low:+.4f} to {slope.high:+.4f})"
            lines.append("")
            lines.append(f"{variant} minus {against}, per tenfold FLOPs: {slope.mean:+.4f}{spread}")
    return "\n".join(lines) + "\n"


def _chosen(experiment, name, value):
    """A chosen value, and whether it lies at the edge of those that were tried."""
    values = experiment.tuning.grid[name]
    numbers = all(type(tried) in (int, float) for tried in values)
    edge = numbers and len(values) > 1 and value in (min(values), max(values))
    return f"{name} {value} of {', '.join(map(str, values))}{', at the edge' if edge else ''}"


def _costs(runs, results):
    """What the runs cost: steps, FLOPs and seconds of each variant and budget."""
    rows = ["| FLOPs | variant | steps | spent | seconds of pre-training |", "|---|---|---|---|---|"]
    seen = {}
    for run in runs:
        if run.steps and run.name in results:
            seen.setdefault((run.budget, run.variant), []).append((run, results[run.name]))
    for (budget, variant), found in sorted(seen.items(), key=lambda item: item[0][0]):
        run = found[0][0]
        seconds = sum(result["pretraining_seconds"] for _, result in found) / len(found)
        rows.append(f"| {budget:.3g} | {variant} | {run.steps:,} | {run.flops:.4g} | {seconds:.0f} |")
    return rows


def _pair_methods(runs, results):
    """Which variants were scored how: see sentence_scores.py."""
    methods = {}
    for run in runs:
        if pairs := results.get(run.name, {}).get("scores", {}).get("pairs"):
            methods.setdefault(pairs["method"], {})[run.variant] = True
    used = "; ".join(f"{', '.join(variants)} by {method}" for method, variants in methods.items())
    return f"Scored: {used}. Variants that are scored differently can hardly be compared."


def _row(cell):
    score = f"{cell.score.mean:.4f}"
    if cell.score.deviation is not None:
        score += f" ± {cell.score.deviation:.4f}"
    budget = "–" if cell.variant == UNTRAINED else f"{cell.budget:.3g}"
    own = [budget, cell.variant, str(cell.score.n), score]
    difference = cell.difference
    if difference is None:
        return f"| {' | '.join([*own, '', '', ''])} |"
    shown = f"{difference.mean:+.4f}"
    if difference.error is None:
        return f"| {' | '.join([*own, f'{shown} ({cell.against})', '', ''])} |"
    if abs(difference.mean) > 2 * difference.error:
        shown = f"**{shown}**"
    interval = f"{difference.low:+.4f} to {difference.high:+.4f} (n = {difference.n})"
    return f"| {' | '.join([*own, f'{shown} ({cell.against})', interval, f'{difference.error:.4f}'])} |"


def _as_dict(cell):
    difference = None if cell.difference is None else cell.difference._asdict()
    return cell._asdict() | {"score": cell.score._asdict(), "difference": difference}


def _run_record(run, result):
    own = {"name": run.name, "variant": run.variant, "budget": run.budget, "seed": run.seed}
    return own | {"steps": run.steps, "flops": run.flops, **result}
