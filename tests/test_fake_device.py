"""The whole training step on a strict fake device: what would fail, or wait, on a GPU does so here."""

import numpy as np
import pytest
from fake_device import FakeDevice
from small import DROPOUT, HEADS, SMALL, make_task_batch, small_finetuning

from minielectra import backend, objectives, optim
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.nn.inference import logits_of
from minielectra.pretraining.evaluation import Evaluator
from minielectra.pretraining.presets import configure
from minielectra.training.engine import make_engine

SPECIAL, MASK, VOCAB = (0, 1, 2, 3, 4), 4, 53


@pytest.fixture
def fake():
    device = FakeDevice()
    yield device
    backend.arrays._MODULES.pop(device.ndarray)


def settings(**overrides):
    own = {"vocab_size": VOCAB, "batch_size": 6, "shards": 1, "mask_fraction": 0.25}
    return configure("tiny", SMALL | DROPOUT | own | overrides)


def make_batch(config, seed, padded=True):
    random = np.random.default_rng(seed)
    shape = (config.batch_size, config.seq_length)
    ids = random.integers(5, VOCAB, shape, dtype=np.int32)
    lengths = (
        random.integers(4, config.seq_length + 1, shape[0])
        if padded
        else np.full(shape[0], config.seq_length)
    )
    valid = np.arange(shape[1]) < lengths[:, None]
    ids[~valid] = 0
    segments = (np.arange(shape[1]) >= lengths[:, None] // 2).astype(np.int32)
    return mask_batch(ids, valid, segments, SPECIAL, MASK, VOCAB, config, random)


def engine_on(xp, workers="threads", **overrides):
    """An engine with one worker for a small objective on the device of `xp`."""
    objective = objectives.make(*settings(**overrides), xp=xp)
    initialize(objective, seed=1)
    return make_engine(objective, threads=1, workers=workers)


# --- the fake is strict


def test_refusals(fake):
    x = fake.asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    host = np.ones((2, 3), np.float32)
    for attempt in (
        lambda: np.asarray(x),
        lambda: np.exp(x),
        lambda: np.concatenate([x, x]),
        lambda: x + host,
        lambda: host + x,
        lambda: fake.multiply(x, host),
        lambda: list(x),
        lambda: x * np.float64(2),
        lambda: x[np.array([0, 1])],
        lambda: fake.exp(x, out=host),
        lambda: x.__setitem__(0, host[0]),
        lambda: host.__iadd__(x),
        lambda: range(3)[x.sum()],
    ):
        with pytest.raises(TypeError):
            attempt()
    for attempt in (
        lambda: x[fake.asarray(np.array([2]))],
        lambda: fake.take(x, fake.asarray(np.array([3])), axis=1),
    ):
        with pytest.raises(IndexError):
            attempt()
    assert fake.waits == 0


def test_waits_are_counted(fake):
    x = fake.asarray(np.arange(6.0, dtype=np.float32))
    assert isinstance(x.sum(), fake.ndarray) and x.sum().shape == () and fake.waits == 0
    waits = (
        x.get,
        lambda: float(x.sum()),
        lambda: bool(x.max() > 3),
        lambda: x[x > 2],
        lambda: fake.nonzero(x),
    )
    for count, wait in enumerate((*waits, lambda: fake.where(x > 1))):
        wait()
        assert fake.waits == count + 1


def test_views_share_memory(fake):
    x = fake.zeros((2, 3), np.float32)
    x.reshape(-1)[1:3] += 2.0
    row = x[1]
    row[...] = 5
    assert x.get().tolist() == [[0, 2, 2], [5, 5, 5]]
    assert (1.0 - x).dtype == np.float32


def test_array_module(fake):
    assert backend.array_module(fake.zeros(3)) is fake
    with pytest.raises(TypeError, match="convert it"):
        backend.array_module([1, 2])


# --- the training step runs on it


@pytest.mark.parametrize("workers", ["threads", "plain"])
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"objective": "mlm"},
        {
            "initialization": "official",
            "hidden_act": "gelu_new",
            "bias_correction": True,
            "sample_temperature": 0.7,
        },
        {"embedding_size": 16, "clip_norm": 0.0, "shards": 3},  # no projection; a device runs the batch whole
        {"tie_encoders": True},
        {"optimizer": "muon"},
    ],
    ids=str,
)
def test_training_steps_equal_numpys(fake, overrides, workers):
    on_device = engine_on(fake, workers, **overrides)
    on_host = engine_on(np, workers, **(overrides | {"shards": 1}))
    assert on_device.n_shards == 1
    start = on_host.objective.parameters.flat.copy()
    assert np.array_equal(backend.to_host(on_device.objective.parameters.flat), start)
    for step in range(4):
        batch = make_batch(on_host.objective.config, step, padded=step % 2 == 0)
        before = fake.waits
        device_result = on_device.step(batch, 1e-3, 7, step)
        assert fake.waits - before <= 3  # two losses and the norm
        host_result = on_host.step(batch, 1e-3, 7, step)
        assert device_result.losses == pytest.approx(host_result.losses, rel=1e-5)
        assert device_result.disc_loss == (
            host_result.disc_loss and pytest.approx(host_result.disc_loss, rel=1e-5)
        )
        assert device_result.grad_norm == pytest.approx(host_result.grad_norm, rel=1e-4)
    parameters = on_device.objective.parameters
    assert parameters.flat.dtype == parameters.grad.dtype == np.float32
    end, device_end = on_host.objective.parameters.flat, backend.to_host(parameters.flat)
    assert np.abs(end - start).max() > 1e-4
    # Adam divides by √v: where a gradient is itself rounding (key biases), so is the whole update.
    close = np.isclose(device_end, end, rtol=1e-4, atol=1e-6)
    assert close.mean() > 0.98
    assert np.abs(device_end - end).max() < 0.05


