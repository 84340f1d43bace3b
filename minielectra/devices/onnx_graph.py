"""A model as ONNX operators: the forward pass once more, written as a graph.

    inputs    input_ids, attention_mask, token_type_ids    int64 [B, T], of any B and T
    outputs   logits                                       float32 [B, T, …], or [B, L] for a label per text
              start_logits, end_logits                     float32 [B, T], for question answering

These are the names that other tools use. A model with one kind of segment has no `token_type_ids`.

Weights take four, two or one byte each. In the graph of float16 weights, they are converted to float32 where
they are used. In the graph of int8 weights W = s·Q (formats/int8_weights.py), a table is read row by row, and
a linear layer multiplies integers. Each token x gets a scale of its own, x ≈ r·P with r = max |x| / 127, so

    x Wᵀ ≈ r s (P Qᵀ),

and P Qᵀ is exact in int32. Because the scale is the token's own, padding and other texts in the batch do not
change a result.

Operators: https://onnx.ai/onnx/operators. OPSET is the first with LayerNormalization.
"""

import math

import numpy as np

from minielectra.electra.towers import EMBEDDINGS, ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from minielectra.formats.int8_weights import LARGEST, SMALLEST, quantized
from minielectra.nn.mixed_encoder import SCALE, WEIGHTS

OPSET, IR_VERSION = 17, 8  # ONNX Runtime 1.12 and later read them
GELU_CUBIC = 0.044715
LARGEST_FILE = 2_000_000_000  # bytes; the limit of the format is 2^31
# Integers are stored as bytes without sign, 0 as 128. ONNX Runtime multiplies two signed bytes slowly, and on
# older processors it adds products of a byte with and one without sign in 16 bits, which are too few.
ZERO = 128


def onnx_bytes(model, precision="float32") -> bytes:
    """The content of an .onnx file. precision: "float32", "float16" or "int8".

    Raises InputError if the library `onnx` is missing, or if the file would be too large for its format.
    """
    try:
        from onnx import checker, helper
    except ImportError:
        raise InputError("--format onnx needs the library onnx: pip install onnx") from None
    if model.parameters.size * np.dtype(precision).itemsize > LARGEST_FILE:
        raise InputError("a file of ONNX holds at most 2 GB of weights; choose --quantize int8")
    graph = _ModelGraph(model, precision)
    proto = helper.make_model(
        graph.finished(),
        producer_name="minielectra",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


class _Graph:
    """Nodes and constants in the making. A value is known by its name."""

    def __init__(self):
        self.nodes, self.constants, self._count = [], {}, 0

    def node(self, operator, *inputs, output=None, **attributes):
        """Append an operator with one output -> the output's name."""
        from onnx import helper

        self._count += 1
        output = output or f"{operator.lower()}_{self._count}"
        inputs = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, array, name=None):
        """An array, or a number, as a constant -> its name. The same name is kept once."""
        from onnx import numpy_helper

        array = np.asarray(array, order="C")
        name = name or f"constant_{array.dtype}_{array.shape}_{array.tobytes().hex()}"
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(array, name)
        return name


def _number(value):
    return np.float32(value)


def _integers(*values):
    return np.array(values, np.int64)


