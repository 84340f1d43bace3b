"""Samplers in place of a network: what they draw, what they leave alone, and runs with them."""

import numpy as np
import pytest
from scipy.stats import chisquare
from small import SPECIAL, VOCAB, make_batch, own_gradients, small_objective

from minielectra import objectives
from minielectra.backend import RandomStream
from minielectra.electra.noise import Noise
from minielectra.errors import InputError
from minielectra.nn.layers import PassContext
from minielectra.pretraining.bench import bench
from minielectra.pretraining.evaluation import Evaluator
from minielectra.pretraining.presets import configure

COUNTS = np.arange(VOCAB) ** 2  # those of `small_objective`


def laws():
    """{sampler: p [V]}, from their definitions."""
    ordinary = np.isin(np.arange(VOCAB), SPECIAL, invert=True)
    frequent = COUNTS * ordinary
    return {"uniform": ordinary / ordinary.sum(), "unigram": frequent / frequent.sum()}


@pytest.mark.parametrize("sampler", ["uniform", "unigram"])
def test_samples_follow_the_law(sampler):
    """Chi-square, on the objective's own path; special tokens are never drawn."""
    objective = small_objective(sampler=sampler, sample_temperature=1.0)
    batch = make_batch(3, count=500)
    found = np.zeros(VOCAB)
    for number in range(10):
        outcome, _ = objective.forward(
            batch, batch.normalizers(), PassContext(random=RandomStream((number,)), backward=False)
        )
        found += np.bincount(outcome.samples[batch.weights > 0], minlength=VOCAB)
    law = laws()[sampler]
    assert not found[law == 0].any() and found.sum() > 10_000
    possible = law > 0
    assert chisquare(found[possible], law[possible] * found.sum()).pvalue > 1e-3


def test_a_mixture_of_generator_and_frequencies():
    """Chi-square of what one position is given, against the mixture of both laws."""
    objective = small_objective(unigram_fraction=0.3, sample_temperature=1.0)
    batch = make_batch(3, count=1)
    p = objective.forward(batch, batch.normalizers(), context())[0].probabilities[:1]
    found = np.zeros(VOCAB)
    for number in range(10):
        uniform = RandomStream((number,)).uniform(2000, np.float32)
        found += np.bincount(objective._sample(np.repeat(p, 2000, axis=0), uniform), minlength=VOCAB)
    law = 0.7 * p[0].astype(np.float64) / p[0].sum() + 0.3 * laws()["unigram"]
    assert chisquare(found, law / law.sum() * found.sum()).pvalue > 1e-3
    assert chisquare(found, laws()["unigram"] * found.sum() + 1e-9).pvalue < 1e-9  # the test can fail


def test_temperature_flattens_and_sharpens():
    for temperature, power in ((2.0, 0.5), (0.5, 2.0)):
        noise = Noise("unigram", COUNTS, SPECIAL, temperature)
        expected = laws()["unigram"] ** power
        np.testing.assert_allclose(noise.p, expected / expected.sum(), rtol=1e-12)


def test_extreme_numbers_draw_possible_words():
    """Both ends of [0, 1), with zeros at both ends of the vocabulary."""
    noise = Noise("unigram", [9, 0, 3, 5, 0, 0], [0])
    for dtype in (np.float32, np.float64):
        u = np.array([0.0, np.nextafter(dtype(1), dtype(0))], dtype)
        assert noise.sample(u).tolist() == [2, 3] and noise.sample(u).dtype == np.int32
    assert np.exp(noise.log_probabilities(np.arange(6))) == pytest.approx([0, 0, 0.375, 0.625, 0, 0])
    assert Noise("unigram", [9, 0, 0], [0]).p.tolist() == [0, 0.5, 0.5]  # nothing but special tokens


@pytest.mark.parametrize("sampler", ["uniform", "unigram"])
def test_there_is_no_generator_unless_asked_for(sampler):
    alone = small_objective(sampler=sampler)
    assert list(alone.towers) == ["discriminator"]
    assert not any(name.startswith("generator.") for name in alone.parameters)
    with_one = small_objective(sampler=sampler, train_generator=True)
    tied = small_objective(sampler=sampler, tie_encoders=True)
    for objective in (with_one, tied):
        assert list(objective.towers) == ["generator", "discriminator"]
        batch = make_batch(0)
        drawn = [
            np.where(batch.weights > 0, o.forward(batch, batch.normalizers(), context())[0].samples, 0)
            for o in (alone, objective)
        ]
        assert np.array_equal(*drawn)  # whoever is trained beside it, the samples are the same


def context():
    return PassContext(random=RandomStream((7,)))


def test_only_the_samples_differ():
    """With the same samples handed in, the gradient is that of the generator's own."""
    batch = make_batch(0)
    samples = np.random.default_rng(0).integers(5, VOCAB, batch.positions.shape, dtype=np.int32)
    gradients = []
    for options in ({}, {"sampler": "unigram", "train_generator": True}):
        objective = own_gradients(small_objective(**options))
        _, cache = objective.forward(batch, batch.normalizers(), PassContext(), samples=samples)
        objective.backward(cache, PassContext())
        gradients.append(objective.parameters.grad)
    assert np.array_equal(*gradients)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"sampler": "bigram"}, "choose generator, unigram or uniform"),
        ({"train_generator": False}, "needs sampler=unigram"),
        ({"sampler": "uniform", "train_generator": False, "tie_encoders": True}, "leave train_generator out"),
        ({"sampler": "unigram", "unigram_fraction": 0.5}, "unigram_fraction goes with sampler=generator"),
        ({"sampler": "unigram", "embeddings": "gdes"}, "embeddings=gdes needs a generator"),
        ({"tie_encoders": True, "embeddings": "separate"}, "add tie_encoders=false"),
    ],
)
def test_combinations_that_cannot_be(overrides, words):
    with pytest.raises(InputError, match=words):
        configure("tiny", overrides)


def test_without_frequencies_all_words_are_alike():
    objective = objectives.make(*configure("tiny", {"sampler": "unigram"}))
    assert np.unique(objective.noise.p).size == 1
    objective.set_noise([0] * 5 + [1, 3], SPECIAL)
    temperature = objective.config.sample_temperature
    assert objective.noise.p[5:] == pytest.approx(
        np.array([1, 3 ** (1 / temperature)]) / (1 + 3 ** (1 / temperature))
    )


def test_evaluation_without_a_generator():
    metrics, record = Evaluator(small_objective(sampler="unigram"), make_batch(1), seed=0)()
    assert metrics["gen_loss"] is None and metrics["disc_loss"] > 0
    assert record["gen_correct_prob"].min() >= 0 and record["gen_correct_prob"].max() <= 1
    assert bench(*configure("tiny", {"sampler": "uniform", "batch_size": 4}), steps=1)["gflops"] > 0