def test_gradients_equal_numpys(fake):
    on_device, on_host = engine_on(fake), engine_on(np)
    batch = make_batch(on_host.objective.config, 5)
    for engine in (on_device, on_host):
        engine.step(batch, 0.0, 7, 0)
    a, b = backend.to_host(on_device.objective.parameters.grad), on_host.objective.parameters.grad
    assert np.linalg.norm(a - b) < 1e-6 * np.linalg.norm(b)


def test_a_device_gets_no_processes(fake):
    """Another process cannot see a device's memory. One worker needs no other process."""
    assert engine_on(fake, "processes", shards=3).workers == "threads"


def test_transfers_per_step(fake):
    engine = engine_on(fake)
    batch = make_batch(engine.objective.config, 0)
    engine.step(batch, 1e-3, 7, 0)
    before = fake.transfers
    engine.step(batch, 1e-3, 7, 1)
    # Six arrays of the batch, the uniform numbers, a dropout mask per site (the real device draws these
    # itself).
    sites = 2 + 2 * 2 * 3
    assert fake.transfers - before == 6 + 1 + sites


@pytest.mark.parametrize("objective", ["electra", "mlm"])
def test_evaluation_equals_numpys(fake, objective):
    on_device, on_host = engine_on(fake, objective=objective), engine_on(np, objective=objective)
    batch = make_batch(on_host.objective.config, 9)
    metrics, record = Evaluator(on_device.objective, batch, 3)()
    expected, expected_record = Evaluator(on_host.objective, batch, 3)()
    close = {name: value and pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    assert metrics == close
    if objective == "mlm":
        assert record is None
    else:
        assert np.array_equal(record["samples"], expected_record["samples"])
        np.testing.assert_allclose(record["scores"], expected_record["scores"], atol=1e-3)


def test_state_moves_between_devices(fake):
    engine = engine_on(fake)
    engine.step(make_batch(engine.objective.config, 0), 1e-3, 7, 0)
    trained = engine.objective.parameters
    state = trained.state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    here = objectives.make(*settings()).parameters
    here.load_state(state)
    assert np.array_equal(here.flat, backend.to_host(trained.flat))
    there = objectives.make(*settings(), xp=fake).parameters
    there.load_state(state)
    assert np.array_equal(backend.to_host(there.flat), here.flat)


@pytest.mark.parametrize("optimizer", optim.names())
def test_an_optimizer_moves_between_devices(fake, optimizer):
    engine = engine_on(fake, optimizer=optimizer)
    engine.step(make_batch(engine.objective.config, 0), 1e-3, 7, 0)
    state = engine.optimizer.state()
    assert all(isinstance(array, np.ndarray) and array.any() for array in state.values())
    for xp in (fake, np):
        other = engine_on(xp, optimizer=optimizer).optimizer
        other.load_state(state)
        assert all(np.array_equal(array, state[name]) for name, array in other.state().items())


def test_inference_interface(fake):
    """`model(ids)` takes host arrays or lists and returns device arrays."""
    on_device, on_host = engine_on(fake).objective, engine_on(np).objective
    ids = np.random.default_rng(0).integers(0, VOCAB, (2, 9))
    mask = np.arange(9) < np.array([[9], [6]])
    for tower in ("discriminator", "generator"):
        a, b = on_device.towers[tower](ids, mask), on_host.towers[tower](ids, mask)
        np.testing.assert_allclose(a.get(), b, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="token ids"):
        on_device.discriminator(ids + VOCAB)


@pytest.mark.parametrize("workers", ["threads", "plain"])
def test_nothing_is_updated_when_not_finite(fake, workers):
    engine = engine_on(fake, workers)
    parameters = engine.objective.parameters
    parameters["electra.embeddings.word_embeddings.weight"].value[...] = float("nan")
    before = parameters.flat.get()
    assert not engine.step(make_batch(engine.objective.config, 0), 1e-3, 7, 0).finite
    assert np.array_equal(parameters.flat.get(), before, equal_nan=True)


@pytest.mark.parametrize(("head", "readout"), [*((head, "last") for head in HEADS), ("tagging", "mix")])
def test_fine_tuning_steps_and_predictions_equal_numpys(fake, head, readout):
    both = [
        make_engine(small_finetuning(head, seed=3, xp=xp, shards=1, readout=readout), threads=1)
        for xp in (fake, np)
    ]
    for step in range(3):
        batch = make_task_batch(head, step)
        before = fake.waits
        device_result, host_result = (engine.step(batch, 1e-3, 7, step) for engine in both)
        assert fake.waits - before <= 2  # the loss and the norm
        assert device_result.losses == pytest.approx(host_result.losses, rel=1e-5)
        assert device_result.grad_norm == pytest.approx(host_result.grad_norm, rel=1e-4)
    random = np.random.default_rng(4)
    rows = [[2, *random.integers(5, VOCAB, n), 3] for n in (3, 8, 5)]
    predictions = [logits_of(engine.objective.model, rows, 0) for engine in both]
    for ours, theirs in zip(*predictions, strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)
