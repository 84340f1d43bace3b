"""A run that learnt too little says so, with what to do; one that learnt more does not."""

import pytest
from conftest import TINY, cli_here, train_here

from minielectra.pretraining.plateau import on_plateau, plateau_message
from minielectra.pretraining.presets import DEFAULT_STEPS

INFO = {"settings": {"preset": "tiny"}, "pretraining": {"initialization": "local_attention"}}
# Ends of real runs: loss, unigram level, AUC.
STUCK = [
    (5.81, 5.885, 0.565),
    (5.87, 5.885, 0.545),
    (5.40, 5.50, 0.571),
    (6.0, 5.885, 0.50),
    (5.80, 5.885, None),
]
LEARNT = [
    (4.80, 5.885, 0.558),
    (5.29, 5.885, 0.745),
    (3.51, 5.50, 0.83),
    (5.15, 6.23, 0.81),
    (4.8, 5.885, None),
]


def row(loss, unigram, auc, step=2000):
    found = {"step": step, "gen_loss": loss, "unigram_entropy": unigram}
    return found if auc is None else found | {"disc_auc": auc}


@pytest.mark.parametrize("figures", STUCK)
def test_the_plateau_is_told(figures):
    assert on_plateau(row(*figures))
    message = plateau_message("runs/x", INFO, row(*figures))
    assert f"it has {figures[0]:.2f}" in message and "--resume runs/x --steps 4000" in message
    assert ("AUC" in message) == (figures[2] is not None)
    assert "local_attention" not in message
    official = INFO | {"pretraining": {"initialization": "official"}}
    assert "--set initialization=local_attention" in plateau_message("runs/x", official, row(*figures))


@pytest.mark.parametrize("figures", LEARNT)
def test_a_model_that_learnt_something_is_left_alone(figures):
    assert not on_plateau(row(*figures))
    assert plateau_message("runs/x", INFO, row(*figures)) == ""


def test_nothing_is_said_about_a_handful_of_steps():
    assert plateau_message("runs/x", INFO, row(*STUCK[0], step=12)) == ""
    assert plateau_message("runs/x", INFO, row(*STUCK[0], step=100)) != ""
    by_the_clock = INFO | {"settings": {"preset": "tiny", "minutes": 1.0}}  # a busy machine took so few
    assert "--steps 1200" in plateau_message("runs/x", by_the_clock, row(*STUCK[0], step=12))


def test_the_advice_is_at_least_the_usual_number_of_steps():
    message = plateau_message("runs/x", INFO, row(*STUCK[0], step=400))
    assert message.endswith(f"--steps {max(800, DEFAULT_STEPS['tiny'])}")


@pytest.mark.parametrize("objective", ["electra", "mlm"])
def test_a_real_run_that_ends_there(tmp_path, corpus, capsys, objective):
    run = tmp_path / "run"
    words = [
        "--objective",
        objective,
        "--workers",
        "plain",
        "--eval-every",
        "110",
        "--checkpoint-every",
        "110",
    ]
    train_here(run, corpus, "--steps", "110", "--set", "learning_rate=1e-4", *words)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(run)
    assert lines[-2].startswith(f"Train longer: minielectra train --resume {run} --steps ")
    assert lines[-3].startswith("This model has learnt how frequent each word is, and little else")


def test_the_default_is_the_presets_number_of_steps(tmp_path, corpus, monkeypatch):
    monkeypatch.setitem(DEFAULT_STEPS, "tiny", 5)
    run = tmp_path / "run"
    cli_here("train", "--out", run, "--corpus", corpus, "--workers", "plain", *TINY)
    assert (run / "checkpoints" / "step-00000005").is_dir()
