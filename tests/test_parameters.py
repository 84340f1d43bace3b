"""Parameters: declared without memory, shared, joined, put on other memory, pickled without numbers."""

import copy
import dataclasses
import pickle
import tracemalloc

import numpy as np
import pytest
from fake_device import FakeDevice
from small import HEADS, make_batch, make_task_batch, small_finetuning, small_objective

from minielectra import backend, objectives
from minielectra.backend import RandomStream
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.finetuning.heads import HeadConfig
from minielectra.nn.layers import JoinedLinear, Linear, PassContext, TiedLinear
from minielectra.nn.parameters import Parameters, misfits, replica
from minielectra.pretraining.presets import configure

HUGE = {
    "vocab_size": 10**6,
    "embedding_size": 10**5,
    "hidden_size": 10**5,
    "num_attention_heads": 10,
    "intermediate_size": 5 * 10**5,
    "num_hidden_layers": 10,
}


# --- declaring


@pytest.mark.parametrize(
    "make", [ElectraForMaskedLM, ElectraForPreTraining, *(kind for kind, *_ in HEADS.values())]
)
def test_declaring_takes_no_memory(make):
    """A model of 10¹² parameters can be asked for its shapes."""
    config = HeadConfig(**HUGE) if make.config_class is HeadConfig else ElectraConfig(**HUGE)
    tracemalloc.start()
    model = make(config)
    shapes, size = model.parameters.shapes, model.parameters.size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 10**12 and peak < 1_000_000
    assert shapes["electra.embeddings.word_embeddings.weight"] == (10**6, 10**5)
    assert len(shapes) == len(model.parameters) and list(shapes) == list(model.parameters)


@pytest.mark.parametrize("objective", objectives.names())
def test_an_objective_declares_without_memory_too(objective):
    config, pretraining = configure("large", HUGE | {"objective": objective})
    tracemalloc.start()
    size = objectives.make(config, pretraining).parameters.size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 10**12 and peak < 1_000_000


def test_values_are_zero_until_somebody_fills_them():
    parameters = Parameters(dtype=np.float64)
    handle = parameters.declare("weight", (3, 2))
    assert handle.shape == (3, 2) and "value" not in vars(handle)  # not there yet
    assert handle.grad.shape == (3, 2) and not handle.grad.any()  # but there as soon as it is used
    assert handle.value.dtype == parameters.flat.dtype == np.float64
    handle.value[...] = 7
    handle.grad[...] = 8
    assert (parameters.flat == 7).all() and (parameters.grad == 8).all()
    parameters.zero_grad()
    assert not handle.grad.any() and (handle.value == 7).all()
    with pytest.raises(AttributeError, match="valeu"):
        _ = handle.valeu


def test_declaring_twice_shares():
    parameters = Parameters()
    first, second = Linear(parameters, "dense", 3, 4), Linear(parameters, "dense", 3, 4)
    assert first.weight is second.weight and first.bias is second.bias
    assert parameters.size == 3 * 4 + 4 and list(parameters) == ["dense.weight", "dense.bias"]


def test_another_shape_under_the_same_name_is_refused():
    parameters = Parameters()
    Linear(parameters, "dense", 3, 4)
    with pytest.raises(ValueError, match=r"dense\.weight was declared with shape \(4, 3\), now \(5, 3\)"):
        Linear(parameters, "dense", 3, 5)


def test_declaring_after_memory_was_taken_is_refused():
    parameters = Parameters()
    Linear(parameters, "dense", 3, 4)
    assert parameters.flat.shape == (16,)
    Linear(parameters, "dense", 3, 4)  # what is there may be shared
    with pytest.raises(ValueError, match=r"other\.weight is declared after memory was taken"):
        Linear(parameters, "other", 3, 4)


def test_the_order_of_the_buffer_is_that_of_the_declarations():
    parameters = Parameters()
    for name, shape in (("a", (2, 3)), ("b", ()), ("c", (0, 5)), ("d", (4,))):
        parameters.declare(name, shape)
    assert [parameters.span(name) for name in parameters] == [(0, 6), (6, 7), (7, 7), (7, 11)]
    assert parameters.size == 11 and "b" in parameters and "e" not in parameters
    parameters.flat[...] = np.arange(11)
    assert parameters["b"].value == 6 and parameters["d"].value.tolist() == [7, 8, 9, 10]
    assert Parameters().size == 0


