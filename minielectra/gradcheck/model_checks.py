"""Gradient checks of layers, the encoder, the two towers and the objectives of pre-training.

The same two calls in flight at once as for operations, with dropout whose masks are the same at every call.
"""

from functools import partial
from types import SimpleNamespace

import numpy as np

from minielectra import ops
from minielectra.backend import RandomStream
from minielectra.electra.corruption import MaskedBatch, MaskedNormalizers
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.gradcheck.checker import check_pair
from minielectra.nn.encoder import Block, Encoder
from minielectra.nn.layers import Activation, Embeddings, JoinedLinear, LayerNorm, Linear, PassContext
from minielectra.nn.mixed_encoder import MixedEncoder
from minielectra.nn.parameters import Parameters
from minielectra.nn.shared_tables import Sum
from minielectra.objectives import make
from minielectra.pretraining.pretraining_config import PretrainingConfig

# B 3, T 7, K 2 chosen positions; V 23, E 6, H 8 in 2 heads (generator: 4 in 1), F 10, P 9, S 3, 2 layers
CONFIG = ElectraConfig(
    vocab_size=23,
    embedding_size=6,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=10,
    max_position_embeddings=9,
    type_vocab_size=3,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.2,
)
VALID = np.arange(7) < np.array([[7, 4, 5], [3, 7, 6]])[:, :, None]
POSITIONS = np.array([[[6, 1], [0, 3], [4, 2]], [[2, 0], [5, 1], [0, 4]]])


def dropping():
    """A context with dropout whose masks are the same at every call."""
    return PassContext(random=RandomStream((11, 5)))


def fill(parameters, random):
    """Fill parameters with values of which none is neutral.

    They come from a normal distribution of deviation 1/2; LayerNorm's weights lie around 1.
    """
    parameters.flat[...] = 0.5 * random.standard_normal(parameters.size)
    for name in parameters:
        if name.endswith("LayerNorm.weight"):
            parameters[name].value[...] += 1.0


def views(parameters):
    """({name: value}, {name: gradient}) of a `Parameters`."""
    values = {name: parameters[name].value for name in parameters}
    return values, {name: parameters[name].grad for name in parameters}


def check_layer(name, make_layer, inputs, random, **options):
    """Rows of a layer or model. make_layer(parameters): declares it; inputs: as for `check_pair`."""
    parameters = Parameters(dtype=np.float64)
    layer = make_layer(parameters)
    fill(parameters, random)
    yield from check_pair(
        name,
        lambda x, *more: layer.forward(x.copy(), *more, dropping()),
        lambda dy, cache: layer.backward(dy.copy(), cache, dropping()),
        inputs,
        *views(parameters),
        random,
        **options,
    )


def part_views(parameters):
    """The same for stretches of the buffer: an encoder, a head's layer or a table each."""
    spans = {}
    for name in parameters:
        part, (start, stop) = ".".join(name.split(".")[:3]), parameters.span(name)
        spans[part] = spans.get(part, (start,))[0], stop
    flat, grad = parameters.flat, parameters.grad
    return {p: flat[a:b] for p, (a, b) in spans.items()}, {p: grad[a:b] for p, (a, b) in spans.items()}


def check_objective(name, objective, forward, inputs, random, thorough=True):
    """Rows of an objective. thorough: each parameter by itself, instead of one direction per part.

    forward(*inputs of a call) -> what is minimised, a number; and the cache for the objective's backward.
    """
    yield from check_pair(
        name,
        forward,
        lambda dy, cache: objective.backward(cache, dropping()),
        inputs,
        *(views if thorough else part_views)(objective.parameters),
        random,
        upstream=1.0,
        elements=4 if thorough else 1,
        directions=3 if thorough else 1,
    )


def layers(random):
    """Every layer, a block and the encoder -> rows."""
    normal = random.standard_normal
    check = partial(check_layer, random=random)
    x = {"x": normal((2, 5, 3))}
    yield from check("Linear", lambda p: Linear(p, "dense", 3, 4), x)
    names = ("query", "key", "value")
    yield from check("JoinedLinear", lambda p: JoinedLinear(p, names, 3, 4), {"x": normal((2, 5, 3))})
    yield from check("LayerNorm", lambda p: LayerNorm(p, "LayerNorm", 6, 1e-12), {"x": normal((2, 5, 6))})
    for name in ("gelu", "gelu_new", "relu", "silu"):
        x = {"x": 2.0 * normal((2, 5, 3))}
        x["x"] += np.copysign(0.1, x["x"])  # away from 0, where relu has a kink
        yield from check(f"Activation({name})", lambda _, name=name: Activation(name), x)
    config = ElectraConfig(
        vocab_size=9, embedding_size=4, max_position_embeddings=6, type_vocab_size=3, hidden_dropout_prob=0.2
    )
    ids = {"ids": random.integers(0, 9, (2, 2, 5)), "segments": random.integers(0, 3, (2, 2, 5))}
    yield from check("Embeddings", lambda p: Embeddings(p, "electra.embeddings", config), ids)

    # B 3, T 5, E 6, H 8 in 2 heads of 4, F 10; the mask hides keys, and the context drops
    config = ElectraConfig(
        embedding_size=6,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=10,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.3,
    )
    valid = np.arange(5) < np.array([[5, 3, 1], [2, 5, 4]])[:, :, None]

    class PaddedBlock(Block):
        """A Block that takes `valid` [B, T], as Encoder does."""

        def forward(self, x, valid, context):
            return super().forward(x, ops.additive_mask(valid, x.dtype), valid.shape, context)

    class PaddedEncoder(Encoder):
        """An Encoder that reads the shape off `valid`."""

        def forward(self, x, valid, context):
            return super().forward(x, valid, valid.shape, context)

    class PaddedMixedEncoder(MixedEncoder):
        """A MixedEncoder that reads the shape off `valid`."""

        def forward(self, x, valid, context):
            return super().forward(x, valid, valid.shape, context)

    inputs = {"x": normal((2, 15, 8)), "valid": valid}
    yield from check("Block", lambda p: PaddedBlock(p, "encoder.layer.0", config), inputs, elements=16)
    inputs["x"] = normal((2, 15, 6))
    yield from check("Encoder", lambda p: PaddedEncoder(p, "", config), inputs, elements=8, directions=4)
    yield from check(
        "MixedEncoder", lambda p: PaddedMixedEncoder(p, "", config), inputs, elements=8, directions=4
    )


