"""The whole training step on a strict fake device: what would fail, or wait, on a GPU does so here."""

import dataclasses

import numpy as np
import pytest
from fake_device import FakeDevice

from minielectra import backend
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.objective import Finetuning
from minielectra.finetuning.sequences import TaskBatch
from minielectra.nn.inference import logits_of
from minielectra.objectives.electra import ElectraPretraining
from minielectra.pretraining.evaluation import Evaluator
from minielectra.pretraining.pretraining_config import configure
from minielectra.training.step import Trainee

SPECIAL, MASK, VOCAB = (0, 1, 2, 3, 4), 4, 53


@pytest.fixture
def fake():
    device = FakeDevice()
    yield device
    backend.arrays._MODULES.pop(device.ndarray)


def settings(**overrides):
    small = {"vocab_size": VOCAB, "embedding_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 24, "max_position_embeddings": 20, "seq_length": 14, "batch_size": 6, "shards": 1,
             "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "mask_fraction": 0.25}  # fmt: skip
    return configure("tiny", small | overrides)


def make_batch(config, seed, padded=True):
    random = np.random.default_rng(seed)
    shape = (config.batch_size, config.seq_length)
    ids = random.integers(5, VOCAB, shape, dtype=np.int32)
    lengths = random.integers(4, config.seq_length + 1, shape[0]) if padded else np.full(shape[0], config.seq_length)
    valid = np.arange(shape[1]) < lengths[:, None]
    ids[~valid] = 0
    segments = (np.arange(shape[1]) >= lengths[:, None] // 2).astype(np.int32)
    return mask_batch(ids, valid, segments, SPECIAL, MASK, VOCAB, config, random)


def trainee(xp, **overrides):
    model = ElectraPretraining(*settings(**overrides), xp=xp)
    initialize(model, seed=1)
    return Trainee(model, threads=1)


# --- the fake is strict


def test_refusals(fake):
    x = fake.asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    host = np.ones((2, 3), np.float32)
    for attempt in (
        lambda: np.asarray(x), lambda: np.exp(x), lambda: np.concatenate([x, x]), lambda: x + host, lambda: host + x,
        lambda: fake.multiply(x, host), lambda: list(x), lambda: x * np.float64(2), lambda: x[np.array([0, 1])],
        lambda: fake.exp(x, out=host), lambda: x.__setitem__(0, host[0]), lambda: host.__iadd__(x), lambda: range(3)[x.sum()],
    ):  # fmt: skip
        with pytest.raises(TypeError):
            attempt()
    for attempt in (lambda: x[fake.asarray(np.array([2]))], lambda: fake.take(x, fake.asarray(np.array([3])), axis=1)):
        with pytest.raises(IndexError):
            attempt()
    assert fake.waits == 0


def test_waits_are_counted(fake):
    x = fake.asarray(np.arange(6.0, dtype=np.float32))
    assert isinstance(x.sum(), fake.ndarray) and x.sum().shape == () and fake.waits == 0
    waits = (x.get, lambda: float(x.sum()), lambda: bool(x.max() > 3), lambda: x[x > 2], lambda: fake.nonzero(x))
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


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"objective": "mlm"},
        {"initialization": "official", "hidden_act": "gelu_new", "bias_correction": True, "sample_temperature": 0.7},
        {"embedding_size": 16, "clip_norm": 0.0, "shards": 3},  # no projection; a device runs the batch whole
    ],
)
def test_training_steps_equal_numpys(fake, overrides):
    on_device, on_host = trainee(fake, **overrides), trainee(np, **(overrides | {"shards": 1}))
    assert on_device.shards == 1
    start = on_host.model.parameters.flat.copy()
    assert np.array_equal(backend.to_host(on_device.model.parameters.flat), start)
    for step in range(4):
        batch = make_batch(on_host.model.pretraining, step, padded=step % 2 == 0)
        before = fake.waits
        device_result = on_device.step(batch, 1e-3, 7, step)
        assert fake.waits - before <= 3  # two losses and the norm
        host_result = on_host.step(batch, 1e-3, 7, step)
        assert device_result.gen_loss == pytest.approx(host_result.gen_loss, rel=1e-5)
        assert device_result.disc_loss == (host_result.disc_loss and pytest.approx(host_result.disc_loss, rel=1e-5))
        assert device_result.grad_norm == pytest.approx(host_result.grad_norm, rel=1e-4)
    parameters = on_device.model.parameters
    assert parameters.flat.dtype == parameters.grad.dtype == np.float32
    end, device_end = on_host.model.parameters.flat, backend.to_host(parameters.flat)
    assert np.abs(end - start).max() > 1e-4
    # Adam divides by √v: where a gradient is itself rounding (key biases), so is the whole update
    close = np.isclose(device_end, end, rtol=1e-4, atol=1e-6)
    assert close.mean() > 0.98
    assert np.abs(device_end - end).max() < 0.05