def test_neighbours_are_joined():
    parameters = Parameters(dtype=np.float64)
    names = [f"self.{part}" for part in ("query", "key", "value")]
    layer = JoinedLinear(parameters, names, 3, 4)
    assert list(parameters) == [f"{name}.weight" for name in names] + [f"{name}.bias" for name in names]
    random = np.random.default_rng(0)
    parameters.flat[...] = random.standard_normal(parameters.size)
    x = random.standard_normal((5, 3))
    y, cache = layer.forward(x, PassContext())
    parts = [x @ parameters[f"{name}.weight"].value.T + parameters[f"{name}.bias"].value for name in names]
    np.testing.assert_allclose(y, np.concatenate(parts, axis=1), rtol=1e-13)
    layer.backward(random.standard_normal(y.shape), cache, PassContext())
    stacked = np.concatenate([parameters[f"{name}.weight"].grad for name in names])
    assert np.array_equal(stacked, layer.weight.grad) and layer.weight.shape == (12, 3)


@pytest.mark.parametrize("names", [("a", "c"), ("b", "a"), ("a", "a")])
def test_only_neighbours_can_be_joined(names):
    parameters = Parameters()
    for name in "abc":
        parameters.declare(name, (2, 3))
    with pytest.raises(ValueError, match="not neighbours in the flat buffer"):
        parameters.joined(names)


def test_a_tied_layer_uses_the_table_itself():
    parameters = Parameters(dtype=np.float64)
    table = parameters.declare("table", (7, 3))
    layer = TiedLinear(parameters, "head", table)
    assert layer.weight is table and parameters["head.bias"].shape == (7,)
    table.grad[...] = 5.0  # of its other use
    y, cache = layer.forward(np.ones((2, 3)), PassContext())
    layer.backward(np.ones((2, 7)), cache, PassContext())
    assert y.shape == (2, 7) and (table.grad == 7.0).all()  # added to


# --- other memory


def test_a_replica_shares_values_but_not_gradients():
    objective = small_objective()
    flat = objective.parameters.flat
    twin = replica(objective, np, flat, np.zeros_like(flat))
    assert twin.parameters.flat is flat and not np.shares_memory(
        twin.parameters.grad, objective.parameters.grad
    )
    batch = make_batch(0)
    samples = np.full(batch.positions.shape, 9, np.int32)
    _, cache = twin.forward(batch, batch.normalizers(), PassContext(), samples=samples)
    twin.backward(cache, PassContext())
    assert twin.parameters.grad.any() and not objective.parameters.grad.any()
    name = "discriminator.electra.encoder.layer.0.attention.self.key.weight"
    twin.parameters[name].value[...] = 3.0
    assert (objective.parameters[name].value == 3.0).all()
    joined = twin.discriminator.encoder.blocks[0].attention.project.weight
    assert (joined.value[16:32] == 3.0).all() and np.shares_memory(joined.value, flat)
    assert twin.model_config == objective.model_config and twin.generator is not objective.generator
    towers = (twin.generator, twin.discriminator)
    assert tuple(twin.towers.values()) == towers and all(
        tower.parameters is twin.parameters for tower in towers
    )


def test_a_replica_copies_no_numbers():
    objective = small_objective(hidden_size=256, intermediate_size=1024)
    flat = objective.parameters.flat
    gradient = np.zeros_like(flat)
    assert flat.nbytes > 5_000_000
    tracemalloc.start()
    replica(objective, np, flat, gradient)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000


def test_a_replica_on_a_device():
    device = FakeDevice()
    try:
        objective = small_objective()
        values, gradient = device.asarray(objective.parameters.flat), device.zeros(objective.parameters.size)
        twin = replica(objective, device, values, gradient)
        assert twin.parameters.xp is device and twin.parameters.flat is values
        ids = np.full((1, 5), 7)
        np.testing.assert_allclose(
            twin.discriminator(ids).get(), objective.discriminator(ids), rtol=1e-5, atol=1e-6
        )
    finally:
        backend.arrays._MODULES.pop(device.ndarray)


def test_memory_of_another_size_is_refused():
    parameters = Parameters()
    parameters.declare("weight", (3, 2))
    for flat, grad in (
        (np.zeros(5), np.zeros(5)),
        (np.zeros(6), np.zeros(7)),
        (np.zeros((6, 1)), np.zeros((6, 1))),
    ):
        with pytest.raises(ValueError, match=r"expected \(6,\)"):
            parameters.bind(flat, grad)


def test_buffers_that_are_handed_in_keep_what_they_hold():
    parameters = Parameters()
    weight = parameters.declare("weight", (3, 2))
    flat, grad = np.arange(6.0), np.arange(6.0) + 10
    parameters.bind(flat, grad)
    assert weight.value[2, 1] == 5.0 and weight.grad[2, 1] == 15.0
    assert parameters.flat is flat and parameters.grad is grad
    parameters.bind(flat + 1, grad)
    assert weight.value[2, 1] == 6.0


# --- pickles and copies


