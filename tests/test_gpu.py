"""The same arithmetic on a GPU and on the CPU. Skipped, with a message, if there is no usable GPU."""

import numpy as np
import pytest
from test_fake_device import engine_on, make_batch, settings

from minielectra import backend
from minielectra.backend import RandomStream, to_device, to_host
from minielectra.electra.corruption import sample_categorical
from minielectra.errors import InputError
from minielectra.nn.layers import PassContext
from minielectra.ops.reference.gelu import gelu_forward

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu():
    try:
        return backend.load("gpu")
    except InputError as error:
        pytest.skip(str(error))


def gradients(xp):
    """Losses and the flat gradient of one batch, with the same uniform numbers for the samples everywhere."""
    objective = engine_on(xp).objective
    _, config = settings()
    batch = make_batch(config, 5)
    uniform = to_device(RandomStream((7,)).uniform(batch.positions.size), xp)
    context = PassContext()
    outcome, cache = objective.forward(batch.to_device(xp), batch.normalizers(), context, uniform)
    objective.backward(cache, context)
    return float(outcome.gen_loss), float(outcome.disc_loss), to_host(objective.parameters.grad)


def test_losses_and_gradients_equal_numpys(gpu):
    (a, b, grad), (c, d, expected) = gradients(gpu), gradients(np)
    assert np.allclose([a, b], [c, d], rtol=1e-5)
    assert np.linalg.norm(grad - expected) <= 1e-4 * np.linalg.norm(expected)


def test_steps_with_dropout_run_and_learn(gpu):
    engine = engine_on(gpu)
    batch = make_batch(engine.objective.config, 5)
    losses = [engine.step(batch, 1e-3, 0, step).gen_loss for step in range(40)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_and_sampling(gpu, dtype):
    random = np.random.default_rng(0)
    x = random.standard_normal(1000).astype(dtype)
    for mine, theirs in zip(gelu_forward(to_device(x, gpu)), gelu_forward(x), strict=True):
        assert np.abs(to_host(mine) - theirs).max() <= (1e-6 if dtype == np.float32 else 1e-14)
    p = random.dirichlet(np.ones(101), size=50).astype(dtype)
    u = random.random(50).astype(dtype)
    agree = to_host(sample_categorical(to_device(p, gpu), to_device(u, gpu))) == sample_categorical(p, u)
    assert agree.mean() > 0.95  # sums in another order may move a draw across an edge


def test_keep_masks(gpu):
    mask = to_host(RandomStream((1, 2), gpu).keep_mask((300, 300), 0.1))
    assert abs(mask.mean() - 0.9) < 0.01
    assert np.array_equal(mask, to_host(RandomStream((1, 2), gpu).keep_mask((300, 300), 0.1)))
