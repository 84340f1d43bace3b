"""Objectives and options of pre-training: each changes what it says, and nothing else."""

import numpy as np
import pytest
from small import SAMPLES, SPECIAL, VOCAB, make_batch, moved, own_gradients, passed, small_objective, trained

from minielectra import objectives
from minielectra.backend import RandomStream
from minielectra.cli.entry import main
from minielectra.electra.noise import Noise
from minielectra.errors import InputError
from minielectra.nn.layers import PassContext
from minielectra.pretraining.presets import configure
from minielectra.pretraining.pretraining_config import _OF_PAIRS

GENERATORS = ("electra.", "generator.")  # beginnings of the names of what a generator consists of


# --- weights of the losses


def test_lambda_zero_leaves_the_discriminator_untouched():
    before, after, _ = trained([1.0] * 3, disc_weight=0.0, weight_decay=0.0)
    assert {name.split(".")[0] for name in moved(before, after)} == {"electra", "generator"}
    _, gradients = passed(small_objective(disc_weight=0.0))
    assert not any(gradients[name].any() for name in gradients if name.startswith("discriminator."))


def test_a_weight_of_zero_for_words_leaves_rtd():
    """rtd+mlm with mlm_weight 0 is ELECTRA."""
    plain, both = passed(small_objective()), passed(small_objective(objective="rtd+mlm", mlm_weight=0.0))
    assert plain[0].losses == both[0].losses[:2] and both[0].losses[2] == 0.0
    for name, gradient in plain[1].items():
        assert np.array_equal(gradient, both[1][name]), name


# --- where the loss is


def test_electra_15_learns_at_the_chosen_positions_only():
    batch = make_batch(0)
    outcome, _ = passed(small_objective(np.float64, objective="electra-15"))
    logits, labels = outcome.logits.reshape(batch.valid.shape), outcome.replaced
    each = np.where(labels, np.logaddexp(0, -logits), np.logaddexp(0, logits))
    chosen = np.take_along_axis(each, batch.positions, axis=1)[batch.weights > 0]
    assert outcome.disc_loss == pytest.approx(chosen.mean(), rel=1e-12)
    every, _ = passed(small_objective(np.float64))
    assert every.disc_loss == pytest.approx(each[batch.valid].mean(), rel=1e-12)
    assert np.array_equal(every.logits, outcome.logits)


def test_replace_mlm_reads_samples_where_mlm_reads_masks():
    """The same network and the same targets: with [MASK] for samples, the two losses are one."""
    batch = make_batch(0)
    masks = np.full(batch.positions.shape, 4, np.int32)
    objective = small_objective(np.float64, objective="replace-mlm", tie_encoders=True)
    outcome, _ = objective.forward(batch, batch.normalizers(), PassContext(), samples=masks)
    assert outcome.corrector_loss == pytest.approx(float(outcome.gen_loss), rel=1e-12)
    sampled, _ = objective.forward(batch, batch.normalizers(), PassContext(), samples=SAMPLES.copy())
    assert sampled.corrector_loss != outcome.corrector_loss


def test_all_tokens_mlm_counts_every_token_that_is_no_padding():
    batch = make_batch(0)
    plain = small_objective(np.float64, objective="all-tokens-mlm", copy_gate=False)
    outcome, _ = passed(plain)
    p = plain.corrector.logits(outcome.corrupted_ids, batch.valid, batch.segments, PassContext())
    p = np.exp(p - np.logaddexp.reduce(p, axis=1, keepdims=True)).reshape(*batch.valid.shape, -1)
    right = np.take_along_axis(p, batch.input_ids[..., None], axis=2)[..., 0]
    assert outcome.corrector_loss == pytest.approx(-np.log(right[batch.valid]).mean(), rel=1e-12)


def test_the_gate_decides_between_copying_and_writing():
    for bias, copies in ((30.0, False), (-30.0, True)):  # the gate says "write", or "copy"
        objective = small_objective(np.float64, objective="all-tokens-mlm")
        name = "discriminator.discriminator_predictions.dense_prediction.bias"
        objective.parameters[name].value[...] = bias
        outcome, _ = passed(objective)
        if copies:  # only what was replaced costs anything
            share = outcome.replaced.sum() / make_batch(0).valid.sum()
            assert outcome.corrector_loss > 30 * share
        else:
            plain = small_objective(np.float64, objective="all-tokens-mlm", copy_gate=False)
            for name in plain.parameters:
                plain.parameters[name].value[...] = objective.parameters[name].value
            assert outcome.corrector_loss == pytest.approx(passed(plain)[0].corrector_loss, rel=1e-9)