@pytest.mark.parametrize("what", ["electra", *HEADS])
def test_a_pickle_carries_the_structure_and_no_numbers(what):
    objective = small_finetuning(what) if what in HEADS else small_objective()
    flat = objective.parameters.flat
    raw = pickle.dumps(objective)
    assert not any(flat[i : i + 4].tobytes() in raw for i in np.flatnonzero(flat)[:-4:50])
    twin = pickle.loads(raw)
    assert twin.parameters.shapes == objective.parameters.shapes
    assert twin.config == objective.config and twin.parameters.dtype == objective.parameters.flat.dtype
    assert not twin.parameters.flat.any()
    assert objective.parameters.flat is flat and flat.any()  # which lost nothing
    twin.parameters.bind(flat, np.zeros_like(flat))
    head = getattr(twin, "model", None)
    model, original = (head, objective.model) if head else (twin.discriminator, objective.discriminator)
    ids = np.full((2, 5), 7)
    assert np.array_equal(model(ids), original(ids))


def test_a_pickle_costs_no_memory_either():
    config, pretraining = configure("large", HUGE)
    twin = pickle.loads(pickle.dumps(objectives.make(config, pretraining)))
    assert twin.parameters.size > 10**12


def test_pickles_and_copies_keep_the_precision():
    objective = small_objective(np.float64)
    for twin in (pickle.loads(pickle.dumps(objective)), copy.deepcopy(objective)):
        assert twin.parameters.flat.dtype == np.float64 and not twin.parameters.flat.any()


# --- files


def test_state_and_back():
    objective, other = small_objective(seed=1), small_objective(seed=2)
    state = objective.parameters.state()
    assert {name: array.shape for name, array in state.items()} == objective.parameters.shapes
    other.parameters.load_state(state)
    assert np.array_equal(other.parameters.flat, objective.parameters.flat)


def test_what_does_not_fit_is_named():
    parameters = Parameters()
    for name, shape in (("a", (2, 3)), ("b", (4,))):
        parameters.declare(name, shape)
    with pytest.raises(ValueError, match=r"missing b; unexpected c; a has shape \[3, 2\], expected \[2, 3\]"):
        parameters.load_state({"a": np.zeros((3, 2)), "c": np.zeros(1)})
    assert misfits({"a": (1,)}, {"a": (1,)}) == ""
    many = {f"p{i}": (1,) for i in range(9)}
    assert misfits(many, {}).endswith("(and 5 more)")


# --- caches


def unnamed(cache, where="cache"):
    """Where in a cache a plain tuple stands that is no shape: each part should have a name."""
    if isinstance(cache, list):
        return [place for i, part in enumerate(cache) for place in unnamed(part, f"{where}[{i}]")]
    if not isinstance(cache, tuple) or all(type(part) is int for part in cache):
        return []
    if not hasattr(cache, "_fields"):
        return [where]
    return [
        place
        for name, part in zip(cache._fields, cache, strict=True)
        for place in unnamed(part, f"{where}.{name}")
    ]


def caches():
    """(name, cache) of a forward pass of each objective, with dropout."""
    dropping = PassContext(random=RandomStream((1,)))
    for name in objectives.names():
        objective = small_objective(objective=name, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
        batch = make_batch(0)
        yield name, objective.forward(batch, batch.normalizers(), dropping)[1]
    for head in HEADS:
        batch = make_task_batch(head, 0)
        yield head, small_finetuning(head).forward(batch, batch.normalizers(), dropping)[1]


def test_every_part_of_a_cache_has_a_name():
    for name, cache in caches():
        assert hasattr(cache, "_fields") and unnamed(cache) == [], name
    # The test sees something
    assert unnamed((1.0, 2.0)) == ["cache"] and unnamed([(1, 2), ((1.0,),)]) == ["cache[1]"]


def test_settings_are_frozen():
    objective = small_objective()
    for config in (objective.config, objective.model_config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.batch_size = 3


def test_the_buffers_can_be_changed_in_place_but_not_exchanged():
    parameters = Parameters(dtype=np.float64)
    weight = parameters.declare("weight", (2, 3))
    parameters.flat += 1.5
    parameters.grad -= 2.0
    assert (weight.value == 1.5).all() and (weight.grad == -2.0).all()
    with pytest.raises(AttributeError, match="bind"):
        parameters.flat = np.zeros(6)


def test_neighbours_can_be_joined_after_memory_was_taken():
    parameters = Parameters()
    for name in "ab":
        parameters.declare(name, (2, 3))
    parameters.allocate()
    joined = parameters.joined(["a", "b"])
    joined.value[...] = 1.0
    assert (parameters["b"].value == 1.0).all() and joined.grad.shape == (4, 3)
