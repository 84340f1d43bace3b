"""The statistics of an experiment, on numbers whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from minielectra.experiments.comparison import FINETUNED, chosen_values, compare, estimate
from minielectra.experiments.comparison_pictures import draw_comparison
from minielectra.experiments.comparison_table import format_comparison
from minielectra.experiments.experiment_file import Tuning, Variant
from minielectra.experiments.grid import Run

MEASURE = (FINETUNED, "pos", "accuracy")


def experiment(**tuned):
    """Two variants, two budgets."""
    variants = {
        "bert": Variant("bert", {}, (1, 2, 3), None, None, {}),
        "electra": Variant("electra", {}, (1, 2, 3), None, "bert", {}),
    }
    return SimpleNamespace(
        title="A title",
        baseline="bert",
        variants=variants,
        budgets=(1e9, 1e10),
        tuning=Tuning(1e9, (7,), tuned) if tuned else None,
    )


def run(variant, budget, seed, tuned=None, steps=10):
    name = f"{variant}-{budget:g}-{seed}-{tuned}"
    return Run(name, variant, budget, seed, steps, int(budget), "tiny", {}, {}, tuned=tuned or {})


def result(*scores, layers=(0.5, 0.7, 0.6)):
    """A result whose fine-tuning seeds have these scores."""
    finetuned = {"pos": [{"accuracy": score} for score in scores]}
    frozen = {"pos": {"metric": "accuracy", "layers": list(layers)}}
    return {"scores": {"finetuned": finetuned, "frozen": frozen}, "pretraining_seconds": 1.0}


def grid(scores, missing=()):
    """Runs with results; scores {(variant, budget): scores by seed}."""
    runs = [run(*key, seed) for key, own in scores.items() for seed, _ in enumerate(own, 1)]
    values = [value for own in scores.values() for value in own]
    results = {own.name: result(value) for own, value in zip(runs, values, strict=True)}
    return runs, {name: own for name, own in results.items() if name not in missing}


SCORES = {
    ("bert", 1e9): [0.50, 0.60, 0.70],
    ("electra", 1e9): [0.48, 0.57, 0.66],
    ("bert", 1e10): [0.70, 0.75, 0.80],
    ("electra", 1e10): [0.71, 0.77, 0.83],
}


def test_an_estimate_is_what_it_says():
    found = estimate([1.0, 2.0, 6.0])
    assert (found.n, found.mean) == (3, 3.0)
    assert found.deviation == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert found.error == pytest.approx(found.deviation / np.sqrt(3))
    assert 1.0 <= found.low < 3.0 < found.high <= 6.0
    assert estimate([1.0, 2.0, 6.0]) == found  # the same every time
    assert estimate([5.0])[2:] == (None, None, None, None)
    assert estimate([5.0, 5.0])[2:] == (0.0, 0.0, 5.0, 5.0)


def test_the_interval_covers_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    draws = random.standard_normal((200, 12))
    covered = sum(found.low <= 0.0 <= found.high for found in map(estimate, draws))
    assert 0.86 < covered / 200 < 0.99  # percentile bootstraps of a dozen are a little too narrow


def test_differences_are_paired_by_seed():
    runs, results = grid(SCORES)
    cells = compare(experiment(), runs, results).cells[MEASURE]
    found = {(cell.variant, cell.budget): cell for cell in cells}
    small = found["electra", 1e9]
    assert small.score.mean == pytest.approx(0.57)
    assert small.difference.mean == pytest.approx(-0.03)
    assert small.difference.deviation == pytest.approx(0.01)  # of the scores themselves it is 0.09
    assert found["bert", 1e9].difference is None
    assert found["electra", 1e10].difference.mean == pytest.approx(0.02)


def test_only_seeds_that_both_have_are_paired():
    runs, results = grid(SCORES)
    missing = next(own.name for own in runs if (own.variant, own.budget, own.seed) == ("bert", 1e9, 3))
    del results[missing]
    cells = compare(experiment(), runs, results).cells[MEASURE]
    cell = next(cell for cell in cells if (cell.variant, cell.budget) == ("electra", 1e9))
    assert (cell.score.n, cell.difference.n) == (3, 2)
    assert cell.difference.mean == pytest.approx(-0.025)


def test_fine_tuning_seeds_are_averaged_first():
    """They are no seeds of pre-training: more of them make no larger n."""
    runs = [run("bert", 1e9, 1), run("bert", 1e9, 2)]
    results = {runs[0].name: result(0.1, 0.2, 0.3), runs[1].name: result(0.4)}
    cell = compare(experiment(), runs, results).cells[MEASURE][0]
    assert cell.score.n == 2
    assert cell.score.mean == pytest.approx(0.3)


def test_the_slope_is_per_tenfold_flops():
    runs, results = grid(SCORES)
    slope = compare(experiment(), runs, results).slopes[MEASURE]["electra"]
    assert slope.mean == pytest.approx(0.05)  # from −0.03 to +0.02
    assert slope.n == 3


def test_the_best_mean_over_seeds_and_tasks_is_chosen():
    runs, results = [], {}
    for rate, scores in ((1e-3, (0.5, 0.6)), (3e-3, (0.9, 0.1)), (6e-3, (0.6, 0.6))):
        for seed, score in enumerate(scores):
            runs.append(run("bert", 1e9, seed, {"learning_rate": rate}))
            results[runs[-1].name] = result(score)
    own = experiment(learning_rate=[1e-3, 3e-3, 6e-3])
    assert chosen_values(own, runs, results) == {"bert": {"learning_rate": 6e-3}}
    del results[runs[-1].name]  # it failed
    assert chosen_values(own, runs, results) == {"bert": {"learning_rate": 1e-3}}
    assert chosen_values(experiment(), [], {}) == {}


def test_table_and_pictures_of_any_state_of_the_grid(tmp_path):
    """None done, some done, all done."""
    runs, results = grid(SCORES)
    for count in (0, 1, 5, len(runs)):
        some = dict(list(results.items())[:count])
        found = compare(experiment(), runs, some)
        table = format_comparison(experiment(), runs, some, found, {})
        assert f"{count} of {len(runs)} runs" in table
        assert all(path.stat().st_size for path in draw_comparison(experiment(), found, tmp_path))
    assert "| 1e+09 | electra | 3 | 0.5700 ± 0.0900 | **-0.0300** (bert) |" in table
    assert "electra minus bert, per tenfold FLOPs: +0.0500" in table
    assert (tmp_path / "layers.png").exists() and (tmp_path / "differences.png").exists()
