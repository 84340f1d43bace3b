"""Everything there is to check: each operation, layer, tower and objective of the library, under the protocol of `gradcheck`."""

import dataclasses
from functools import partial
from itertools import chain

import numpy as np

from minielectra.backend import RandomStream
from minielectra.electra.corruption import Batch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining, embedding_shapes
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.objective import HEADS, Finetuning
from minielectra.finetuning.sequences import TaskBatch
from minielectra.gradcheck.checker import check_pair
from minielectra.nn.encoder import Block, Encoder, encoder_shapes, linear_shapes, norm_shapes
from minielectra.nn.layers import Embeddings, Gelu, LayerNorm, Linear, Run
from minielectra.nn.parameters import Parameters
from minielectra.objectives.electra import ElectraPretraining
from minielectra.ops.fast import attention as fast_attention
from minielectra.ops.fast import gelu as fast_gelu
from minielectra.ops.fast import layernorm as fast_layernorm
from minielectra.ops.fast import linear as fast_linear
from minielectra.ops.fast import losses as fast_losses
from minielectra.ops.reference import attention, dropout, embedding, gelu, layernorm, linear, losses, softmax
from minielectra.pretraining.pretraining_config import PretrainingConfig


def check_all(seed=0):
    """Every operation, layer, tower and objective of the library -> list of Row. Takes a few seconds."""
    random = np.random.default_rng(seed)
    return list(chain(_operations(random), _layers(random), _towers(random), _objectives(random), _tasks(random)))


# Sizes. Calls 2, B sequences, N heads, T tokens, D features a head; M rows, I, O, H features; V words, P positions, S segments.