class _ModelGraph(_Graph):
    """The graph of one model. Methods have the names of the layers whose forward pass they write."""

    def __init__(self, model, precision):
        super().__init__()
        self.model, self.config, self.precision = model, model.config, precision
        self.state = model.standalone_state()
        self.inputs = ["input_ids", "attention_mask"]
        self.inputs += ["token_type_ids"] if self.config.type_vocab_size > 1 else []
        if type(model) not in _HEADS:
            raise InputError(f"the head of {type(model).__name__} cannot be written as ONNX")
        self.outputs = _HEADS[type(model)](self, self.encoder(self.embeddings()))

    def finished(self):
        """The graph as a GraphProto."""
        from onnx import TensorProto, helper

        def declared(name, kind, shape):
            return helper.make_tensor_value_info(name, kind, shape)

        return helper.make_graph(
            self.nodes,
            type(self.model).__name__,
            [declared(name, TensorProto.INT64, ["batch", "length"]) for name in self.inputs],
            [declared(name, TensorProto.FLOAT, shape) for name, shape in self.outputs.items()],
            list(self.constants.values()),
        )

    # Weights in the chosen precision.

    def vector(self, name):
        """A vector of the model; always float32."""
        return self.constant(self.state[name], name)

    def rows(self, name, operator, *inputs, **attributes):
        """The rows of a table that an operator picks, as float32."""
        table = self.state[name]
        if self.precision == "int8":
            numbers, scale = self._stored(table)
            numbers = self.node(operator, self.constant(numbers, name), *inputs, **attributes)
            scale = self.node(operator, self.constant(scale[:, None], f"{name}.scale"), *inputs, **attributes)
            numbers = self.node("Sub", self.to_float(numbers), _number(ZERO))
            return self.node("Mul", numbers, scale)
        picked = self.node(operator, self.constant(self._rounded(table), name), *inputs, **attributes)
        return self.to_float(picked) if self.precision == "float16" else picked

    def _stored(self, matrix):
        """The integers of a matrix as the graph stores them, 0 being ZERO, and the scales."""
        numbers, scale = quantized(matrix)
        return (numbers.astype(np.int16) + ZERO).astype(np.uint8), scale

    def to_float(self, x):
        return self.node("Cast", x, to=1)  # TensorProto.FLOAT

    def _rounded(self, array):
        return array.astype(np.float16) if self.precision == "float16" else array

    def product(self, x, name):
        """x [B, T, I] times the matrix [O, I] called `name`, transposed -> [B, T, O]"""
        matrix = self.state[name]
        if self.precision == "int8":
            return self._integer_product(x, name, *self._stored(matrix))
        weight = self._transposed(name, self._rounded(matrix))
        return self.node("MatMul", x, self.to_float(weight) if self.precision == "float16" else weight)

    def _integer_product(self, x, name, numbers, scale):
        largest = self.node("ReduceMax", self.node("Abs", x), axes=[-1], keepdims=1)
        own = self.node("Max", self.node("Div", largest, _number(LARGEST)), _number(SMALLEST))
        whole = self.node("Add", self.node("Round", self.node("Div", x, own)), _number(ZERO))
        whole = self.node("Cast", whole, to=2)  # TensorProto.UINT8
        weight = self._transposed(name, numbers)
        y = self.to_float(self.node("MatMulInteger", whole, weight, np.uint8(ZERO), np.uint8(ZERO)))
        return self.node("Mul", self.node("Mul", y, own), self.constant(scale, f"{name}.output_scale"))

    def _transposed(self, name, matrix):
        """A matrix as a right factor; the word table, which stands there already, by an operator."""
        if name in self.constants:
            return self.node("Transpose", name, perm=[1, 0])
        return self.constant(matrix.T, name)

    # Layers.

    def linear(self, x, name):
        return self.node("Add", self.product(x, f"{name}.weight"), self.vector(f"{name}.bias"))

    def layer_norm(self, x, name):
        weight, bias = self.vector(f"{name}.weight"), self.vector(f"{name}.bias")
        return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=self.config.layer_norm_eps)

    def activation(self, x, name):
        if name == "relu":
            return self.node("Relu", x)
        if name in ("silu", "swish"):
            return self.node("Mul", x, self.node("Sigmoid", x))
        if name == "gelu":
            inner = self.node("Erf", self.node("Mul", x, _number(1 / math.sqrt(2))))
        else:  # the tanh form
            square = self.node("Mul", x, x)
            cubic = self.node("Add", self.node("Mul", square, _number(GELU_CUBIC)), _number(1))
            inner = self.node("Mul", self.node("Mul", x, cubic), _number(math.sqrt(2 / math.pi)))
            inner = self.node("Tanh", inner)
        half = self.node("Mul", x, _number(0.5))
        return self.node("Mul", half, self.node("Add", inner, _number(1)))

    def embeddings(self):
        """-> [B, T, E]"""
        length = self.node("Shape", "input_ids", start=1, end=2)
        name = f"{EMBEDDINGS}.{{}}_embeddings.weight".format
        x = self.rows(name("word"), "Gather", "input_ids")
        positions = self.rows(name("position"), "Slice", _integers(0), length, _integers(0))
        kinds = "token_type_ids" if "token_type_ids" in self.inputs else _integers(0)
        segments = self.rows(name("token_type"), "Gather", kinds)
        x = self.node("Add", self.node("Add", x, positions), segments)
        return self.layer_norm(x, f"{EMBEDDINGS}.LayerNorm")

    def encoder(self, x):
        """x [B, T, E] -> [B, T, H]"""
        seen = self.node("Cast", "attention_mask", to=9)  # TensorProto.BOOL
        mask = self.node("Where", seen, _number(0), _number(np.finfo(np.float32).min))
        mask = self.node("Unsqueeze", mask, _integers(1, 2))  # [B, 1, 1, T]
        if self.model.encoder.project is not None:
            x = self.linear(x, "electra.embeddings_project")
        layers = [x]
        for i in range(self.config.num_hidden_layers):
            layers.append(self.block(layers[-1], mask, f"electra.encoder.layer.{i}"))
        return layers[-1] if WEIGHTS not in self.state else self.layer_mix(layers)

    def layer_mix(self, layers):
        """The mix of layers that a head may read; its shares are constants."""
        shares = np.exp(self.state[WEIGHTS] - self.state[WEIGHTS].max())
        shares = self.state[SCALE] * shares / shares.sum()
        parts = [self.node("Mul", x, _number(share)) for x, share in zip(layers, shares, strict=True)]
        return self.node("Sum", *parts)

    def block(self, x, mask, name):
        """x [B, T, H], mask [B, 1, 1, T] -> [B, T, H]"""
        attended = self.attention(x, mask, f"{name}.attention.self")
        h = self.residual(attended, x, f"{name}.attention.output")
        inner = self.linear(h, f"{name}.intermediate.dense")
        return self.residual(self.activation(inner, self.config.hidden_act), h, f"{name}.output")

    def residual(self, inner, x, name):
        return self.layer_norm(self.node("Add", self.linear(inner, f"{name}.dense"), x), f"{name}.LayerNorm")

    def attention(self, x, mask, name):
        heads = self.config.num_attention_heads
        width = self.config.hidden_size // heads

        def split(part, order):
            y = self.node("Reshape", self.linear(x, f"{name}.{part}"), _integers(0, 0, heads, width))
            return self.node("Transpose", y, perm=order)

        queries, values = (split(part, [0, 2, 1, 3]) for part in ("query", "value"))
        scores = self.node("MatMul", queries, split("key", [0, 2, 3, 1]))
        scores = self.node("Add", self.node("Mul", scores, _number(1 / math.sqrt(width))), mask)
        y = self.node("MatMul", self.node("Softmax", scores, axis=-1), values)
        y = self.node("Transpose", y, perm=[0, 2, 1, 3])
        return self.node("Reshape", y, _integers(0, 0, heads * width))