def towers(random):
    """Generator and discriminator -> rows."""
    ids = {
        "ids": random.integers(0, 23, (2, 3, 7)),
        "valid": VALID,
        "segments": random.integers(0, 3, (2, 3, 7)),
    }
    rows = {"rows": (np.arange(3)[:, None] * 7 + POSITIONS).reshape(2, 6)}
    check = partial(check_layer, random=random, elements=8, directions=4)
    yield from check("generator", lambda p: ElectraForMaskedLM(CONFIG, p), ids | rows)
    yield from check("discriminator", lambda p: ElectraForPreTraining(CONFIG, p), ids)


# Every objective, and the options that change its gradient: fields of PretrainingConfig. `progress` is the
# share of the run that is done.
VARIANTS = {
    "electra": {},
    "electra, encoders tied": {"tie_encoders": True},
    "electra, no generator": {"sampler": "uniform"},
    "electra, embeddings separate": {"embeddings": "separate"},
    "electra, gdes": {"embeddings": "gdes"},
    "electra-15": {"objective": "electra-15"},
    "mlm": {"objective": "mlm"},
    "replace-mlm": {"objective": "replace-mlm"},
    "replace-mlm, gdes": {"objective": "replace-mlm", "embeddings": "gdes"},
    "all-tokens-mlm": {"objective": "all-tokens-mlm"},
    "all-tokens-mlm, encoders tied": {"objective": "all-tokens-mlm", "tie_encoders": True},
    "all-tokens-mlm, no gate": {"objective": "all-tokens-mlm", "copy_gate": False},
    "rtd+mlm": {"objective": "rtd+mlm"},
    "rtd+mlm, first stage": {"objective": "rtd+mlm", "two_stage": 0.5, "progress": 0.2},
    "electric, unigram": {"objective": "electric", "sampler": "unigram"},
    "electric, generator": {"objective": "electric"},
    "electra, adversarial": {"adversarial": True, "sample_temperature": 1.5},
}


def hold_constants(objective):
    """Make what has no gradient independent of the weights, as it is for the backward pass.

    That is the shared part of disentangled embeddings, the probabilities of Electric's noise, and the rewards
    of an adversarial generator.
    """
    for tower in objective.towers.values():
        tables = tower.embeddings
        for handle in (tables.word, tables.position, tables.segment, tables.norm.weight, tables.norm.bias):
            if isinstance(handle, Sum):
                handle.base = SimpleNamespace(value=handle.base.value.copy())
    for name in ("_log_q", "_advantage", "_hidden"):
        if hasattr(objective, name):
            setattr(objective, name, _once_per_call(getattr(objective, name)))


def _once_per_call(function):
    """function(outcome, …), which returns what it returned for the same samples before."""
    known = {}

    def remembering(outcome, *rest):
        key = outcome.samples.tobytes()
        if key not in known:
            known[key] = function(outcome, *rest)
        return known[key]

    return remembering


def objectives(random):
    """What each objective minimises -> rows.

    The samples are handed in: they are choices, not functions of the weights.
    """
    shape = (2, 3, 7)
    segments, ids = random.integers(0, 3, shape), random.integers(0, 23, shape)
    weights = np.ones(POSITIONS.shape)
    weights[:, 1, 1] = 0.0  # an unused slot
    samples = random.integers(0, 23, POSITIONS.shape)
    samples[:, 0, 0] = [ids[call, 0, POSITIONS[call, 0, 0]] for call in (0, 1)]  # a right guess
    masked = ids.copy()
    for call, row, slot in zip(*np.nonzero(weights), strict=True):
        masked[call, row, POSITIONS[call, row, slot]] = 4
    inputs = {
        "ids": ids,
        "masked": masked,
        "segments": segments,
        "valid": VALID,
        "positions": POSITIONS,
        "weights": weights.astype(np.float32),
        "samples": samples,
    }
    for title, options in VARIANTS.items():
        options = dict(options)
        progress = options.pop("progress", 1.0)
        weights = {"gen_weight": 1.5, "disc_weight": 4.0, "mlm_weight": 2.5}
        objective = make(
            CONFIG, PretrainingConfig(generator_width=0.5, **weights, **options), dtype=np.float64
        )
        objective.set_noise(np.arange(23) + 1, [0, 1, 2])
        fill(objective.parameters, random)
        hold_constants(objective)

        def forward(*arrays, objective=objective, progress=progress):
            *arrays, samples = arrays
            batch, normalizers = MaskedBatch(*arrays, progress=progress), MaskedNormalizers(5.0, 16.0)
            outcome, cache = objective.forward(batch, normalizers, dropping(), samples=samples)
            return sum(w * x for w, x in zip(objective.loss_weights, outcome.losses, strict=True)), cache

        thorough = title in ("electra", "electra, encoders tied", "mlm")  # the others have the same towers
        yield from check_objective(f"objective {title}", objective, forward, inputs, random, thorough)