# --- Electric


@pytest.mark.parametrize("sampler", ["unigram", "generator"])
def test_energies_of_the_noise_itself_leave_only_the_odds(sampler, monkeypatch):
    """If exp(−E) = q, text and noise look alike: the loss is the entropy of their shares."""
    batch = make_batch(0, padded=False)
    objective = small_objective(np.float64, objective="electric", sampler=sampler)
    real = objective.discriminator.forward

    def as_noise(ids, *rest):
        _, cache = real(ids, *rest)
        return -seen[0].log_q.reshape(-1), cache

    seen, contrast = [], objective._contrast
    monkeypatch.setattr(objective, "_contrast", lambda *a: seen.append(contrast(*a)) or seen[0])
    monkeypatch.setattr(objective.discriminator, "forward", as_noise)
    outcome, _ = objective.forward(batch, batch.normalizers(), PassContext(), samples=SAMPLES.copy())
    counted = seen[0].counted > 0
    share = (seen[0].noise.sum(axis=1) / counted.sum(axis=1))[:, None]
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)) * counted
    whole = batch.valid if sampler == "unigram" else batch.weights
    assert outcome.disc_loss == pytest.approx(entropy.sum() / whole.sum(), rel=1e-9)


def test_special_tokens_have_no_energy_to_learn():
    batch, objective = make_batch(0), small_objective(objective="electric", sampler="unigram")
    outcome, _ = objective.forward(batch, batch.normalizers(), PassContext(), samples=SAMPLES.copy())
    contrast = outcome.contrast
    assert np.array_equal(contrast.counted > 0, batch.valid & ~np.isin(batch.input_ids, SPECIAL))
    law = Noise("unigram", np.arange(VOCAB) ** 2, SPECIAL, objective.config.sample_temperature)
    counted = contrast.counted > 0
    np.testing.assert_allclose(
        np.exp(contrast.log_q[counted]), law.p[outcome.corrupted_ids[counted]], rtol=1e-5
    )


# --- the adversarial generator


def test_a_sample_that_fools_the_discriminator_becomes_likelier():
    """One small step along the generator's gradient raises log π where the reward beat the expectation."""
    objective = small_objective(np.float64, adversarial=True, sample_temperature=1.0, disc_weight=0.0)
    for name in ("weight", "bias"):
        objective.parameters[f"generator.baseline.{name}"].value[...] = 0.0
    batch, own = make_batch(0), own_gradients(objective)
    outcome, cache = own.forward(batch, batch.normalizers(), PassContext(), samples=SAMPLES.copy())
    advantage = cache.policy.weights.copy()
    right = np.where(
        outcome.replaced,
        outcome.logits.reshape(batch.valid.shape),
        -outcome.logits.reshape(batch.valid.shape),
    )
    reward = np.take_along_axis(np.logaddexp(0, -right), batch.positions, axis=1)
    expected = ((reward - np.log(2)) * batch.weights).reshape(-1)  # b = −log σ(0)
    np.testing.assert_allclose(advantage, expected, rtol=1e-9)

    def log_likelihood():
        p = own.forward(batch, batch.normalizers(), PassContext(), samples=SAMPLES.copy())[1].policy.p
        return np.log(p[np.arange(len(p)), SAMPLES.reshape(-1)])

    before = log_likelihood()
    own.backward(cache, PassContext())
    gradient = own.parameters.grad
    own.parameters.flat[...] -= 1e-3 * gradient / np.linalg.norm(gradient)
    assert (expected * (log_likelihood() - before)).sum() > 0


# --- embeddings


@pytest.mark.parametrize("objective", ["electra", "rtd+mlm", "all-tokens-mlm"])
def test_no_gradient_of_the_discriminator_reaches_the_generators_tables(objective):
    for embeddings, reaches in (("shared", True), ("gdes", False), ("separate", False)):
        made = small_objective(objective=objective, gen_weight=0.0, embeddings=embeddings)
        gradients = passed(made)[1]
        tables = [gradient for name, gradient in gradients.items() if name.startswith("electra.embeddings.")]
        assert len(tables) == 5 and any(gradient.any() for gradient in tables) == reaches
        assert not any(x.any() for name, x in gradients.items() if name.startswith("generator."))


