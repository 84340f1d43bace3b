"""Corruption, sizes, shards and threads, padding, initialisation, the optimiser, configuration errors."""

import math

import numpy as np
import pytest

from minielectra.backend import RandomStream
from minielectra.electra.config import ElectraConfig, PretrainingConfig, configure, parse_field
from minielectra.electra.corruption import Batch, choose_positions, mask_batch, replace_tokens
from minielectra.electra.initialization import initialize, truncated_normal
from minielectra.electra.models import Electra, ElectraForMaskedLM, ElectraForPreTraining
from minielectra.electra.pretraining import ElectraPretraining
from minielectra.errors import InputError
from minielectra.fast.attention import attention_forward
from minielectra.nn.layers import Run
from minielectra.training.optimizer import Adam, clip_scale, decays, learning_rate
from minielectra.training.step import Trainee, slices
from minielectra.training.workers import processes_available

SPECIAL, MASK, VOCAB = (0, 1, 2, 3, 4), 4, 61
SMALL = {"vocab_size": VOCAB, "embedding_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24, "max_position_embeddings": 20, "seq_length": 14, "batch_size": 7,
         "mask_fraction": 0.3}  # fmt: skip


def make_batch(seed, count=7, length=14, config=None, special=True):
    random = np.random.default_rng(seed)
    ids = random.integers(5, VOCAB, (count, length), dtype=np.int32)
    lengths = random.integers(5, length + 1, count)
    valid = np.arange(length) < lengths[:, None]
    if special:
        ids[:, 0], ids[np.arange(count), lengths - 1] = 2, 3
    ids[~valid] = 0
    segments = (np.arange(length) >= lengths[:, None] // 2).astype(np.int32)
    config = config or PretrainingConfig(seq_length=length, mask_fraction=0.3)
    return mask_batch(ids, valid, segments, SPECIAL, MASK, VOCAB, config, random)


def small_model(dtype=np.float32, seed=1, **overrides):
    model = ElectraPretraining(*configure("tiny", SMALL | overrides), dtype=dtype)
    initialize(model, seed)
    return model


# --- which positions are chosen


def test_choose_positions_count_distinct_and_only_candidates():
    random = np.random.default_rng(0)
    lengths = np.array([5, 20, 40, 33, 6, 3])
    candidates = (np.arange(40) < lengths[:, None] - 1) & (np.arange(40) > 0)
    candidates[1, 5:15] = False
    candidates[5, 1] = False  # nothing left to choose in the last one
    positions, used = choose_positions(candidates, lengths, 8, 0.15, random)
    assert positions.shape == used.shape == (6, 8) and positions.dtype == np.int32
    assert used.sum(axis=1).tolist() == [1, 3, 6, 5, 1, 0]  # max(1, round(0.15 n)), no more than there are candidates
    for row in range(6):
        chosen = positions[row, used[row]]
        assert len(set(chosen)) == len(chosen)
        assert candidates[row, chosen].all()
        assert len(set(positions[row])) == 8  # the unused slots too: writing back through them harms nothing


def test_choose_positions_is_uniform():
    count, length = 30_000, 12
    candidates = np.zeros((count, length), bool)
    candidates[:, 1:-1] = True
    positions, used = choose_positions(candidates, np.full(count, length), 2, 0.15, np.random.default_rng(1))
    found = np.bincount(positions[used], minlength=length)
    assert found[0] == found[-1] == 0 and found.sum() == 2 * count
    np.testing.assert_allclose(found[1:-1], 2 * count / 10, rtol=0.05)
    pairs = np.bincount(positions[:, 0] * length + positions[:, 1], minlength=length**2)
    assert (pairs > 0).sum() == 90  # every ordered pair of different candidates
    np.testing.assert_allclose(pairs[pairs > 0], count / 90, rtol=0.3)


def test_choose_positions_with_replacement_hits_fewer():
    candidates = np.ones((5000, 10), bool)
    _, used = choose_positions(candidates, np.full(5000, 10), 5, 0.5, np.random.default_rng(2), with_replacement=True)
    assert used.sum(axis=1).mean() == pytest.approx(10 * (1 - 0.9**5), abs=0.03)
    assert (np.sort(used, axis=1)[:, ::-1] == used).all()


def test_special_tokens_and_padding_are_never_chosen():
    batch = make_batch(3, count=400)
    used = batch.weights > 0
    chosen = np.take_along_axis(batch.input_ids, batch.positions, axis=1)[used]
    assert not np.isin(chosen, SPECIAL).any()
    assert np.take_along_axis(batch.valid, batch.positions, axis=1)[used].all()
    assert used.sum(axis=1).tolist() == [max(1, min(round(0.3 * n), 4)) for n in batch.valid.sum(axis=1)]
    assert batch.weights.dtype == np.float32 and batch.padded


# --- what stands there


def test_masking_shows_mask_tokens_and_nothing_else_changes():
    batch = make_batch(4, count=50)
    changed = batch.masked_ids != batch.input_ids
    chosen = np.zeros_like(changed)
    rows, slots = np.nonzero(batch.weights)
    chosen[rows, batch.positions[rows, slots]] = True
    assert (changed == chosen).all()
    assert (batch.masked_ids[chosen] == MASK).all()


def test_masking_options():
    config = PretrainingConfig(seq_length=14, mask_fraction=0.3, mask_keep_fraction=0.2, mask_random_fraction=0.3)
    batch = make_batch(5, count=8000, config=config)
    used = batch.weights > 0
    shown = np.take_along_axis(batch.masked_ids, batch.positions, axis=1)[used]
    original = np.take_along_axis(batch.input_ids, batch.positions, axis=1)[used]
    masked, kept = (shown == MASK).mean(), (shown == original).mean()
    assert masked == pytest.approx(0.5 + 0.3 / VOCAB, abs=0.015)
    assert kept == pytest.approx(0.2 + 0.3 / VOCAB, abs=0.015)
    random_words = np.bincount(shown[(shown != MASK) & (shown != original)], minlength=VOCAB)
    assert (np.delete(random_words, MASK) > 0).all()  # any word at all


def test_a_right_guess_is_an_original_token():
    ids = np.array([[2, 10, 11, 12, 3], [2, 20, 21, 3, 0]], np.int32)
    positions, used = np.array([[1, 3], [2, 0]], np.int32), np.array([[True, True], [True, False]])
    samples = np.array([[10, 30], [40, 50]], np.int32)  # right, wrong; wrong, unused
    corrupted, replaced = replace_tokens(ids, positions, used, samples)
    assert corrupted.tolist() == [[2, 10, 11, 30, 3], [2, 20, 40, 3, 0]]
    assert replaced.tolist() == [[False, False, False, True, False], [False, False, True, False, False]]
    assert corrupted.dtype == np.int32 and ids[0, 3] == 12  # the input is left alone


def test_discriminator_sees_originals_where_nothing_was_sampled():
    model, batch = small_model(), make_batch(6)
    u = RandomStream((1,)).uniform(batch.positions.size)
    outcome, _ = model.forward(batch, batch.normalizers(), Run(), u)
    assert MASK not in outcome.corrupted_ids[:, 1:]  # never [MASK], except if the generator samples it
    unchosen = batch.masked_ids == batch.input_ids
    assert (outcome.corrupted_ids == batch.input_ids)[unchosen].all()
    assert (outcome.replaced == (outcome.corrupted_ids != batch.input_ids)).all()
    assert outcome.scores.shape == batch.input_ids.shape


# --- sizes


def count(shapes):
    return sum(math.prod(shape) for shape in shapes.values())


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
    assert count(Electra.shapes(config)) == backbone
    assert count(ElectraForPreTraining.head_shapes(config, "")) == head
    smaller = config.generator(pretraining.generator_width, pretraining.generator_depth)
    assert count(ElectraForMaskedLM.shapes(smaller, with_embeddings=False)) == generator


def test_released_small_generator():
    config, _ = configure("small")
    assert count(ElectraForMaskedLM.shapes(config, with_embeddings=False)) == 9_573_818


# --- shards and threads


def gradient(model, batch, samples, parts, dtype):
    normalizers = batch.normalizers()
    total, losses = 0.0, 0.0
    for part in slices(len(batch.input_ids), parts):
        replica = model.replica()
        shard = batch.shard(part)
        outcome, cache = replica.forward(shard, normalizers, Run(), samples=samples[part])
        replica.backward(cache, Run())
        total = total + replica.parameters.grad
        losses += float(outcome.gen_loss) + float(outcome.disc_loss)
        assert replica.parameters.grad.dtype == dtype
    return total, losses


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-13)])
def test_shards_add_up(dtype, tolerance):
    model, batch = small_model(dtype), make_batch(7)
    samples = np.random.default_rng(0).integers(0, VOCAB, batch.positions.shape, dtype=np.int32)
    whole, loss = gradient(model, batch, samples, 1, dtype)
    for parts in (2, 3, 7):
        cut, cut_loss = gradient(model, batch, samples, parts, dtype)
        assert np.linalg.norm(cut - whole) <= tolerance * np.linalg.norm(whole)
        assert cut_loss == pytest.approx(loss, rel=1e-6)


