"""A run from its first step to its last: files, learning, resuming after every kind of end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, TINY, cli, cli_here, train, train_here
from safetensors.numpy import load_file

STEPS = ["--steps", "12", "--eval-every", "3", "--checkpoint-every", "4", "--set", "hidden_dropout_prob=0.1"]
SEED = ["--seed", "3"]
PROMISED = {
    *("step", "tokens", "seconds", "learning_rate", "tokens_per_second"),
    *("gen_loss", "gen_accuracy", "sample_accuracy", "fixed_auc", "fixed_top1"),
    *("disc_loss", "disc_auc", "disc_precision", "disc_recall"),
    *("disc_balanced_accuracy", "disc_accuracy", "baseline_accuracy"),
}
FILES = {
    *("run.json", "vocab.txt", "tokenizer_config.json", "metrics.jsonl", "detection.npz"),
    *("checkpoints", "plots", "data"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus):
    """A run made as users make it, pictures included -> its folder, what `train` printed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, train(folder, corpus, *STEPS, *SEED).stdout


@pytest.fixture(scope="module")
def finished(made):
    """The folder of that run. The runs that tests compare with it are made without pictures."""
    return made[0]


def start(*arguments):
    """`train` with these arguments, going on in another process -> Popen."""
    command = [sys.executable, "-m", "minielectra", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)


def final_arrays(run, step=12):
    folder = run / "checkpoints" / f"step-{step:08d}"
    return load_file(folder / "model.safetensors") | load_file(folder / "optimizer.safetensors")


def assert_same_run(a, b):
    left, right = final_arrays(a), final_arrays(b)
    assert left.keys() == right.keys()
    for name in left:
        assert np.array_equal(left[name], right[name]), name
    timeless = [
        [
            {k: v for k, v in json.loads(line).items() if k not in ("seconds", "tokens_per_second")}
            for line in lines
        ]
        for lines in ((run / "metrics.jsonl").read_text().splitlines() for run in (a, b))
    ]
    assert timeless[0] == timeless[1]
    with np.load(a / "detection.npz") as x, np.load(b / "detection.npz") as y:
        assert all(np.array_equal(x[name], y[name]) for name in x.files)


def test_a_run_leaves_every_file_it_promises(finished):
    assert {path.name for path in finished.iterdir()} == FILES
    assert [p.name for p in sorted((finished / "checkpoints").iterdir())] == [
        f"step-{s:08d}" for s in (4, 8, 12)
    ]
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 3, 6, 9, 12]
    assert set(lines[-1]) >= PROMISED
    assert (finished / "plots" / "learning.png").stat().st_size > 10_000
    with np.load(finished / "detection.npz", allow_pickle=False) as log:
        assert log["steps"].tolist() == [0, 3, 6, 9, 12]
        replaced = log["replaced"].sum(axis=1)
        originals = np.take_along_axis(log["input_ids"], log["positions"], 1)
        expected = ((log["samples"] != originals) & log["position_valid"]).sum((1, 2))
        assert replaced.tolist() == expected.tolist()


def test_the_last_line_names_the_folder(made):
    folder, output = made
    assert output.splitlines()[-1] == str(folder)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path, corpus, finished):
    train_here(tmp_path / "again", corpus, *STEPS, *SEED, "--threads", "1")
    assert_same_run(finished, tmp_path / "again")
    train_here(tmp_path / "other", corpus, *STEPS, "--seed", "4")
    both = zip(final_arrays(finished).values(), final_arrays(tmp_path / "other").values(), strict=True)
    assert any(not np.array_equal(a, b) for a, b in both)


def killed(run, corpus, moment):
    """A run like `finished`, killed as soon as the file or folder `moment` of it exists."""
    process = start("--out", run, "--corpus", corpus, *TINY, *STEPS, *SEED)
    deadline = time.monotonic() + 60
    while not (run / moment).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (run / moment).exists()


def test_killed_and_resumed_a_run_ends_bit_identical(tmp_path, corpus, finished):
    run = tmp_path / "run"
    killed(run, corpus, "checkpoints/step-00000004")
    cli_here("train", "--resume", run)
    assert_same_run(finished, run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    ["run.json", "data/vocab.txt", "metrics.jsonl", "checkpoints/step-00000004", "checkpoints/step-00000008"],
)
def test_killed_at_any_moment_and_resumed_a_run_ends_bit_identical(tmp_path, corpus, finished, moment):
    run = tmp_path / "run"
    killed(run, corpus, moment)
    cli("train", "--resume", run)
    assert_same_run(finished, run)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in finished.iterdir())


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, corpus):
    run = tmp_path / "run"
    long = ["--steps", "100000", "--eval-every", "50000", "--checkpoint-every", "50000"]
    process = start("--out", run, "--corpus", corpus, *TINY, *long)
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"train --resume {run}" in output
    assert len(list((run / "checkpoints").glob("step-*"))) == 1


