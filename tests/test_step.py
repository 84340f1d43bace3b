"""A training step: shards, workers, the optimiser, memory."""

import gc
import math
import tracemalloc

import numpy as np
import pytest
from small import VOCAB, make_batch, small_model

from minielectra.errors import InputError
from minielectra.nn.layers import Run
from minielectra.optim.adam import Adam, decays
from minielectra.optim.clipping import clip_scale
from minielectra.optim.schedule import learning_rate
from minielectra.training.step import Trainee, slices
from minielectra.training.teams import processes_available

# --- shards and workers


def gradient(model, batch, samples, parts, dtype):
    normalizers = batch.normalizers()
    total, losses = 0.0, 0.0
    for part in slices(len(batch.input_ids), parts):
        replica = model.replica()
        shard = batch.shard(part)
        outcome, cache = replica.forward(shard, normalizers, Run(), samples=samples[part])
        replica.backward(cache, Run())
        total = total + replica.parameters.grad
        losses += float(outcome.gen_loss) + float(outcome.disc_loss)
        assert replica.parameters.grad.dtype == dtype
    return total, losses


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-13)])
def test_shards_add_up(dtype, tolerance):
    model, batch = small_model(dtype), make_batch(7)
    samples = np.random.default_rng(0).integers(0, VOCAB, batch.positions.shape, dtype=np.int32)
    whole, loss = gradient(model, batch, samples, 1, dtype)
    for parts in (2, 3, 7):
        cut, cut_loss = gradient(model, batch, samples, parts, dtype)
        assert np.linalg.norm(cut - whole) <= tolerance * np.linalg.norm(whole)
        assert cut_loss == pytest.approx(loss, rel=1e-6)


def test_slices():
    assert slices(7, 2) == [slice(0, 3), slice(3, 7)]
    assert slices(2, 3) == [slice(0, 0), slice(0, 1), slice(1, 2)]


