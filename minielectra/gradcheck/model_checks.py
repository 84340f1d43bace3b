"""Gradient checks of layers, the encoder, the two towers and the objectives of pre-training.

The same two calls in flight at once as for operations, with dropout whose masks are the same at every call.
"""

from functools import partial

import numpy as np

from minielectra import ops
from minielectra.backend import RandomStream
from minielectra.electra.corruption import MaskedBatch, MaskedNormalizers
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.gradcheck.checker import check_pair
from minielectra.nn.encoder import Block, Encoder
from minielectra.nn.layers import Activation, Embeddings, JoinedLinear, LayerNorm, Linear, PassContext
from minielectra.nn.parameters import Parameters
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


def check_objective(name, objective, forward, inputs, random):
    """Rows of an objective.

    forward(*inputs of a call) -> what is minimised, a number; and the cache for the objective's backward.
    """
    yield from check_pair(
        name,
        forward,
        lambda dy, cache: objective.backward(cache, dropping()),
        inputs,
        *views(objective.parameters),
        random,
        upstream=1.0,
        elements=4,
        directions=3,
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

    inputs = {"x": normal((2, 15, 8)), "valid": valid}
    yield from check("Block", lambda p: PaddedBlock(p, "encoder.layer.0", config), inputs, elements=16)
    inputs["x"] = normal((2, 15, 6))
    yield from check("Encoder", lambda p: PaddedEncoder(p, "", config), inputs, elements=8, directions=4)


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


def objectives(random):
    """The joint loss and the mlm loss -> rows.

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
    variants = {"electra": {}, "mlm": {"objective": "mlm"}, "electra, encoders tied": {"tie_encoders": True}}
    for title, options in variants.items():
        config = PretrainingConfig(generator_width=0.5, gen_weight=1.5, disc_weight=4.0, **options)
        objective = make(CONFIG, config, dtype=np.float64)
        fill(objective.parameters, random)

        def forward(*arrays, objective=objective, config=config):
            *arrays, samples = arrays
            normalizers = MaskedNormalizers(5.0, 16.0)
            outcome, cache = objective.forward(MaskedBatch(*arrays), normalizers, dropping(), samples=samples)
            loss_weights = (config.gen_weight, config.disc_weight)
            return sum(w * loss for w, loss in zip(loss_weights, outcome.losses, strict=False)), cache

        yield from check_objective(f"objective {title}", objective, forward, inputs, random)