# Heads: the end of a _ModelGraph, and its outputs {name: shape}.


def _discriminator(graph, hidden):
    name = "discriminator_predictions"
    x = graph.activation(graph.linear(hidden, f"{name}.dense"), graph.config.hidden_act)
    x = graph.linear(x, f"{name}.dense_prediction")
    graph.node("Squeeze", x, _integers(2), output="logits")
    return {"logits": ["batch", "length"]}


def _generator(graph, hidden):
    x = graph.activation(graph.linear(hidden, "generator_predictions.dense"), "gelu")
    x = graph.layer_norm(x, "generator_predictions.LayerNorm")
    x = graph.product(x, f"{EMBEDDINGS}.word_embeddings.weight")
    graph.node("Add", x, graph.vector("generator_lm_head.bias"), output="logits")
    return {"logits": ["batch", "length", graph.config.vocab_size]}


def _classification(graph, hidden):
    first = graph.node("Gather", hidden, np.int64(0), axis=1)  # [CLS]
    x = graph.activation(graph.linear(first, "classifier.dense"), "gelu")
    graph.node("Identity", graph.linear(x, "classifier.out_proj"), output="logits")
    return {"logits": ["batch", len(graph.config.labels)]}


def _tagging(graph, hidden):
    graph.node("Identity", graph.linear(hidden, "classifier"), output="logits")
    return {"logits": ["batch", "length", len(graph.config.labels)]}


def _answering(graph, hidden):
    x = graph.linear(hidden, "qa_outputs")
    for i, name in enumerate(("start_logits", "end_logits")):
        graph.node("Gather", x, np.int64(i), axis=2, output=name)
    return {"start_logits": ["batch", "length"], "end_logits": ["batch", "length"]}


_HEADS = {
    ElectraForPreTraining: _discriminator,
    ElectraForMaskedLM: _generator,
    ElectraForSequenceClassification: _classification,
    ElectraForTokenClassification: _tagging,
    ElectraForQuestionAnswering: _answering,
}