def _operations(random):
    normal = random.standard_normal

    def check(name, forward, backward, inputs, parameters=None):
        parameters = parameters or {}
        gradients = {key: np.zeros_like(p) for key, p in parameters.items()}
        yield from check_pair(
            name,
            lambda *x: forward(*x, *parameters.values()),
            lambda dy, cache: backward(dy, cache, *gradients.values()),
            inputs, parameters, gradients, random,
        )  # fmt: skip

    x, matrix, bias = {"x": normal((2, 5, 3))}, {"weight": normal((4, 3))}, {"bias": normal(4)}
    for name, module in (("linear", linear), ("fast linear", fast_linear)):
        yield from check(name, module.linear_forward, module.linear_backward, x, matrix | bias)
        yield from check(f"{name}, no bias", module.linear_forward, module.linear_backward, x, matrix)
    x, affine = {"x": normal((2, 5, 6))}, {"weight": 1.0 + normal(6), "bias": normal(6)}
    for name, module in (("layernorm", layernorm), ("fast layernorm", fast_layernorm)):
        yield from check(name, *_kept(module.layernorm_forward, module.layernorm_backward), x, affine)
    for name, module in (("gelu", gelu), ("fast gelu", fast_gelu)):
        x = {"x": 2.0 * normal((2, 5, 3))}
        yield from check(name, *_kept(module.gelu_forward, module.gelu_backward), x)
        yield from check(f"{name}, tanh form", *_kept(module.gelu_tanh_forward, module.gelu_tanh_backward), x)
    yield from check("softmax", softmax.softmax_forward, softmax.softmax_backward, {"x": normal((2, 3, 4, 5))})
    x, keep = normal((2, 5, 3)), random.random((2, 5, 3)) < 0.7
    yield from check("dropout", partial(dropout.dropout_forward, scale=1 / 0.7), dropout.dropout_backward, {"x": x, "keep": keep})

    ids = {"ids": random.integers(0, 7, (2, 10))}  # some ids repeat
    yield from check("embedding", embedding.embedding_forward, embedding.embedding_backward, ids, {"table": normal((7, 3))})
    ids = {"ids": random.integers(0, 9, (2, 3, 5)), "segments": random.integers(0, 2, (2, 3, 5))}
    tables = {"word": normal((9, 4)), "position": normal((6, 4)), "segment": normal((2, 4))}
    yield from check("embeddings", embedding.embeddings_forward, embedding.embeddings_backward, ids, tables)

    qkv = {key: normal((2, 3, 2, 5, 4)) for key in "qkv"}  # [calls, B, N, T, D]
    masks = {"valid": np.arange(5) < np.array([[5, 3, 1], [2, 5, 4]])[:, :, None], "keep": random.random((2, 3, 2, 5, 5)) < 0.8}

    for name, module in (("attention", attention), ("fast attention", fast_attention)):

        def masked(q, k, v, valid=None, keep=None, module=module):
            mask = None if valid is None else attention.attention_mask(valid, q.dtype)
            return module.attention_forward(q, k, v, mask, keep, 1.0 if keep is None else 1 / 0.8)

        def dropped(q, k, v, keep, masked=masked):
            return masked(q, k, v, keep=keep)

        yield from check(name, masked, module.attention_backward, qkv)
        yield from check(f"{name}, mask", masked, module.attention_backward, qkv | {"valid": masks["valid"]})
        yield from check(f"{name}, dropout", dropped, module.attention_backward, qkv | {"keep": masks["keep"]})
        yield from check(f"{name}, mask and dropout", masked, module.attention_backward, qkv | masks)

    weights, normalizer = random.random(6) + 0.5, 4.3  # some weights are not 1, and one is 0: an unused slot
    weights[2] = 0.0
    for name, module in (("cross entropy", losses), ("fast cross entropy", fast_losses)):
        yield from check(name, lambda x, y, module=module: module.cross_entropy_forward(x.copy(), y, weights, normalizer),
                         lambda dy, cache, module=module: module.cross_entropy_backward(cache, dy),
                         {"logits": normal((2, 6, 7)), "targets": random.integers(0, 7, (2, 6))})  # fmt: skip
    yield from check("binary cross entropy",
                     lambda x, y: losses.binary_cross_entropy_forward(x, y.astype(x.dtype), weights, normalizer),
                     lambda dy, cache: losses.binary_cross_entropy_backward(cache, dy),
                     {"logits": 2.0 * normal((2, 6)), "labels": random.integers(0, 2, (2, 6))})  # fmt: skip
    targets = normal(6)
    yield from check("squared error", lambda x: losses.squared_error_forward(x, targets, weights, normalizer),
                     lambda dy, cache: losses.squared_error_backward(cache, dy), {"x": normal((2, 6))})  # fmt: skip


def _kept(forward, backward):
    """A pair that may overwrite its x and its dy, as one that does not."""
    return (lambda x, *more: forward(x.copy(), *more)), (lambda dy, *more: backward(dy.copy(), *more))


def _fill(parameters, random):
    """Nothing neutral: every value from a normal distribution of deviation 1/2, LayerNorm's weights around 1."""
    parameters.flat[...] = 0.5 * random.standard_normal(parameters.size)
    for name in parameters:
        if name.endswith("LayerNorm.weight"):
            parameters[name].value[...] += 1.0
    return parameters


def _views(parameters):
    """({name: value}, {name: gradient}) of a `Parameters`."""
    return ({name: parameters[name].value for name in parameters}, {name: parameters[name].grad for name in parameters})


def _run():
    """A run with dropout whose masks are the same at every call."""
    return Run(random=RandomStream((11, 5)))


def _check_layer(name, make, shapes, inputs, random, **options):
    parameters = _fill(Parameters(shapes, dtype=np.float64), random)
    layer = make(parameters)
    yield from check_pair(
        name,
        lambda x, *more: layer.forward(x.copy(), *more, _run()),
        lambda dy, cache: layer.backward(dy.copy(), cache, _run()),
        inputs, *_views(parameters), random, **options,
    )  # fmt: skip


