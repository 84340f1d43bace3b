"""Training in two stages: what learns when, and what the second one starts from."""

import numpy as np
import pytest
from small import make_batch, moved, passed, small_objective, trained

from minielectra.electra.products import BatchShape
from minielectra.pretraining.presets import configure
from minielectra.pretraining.run_schedule import rate_at, rate_at_fraction

GENERATORS = ("electra.", "generator.")  # beginnings of the names of what a generator consists of
TWO = {"two_stage": 0.5, "embeddings": "separate", "generator_width": 1.0}


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("workers", ["plain", "threads"])
@pytest.mark.parametrize(("progress", "learns"), [(0.2, GENERATORS), (0.5, ("discriminator.",))])
def test_what_does_not_learn_is_frozen(progress, learns, workers, optimizer):
    """Weight decay and old momentum do not move it either, and its moments stay."""
    before, after, first = trained([progress] * 3, workers, optimizer=optimizer, **TWO)
    changed = moved(before, after)
    assert changed and all(name.startswith(learns) for name in changed)
    objective = small_objective(optimizer=optimizer, **TWO)
    for name in before:
        start, stop = objective.parameters.span(name)
        assert name.startswith(learns) or not first[start:stop].any(), name


def test_momentum_of_the_first_stage_does_not_move_the_second():
    _, first, _ = trained([0.2, 0.3], **TWO)
    _, both, _ = trained([0.2, 0.3, 0.6], **TWO)
    assert all(name.startswith("discriminator.") for name in moved(first, both))


def test_the_discriminator_starts_from_the_generator_or_afresh():
    for start in ("generator", "afresh"):
        objective = small_objective(discriminator_start=start, **TWO)
        parameters = objective.parameters
        before = parameters.flat.copy()
        objective.begin_second_stage()
        same = [
            np.array_equal(parameters[name].value, parameters[f"discriminator.{rest}"].value)
            for name in parameters
            if (rest := name.removeprefix("generator."))
            and f"discriminator.{rest}" in parameters
            and "discriminator." not in name
            and ".weight" in name
            and "LayerNorm" not in name
        ]
        assert len(same) > 10 and all(same) == (start == "generator")
        assert np.array_equal(before, parameters.flat) == (start == "afresh")


def test_a_stage_costs_what_it_runs():
    shape = BatchShape(4, 14, 4)
    parts = {now: small_objective(**TWO).passes(shape, now) for now in (0.1, 0.7)}
    assert [made.part for made in parts[0.1]] == ["generator"]
    assert [(made.part, made.backward) for made in parts[0.7]] == [
        ("generator", False),
        ("discriminator", True),
    ]


def test_rtd_and_mlm_begins_as_bert_does():
    """In the first stage, its encoder computes what `mlm` does, from the same weights."""
    batch = make_batch(0)
    batch.progress = 0.1
    staged = small_objective(np.float64, objective="rtd+mlm", two_stage=0.3)
    bert = small_objective(np.float64, objective="mlm", tie_encoders=True)
    for name in bert.parameters:
        bert.parameters[name].value[...] = staged.parameters[name].value
    outcome, gradients = passed(staged, batch)
    expected, bert_gradients = passed(bert, batch)
    assert outcome.corrector_loss == pytest.approx(float(expected.gen_loss), rel=1e-12)
    for name, gradient in bert_gradients.items():
        if name.startswith("discriminator."):
            np.testing.assert_allclose(gradients[name], gradient, rtol=1e-9, atol=1e-12)
    assert outcome.disc_loss == 0.0 and staged.frozen(batch) == ()


def test_the_weight_of_words_falls_to_nothing():
    objective = small_objective(objective="rtd+mlm", mlm_weight=2.0, two_stage=0.25, mlm_anneal=0.5)
    weights = [objective._words_weight(progress) for progress in (0.0, 0.2, 0.25, 0.5, 0.75, 1.0)]
    assert weights == [2.0, 2.0, 2.0, 1.0, 0.0, 0.0]
    names = {now: objective.computed(now) for now in (0.1, 0.5, 0.9)}
    assert names[0.1] == ("gen_loss", "corrector_loss") and names[0.9] == ("gen_loss", "disc_loss")
    assert names[0.5] == ("gen_loss", "disc_loss", "corrector_loss")
    shape = BatchShape(4, 14, 4)
    heads = [{made.part for made in objective.passes(shape, now) if made.head} for now in (0.1, 0.9)]
    assert heads == [{"generator", "corrector"}, {"generator", "discriminator"}]


def test_the_rate_rises_once_more():
    options = {"objective": "rtd+mlm", "two_stage": 0.5, "warmup_fraction": 0.2, "learning_rate": 1.0}
    plain, again = (configure("tiny", options | {"rewarm": rewarm})[1] for rewarm in (False, True))
    for step in range(100):
        factor = min(1.0, (step / 100 - 0.5) / 0.1) if step >= 50 else 1.0
        assert rate_at(step, 100, again) == pytest.approx(factor * rate_at(step, 100, plain))
        assert rate_at_fraction(step / 100, step, again) == pytest.approx(
            factor * rate_at_fraction(step / 100, step, plain)
        )