KINDS = ("threads", pytest.param("processes", marks=pytest.mark.skipif(not processes_available(), reason="Linux only")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [2, 3])
def test_workers_change_no_bit(shards, kind):
    """Workers only run the shards; with dropout, over several steps, on batches with padding and without."""

    def run(count):
        model = small_model(shards=shards, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
        trainee = Trainee(model, count, kind)
        results = [trainee.step(make_batch(step), 1e-3, 5, step) for step in range(3)]
        flat = trainee.model.parameters.flat.copy()
        trainee.close()
        return flat, results

    (a, first), (b, second) = run(1), run(shards)
    assert np.array_equal(a, b) and first == second
    assert all(result.finite for result in first)


def test_unknown_workers():
    with pytest.raises(InputError, match="choose threads or processes"):
        Trainee(small_model(), workers="elves")


def test_ten_runs_give_the_same_bits():
    def run():
        trainee = Trainee(small_model(hidden_dropout_prob=0.1), workers="threads")
        for step in range(3):
            trainee.step(make_batch(step), 1e-3, 5, step)
        return trainee.model.parameters.flat

    first = run()
    assert all(np.array_equal(run(), first) for _ in range(9))


def test_a_batch_smaller_than_the_number_of_shards():
    whole, cut = (Trainee(small_model(np.float64, shards=shards)) for shards in (1, 3))
    batch = make_batch(0, count=1)
    results = [trainee.step(batch, 0.0, 5, 0) for trainee in (whole, cut)]
    assert results[1].gen_loss == pytest.approx(results[0].gen_loss)


@pytest.mark.skipif(not processes_available(), reason="Linux only")
def test_a_worker_process_that_fails_or_is_killed():
    trainee = Trainee(small_model(), workers="processes")
    batch = make_batch(0)
    parts = [batch.shard(part) for part in slices(len(batch.input_ids), 2)]
    with pytest.raises(RuntimeError, match="in a worker process: AttributeError"):
        trainee.engine.run("shards", [parts[0], None], (1.0, 1.0), 5, 0)
    with pytest.raises(AttributeError):
        trainee.engine.run("shards", [None, parts[1]], (1.0, 1.0), 5, 0)
    assert trainee.step(batch, 1e-3, 5, 0).finite  # and no old answer is taken for a new one
    trainee.engine._children[0][0].kill()
    with pytest.raises(InputError, match="a worker process has ended"):
        for step in range(3):
            trainee.step(make_batch(step), 1e-3, 5, step)
    trainee.close()


def test_one_layer_in_flight_twice_leaves_the_first_alone():
    model, one, two = small_model(np.float64), make_batch(8), make_batch(9)
    samples = np.full(one.positions.shape, 9, np.int32)
    alone, _ = gradient(model, one, samples, 1, np.float64)
    replica = model.replica()
    _, cache = replica.forward(one, one.normalizers(), Run(), samples=samples)
    replica.forward(two, two.normalizers(), Run(), samples=samples)
    replica.backward(cache, Run())
    assert np.array_equal(replica.parameters.grad, alone)


def test_workspaces_change_no_bit_of_a_step():
    from minielectra.backend import Workspace

    model, batch, ws = small_model(), make_batch(8), Workspace()
    samples = np.full(batch.positions.shape, 9, np.int32)
    alone, _ = gradient(model, batch, samples, 1, np.float32)
    for _ in range(2):
        ws.reset()
        replica = model.replica()
        _, cache = replica.forward(batch, batch.normalizers(), Run(ws), samples=samples)
        replica.backward(cache, Run(ws))
        assert np.array_equal(replica.parameters.grad, alone)


# --- the optimiser


@pytest.mark.parametrize("correct", [False, True])
def test_adam_equals_its_formula(correct):
    model = small_model(np.float64, bias_correction=correct, weight_decay=0.1, adam_beta2=0.999)
    config, parameters = model.pretraining, model.parameters
    adam, random = Adam(parameters, config), np.random.default_rng(0)
    p, m, v = parameters.flat.copy(), 0.0, 0.0
    decay = np.concatenate([np.full(math.prod(shape), 0.1 * decays(name)) for name, shape in parameters.shapes.items()])
    assert 0 < (decay > 0).mean() < 1
    for step in range(4):
        g, rate, scale = random.standard_normal(p.size), 0.01 * (step + 1), 0.7
        adam.update(g.copy(), rate, scale, step)
        m, v = 0.9 * m + 0.1 * scale * g, 0.999 * v + 0.001 * (scale * g) ** 2
        mean, square = (m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))) if correct else (m, v)
        p = p - rate * (mean / (np.sqrt(square) + 1e-6) + decay * p)
        np.testing.assert_allclose(parameters.flat, p, rtol=1e-9, atol=1e-12)
    adam.reset()
    assert not adam.first.any() and not adam.second.any()


def test_clipping_and_schedule():
    assert clip_scale(5.0, 1.0) == (5.0, 0.2)
    assert clip_scale(5.0, 0.0) == (5.0, 1.0) and clip_scale(5.0, 10.0) == (5.0, 1.0)
    assert learning_rate(0, 100, 1.0, 10) == 0.0
    assert learning_rate(5, 100, 2.0, 10) == pytest.approx(2.0 * 0.95 * 0.5)
    assert learning_rate(50, 100, 2.0, 10) == pytest.approx(1.0) and learning_rate(0, 100, 2.0, 0) == 2.0


def test_nothing_is_updated_when_not_finite():
    model = small_model()
    model.parameters["generator.generator_lm_head.bias"].value[3] = np.nan
    before = model.parameters.flat.copy()
    assert not Trainee(model).step(make_batch(0), 1e-3, 5, 0).finite
    assert np.array_equal(model.parameters.flat, before, equal_nan=True)


# --- memory


def test_steps_leave_nothing_behind():
    """After the first few, a step allocates nothing that stays: a thousand steps need the memory of one."""
    trainee = Trainee(small_model(shards=1))
    batches = [make_batch(seed) for seed in range(4)]
    held = []
    tracemalloc.start()
    for step in range(60):
        trainee.step(batches[step % 4], 1e-3, 5, step)
        if step in (9, 59):
            gc.collect()
            held.append((tracemalloc.get_traced_memory()[0], trainee.engine.workers[0].workspace.nbytes))
    tracemalloc.stop()
    (before, size), (after, size_after) = held
    assert size_after == size
    assert after - before < 20_000