def test_gdes_starts_where_shared_embeddings_do():
    shared, gdes = passed(small_objective()), passed(small_objective(embeddings="gdes"))
    assert shared[0].losses == gdes[0].losses
    for name, gradient in gdes[1].items():  # what the shared table got from both losses is divided up
        if ".difference." in name:
            whole = shared[1][name.split(".difference.")[1]]
            own = gdes[1][name.split(".difference.")[1]]
            np.testing.assert_allclose(own + gradient, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_a_difference_changes_the_discriminator_alone():
    objective = small_objective(embeddings="gdes")
    before = passed(objective)[0]
    objective.parameters["discriminator.difference.electra.embeddings.word_embeddings.weight"].value[...] = (
        0.5
    )
    after = passed(objective)[0]
    assert before.gen_loss == after.gen_loss and before.disc_loss != after.disc_loss


# --- samples are drawn alike, whatever judges them


@pytest.mark.parametrize("objective", ["electra-15", "replace-mlm", "all-tokens-mlm", "rtd+mlm"])
def test_the_judge_changes_no_sample(objective):
    batch, found = make_batch(0), []
    for name in ("electra", objective):
        made = small_objective(objective=name)
        for shared in small_objective().parameters:  # the same generator
            if shared.startswith(GENERATORS):
                made.parameters[shared].value[...] = small_objective().parameters[shared].value
        outcome, _ = made.forward(batch, batch.normalizers(), PassContext(random=RandomStream((3,))))
        found.append((outcome.samples, outcome.gen_loss))
    assert np.array_equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]


# --- what does not work together


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"objective": "electra15"}, "electra-15"),
        ({"copy_gate": False}, "only applies to --objective all-tokens-mlm"),
        ({"mlm_anneal": 0.5}, r"only applies to --objective rtd\+mlm"),
        ({"objective": "mlm", "sampler": "unigram"}, "does not apply to --objective mlm"),
        ({"objective": "mlm", "embeddings": "gdes"}, "does not apply to --objective mlm"),
        ({"objective": "mlm", "two_stage": 0.5}, "does not apply to --objective mlm"),
        ({"two_stage": 1.0}, "two_stage must be at least 0 and less than 1"),
        ({"two_stage": 0.5}, "add embeddings=separate or gdes"),
        ({"two_stage": 0.5, "tie_encoders": True}, "cannot freeze a tied encoder"),
        ({"two_stage": 0.5, "sampler": "unigram"}, "two_stage needs a generator"),
        ({"rewarm": True}, "rewarm needs two_stage"),
        ({"discriminator_start": "generator"}, "discriminator_start needs two_stage"),
        (
            {"two_stage": 0.5, "embeddings": "gdes", "discriminator_start": "generator"},
            "needs generator_width=1 and generator_depth=1",
        ),
        ({"adversarial": True, "tie_encoders": True}, "adversarial needs tie_encoders=false"),
        ({"adversarial": True, "objective": "electra-15"}, "only applies to --objective electra;"),
        ({"objective": "rtd+mlm", "two_stage": 0.5, "mlm_weight": 0.0}, "mlm_weight must be greater than 0"),
    ],
)
def test_combinations_that_cannot_be(overrides, words):
    with pytest.raises(InputError, match=words) as error:
        configure("tiny", overrides)
    assert "\n" not in str(error.value)


def test_any_configuration_has_a_counterpart_with_berts_objective():
    for options in (
        {"two_stage": 0.5, "embeddings": "separate", "generator_width": 1.0},
        {"sampler": "unigram"},
        {"objective": "rtd+mlm", "mlm_anneal": 0.1},
        {"tie_encoders": True},
    ):
        _, config = configure("tiny", options)
        mlm = config.as_mlm()
        assert mlm.objective == "mlm" and mlm.batch_size == config.batch_size
        assert mlm.tie_encoders == config.tie_encoders


def test_every_option_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for name in (*_OF_PAIRS, "objective", "tie_encoders", "mlm_weight", "disc_weight", "mask_fraction"):
        assert f"--{name.replace('_', '-')}" in shown, name
    assert all(name in shown for name in objectives.names())
