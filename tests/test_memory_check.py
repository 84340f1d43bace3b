"""The estimate of memory against what trainings take, and the refusal of what no machine can hold."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, TINY
from small import small_finetuning
from test_bad_input import complaint, refused

from minielectra import objectives
from minielectra.errors import InputError
from minielectra.pretraining.memory_check import check_pretraining_memory
from minielectra.pretraining.presets import configure
from minielectra.training import needed_memory
from minielectra.training.not_finite import advice

SIZES = {"preset": "small", "batch_size": 8, "seq_length": 64, "num_hidden_layers": 4}


def estimate(preset, workers=None, **overrides):
    model_config, config = configure(preset, overrides)
    objective = objectives.make(model_config, config)
    towers = [tower.config for tower in objective.towers.values()]
    logits = config.batch_size * config.masked_per_example * model_config.vocab_size
    return needed_memory.needed_memory(
        objective, towers, config.batch_size, config.seq_length, logits, workers
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not say what a process takes")
@pytest.mark.parametrize("sizes", [SIZES, SIZES | {"batch_size": 32, "vocab_size": 3000}])
def test_the_estimate_is_close_to_what_is_taken(sizes):
    words = [
        word for name, value in sizes.items() if name != "preset" for word in ("--set", f"{name}={value}")
    ]
    command = ["bench", "--preset", sizes["preset"], "--steps", "1", "--workers", "threads", "--json", *words]
    done = subprocess.run(
        [sys.executable, "-m", "minielectra", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    taken = json.loads(done.stdout)["peak_rss_mb"] * 2**20
    assert 0.6 < estimate(**sizes) / taken < 1.6


def test_it_grows_with_everything():
    least = estimate("tiny", workers=1)
    for more in (
        {"workers": 2},
        {"batch_size": 64},
        {"seq_length": 128},
        {"hidden_size": 256},
        {"vocab_size": 5000},
    ):
        assert estimate("tiny", **{"workers": 1} | more) > least


@pytest.mark.parametrize(
    "fields",
    [{"hidden_size": 100_000, "num_attention_heads": 1}, {"vocab_size": 1 << 24}, {"batch_size": 1 << 20}],
)
def test_what_no_machine_holds_is_refused_at_once(tmp_path, corpus, monkeypatch, fields):
    monkeypatch.setattr(needed_memory, "installed_memory", lambda: 24 * 10**9)
    words = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
    line = complaint("train", "--out", tmp_path / "out", "--corpus", corpus, "--preset", "base", *words)
    assert "GB to train; this machine has 24: choose smaller sizes" in line
    assert not (tmp_path / "out").exists()
    assert "this machine has 24" in complaint("bench", "--preset", "base", *words)


def test_more_can_be_allowed_and_an_unknown_size_is_no_limit(monkeypatch):
    configs = configure("base", {"batch_size": 64})
    monkeypatch.setattr(needed_memory, "installed_memory", lambda: 2 * 10**9)
    with pytest.raises(InputError, match="MINIELECTRA_LIMITS=2 in the environment"):
        check_pretraining_memory(*configs)
    monkeypatch.setenv("MINIELECTRA_LIMITS", "100")
    check_pretraining_memory(*configs)
    monkeypatch.delenv("MINIELECTRA_LIMITS")
    monkeypatch.setattr(needed_memory, "installed_memory", lambda: None)
    check_pretraining_memory(*configs)


def test_finetuning_is_checked_too(monkeypatch):
    monkeypatch.setattr(needed_memory, "installed_memory", lambda: 10**8)
    objective = small_finetuning("classification", dtype=np.float32)
    needed_memory.check_memory(objective, [objective.model.config], 8, 14)
    with pytest.raises(InputError, match=r"needs about [\d.]+ GB to train; this machine has 0.1"):
        needed_memory.check_memory(objective, [objective.model.config], 100_000, 14)


def test_this_machine_says_how_much_it_has():
    if sys.platform in ("linux", "darwin", "win32"):
        assert 10**8 < needed_memory.installed_memory() < 10**15


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, f"lower learning_rate (now {configure('tiny')[1].learning_rate:g})"),
        ({"learning_rate": 1e30}, "lower learning_rate (now 1e+30)"),
        ({"hidden_dropout_prob": 0.99}, "lower hidden_dropout_prob (now 0.99)"),
        (
            {"attention_probs_dropout_prob": 0.9, "learning_rate": 0.1},
            "lower attention_probs_dropout_prob (now 0.9) or",
        ),
        ({"adam_epsilon": 1e-30}, "raise adam_epsilon (now 1e-30)"),
        ({"disc_weight": 1e9}, "lower disc_weight (now 1e+09)"),
    ],
)
def test_a_loss_that_is_not_finite_blames_the_setting_that_is_extreme(fields, said):
    assert advice(*configure("tiny", fields)).startswith(said)


EXTREMES = [
    *("clip_norm=nan", "disc_weight=-5", "adam_epsilon=-1", "warmup_steps=-5", "generator_width=1e9"),
    *("hidden_size=1000000", "num_hidden_layers=100000", "num_hidden_layers=1000000000000", "shards=1000000"),
    *("vocab_size=1000000000", "batch_size=1000000000", "seq_length=100000", "sample_temperature=1e-300"),
    *("warmup_steps=" + "9" * 30, "max_position_embeddings=10000000000", "type_vocab_size=1000000"),
    *("generator_depth=1e300", "intermediate_size=1000000000", "embedding_size=1000000", "pad_token_id=-1"),
]


@pytest.mark.parametrize("field", EXTREMES)
def test_settings_that_cannot_be_are_one_line_and_leave_nothing(tmp_path, corpus, field):
    line = refused(tmp_path, corpus, "--set", field)
    assert field.split("=")[0] in line or "GB to train" in line


@pytest.mark.parametrize(
    "field", ["type_vocab_size=1", "hidden_dropout_prob=0.5", "shards=1000", "clip_norm=1e300"]
)
def test_settings_that_are_odd_work(tmp_path, corpus, field):
    from conftest import train_here

    train_here(tmp_path / "out", corpus, "--steps", "2", "--workers", "plain", "--set", field)


def test_extreme_dropout_is_blamed_itself(tmp_path, corpus):
    fields = ["--set", "hidden_dropout_prob=0.99", "--set", "initializer_range=0.9"]
    line = complaint("train", "--out", tmp_path / "out", "--corpus", corpus, "--steps", "9", *TINY, *fields)
    assert "not finite" in line and "lower hidden_dropout_prob (now 0.99)" in line


def test_a_vocabulary_without_words_cannot_be_timed():
    assert "only special tokens" in complaint("bench", "--steps", "1", *TINY, "--set", "vocab_size=4")
