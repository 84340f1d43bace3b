"""Does the suite see anything? With no mutant every check is green; each mutant turns its check red."""

import pytest

from minielectra.gradcheck import checker as gradcheck

from . import mutants_of_layers, mutants_of_training
from .checks import difference_errors, worst
from .mutation import CHECKS

MUTANTS = mutants_of_layers.MUTANTS + mutants_of_training.MUTANTS


def seen_by_finite_differences():
    """Whether the gradient check of the joint model, one random probe a tensor, finds anything wrong."""
    return not worst(difference_errors(elements=1, directions=1))[1] <= gradcheck.TOLERANCE


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_mutant_all_is_green(check):
    measure, limit = CHECKS[check]
    name, figure = worst(measure())
    assert figure <= limit, f"{name}: {figure:.1e}"


def test_there_are_many_and_every_check_is_needed():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 40
    assert {mutant.check for mutant in MUTANTS} == set(CHECKS)
    assert not seen_by_finite_differences()


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_every_mutant_is_caught(mutant, monkeypatch):
    mutant.patch(monkeypatch)
    measure, limit = CHECKS[mutant.check]
    _, figure = worst(measure())
    assert not figure <= limit, f"survives {mutant.check}: {figure:.1e}"
    assert seen_by_finite_differences() != mutant.hidden
