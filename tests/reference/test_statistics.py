"""Chance: what is drawn follows the law it should (chi-square; fixed seeds; a p-value under 1e-4 fails)."""

import pytest

from .chances import LIMIT, choices, generator, sampling, shown


@pytest.mark.parametrize(
    ("measure", "options"),
    [
        (sampling, {}),
        (sampling, {"spread": 4.0}),  # peaked: one word has a fifth of it
        (sampling, {"spread": 0.05}),  # nearly flat
        (sampling, {"words": 1024}),  # whole blocks only
        (sampling, {"words": 61, "spread": 3.0}),
        (sampling, {"words": 2}),
        (sampling, {"temperature": 0.5}),
        (sampling, {"temperature": 3.0, "spread": 4.0}),
        (choices, {}),
        (choices, {"with_replacement": True}),
        (shown, {}),
        (generator, {}),
        (generator, {"temperature": 2.5}),
    ],
)
def test_chances(measure, options):
    surprises = measure(**options)
    assert max(surprises.values()) < LIMIT, surprises