def test_slices():
    assert slices(7, 2) == [slice(0, 3), slice(3, 7)]
    assert slices(2, 3) == [slice(0, 0), slice(0, 1), slice(1, 2)]


KINDS = ("threads", pytest.param("processes", marks=pytest.mark.skipif(not processes_available(), reason="Linux only")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [2, 3])
def test_workers_change_no_bit(shards, kind):
    """Workers only run the shards; with dropout, over several steps, on batches with padding and without."""

    def run(count):
        model = small_model(shards=shards, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
        trainee = Trainee(model, count, kind)
        results = [trainee.step(make_batch(step), 1e-3, 5, step) for step in range(3)]
        flat = trainee.model.parameters.flat.copy()
        trainee.close()
        return flat, results

    (a, first), (b, second) = run(1), run(shards)
    assert np.array_equal(a, b) and first == second
    assert all(result.finite for result in first)


def test_a_batch_smaller_than_the_number_of_shards():
    whole, cut = (Trainee(small_model(np.float64, shards=shards)) for shards in (1, 3))
    batch = make_batch(0, count=1)
    results = [trainee.step(batch, 0.0, 5, 0) for trainee in (whole, cut)]
    assert results[1].gen_loss == pytest.approx(results[0].gen_loss)


@pytest.mark.skipif(not processes_available(), reason="Linux only")
def test_a_worker_process_that_fails_or_is_killed():
    trainee = Trainee(small_model(), workers="processes")
    batch = make_batch(0)
    parts = [batch.shard(part) for part in slices(len(batch.input_ids), 2)]
    with pytest.raises(RuntimeError, match="in a worker process: AttributeError"):
        trainee.engine.run("shards", [parts[0], None], (1.0, 1.0), 5, 0)
    with pytest.raises(AttributeError):
        trainee.engine.run("shards", [None, parts[1]], (1.0, 1.0), 5, 0)
    assert trainee.step(batch, 1e-3, 5, 0).finite  # and no old answer is taken for a new one
    trainee.engine._children[0][0].kill()
    with pytest.raises(InputError, match="a worker process has ended"):
        for step in range(3):
            trainee.step(make_batch(step), 1e-3, 5, step)
    trainee.close()


def test_one_layer_in_flight_twice_leaves_the_first_alone():
    model, one, two = small_model(np.float64), make_batch(8), make_batch(9)
    samples = np.full(one.positions.shape, 9, np.int32)
    alone, _ = gradient(model, one, samples, 1, np.float64)
    replica = model.replica()
    _, cache = replica.forward(one, one.normalizers(), Run(), samples=samples)
    replica.forward(two, two.normalizers(), Run(), samples=samples)
    replica.backward(cache, Run())
    assert np.array_equal(replica.parameters.grad, alone)


def test_workspaces_change_no_bit_of_a_step():
    from minielectra.backend import Workspace

    model, batch, ws = small_model(), make_batch(8), Workspace()
    samples = np.full(batch.positions.shape, 9, np.int32)
    alone, _ = gradient(model, batch, samples, 1, np.float32)
    for _ in range(2):
        ws.reset()
        replica = model.replica()
        _, cache = replica.forward(batch, batch.normalizers(), Run(ws), samples=samples)
        replica.backward(cache, Run(ws))
        assert np.array_equal(replica.parameters.grad, alone)


# --- padding


def test_padding_changes_nothing_of_the_rest():
    model = small_model(np.float64)
    batch = make_batch(10)
    batch = batch.shard(slice(0, 1))
    length = int(batch.valid.sum())

    def cut(array, more, fill):
        return np.concatenate([array[:, :length], np.full((1, more), fill, array.dtype)], axis=1)

    keep = batch.positions[0] < length
    samples = np.full((1, keep.sum()), 9, np.int32)
    results = []
    for more, fill in ((0, 0), (1, 0), (5, 0), (5, 17)):  # whatever id stands in the padding
        ids, masked, segments = (cut(a, more, fill) for a in (batch.input_ids, batch.masked_ids, batch.token_type_ids * 0))
        padded = Batch(ids, masked, np.minimum(segments, 1), cut(batch.valid, more, False), batch.positions[:, keep],
                       batch.weights[:, keep], more > 0)  # fmt: skip
        replica = model.replica()
        outcome, cache = replica.forward(padded, padded.normalizers(), Run(), samples=samples)
        probabilities = outcome.probabilities.copy()  # backward works in their memory
        replica.backward(cache, Run())
        results.append((outcome.logits[:length], probabilities, replica.parameters.grad, float(outcome.disc_loss)))
    for logits, p, grad, loss in results[1:]:
        np.testing.assert_allclose(logits, results[0][0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(p, results[0][1], rtol=1e-10)
        np.testing.assert_allclose(grad, results[0][2], rtol=1e-9, atol=1e-12)
        assert loss == pytest.approx(results[0][3], rel=1e-12)


def test_models_as_functions():
    model = small_model()
    ids = np.random.default_rng(0).integers(5, VOCAB, (2, 9))
    logits = model.discriminator(ids)
    assert logits.shape == (2, 9) and logits.dtype == np.float32
    assert model.generator(ids.tolist()).shape == (2, 9, VOCAB)
    mask = np.arange(9) < np.array([[9], [6]])
    np.testing.assert_allclose(model.discriminator(ids, mask)[1, :6], model.discriminator(ids[1:, :6])[0], rtol=1e-4, atol=1e-5)
    for wrong in (ids[0], ids + VOCAB, -ids, np.zeros((1, 21), int)):
        with pytest.raises(ValueError):
            model.discriminator(wrong)


# --- where training starts


def test_official_initialization():
    model = small_model(initialization="official", hidden_size=64, embedding_size=32, intermediate_size=128)
    state = model.parameters.state()
    for name, array in state.items():
        if name.endswith(".bias"):
            assert (array == 0).all()
        elif "LayerNorm" in name:
            assert (array == 1).all()
        else:
            assert np.abs(array).max() <= 0.04 * (1 + 1e-6)
            if array.size > 4000:
                assert array.std() == pytest.approx(0.02 * 0.8796, rel=0.05)  # of a normal cut off at two deviations
    assert (state["electra.embeddings.word_embeddings.weight"][0] == 0).all()
    assert np.array_equal(model.parameters.flat, small_model(initialization="official", hidden_size=64, embedding_size=32,
                                                             intermediate_size=128).parameters.flat)  # fmt: skip


def test_truncated_normal():
    x = truncated_normal(np.random.default_rng(0), (300, 301))
    assert np.abs(x).max() <= 2 and x.mean() == pytest.approx(0, abs=0.01) and np.abs(x).max() > 1.99


@pytest.mark.parametrize("tower", ["generator", "discriminator"])
def test_local_attention_looks_at_neighbours(tower):
    config, pretraining = configure("tiny")
    model = ElectraPretraining(config, pretraining)
    initialize(model, 3)
    model.parameters["electra.embeddings.word_embeddings.weight"].value[...] = 0  # positions alone
    model = getattr(model, tower)
    length = pretraining.seq_length
    zeros = np.zeros((1, length), np.int32)
    x, _ = model.embeddings.forward(zeros, zeros, Run())
    if model.encoder.project is not None:
        x, _ = model.encoder.project.forward(x, Run())
    attention = model.encoder.blocks[0].attention
    qkv, _ = attention.project.forward(x, Run())
    _, cache = attention_forward(*attention._heads(qkv, (1, length)))
    p = cache[3][0].swapaxes(-1, -2)  # held as [key, query]
    for head in range(attention.heads):
        offset = (head // 2 + 1) * (1 if head % 2 else -1)
        inside = np.arange(max(0, -offset), length - max(0, offset))
        assert (p[head, inside].argmax(axis=1) == inside + offset).all(), f"head {head}, offset {offset}"


# --- the optimiser


@pytest.mark.parametrize("correct", [False, True])
def test_adam_equals_its_formula(correct):
    model = small_model(np.float64, bias_correction=correct, weight_decay=0.1, adam_beta2=0.999)
    config, parameters = model.pretraining, model.parameters
    adam, random = Adam(parameters, config), np.random.default_rng(0)
    p, m, v = parameters.flat.copy(), 0.0, 0.0
    decay = np.concatenate([np.full(math.prod(shape), 0.1 * decays(name)) for name, shape in parameters.shapes.items()])
    assert 0 < (decay > 0).mean() < 1
    for step in range(4):
        g, rate, scale = random.standard_normal(p.size), 0.01 * (step + 1), 0.7
        adam.update(g.copy(), rate, scale, step)
        m, v = 0.9 * m + 0.1 * scale * g, 0.999 * v + 0.001 * (scale * g) ** 2
        mean, square = (m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))) if correct else (m, v)
        p = p - rate * (mean / (np.sqrt(square) + 1e-6) + decay * p)
        np.testing.assert_allclose(parameters.flat, p, rtol=1e-9, atol=1e-12)
    adam.reset()
    assert not adam.first.any() and not adam.second.any()


def test_clipping_and_schedule():
    assert clip_scale(5.0, 1.0) == (5.0, 0.2)
    assert clip_scale(5.0, 0.0) == (5.0, 1.0) and clip_scale(5.0, 10.0) == (5.0, 1.0)
    assert learning_rate(0, 100, 1.0, 10) == 0.0
    assert learning_rate(5, 100, 2.0, 10) == pytest.approx(2.0 * 0.95 * 0.5)
    assert learning_rate(50, 100, 2.0, 10) == pytest.approx(1.0) and learning_rate(0, 100, 2.0, 0) == 2.0


def test_nothing_is_updated_when_not_finite():
    model = small_model()
    model.parameters["generator.generator_lm_head.bias"].value[3] = np.nan
    before = model.parameters.flat.copy()
    assert not Trainee(model).step(make_batch(0), 1e-3, 5, 0).finite
    assert np.array_equal(model.parameters.flat, before, equal_nan=True)


# --- configuration


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"hidden_size": 130}, "not divisible"),
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
        ({"hidden_dropout_prob": 1.0}, "less than 1"),
        ({"hidden_act": "relu"}, "choose gelu"),
        ({"objective": "bert"}, "choose electra or mlm"),
        ({"initialization": "zero"}, "choose official"),
        ({"seq_length": 4}, "at least 8"),
        ({"seq_length": 500}, "longer than max_position_embeddings"),
        ({"mask_fraction": 0.0}, "greater than 0"),
        ({"mask_fraction": 1.5}, "between 0 and 1"),
        ({"learning_rate": float("nan")}, "greater than 0"),
        ({"adam_beta2": 1.0}, "less than 1"),
        ({"mask_keep_fraction": 0.6, "mask_random_fraction": 0.6}, "more than 1"),
        ({"shards": 0}, "at least 1"),
        ({"generator_width": 0.005}, "hidden_size must be at least 1"),
        ({"hiden_size": 3}, "did you mean hidden_size"),
    ],
)
def test_configuration_errors_say_what_to_do(overrides, words):
    with pytest.raises(InputError, match=words):
        configure("tiny", overrides)


def test_unknown_preset():
    with pytest.raises(InputError, match="tiny, small, base, large"):
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
    model = ElectraPretraining(config, pretraining)
    assert model.discriminator is None and model.generator.config == config
    assert (pretraining.mask_keep_fraction, pretraining.mask_random_fraction) == (0.1, 0.1)
    assert isinstance(config, ElectraConfig)
