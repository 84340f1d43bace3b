"""Muon: the orthogonalization against an SVD, the update against its formula, and its place in the engine."""

from contextlib import closing

import numpy as np
import pytest
from small import DROPOUT, make_batch, small_objective

from minielectra.errors import InputError
from minielectra.ops import orthogonalize
from minielectra.ops.reference.orthogonalize import COEFFICIENTS
from minielectra.optim.muon import MatrixBlock, Muon, is_muons
from minielectra.runs.checkpoints import load_checkpoint, save_checkpoint
from minielectra.training.engine import make_engine

SHAPES = [(5, 5), (4, 9), (9, 4), (1, 6), (6, 1), (32, 128)]


def matrix(shape, smallest, seed=0):
    """A matrix of norm 7 whose singular values spread from 1 down to `smallest` -> u, s, vt."""
    random = np.random.default_rng(seed)
    u, _, vt = np.linalg.svd(random.standard_normal(shape), full_matrices=False)
    s = np.geomspace(smallest, 1.0, min(shape))
    return u, 7.0 * s / np.linalg.norm(s), vt


def polynomial(s):
    """What the five steps do to singular values, which are divided by their norm first."""
    s = s / (np.linalg.norm(s) + 1e-7)
    for a, b, c in COEFFICIENTS:
        s = a * s + b * s**3 + c * s**5
    return s


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-4)])
def test_only_the_singular_values_change(shape, dtype, tolerance):
    """The directions of an exact SVD stay, and the values are those of the polynomial."""
    u, s, vt = matrix(shape, 1e-3)
    found = orthogonalize(((u * s) @ vt).astype(dtype))
    assert found.dtype == dtype and found.shape == shape
    np.testing.assert_allclose(found, (u * polynomial(s)) @ vt, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("smallest", "low", "high"), [(0.02, 0.97, 1.04), (0.006, 0.97, 1.15)])
def test_it_is_near_the_polar_factor(shape, smallest, low, high):
    """As near as the documentation of the operation promises."""
    u, s, vt = matrix(shape, smallest)
    values = np.linalg.svd(orthogonalize((u * s) @ vt), compute_uv=False)
    assert low < values.min() and values.max() < high
    polar = u @ vt
    error = np.linalg.norm(orthogonalize((u * s) @ vt) - polar, 2)
    assert error < max(1.0 - low, high - 1.0)


def test_several_matrices_at_once_have_the_bits_of_each():
    g = np.random.default_rng(0).standard_normal((7, 12, 5)).astype(np.float32)
    together = orthogonalize(g)
    assert all(np.array_equal(together[i : i + 1], orthogonalize(g[i : i + 1])) for i in range(len(g)))
    assert all(np.array_equal(together[i : i + 3], orthogonalize(g[i : i + 3])) for i in range(5))


def test_zeros_stay_zeros_and_the_scale_does_not_matter():
    assert not orthogonalize(np.zeros((3, 4))).any()
    g = np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_allclose(orthogonalize(1e6 * g), orthogonalize(g), rtol=1e-5)


def test_the_update_is_its_formula():
    objective = small_objective(np.float64, optimizer="muon", weight_decay=0.1)
    parameters, config = objective.parameters, objective.config
    muon = Muon(parameters, config, rate_factor=lambda name: 0.5 if "layer.1" in name else 1.0)
    random = np.random.default_rng(0)
    name = "discriminator.electra.encoder.layer.1.intermediate.dense.weight"
    p, m = parameters[name].value.copy(), 0.0
    for step in range(4):
        gradient, rate, scale = random.standard_normal(parameters.size), 0.01 * (step + 1), 0.7
        start, stop = parameters.span(name)
        g = scale * gradient[start:stop].reshape(p.shape)
        m = 0.95 * m + g
        u = orthogonalize(g + 0.95 * m)
        p = p - 0.5 * rate * (0.2 * np.sqrt(max(p.shape)) * u + 0.1 * p)
        muon.update(gradient, rate, scale, step)
        np.testing.assert_allclose(parameters[name].value, p, rtol=1e-10, atol=1e-13)