def test_a_finished_run_can_be_resumed_without_harm(finished):
    before = final_arrays(finished)
    cli_here("train", "--resume", finished, *SEED)
    after = final_arrays(finished)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_damaged_index_is_told_and_made_again(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "checkpoints")
    (index,) = (run / "data").glob("train.examples-*.npy")
    rows = len(np.load(index, mmap_mode="r"))
    index.write_bytes(index.read_bytes()[: -12 * rows] + bytes(12 * rows))
    cli_here("train", "--resume", run)
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert told.startswith(f"{index}: damaged (checksum ") and told.endswith("; made again")
    assert_same_run(finished, run)


def test_mlm_objective_trains_without_a_discriminator(tmp_path, corpus):
    run = tmp_path / "run"
    train_here(run, corpus, "--steps", "4", "--objective", "mlm")
    assert "disc_auc" not in json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert cli("detect", run, "a cat", check=2).stderr.count("\n") == 1


@pytest.mark.slow
def test_it_learns(tmp_path, corpus):
    run = tmp_path / "run"
    sizes = ("hidden_size=64", "embedding_size=64", "num_attention_heads=4", "intermediate_size=128")
    wider = [f"--set={size}" for size in sizes]
    train_here(run, corpus, "--steps", "600", "--eval-every", "300", "--batch-size", "16", *wider)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    # The grammar tells the part of speech, chance the word
    assert last["gen_loss"] < last["unigram_entropy"] - 1.5
    assert last["disc_auc"] > 0.6


def test_detect_scores_every_piece(finished):
    done = cli("detect", finished, "--json", "The old cat sees a Häuschen.", "")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    text = first["text"]
    assert len(first["tokens"]) == len(first["replaced"]) == len(first["offsets"])
    assert all(0 <= p <= 1 for p in first["replaced"])
    assert [text[a:b] for a, b in first["offsets"]][:3] == ["The", "old", "cat"]
    assert second["tokens"] == []
    lines = cli(
        "detect", finished, "--json", input="one line\nand " + "a long " * 200 + "\n"
    ).stdout.splitlines()
    assert len(lines) == 2 and len(json.loads(lines[1])["tokens"]) > 300
    assert "\x1b[" in cli("detect", finished, "--color", "always", "the cat").stdout


def test_plot_export_and_tokenize(finished, tmp_path):
    vocabulary = (finished / "vocab.txt").read_text().split()
    words = [word for word in vocabulary if word.isalpha() and len(word) > 2][:2]
    done = cli(
        "plot",
        finished,
        "--tokens",
        ",".join(words),
        "--sentence",
        "The old cat sees.",
        "--out",
        tmp_path / "plots",
    )
    assert "film_strip_sentence.png" in done.stdout
    assert cli("plot", finished, "--tokens", "xylophone", check=2).stderr.count("\n") == 1
    cli("export", finished, tmp_path / "exported")
    names = {path.name for path in (tmp_path / "exported" / "discriminator").iterdir()}
    assert {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"} <= names
    a = json.loads(cli("detect", finished, "--json", "The old cat.").stdout)
    b = json.loads(cli("detect", tmp_path / "exported" / "discriminator", "--json", "The old cat.").stdout)
    assert np.allclose(a["replaced"], b["replaced"], atol=1e-6)
    assert "cat" in cli("tokenize", "--vocab", finished / "vocab.txt", "The cat").stdout


def test_prepared_corpora_train_alike(tmp_path, corpus, finished):
    cli("prepare", "--corpus", corpus, "--out", tmp_path / "prepared", "--vocab-size", "150", *SEED)
    train_here(tmp_path / "run", tmp_path / "prepared", *STEPS, *SEED)
    left, right = final_arrays(finished), final_arrays(tmp_path / "run")
    assert all(np.array_equal(left[name], right[name]) for name in left)


def test_bench_prints_its_figures():
    figures = json.loads(cli("bench", "--steps", "2", "--json", *TINY).stdout)
    assert {"ms_per_step", "tokens_per_second", "gflops", "peak_rss_mb", "threads"} <= set(figures)
