"""A training step: shards, the ways to run it, the optimizer, memory."""

import gc
import math
import tracemalloc
from contextlib import closing

import numpy as np
import pytest
from small import (
    DROPOUT,
    HEADS,
    VARIANTS,
    VOCAB,
    make_batch,
    make_task_batch,
    own_gradients,
    small_finetuning,
    small_objective,
)

from minielectra.backend import Purpose, RandomStream, Workspace
from minielectra.electra.corruption import MaskedNormalizers
from minielectra.errors import InputError
from minielectra.nn.layers import PassContext
from minielectra.optim.adam import Adam
from minielectra.optim.buffer_blocks import decays
from minielectra.optim.clipping import clip_scale
from minielectra.optim.schedule import learning_rate
from minielectra.training.engine import make_engine
from minielectra.training.processes import processes_available
from minielectra.training.step import shard_slices, training_step
from minielectra.training.worker import Worker

needs_processes = pytest.mark.skipif(not processes_available(), reason="Linux only")

# What is trained: (make(**settings) -> objective, make(seed, **sizes) -> batch).
TRAINED = {
    "electra": (lambda **settings: small_objective(**DROPOUT, **settings), make_batch),
    "encoders tied": (
        lambda **settings: small_objective(tie_encoders=True, **DROPOUT, **settings),
        make_batch,
    ),
    "mlm": (lambda **settings: small_objective(objective="mlm", **DROPOUT, **settings), make_batch),
    **{
        name: (
            lambda name=name, **settings: small_objective(**VARIANTS[name], **DROPOUT, **settings),
            make_batch,
        )
        for name in ("unigram", "all-tokens-mlm", "rtd+mlm", "electric", "two-stage, afresh")
    },
    **{
        head: (
            lambda head=head, **settings: small_finetuning(head, **settings),
            lambda seed, head=head, **sizes: make_task_batch(head, seed, **sizes),
        )
        for head in HEADS
    },
}


# --- the two passes


@pytest.mark.parametrize("what", TRAINED)
@pytest.mark.parametrize("workspace", [None, Workspace()], ids=["no workspace", "workspace"])
def test_both_passes_in_one_give_the_same_bits(what, workspace):
    """`forward_backward` may interleave the two to save memory. It draws the same random numbers, too."""
    make, batch_of = TRAINED[what]
    objective, batch = make(), batch_of(8)
    one, other = own_gradients(objective), own_gradients(objective)

    def context():
        if workspace is not None:
            workspace.reset()
        return PassContext(workspace, RandomStream((5, Purpose.STEP, 0, 0)))

    first = context()
    outcome, cache = one.forward(batch, batch.normalizers(), first)
    one.backward(cache, first)
    expected = [float(loss) for loss in outcome.losses]
    losses = [float(loss) for loss in other.forward_backward(batch, batch.normalizers(), context())]
    assert losses == expected and one.parameters.grad.any()
    assert np.array_equal(one.parameters.grad, other.parameters.grad)


# --- shards and workers


def gradient(objective, batch, samples, parts, dtype):
    """The gradient [P] and the sum of both losses of a batch in `parts` shards, without dropout."""
    normalizers = batch.normalizers()
    total, losses = 0.0, 0.0
    for part in shard_slices(len(batch.input_ids), parts):
        twin = own_gradients(objective)
        outcome, cache = twin.forward(batch.shard(part), normalizers, PassContext(), samples=samples[part])
        twin.backward(cache, PassContext())
        total = total + twin.parameters.grad
        losses += float(outcome.gen_loss) + float(outcome.disc_loss)
        assert twin.parameters.grad.dtype == dtype
    return total, losses


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-13)])
def test_shards_add_up(dtype, tolerance):
    objective, batch = small_objective(dtype), make_batch(7)
    samples = np.random.default_rng(0).integers(0, VOCAB, batch.positions.shape, dtype=np.int32)
    whole, loss = gradient(objective, batch, samples, 1, dtype)
    for parts in (2, 3, 7):
        cut, cut_loss = gradient(objective, batch, samples, parts, dtype)
        assert np.linalg.norm(cut - whole) <= tolerance * np.linalg.norm(whole)
        assert cut_loss == pytest.approx(loss, rel=1e-6)


def test_shard_slices():
    assert shard_slices(7, 2) == [slice(0, 3), slice(3, 7)]
    assert shard_slices(2, 3) == [slice(0, 0), slice(0, 1), slice(1, 2)]


def train(what, shards, threads=None, workers=None):
    """A few steps -> weights, moments, results. One batch is not padded; one is smaller than the shards."""
    make, batch_of = TRAINED[what]
    batches = [batch_of(0), batch_of(1, padded=False), batch_of(2, count=2), batch_of(3)]
    with closing(make_engine(make(shards=shards), threads, workers)) as engine:
        results = [engine.step(batch, 1e-3, 5, step) for step, batch in enumerate(batches)]
        assert all(result.finite for result in results)
        return engine.objective.parameters.flat.copy(), engine.optimizer.moments.copy(), results


