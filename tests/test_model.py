"""The model: sizes, padding, initialization, configuration errors."""

import math
import re

import numpy as np
import pytest
from small import VOCAB, make_batch, own_gradients, small_objective

from minielectra import objectives
from minielectra.electra.corruption import MaskedBatch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize, truncated_normal
from minielectra.electra.towers import Electra, ElectraForMaskedLM, ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.nn.layers import PassContext
from minielectra.ops.fast.attention import attention_forward
from minielectra.pretraining.presets import configure, parse_field

# --- sizes


def count(shapes):
    return sum(math.prod(shape) for shape in shapes.values())


def without_embeddings(shapes):
    """Of {name: shape}, what a tower does not share with the other one."""
    return {name: shape for name, shape in shapes.items() if not name.startswith("electra.embeddings.")}


@pytest.mark.parametrize(
    ("preset", "backbone", "head", "generator"),
    [
        ("small", 13_483_008, 66_049, 647_162),
        ("base", 108_891_648, 591_361, 9_903_418),
        ("large", 334_092_288, 1_050_625, 19_512_378),
    ],
)
def test_parameter_counts_are_the_official_ones(preset, backbone, head, generator):
    config, pretraining = configure(preset)
    shapes = Electra(config).parameters.shapes
    assert count(shapes) == backbone
    both = ElectraForPreTraining(config).parameters.shapes
    assert count({name: shape for name, shape in both.items() if name not in shapes}) == head
    smaller = config.generator(pretraining.generator_width, pretraining.generator_depth)
    assert count(without_embeddings(ElectraForMaskedLM(smaller).parameters.shapes)) == generator


def test_released_small_generator():
    config, _ = configure("small")
    assert count(without_embeddings(ElectraForMaskedLM(config).parameters.shapes)) == 9_573_818


# --- padding


