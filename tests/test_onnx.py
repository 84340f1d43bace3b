"""ONNX files, run in ONNX Runtime: the same logits as ours, for every head, shape and precision."""

import dataclasses
import sys

import numpy as np
import pytest

from minielectra.devices.onnx_graph import onnx_bytes
from minielectra.electra.electra_config import ACTIVATIONS, ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    HeadConfig,
)
from minielectra.formats.int8_weights import quantized, restored
from minielectra.pretraining.presets import configure

onnx = pytest.importorskip("onnx", reason="ONNX files need pip install onnx")
runtime = pytest.importorskip("onnxruntime", reason="running ONNX files needs pip install onnxruntime")

SMALL = {
    "vocab_size": 60,
    "embedding_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
LABELS = ("a", "b", "c")
MODELS = {
    "discriminator": (ElectraForPreTraining, ElectraConfig, {}),
    "generator": (ElectraForMaskedLM, ElectraConfig, {}),
    "classification": (ElectraForSequenceClassification, HeadConfig, {"labels": LABELS}),
    "regression": (ElectraForSequenceClassification, HeadConfig, {"labels": ("score",)}),
    "tagging": (ElectraForTokenClassification, HeadConfig, {"labels": LABELS}),
    "answering": (ElectraForQuestionAnswering, HeadConfig, {"labels": ("start", "end")}),
    "a mix of layers": (ElectraForTokenClassification, HeadConfig, {"labels": LABELS, "readout": "mix"}),
    "E = H": (ElectraForPreTraining, ElectraConfig, {"embedding_size": 16}),
    "one kind of segment": (ElectraForPreTraining, ElectraConfig, {"type_vocab_size": 1}),
}


def made(kind, config, deviation=0.3, **fields):
    """A model of random weights."""
    model = kind(config(**SMALL | fields) if isinstance(config, type) else config)
    model.parameters.flat[...] = np.random.default_rng(0).normal(0, deviation, model.parameters.size)
    return model


def batch(config, shape=(3, 11), seed=1):
    """Sequences of different lengths: ids, mask, segments; the first one has no padding."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, config.vocab_size, shape)
    mask = np.arange(shape[1]) < random.integers(1, shape[1] + 1, shape[0])[:, None]
    mask[0] = True
    segments = random.integers(0, config.type_vocab_size, shape)
    return ids, mask.astype(np.int64), segments


def run(data, ids, mask, segments):
    """The outputs of an ONNX file as one array, like our logits."""
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
    outputs = session.run(None, {own.name: inputs[own.name] for own in session.get_inputs()})
    return outputs[0] if len(outputs) == 1 else np.stack(outputs, -1)


def difference(model, found, arrays):
    """The largest difference to our logits where there is a token, in parts of the largest logit."""
    wanted = model(*arrays)
    assert found.shape == wanted.shape
    wanted, found = (x[arrays[1] != 0] if model.per_token else x for x in (wanted, found))
    return np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", MODELS)
def test_every_head(name):
    kind, config, fields = MODELS[name]
    model = made(kind, config, **fields)
    data = onnx_bytes(model)
    for shape in ((3, 11), (1, 1), (2, 20)):  # one file for every batch and length
        arrays = batch(model.config, shape)
        assert difference(model, run(data, *arrays), arrays) < 1e-5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    model = made(ElectraForPreTraining, ElectraConfig, hidden_act=activation)
    arrays = batch(model.config)
    assert difference(model, run(onnx_bytes(model), *arrays), arrays) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mini", "small", "base"])
@pytest.mark.parametrize("kind", [ElectraForPreTraining, ElectraForMaskedLM])
def test_the_shapes_of_real_models(preset, kind):
    """Width and vocabulary are real, the depth is not: one layer shows what there is to see."""
    config, pretraining = configure(preset, {"num_hidden_layers": 1})
    if kind is ElectraForMaskedLM:
        config = config.generator(pretraining.generator_width)
    model = made(kind, config, deviation=0.05)
    arrays = batch(config, (2, 32))
    error = np.abs(run(onnx_bytes(model), *arrays) - model(*arrays))
    assert error[arrays[1] != 0].max() < 1e-4


@pytest.mark.parametrize("name", ["discriminator", "generator", "classification", "answering"])
def test_float16_rounds_the_weights_and_nothing_else(name):
    kind, config, fields = MODELS[name]
    model = made(kind, config, **fields)
    data = onnx_bytes(model, "float16")
    for parameter in model.parameters:
        handle = model.parameters[parameter]
        if len(handle.shape) == 2:
            handle.value[...] = handle.value.astype(np.float16)
    arrays = batch(model.config)
    assert difference(model, run(data, *arrays), arrays) < 1e-5


def rounded(model):
    """The model with the weights that int8 leaves."""
    for name in model.parameters:
        handle = model.parameters[name]
        if len(handle.shape) == 2:
            handle.value[...] = restored(*quantized(handle.value))
    return model


def test_int8_is_close_and_padding_changes_nothing():
    model = made(ElectraForPreTraining, ElectraConfig)
    data = onnx_bytes(model, "int8")
    arrays = batch(model.config)
    together = run(data, *arrays)
    # What remains is the rounding of activations
    assert 1e-6 < difference(rounded(model), together, arrays) < 0.1
    for row, length in enumerate(arrays[1].sum(axis=1)):
        alone = run(data, *(x[row : row + 1, :length] for x in arrays))
        assert np.abs(alone[0] - together[row, :length]).max() < 1e-5


def test_an_integer_product_is_what_the_formula_says():
    """One linear layer, by hand: every token with a scale of its own."""
    from minielectra.devices import onnx_graph

    model = made(ElectraForTokenClassification, HeadConfig, labels=LABELS)
    graph = onnx_graph._ModelGraph(model, "int8")
    weight = model.parameters["classifier.weight"].value
    x = np.random.default_rng(3).standard_normal((2, 5, 16)).astype(np.float32)
    x[0, 2] = 0  # a token without a scale
    graph.nodes, graph.constants = [], {}
    graph.node("Identity", graph.product("x", "classifier.weight"), output="y")
    value = onnx.helper.make_tensor_value_info
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "one",
            [value("x", onnx.TensorProto.FLOAT, x.shape)],
            [value("y", onnx.TensorProto.FLOAT, None)],
            list(graph.constants.values()),
        ),
        ir_version=onnx_graph.IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", onnx_graph.OPSET)],
    )
    (found,) = runtime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    numbers, scale = quantized(weight)
    rows, row_scale = quantized(x.reshape(10, 16))
    wanted = (rows.astype(np.int64) @ numbers.T.astype(np.int64)) * row_scale[:, None] * scale
    assert np.abs(found.reshape(10, 3) - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert (found[0, 2] == 0).all()


def test_bytes_shrink_with_the_weights():
    config = dataclasses.replace(ElectraConfig(**SMALL), hidden_size=128, intermediate_size=512)
    model = made(ElectraForPreTraining, config)
    full, half, quarter = (len(onnx_bytes(model, p)) for p in ("float32", "float16", "int8"))
    assert half < 0.56 * full and quarter < 0.32 * full
    assert full < 4.2 * model.parameters.size


def test_names_opset_and_dynamic_axes():
    proto = onnx.load_from_string(onnx_bytes(made(*MODELS["answering"][:2], labels=("start", "end"))))
    assert [opset.version for opset in proto.opset_import] == [17] and proto.ir_version == 8
    assert [x.name for x in proto.graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [x.name for x in proto.graph.output] == ["start_logits", "end_logits"]
    for value in (*proto.graph.input, *proto.graph.output):
        assert [axis.dim_param for axis in value.type.tensor_type.shape.dim] == ["batch", "length"]
    known = {constant.name for constant in proto.graph.initializer}
    assert "electra.encoder.layer.0.attention.self.query.weight" in known


def test_the_same_model_gives_the_same_bytes():
    assert onnx_bytes(made(*MODELS["generator"][:2])) == onnx_bytes(made(*MODELS["generator"][:2]))


def test_what_cannot_be_written_is_refused_in_one_line(monkeypatch):
    from minielectra.devices import onnx_graph

    model = made(*MODELS["discriminator"][:2])
    with monkeypatch.context() as changed:
        changed.setattr(onnx_graph, "LARGEST_FILE", 3 * model.parameters.size)
        with pytest.raises(InputError, match="at most 2 GB"):
            onnx_bytes(model)
        onnx_bytes(model, "float16")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match="pip install onnx"):
        onnx_bytes(model)