def test_gradients_equal_numpys(fake):
    on_device, on_host = trainee(fake), trainee(np)
    batch = make_batch(on_host.model.pretraining, 5)
    for t in (on_device, on_host):
        t.step(batch, 0.0, 7, 0)
    a, b = backend.to_host(on_device.model.parameters.grad), on_host.model.parameters.grad
    assert np.linalg.norm(a - b) < 1e-6 * np.linalg.norm(b)


def test_transfers_a_step(fake):
    t = trainee(fake)
    batch = make_batch(t.model.pretraining, 0)
    t.step(batch, 1e-3, 7, 0)
    before = fake.transfers
    t.step(batch, 1e-3, 7, 1)
    # six arrays of the batch, the uniform numbers, a dropout mask for each site (the real device draws both itself)
    sites = 2 + 2 * 2 * 3
    assert fake.transfers - before == 6 + 1 + sites


@pytest.mark.parametrize("objective", ["electra", "mlm"])
def test_evaluation_equals_numpys(fake, objective):
    on_device, on_host = trainee(fake, objective=objective), trainee(np, objective=objective)
    batch = make_batch(on_host.model.pretraining, 9)
    metrics, record = Evaluator(on_device.model, batch, 3)()
    expected, expected_record = Evaluator(on_host.model, batch, 3)()
    assert metrics == {name: value if value is None else pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    if objective == "mlm":
        assert record is None
    else:
        assert np.array_equal(record["samples"], expected_record["samples"])
        np.testing.assert_allclose(record["scores"], expected_record["scores"], atol=1e-3)


def test_state_moves_between_devices(fake):
    on_device = trainee(fake)
    on_device.step(make_batch(on_device.model.pretraining, 0), 1e-3, 7, 0)
    state = on_device.model.parameters.state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    model = ElectraPretraining(*settings())
    model.parameters.load_state(state)
    assert np.array_equal(model.parameters.flat, backend.to_host(on_device.model.parameters.flat))
    other = ElectraPretraining(*settings(), xp=fake)
    other.parameters.load_state(state)
    assert np.array_equal(backend.to_host(other.parameters.flat), model.parameters.flat)


def test_inference_interface(fake):
    """`model(ids)` takes host arrays or lists and returns device arrays."""
    on_device, on_host = trainee(fake).model, trainee(np).model
    ids = np.random.default_rng(0).integers(0, VOCAB, (2, 9))
    mask = np.arange(9) < np.array([[9], [6]])
    for tower in ("discriminator", "generator"):
        a, b = getattr(on_device, tower)(ids, mask), getattr(on_host, tower)(ids, mask)
        np.testing.assert_allclose(a.get(), b, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="token ids"):
        on_device.discriminator(ids + VOCAB)


def test_nothing_is_updated_when_not_finite(fake):
    t = trainee(fake)
    t.model.parameters["electra.embeddings.word_embeddings.weight"].value[...] = float("nan")
    before = t.model.parameters.flat.get()
    assert not t.step(make_batch(t.model.pretraining, 0), 1e-3, 7, 0).finite
    assert np.array_equal(t.model.parameters.flat.get(), before, equal_nan=True)


@pytest.mark.parametrize(("head", "labels"), [("classification", 3), ("classification", 1), ("tagging", 4), ("answering", 2)])
def test_fine_tuning_steps_and_predictions_equal_numpys(fake, head, labels):
    config, _ = settings()
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    both = []
    for xp in (fake, np):
        model = Finetuning(HeadConfig(**fields, labels=tuple("abcd"[:labels])), FinetuningConfig(head=head, shards=1), xp=xp)
        start = 0.2 * np.random.default_rng(3).standard_normal(model.parameters.size, np.float32)
        model.parameters.flat[...] = backend.to_device(start, xp)
        both.append(Trainee(model, threads=1))
    random = np.random.default_rng(4)
    for step in range(3):
        masked = make_batch(settings()[1], step)
        ids, valid, shape = masked.input_ids, masked.valid, masked.input_ids.shape
        if head == "answering":
            batch = TaskBatch(ids, masked.token_type_ids, valid, np.zeros((shape[0], 2), np.int32), valid.astype(np.float32))
        else:
            size = shape if head == "tagging" else shape[:1]
            targets = (
                random.standard_normal(size, np.float32) if labels == 1 else random.integers(0, labels, size, dtype=np.int32)
            )
            batch = TaskBatch(
                ids, masked.token_type_ids, valid, targets, np.ones(size, np.float32) * (valid if len(size) > 1 else 1)
            )
        before = fake.waits
        device_result, host_result = (trainee.step(batch, 1e-3, 7, step) for trainee in both)
        assert fake.waits - before <= 2  # the loss and the norm
        assert device_result.losses == pytest.approx(host_result.losses, rel=1e-5)
        assert device_result.grad_norm == pytest.approx(host_result.grad_norm, rel=1e-4)
    rows = [[2, *random.integers(5, VOCAB, n), 3] for n in (3, 8, 5)]
    for ours, theirs in zip(*(logits_of(trainee.model.model, rows, 0) for trainee in both), strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)