def test_padding_changes_nothing_else():
    objective = small_objective(np.float64)
    batch = make_batch(10)
    batch = batch.shard(slice(0, 1))
    length = int(batch.valid.sum())

    def cut(array, more, fill):
        return np.concatenate([array[:, :length], np.full((1, more), fill, array.dtype)], axis=1)

    keep = batch.positions[0] < length
    samples = np.full((1, keep.sum()), 9, np.int32)
    results = []
    for more, fill in ((0, 0), (1, 0), (5, 0), (5, 17)):  # whatever id stands in the padding
        ids, masked, segments = (
            cut(array, more, fill) for array in (batch.input_ids, batch.masked_ids, batch.segments * 0)
        )
        padded = MaskedBatch(
            ids,
            masked,
            np.minimum(segments, 1),
            cut(batch.valid, more, False),
            batch.positions[:, keep],
            batch.weights[:, keep],
            more > 0,
        )
        twin = own_gradients(objective)
        outcome, cache = twin.forward(padded, padded.normalizers(), PassContext(), samples=samples)
        probabilities = outcome.probabilities.copy()  # backward works in their memory
        twin.backward(cache, PassContext())
        results.append(
            (outcome.logits[:length], probabilities, twin.parameters.grad, float(outcome.disc_loss))
        )
    for logits, p, grad, loss in results[1:]:
        np.testing.assert_allclose(logits, results[0][0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(p, results[0][1], rtol=1e-10)
        np.testing.assert_allclose(grad, results[0][2], rtol=1e-9, atol=1e-12)
        assert loss == pytest.approx(results[0][3], rel=1e-12)


def test_models_as_functions():
    objective = small_objective()
    discriminator, generator = objective.discriminator, objective.generator
    ids = np.random.default_rng(0).integers(5, VOCAB, (2, 9))
    logits = discriminator(ids)
    assert logits.shape == (2, 9) and logits.dtype == np.float32
    assert generator(ids.tolist()).shape == (2, 9, VOCAB)
    mask = np.arange(9) < np.array([[9], [6]])
    alone = discriminator(ids[1:, :6])[0]
    np.testing.assert_allclose(discriminator(ids, mask)[1, :6], alone, rtol=1e-4, atol=1e-5)
    for wrong in (ids[0], ids + VOCAB, -ids, np.zeros((1, 21), int)):
        with pytest.raises(ValueError):
            discriminator(wrong)


# --- where training starts


def test_official_initialization():
    sizes = {"hidden_size": 64, "embedding_size": 32, "intermediate_size": 128}
    objective = small_objective(initialization="official", **sizes)
    state = objective.parameters.state()
    for name, array in state.items():
        if name.endswith(".bias"):
            assert (array == 0).all()
        elif "LayerNorm" in name:
            assert (array == 1).all()
        else:
            assert np.abs(array).max() <= 0.04 * (1 + 1e-6)
            if array.size > 4000:
                # A normal cut off at two deviations
                assert array.std() == pytest.approx(0.02 * 0.8796, rel=0.05)
    assert (state["electra.embeddings.word_embeddings.weight"][0] == 0).all()
    again = small_objective(initialization="official", **sizes)
    assert np.array_equal(objective.parameters.flat, again.parameters.flat)


def test_truncated_normal():
    x = truncated_normal(np.random.default_rng(0), (300, 301))
    assert np.abs(x).max() <= 2 and x.mean() == pytest.approx(0, abs=0.01) and np.abs(x).max() > 1.99


@pytest.mark.parametrize("tower", ["generator", "discriminator"])
def test_local_attention_looks_at_neighbours(tower):
    config, pretraining = configure("tiny")
    objective = objectives.make(config, pretraining)
    initialize(objective, 3)
    objective.parameters["electra.embeddings.word_embeddings.weight"].value[...] = 0  # positions alone
    model = objective.towers[tower]
    length = pretraining.seq_length
    zeros = np.zeros((1, length), np.int32)
    x, _ = model.embeddings.forward(zeros, zeros, PassContext())
    if model.encoder.project is not None:
        x, _ = model.encoder.project.forward(x, PassContext())
    attention = model.encoder.blocks[0].attention
    qkv, _ = attention.project.forward(x, PassContext())
    _, cache = attention_forward(*attention._heads(qkv, (1, length)))
    p = cache.p[0].swapaxes(-1, -2)  # held as [key, query]
    for head in range(attention.heads):
        offset = (head // 2 + 1) * (1 if head % 2 else -1)
        inside = np.arange(max(0, -offset), length - max(0, offset))
        assert (p[head, inside].argmax(axis=1) == inside + offset).all(), f"head {head}, offset {offset}"


# --- configuration


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"hidden_size": 130}, "not divisible"),
        ({"vocab_size": 0}, "vocab_size must be between 1 and"),
        ({"hidden_dropout_prob": 1.0}, "less than 1"),
        ({"hidden_act": "tanh"}, "choose gelu"),
        ({"objective": "bert"}, f"choose .*{re.escape(objectives.names()[-1])}"),
        ({"initialization": "zero"}, "choose official"),
        ({"seq_length": 4}, "between 8 and"),
        ({"seq_length": 500}, "longer than max_position_embeddings"),
        ({"mask_fraction": 0.0}, "greater than 0"),
        ({"mask_fraction": 1.5}, "greater than 0 and at most 1, got 1.5"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number, got nan"),
        ({"adam_beta2": 1.0}, "less than 1"),
        ({"mask_keep_fraction": 0.6, "mask_random_fraction": 0.6}, "more than 1"),
        ({"shards": 0}, "between 1 and"),
        ({"generator_width": 0.005}, "hidden_size must be between 1 and"),
        ({"hiden_size": 3}, "did you mean hidden_size"),
    ],
)
def test_configuration_errors_say_what_to_do(overrides, words):
    with pytest.raises(InputError, match=words):
        configure("tiny", overrides)


def test_unknown_preset():
    with pytest.raises(InputError, match="tiny, mini, small, base, large"):
        configure("huge")


def test_fields_from_text():
    assert parse_field("hidden_size=96") == ("hidden_size", 96)
    assert parse_field("bias_correction=true") == ("bias_correction", True)
    assert parse_field("learning_rate=1e-3") == ("learning_rate", 1e-3)
    for wrong in ("hidden_size", "hidden_size=many", "bias_correction=perhaps", "nonsense=1"):
        with pytest.raises(InputError):
            parse_field(wrong)


def test_mlm_objective_has_one_full_size_tower_and_berts_masking():
    config, pretraining = configure("tiny", {"objective": "mlm"})
    objective = objectives.make(config, pretraining)
    assert list(objective.towers) == ["generator"] and objective.generator.config == config
    assert (pretraining.mask_keep_fraction, pretraining.mask_random_fraction) == (0.1, 0.1)
    assert isinstance(config, ElectraConfig)
