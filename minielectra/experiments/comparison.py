"""The statistics of an experiment: means over seeds, paired differences, bootstrap intervals, slopes.

A *measure* is one way to score a model, such as ("fine-tuned", "sst-2", "accuracy"). The unit of everything
here is the pre-training seed: the scores of several fine-tuning seeds are averaged first. Two variants are
compared seed by seed, because runs of one seed see the same data in the same order.

Intervals are percentile bootstraps over pre-training seeds. With three seeds they are rough, and too narrow;
with one there is none.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from minielectra.experiments.experiment_file import UNTRAINED
from minielectra.experiments.grid import candidates

RESAMPLES = 10_000
LEVEL = 95  # per cent
FINETUNED, LAST, BEST, PAIRS = "fine-tuned", "frozen, last layer", "frozen, best layer", "minimal pairs"


class Estimate(NamedTuple):
    """A mean over seeds."""

    n: int
    mean: float
    deviation: float | None  # of one seed; None: there is only one
    error: float | None  # standard error of the mean
    low: float | None  # the ends of its interval
    high: float | None


class Cell(NamedTuple):
    """A variant at one budget, by one measure."""

    variant: str
    budget: float
    score: Estimate
    against: str | None
    difference: Estimate | None  # None: nothing to compare with


class Comparison(NamedTuple):
    """All that an experiment found."""

    scores: dict  # {measure: {variant: {budget: {seed: score}}}}
    cells: dict  # {measure: list of Cell, in the order of the budgets}
    slopes: dict  # {measure: {variant: Estimate of the change of the difference per tenfold FLOPs}}
    layers: dict  # {task: {variant: [mean score of each layer]}}, at the largest budget of all


def estimate(values):
    """The Estimate of a list of numbers, one per seed."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return Estimate(len(values), float(values.mean()), None, None, None, None)
    deviation = float(values.std(ddof=1))
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(values[drawn].mean(axis=1), [tail, 100 - tail])
    error = deviation / len(values) ** 0.5
    return Estimate(len(values), float(values.mean()), deviation, error, float(low), float(high))


def compare(experiment, runs, results):
    """The Comparison of the runs that have results {name: result}."""
    scores = _scores(runs, results)
    cells, slopes = {}, {}
    for measure, found in scores.items():
        cells[measure], slopes[measure] = [], {}
        for budget in (0.0, *experiment.budgets):
            for variant in (UNTRAINED, *experiment.variants):
                own = found.get(variant, {}).get(budget)
                if own:
                    cells[measure].append(_cell(experiment, found, variant, budget, own))
        for variant in experiment.variants.values():
            if slope := _slope(found, variant, experiment.budgets):
                slopes[measure][variant.name] = slope
    return Comparison(scores, cells, slopes, _layers(experiment, runs, results))


def differences(found, variant, against, budget):
    """{seed: score of `variant` minus that of `against`} for the seeds that both have at a budget."""
    own, other = (found.get(name, {}).get(budget, {}) for name in (variant, against))
    return {seed: own[seed] - other[seed] for seed in own if seed in other}


def chosen_values(experiment, runs, results):
    """What [tuning] chooses -> {variant: {field: value}}.

    Of each variant's candidates it is the one with the best mean over seeds and tasks for selection; the
    first of several. A run that failed counts as the worst.
    """
    if experiment.tuning is None:
        return {}
    tried = defaultdict(list)
    for run in runs:
        found = results.get(run.name, {}).get("scores", {}).get("finetuned", {})
        tasks = [_mean_score(own) for own in found.values()]
        tried[run.variant].append((run.tuned, float(np.mean(tasks)) if tasks else -np.inf))
    chosen = {}
    for variant, scores in tried.items():

        def goodness(values, scores=scores):
            return np.mean([score for own, score in scores if own == values])

        chosen[variant] = max(candidates(experiment.tuning), key=goodness)
    return chosen


def _mean_score(found):
    """The mean of the main metric over fine-tuning seeds. found: list of {metric: value}."""
    return float(np.mean([next(iter(scores.values())) for scores in found]))


def _scores(runs, results):
    """{measure: {variant: {budget: {seed: score}}}} of the runs that are reported."""
    found = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for run in runs:
        if run.name not in results:
            continue
        for measure, score in _measures(results[run.name]["scores"]):
            found[measure][run.variant][run.budget][run.seed] = score
    return {measure: {variant: dict(own) for variant, own in of.items()} for measure, of in found.items()}


def _measures(scores):
    """(measure, score) of everything in a result's scores."""
    for task, found in scores["finetuned"].items():
        yield (FINETUNED, task, next(iter(found[0]))), _mean_score(found)
    for task, found in scores["frozen"].items():
        yield (LAST, task, found["metric"]), found["layers"][-1]
        yield (BEST, task, found["metric"]), max(found["layers"])
    if "pairs" in scores:
        yield (PAIRS, "all kinds", "accuracy"), scores["pairs"]["mean"]


def _cell(experiment, found, variant, budget, own):
    against = experiment.baseline if variant == UNTRAINED else experiment.variants[variant].against
    paired = differences(found, variant, against, budget) if against else {}
    difference = estimate(list(paired.values())) if paired else None
    return Cell(variant, budget, estimate(list(own.values())), against, difference)


def _slope(found, variant, budgets):
    """How much the difference changes per tenfold FLOPs -> Estimate, or None for a single budget."""
    by_seed = defaultdict(dict)
    for budget in budgets if variant.against else ():
        for seed, value in differences(found, variant.name, variant.against, budget).items():
            by_seed[seed][np.log10(budget)] = value
    slopes = [np.polyfit(list(own), list(own.values()), 1)[0] for own in by_seed.values() if len(own) > 1]
    return estimate(slopes) if slopes else None


def _layers(experiment, runs, results):
    """{task: {variant: [mean over seeds of the frozen score of each layer]}} at the largest budget."""
    found = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.name in results and run.budget in (0.0, max(experiment.budgets)):
            for task, probe in results[run.name]["scores"]["frozen"].items():
                found[task][run.variant].append(probe["layers"])
    return {
        task: {name: np.mean(rows, axis=0).tolist() for name, rows in of.items()}
        for task, of in found.items()
    }