def test_everything_that_is_not_a_matrix_of_the_encoders_is_adams():
    adam, muon = (small_objective(np.float64, optimizer=name) for name in ("adam", "muon"))
    gradient = np.random.default_rng(0).standard_normal(adam.parameters.size)
    for objective in (adam, muon):
        with closing(make_engine(objective, workers="plain")) as engine:
            engine.optimizer.update(gradient, 0.01)
            objective.parameters.flat[...] = engine.objective.parameters.flat
    names = list(adam.parameters)
    same = {n for n in names if np.array_equal(adam.parameters[n].value, muon.parameters[n].value)}
    assert same == {n for n in names if not is_muons(n, adam.parameters.shapes[n])}
    assert 0 < len(same) < len(names)
    assert not any(
        word in n for n in set(names) - same for word in ("embeddings", "bias", "LayerNorm", "predictions")
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_workers_share_the_blocks(count):
    """Every block is in one share, and no worker gets much more of the matrices than another."""
    objective = small_objective(optimizer="muon", num_hidden_layers=4)
    muon = Muon(objective.parameters, objective.config)
    shares = [list(muon.share(i, count)) for i in range(count)]
    assert sorted(i for share in shares for i in share) == list(range(len(muon.blocks)))
    costs = [
        sum(muon.blocks[i].cost for i in share if isinstance(muon.blocks[i], MatrixBlock)) for share in shares
    ]
    assert max(costs) <= 1.2 * min(costs)


def train(workers, threads=None, steps=4):
    objective = small_objective(optimizer="muon", shards=2, **DROPOUT)
    with closing(make_engine(objective, threads, workers)) as engine:
        results = [engine.step(make_batch(step), 1e-2, 5, step) for step in range(steps)]
        return engine.objective.parameters.flat.copy(), engine.optimizer.state(), results


@pytest.mark.parametrize(("workers", "threads"), [("threads", 1), ("threads", 2), ("processes", 2)])
def test_workers_change_no_bit(workers, threads):
    flat, state, results = train("plain")
    other_flat, other_state, other_results = train(workers, threads)
    assert np.array_equal(flat, other_flat) and results == other_results
    assert all(np.array_equal(state[name], other_state[name]) for name in state)


def test_a_checkpoint_holds_one_moment_per_matrix_and_goes_on_with_the_same_bits(tmp_path):
    expected, state, _ = train("plain", steps=6)
    objective = small_objective(optimizer="muon", shards=2, **DROPOUT)
    matrices = sum(np.prod(s) for n, s in objective.parameters.shapes.items() if is_muons(n, s))
    assert state["first_moment"].size == objective.parameters.size
    assert state["second_moment"].size == objective.parameters.size - matrices
    with closing(make_engine(objective, workers="threads")) as engine:
        for step in range(3):
            engine.step(make_batch(step), 1e-2, 5, step)
        folder = save_checkpoint(tmp_path, 3, engine.objective.parameters, engine.optimizer, {})
    with closing(
        make_engine(small_objective(optimizer="muon", shards=2, seed=9, **DROPOUT), workers="threads")
    ) as engine:
        load_checkpoint(folder, engine.objective.parameters, engine.optimizer)
        for step in range(3, 6):
            engine.step(make_batch(step), 1e-2, 5, step)
        assert np.array_equal(engine.objective.parameters.flat, expected)
    with (
        closing(make_engine(small_objective(optimizer="adam"), workers="plain")) as engine,
        pytest.raises(InputError, match="does not fit this run"),
    ):
        load_checkpoint(folder, engine.objective.parameters, engine.optimizer)


def test_it_learns():
    """Ten steps on one batch lower both losses."""
    objective = small_objective(optimizer="muon", initialization="local_attention")
    batch = make_batch(0)
    with closing(make_engine(objective, workers="plain")) as engine:
        results = [engine.step(batch, 1e-2, 5, step) for step in range(10)]
    assert results[-1].gen_loss < 0.9 * results[0].gen_loss