def _layers(random):
    normal = random.standard_normal
    check = partial(_check_layer, random=random)
    yield from check("Linear", lambda p: Linear(p, "dense"), linear_shapes("dense", 3, 4), {"x": normal((2, 5, 3))})
    parts = ("query", "key", "value")
    joined = {f"{part}.weight": (4, 3) for part in parts} | {f"{part}.bias": (4,) for part in parts}
    yield from check("Linear, joined", lambda p: Linear(p, *parts), joined, {"x": normal((2, 5, 3))})
    x = {"x": normal((2, 5, 6))}
    yield from check("LayerNorm", lambda p: LayerNorm(p, "LayerNorm", 1e-12), norm_shapes("LayerNorm", 6), x)
    for name in ("gelu", "gelu_new"):
        yield from check(f"Gelu({name})", lambda _, name=name: Gelu(name), {}, {"x": 2.0 * normal((2, 5, 3))})
    config = ElectraConfig(vocab_size=9, embedding_size=4, max_position_embeddings=6, type_vocab_size=3)
    ids = {"ids": random.integers(0, 9, (2, 2, 5)), "segments": random.integers(0, 3, (2, 2, 5))}
    yield from check("Embeddings", lambda p: Embeddings(p, "electra.embeddings", 1e-12, 0.2), embedding_shapes(config), ids)

    # B 3, T 5, H 8 in 2 heads of 4, F 10; the mask hides keys, the run drops
    valid = np.arange(5) < np.array([[5, 3, 1], [2, 5, 4]])[:, :, None]

    class Padded:
        """A Block that takes `valid` [B, T], as Encoder does."""

        def __init__(self, parameters):
            self.block = Block(parameters, "encoder.layer.0", 2, 1e-12, "gelu", 0.2, 0.3)
            self.backward = self.block.backward

        def forward(self, x, valid, run):
            return self.block.forward(x, attention.attention_mask(valid, x.dtype), valid.shape, run)

    inputs = {"x": normal((2, 15, 8)), "valid": valid}
    yield from check("Block", Padded, encoder_shapes("", 1, 8, 10, 8), inputs, elements=16)

    class Whole(Encoder):
        def forward(self, x, valid, run):
            return super().forward(x, valid, valid.shape, run)

    def make(parameters):
        return Whole(parameters, "", 2, 2, 1e-12, "gelu_new", 0.2, 0.3)

    inputs["x"] = normal((2, 15, 6))
    yield from check("Encoder", make, encoder_shapes("", 2, 8, 10, 6), inputs, elements=8, directions=4)


# B 3, T 7, K 2 chosen positions; V 23, E 6, H 8 in 2 heads (generator: 4 in 1), F 10, P 9, S 3, 2 layers
_CONFIG = ElectraConfig(
    vocab_size=23, embedding_size=6, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=10,
    max_position_embeddings=9, type_vocab_size=3, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2,
)  # fmt: skip
_VALID = np.arange(7) < np.array([[7, 4, 5], [3, 7, 6]])[:, :, None]
_POSITIONS = np.array([[[6, 1], [0, 3], [4, 2]], [[2, 0], [5, 1], [0, 4]]])


def _towers(random):
    ids = {"ids": random.integers(0, 23, (2, 3, 7)), "valid": _VALID, "segments": random.integers(0, 3, (2, 3, 7))}
    rows = {"rows": (np.arange(3)[:, None] * 7 + _POSITIONS).reshape(2, 6)}
    check = partial(_check_layer, random=random, elements=8, directions=4)
    yield from check("generator", partial(ElectraForMaskedLM, _CONFIG), ElectraForMaskedLM.shapes(_CONFIG), ids | rows)
    yield from check("discriminator", partial(ElectraForPreTraining, _CONFIG), ElectraForPreTraining.shapes(_CONFIG), ids)