def assert_same_training(a, b):
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    assert a[2] == b[2]


KINDS = ("threads", pytest.param("processes", marks=needs_processes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [2, 3])
def test_workers_change_no_bit(shards, kind):
    """Workers only run the shards; with dropout, over several steps, on batches with padding and without."""
    assert_same_training(train("electra", shards, 1, kind), train("electra", shards, shards, kind))


@pytest.mark.parametrize("what", TRAINED)
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_threads_give_the_bits_of_the_plain_step(what, shards):
    """`training_step` is the version to read: whatever runs instead of it computes the same."""
    assert_same_training(train(what, shards, workers="plain"), train(what, shards, workers="threads"))


@needs_processes
@pytest.mark.parametrize("what", TRAINED)
@pytest.mark.parametrize("shards", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_processes_give_the_bits_of_the_plain_step(what, shards):
    assert_same_training(train(what, shards, workers="plain"), train(what, shards, workers="processes"))


@pytest.mark.parametrize("workspace", [None, Workspace()], ids=["no workspace", "workspace"])
def test_the_plain_step_needs_no_engine(workspace):
    """The function that the course shows, with nothing around it but memory."""
    objective = TRAINED["electra"][0](shards=3)
    replicas = [own_gradients(objective) for _ in range(3)]
    optimizer = Adam(objective.parameters, objective.config)
    batches = [make_batch(0), make_batch(1, padded=False), make_batch(2, count=2), make_batch(3)]
    results = [
        training_step(replicas, optimizer, batch, 1e-3, 5, step, workspace)
        for step, batch in enumerate(batches)
    ]
    expected = train("electra", 3, workers="plain")
    assert_same_training((objective.parameters.flat, optimizer.moments, results), expected)


def test_unknown_workers():
    with pytest.raises(InputError, match="choose threads, processes, plain or mpi"):
        make_engine(small_objective(), workers="elves")


def test_there_are_no_more_workers_than_shards():
    for workers, threads, expected in (
        ("threads", 8, 2),
        ("threads", 1, 1),
        ("threads", None, 2),
        ("plain", 8, 1),
    ):
        with closing(make_engine(small_objective(shards=2), threads, workers)) as engine:
            assert (engine.workers, engine.n_workers, engine.n_shards) == (workers, expected, 2)
    with closing(make_engine(small_objective(shards=9, batch_size=3), workers="plain")) as engine:
        assert engine.n_shards == 3


def test_ten_runs_give_the_same_bits():
    def run():
        with closing(make_engine(small_objective(hidden_dropout_prob=0.1), workers="threads")) as engine:
            for step in range(3):
                engine.step(make_batch(step), 1e-3, 5, step)
            return engine.objective.parameters.flat

    first = run()
    assert all(np.array_equal(run(), first) for _ in range(9))


@pytest.mark.parametrize("workers", [None, "plain"])
def test_a_batch_smaller_than_the_number_of_shards(workers):
    batch, results = make_batch(0, count=1), []
    for shards in (1, 3):
        with closing(make_engine(small_objective(np.float64, shards=shards), workers=workers)) as engine:
            results.append(engine.step(batch, 0.0, 5, 0))
    assert results[1].gen_loss == pytest.approx(results[0].gen_loss)


@needs_processes
def test_a_worker_process_that_fails_or_is_killed():
    engine = make_engine(small_objective(), workers="processes")
    batch = make_batch(0)
    parts = [batch.shard(part) for part in shard_slices(len(batch.input_ids), 2)]
    normalizers = MaskedNormalizers(1.0, 1.0)
    with pytest.raises(RuntimeError, match="in a worker process: AttributeError"):
        engine.team.run(Worker.run_shards, [parts[0], None], normalizers, 5, 0)
    with pytest.raises(AttributeError):
        engine.team.run(Worker.run_shards, [None, parts[1]], normalizers, 5, 0)
    assert engine.step(batch, 1e-3, 5, 0).finite  # and no old answer is taken for a new one
    engine.team._children[0].process.kill()
    with pytest.raises(InputError, match="a worker process has ended"):
        for step in range(3):
            engine.step(make_batch(step), 1e-3, 5, step)
    engine.close()


def test_one_layer_in_flight_twice_leaves_the_first_alone():
    objective, one, two = small_objective(np.float64), make_batch(8), make_batch(9)
    samples = np.full(one.positions.shape, 9, np.int32)
    alone, _ = gradient(objective, one, samples, 1, np.float64)
    twin = own_gradients(objective)
    _, cache = twin.forward(one, one.normalizers(), PassContext(), samples=samples)
    twin.forward(two, two.normalizers(), PassContext(), samples=samples)
    twin.backward(cache, PassContext())
    assert np.array_equal(twin.parameters.grad, alone)


def test_workspaces_change_no_bit_of_a_step():
    objective, batch, workspace = small_objective(), make_batch(8), Workspace()
    samples = np.full(batch.positions.shape, 9, np.int32)
    alone, _ = gradient(objective, batch, samples, 1, np.float32)
    for _ in range(2):
        workspace.reset()
        twin, context = own_gradients(objective), PassContext(workspace)
        _, cache = twin.forward(batch, batch.normalizers(), context, samples=samples)
        twin.backward(cache, context)
        assert np.array_equal(twin.parameters.grad, alone)


# --- the optimizer


@pytest.mark.parametrize("correct", [False, True])
def test_adam_equals_its_formula(correct):
    objective = small_objective(np.float64, bias_correction=correct, weight_decay=0.1, adam_beta2=0.999)
    parameters = objective.parameters
    adam, random = Adam(parameters, objective.config), np.random.default_rng(0)
    p, m, v = parameters.flat.copy(), 0.0, 0.0
    sizes = {name: math.prod(shape) for name, shape in parameters.shapes.items()}
    decay = np.concatenate([np.full(size, 0.1 * decays(name)) for name, size in sizes.items()])
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


def test_the_blocks_cover_the_buffer():
    """Blocks are cut where decay or rate changes, and never overlap: workers share them."""
    objective = small_finetuning("tagging", weight_decay=0.1, layer_decay=0.5)
    parameters = objective.parameters
    blocks = Adam(parameters, objective.config, rate_factor=objective.rate_factor).blocks
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    assert blocks[-1].stop == parameters.size
    for name in parameters:
        start, stop = parameters.span(name)
        inside = [block for block in blocks if block.start < stop and block.stop > start]
        expected = (0.1 if decays(name) else 0.0, objective.rate_factor(name))
        assert {(block.decay, block.rate_factor) for block in inside} == {expected}, name
    assert len({block.rate_factor for block in blocks}) == 4  # head, two layers, embeddings


def test_clipping_and_schedule():
    assert clip_scale(5.0, 1.0) == 0.2
    assert clip_scale(5.0, 0.0) == 1.0 and clip_scale(5.0, 10.0) == 1.0
    assert learning_rate(0, 100, 1.0, 10) == 0.0
    assert learning_rate(5, 100, 2.0, 10) == pytest.approx(2.0 * 0.95 * 0.5)
    assert learning_rate(50, 100, 2.0, 10) == pytest.approx(1.0) and learning_rate(0, 100, 2.0, 0) == 2.0


def test_a_long_gradient_is_reported_as_it_was_and_shortened():
    """The norm in the result is the one before clipping, and what is applied has the length of the limit."""
    objective, batch = small_objective(shards=2, clip_norm=0.01, weight_decay=0.0), make_batch(0)
    before = objective.parameters.flat.copy()
    with closing(make_engine(objective, workers="plain")) as engine:
        result = engine.step(batch, 1e-3, 5, 0)
        assert result.grad_norm > 1.0
        # After one step, the gradient itself
        shortened = engine.optimizer.first / (1 - objective.config.adam_beta1)
        assert np.linalg.norm(shortened) == pytest.approx(0.01, rel=1e-4)
        assert not np.array_equal(engine.objective.parameters.flat, before)


@pytest.mark.parametrize("workers", ["threads", "plain"])
def test_nothing_is_updated_when_not_finite(workers):
    objective = small_objective()
    objective.parameters["generator.generator_lm_head.bias"].value[3] = np.nan
    before = objective.parameters.flat.copy()
    with closing(make_engine(objective, workers=workers)) as engine:
        assert not engine.step(make_batch(0), 1e-3, 5, 0).finite
        assert np.array_equal(engine.objective.parameters.flat, before, equal_nan=True)
        assert not engine.optimizer.moments.any()


# --- memory


def test_steps_leave_nothing_behind():
    """After the first few, a step allocates nothing that stays: a thousand steps need the memory of one."""
    engine = make_engine(small_objective(shards=1))
    batches = [make_batch(seed) for seed in range(4)]
    held = []
    tracemalloc.start()
    for step in range(60):
        engine.step(batches[step % 4], 1e-3, 5, step)
        if step in (9, 59):
            gc.collect()
            held.append((tracemalloc.get_traced_memory()[0], engine.team.workers[0].workspace.nbytes))
    tracemalloc.stop()
    (before, size), (after, size_after) = held
    assert size_after == size
    assert after - before < 20_000