def _objectives(random):
    """The joint loss and the mlm loss, the generator's samples handed in: they are choices, not functions of the parameters."""
    shape = (2, 3, 7)
    segments, ids = random.integers(0, 3, shape), random.integers(0, 23, shape)
    weights = np.ones(_POSITIONS.shape)
    weights[:, 1, 1] = 0.0  # an unused slot
    samples = random.integers(0, 23, _POSITIONS.shape)
    samples[:, 0, 0] = [ids[call, 0, _POSITIONS[call, 0, 0]] for call in (0, 1)]  # a right guess
    masked = ids.copy()
    for call, row, slot in zip(*np.nonzero(weights), strict=True):
        masked[call, row, _POSITIONS[call, row, slot]] = 4
    inputs = dict(zip(("ids", "masked", "segments", "valid", "positions", "weights", "samples"),
                      (ids, masked, segments, _VALID, _POSITIONS, weights.astype(np.float32), samples), strict=True))  # fmt: skip

    weights = {"generator_width": 0.5, "gen_weight": 1.5, "disc_weight": 4.0}
    variants = {"electra": {}, "mlm": {"objective": "mlm"}, "electra, encoders tied": {"tie_encoders": True}}
    for title, options in variants.items():
        settings = PretrainingConfig(**weights | options)
        model = ElectraPretraining(_CONFIG, settings, dtype=np.float64)
        _fill(model.parameters, random)

        def forward(*arrays, model=model, settings=settings):
            *arrays, samples = arrays
            outcome, cache = model.forward(Batch(*arrays), (5.0, 16.0), _run(), samples=samples)
            loss = settings.gen_weight * outcome.gen_loss
            return (loss if outcome.disc_loss is None else loss + settings.disc_weight * outcome.disc_loss), cache

        yield from check_pair(
            f"objective {title}", forward, lambda dy, cache, model=model: model.backward(cache, _run()),
            inputs, *_views(model.parameters), random, upstream=1.0, elements=4, directions=3,
        )  # fmt: skip


def _tasks(random):
    """The fine-tuning heads, and each task's loss through its whole model."""
    ids = {"ids": random.integers(0, 23, (2, 3, 7)), "valid": _VALID, "segments": random.integers(0, 3, (2, 3, 7))}
    for labels in (("a", "b", "c", "d"), ("score",)):
        config = HeadConfig(**(dataclasses.asdict(_CONFIG) | {"labels": labels}))
        kinds = HEADS if len(labels) > 1 else {"classification": HEADS["classification"]}
        for name, head in kinds.items():
            own = dataclasses.replace(config, labels=("start", "end")) if name == "answering" else config
            title = f"{name} head" if len(labels) > 1 else "regression head"
            yield from _check_layer(title, partial(head, own), head.shapes(own), ids, random, elements=4, directions=3)

            model = Finetuning(own, FinetuningConfig(head=name), dtype=np.float64)
            _fill(model.parameters, random)
            token_weights = _VALID * (random.random(_VALID.shape) < 0.7)
            token_weights[:, :, 0] = 1.0  # [CLS], which every answer may fall back on
            targets = {
                "classification": random.standard_normal((2, 3)) if own.regression else random.integers(0, 4, (2, 3)),
                "tagging": random.integers(0, len(own.labels), (2, 3, 7)),
                "answering": np.zeros((2, 3, 2), np.int32),  # at [CLS], and at a later token where that is allowed
            }[name]
            if name == "answering":
                targets[:, 0, 1] = [np.flatnonzero(token_weights[call, 0])[-1] for call in (0, 1)]
            weights = np.ones((2, 3)) if name == "classification" else token_weights
            inputs = ids | {"targets": targets.astype(np.float32), "weights": weights.astype(np.float32)}

            def forward(ids, valid, segments, targets, weights, model=model, regression=own.regression):
                targets = targets if regression else targets.astype(np.int32)
                return model.forward(TaskBatch(ids, segments, valid, targets, weights), (5.0, 4.0), _run())

            yield from check_pair(
                f"{title}'s loss", forward, lambda dy, cache, model=model: model.backward(cache, _run()),
                inputs, *_views(model.parameters), random, upstream=1.0, elements=4, directions=3,
            )  # fmt: skip
