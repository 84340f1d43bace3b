"""The model that comes with minielectra, whatever its weights are: its files, its names, and its uses."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from math import isclose
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import numpy as np
import pytest
from conftest import ROOT, cli_here, sentences, train_here

import minielectra
from minielectra.cli.entry import main
from minielectra.errors import InputError
from minielectra.finetuning.unfinished import with_absolute_paths as absolute_in_finetuning
from minielectra.pretrained.shipped import HOME, NAMES, locate
from minielectra.pretraining.exported_pair import read_towers
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.pretraining.run_settings import with_absolute_paths

TEXT = "The captain ate the harbour at noon."
FILES = {
    "README.md",
    "towers.safetensors",
    *(
        f"{tower}/{file}"
        for tower in ("discriminator", "generator")
        for file in ("config.json", "vocab.txt", "tokenizer_config.json")
    ),
}


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def shown(capsys, *words):
    """What `detect --json` prints."""
    capsys.readouterr()
    assert main(["detect", "--json", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys, *words):
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


# What is shipped.


@pytest.mark.parametrize("name", NAMES)
def test_its_files_take_at_most_five_megabytes(name):
    assert files(HOME / name) == FILES
    assert sum((HOME / name / file).stat().st_size for file in FILES) <= 5_000_000
    card = (HOME / name / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n") and "{" not in card and "nan" not in card.split()


@pytest.mark.parametrize("name", NAMES)
def test_the_towers_are_a_pair_with_useful_weights(name):
    fields, state, tower = read_towers(name, PretrainingConfig())
    assert tower == HOME / name / "discriminator" and 0 < fields["generator_width"] <= 1
    assert all(np.isfinite(array).all() and array.any() for array in state.values() if array.ndim == 2)


def test_it_answers():
    model, tokenizer = minielectra.load_discriminator()
    found = minielectra.detect(model, tokenizer, TEXT)
    assert "".join(found["tokens"]).replace("##", "") == TEXT.lower().replace(" ", "")
    assert all(0 < p < 1 for p in found["replaced"]) and len(set(found["replaced"])) > 3


# What names it.


def test_every_way_to_name_it(tmp_path, capsys):
    [expected] = shown(capsys, TEXT)
    cli_here("export", "mini", tmp_path / "pair")
    ways = [["mini", TEXT], ["--model", "mini", TEXT], [TEXT, "--model", "mini"], [str(HOME / "mini"), TEXT]]
    ways += [[str(tmp_path / "pair"), TEXT], ["--model", str(tmp_path / "pair" / "discriminator"), TEXT]]
    for words in ways:
        assert shown(capsys, *words) == [expected], words


def test_texts_without_a_model(monkeypatch, capsys):
    assert [found["text"] for found in shown(capsys, "a b", "c")] == ["a b", "c"]
    assert [found["text"] for found in shown(capsys, "--model", "mini", "c")] == ["c"]
    for words in ([], ["mini"], ["--model", "mini"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("d\n"))
        assert [found["text"] for found in shown(capsys, *words)] == ["d"], words


def test_a_folder_whose_name_has_blanks_is_a_model(tmp_path, monkeypatch, capsys):
    copytree(HOME / "mini", tmp_path / "my own model")
    monkeypatch.chdir(tmp_path)
    assert shown(capsys, "my own model", TEXT) == shown(capsys, TEXT)
    assert "both name a model" in refused(capsys, "detect", "--model", "mini", "my own model", TEXT)


@pytest.mark.parametrize("words", [["runs/boks", TEXT], ["The", "captain", "ate"], ["mimi"]])
def test_a_single_word_that_is_no_model(words, capsys):
    line = refused(capsys, "detect", *words)
    assert f"{words[0]}: neither a folder nor a model that comes with minielectra (mini)" in line


def test_very_long_texts_are_no_file_names(capsys):
    assert len(shown(capsys, "a " * 3000)[0]["tokens"]) == 3000


@pytest.mark.parametrize(
    "words",
    [
        ["detect", "--model", "mimi", TEXT],
        ["finetune", "sst-2", "--train", "{file}", "--model", "mimi", "--out", "{out}"],
        ["train", "--init", "mimi", "--corpus", "{file}", "--out", "{out}"],
    ],
    ids=lambda words: words[0],
)
def test_unknown_names_are_refused_with_the_known_ones(words, tmp_path, capsys):
    (tmp_path / "file.tsv").write_text("sentence\tlabel\n" + "a\t0\nb\t1\n" * 10)
    places = {"file": tmp_path / "file.tsv", "out": tmp_path / "out"}
    line = refused(capsys, *(word.format(**places) for word in words))
    assert "mimi: no such folder; models that come with minielectra: mini" in line
    assert not (tmp_path / "out").exists()


def test_the_name_wins_over_a_folder_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mini").mkdir()
    assert locate("mini") == HOME / "mini"
    assert "write ./mini for the folder" in capsys.readouterr().err
    assert locate("./mini") == locate(Path("mini")) == Path("mini")
    assert not capsys.readouterr().err


def test_settings_keep_the_name(tmp_path, monkeypatch):
    """So a run or a fine-tuning can go on after minielectra was installed elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert with_absolute_paths({"init": "mini", "vocab": "mini"})["init"] == "mini"
    assert with_absolute_paths({"init": "./mini"})["init"] == str(tmp_path / "mini")
    found = absolute_in_finetuning({"model": "mini", "train": "mini", "dev": None, "out": "mini"})
    assert found == {
        "model": "mini",
        "train": str(tmp_path / "mini"),
        "dev": None,
        "out": str(tmp_path / "mini"),
    }


def test_a_path_object_is_never_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        minielectra.load_discriminator(Path("mini"))


# What starts from it.


def test_fine_tuning_starts_from_it(tmp_path, capsys):
    rows = [f"{text}\t{i % 2}\n" for i, text in enumerate(sentences(20))]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows))
    cli_here(
        "finetune", "sst-2", "--model", "mini", "--train", tmp_path / "train.tsv", "--out", tmp_path / "out",
        "--epochs", "1", "--learning-rate", "1e-12",
    )  # fmt: skip
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["model"] == "mini"
    model = minielectra.ElectraForSequenceClassification.from_pretrained(tmp_path / "out")
    start = read_towers("mini", PretrainingConfig())[1]["electra.embeddings.word_embeddings.weight"]
    np.testing.assert_allclose(model.embeddings.word.value, start, rtol=0, atol=1e-6)


def test_pre_training_goes_on_from_it(corpus, tmp_path):
    words = ["--corpus", corpus, "--steps", "1", "--seq-length", "16", "--batch-size", "4"]
    cli_here("train", "--init", "mini", "--out", tmp_path / "run", *words, "--set", "learning_rate=1e-12")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["settings"]["init"] == "mini"
    assert (tmp_path / "run" / "vocab.txt").read_text() == (
        locate("mini") / "generator" / "vocab.txt"
    ).read_text()
    found = minielectra.load_discriminator(tmp_path / "run")[0].standalone_state()
    for name, array in minielectra.load_discriminator("mini")[0].standalone_state().items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6)
    cli_here("train", "--resume", tmp_path / "run", "--init", "mini")


# How it is made and measured.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on texts that are called as those of the card."""
    folder = tmp_path_factory.mktemp("ship")
    (folder / "corpora").mkdir()
    for i, name in enumerate(("enwiki_sample", "gutenberg", "inaugural", "masc", "state_union", "valid")):
        (folder / "corpora" / f"{name}.txt").write_text("\n".join(sentences(150, i)))
    train_here(folder / "run", folder / "corpora", "--steps", "2")
    return folder / "run"


def script(name, *arguments, check=0):
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == check, done.stderr
    return done.stdout + done.stderr


def test_a_run_becomes_a_model_to_ship(run, tmp_path, capsys):
    out = tmp_path / "model"
    out.mkdir()
    (out / "old").write_text("gone afterwards")
    script("ship_mini.py", run, "--out", out)
    assert files(out) == FILES
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "{" not in card and "--steps 2 --seed 0" in card and "--set hidden_size=24" in card
    exact, rounded = (shown(capsys, str(source), "the old cat")[0]["replaced"] for source in (run, out))
    np.testing.assert_allclose(rounded, exact, atol=0.01)


def test_other_texts_need_another_card(run, corpus, tmp_path):
    train_here(tmp_path / "run", corpus, "--steps", "1")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("stays")
    line = script("ship_mini.py", tmp_path / "run", "--out", tmp_path / "model", check=1)
    assert line.count("\n") == 1 and "learned from text.txt" in line
    assert files(tmp_path / "model") == {"old"}


def test_odd_words_are_counted(run):
    line = script("odd_word.py", run, run / "data", "--sentences", "20")
    assert "of 20 sentences (95 % interval " in line
    assert "was prepared with another vocabulary" in script("odd_word.py", "mini", run / "data", check=1)


def test_the_interval_is_wilsons():
    sys.path.insert(0, str(ROOT))
    from benchmarks.odd_word import interval

    low, high = interval(0.5, 100)
    assert isclose(low, 0.4038, abs_tol=1e-4) and isclose(high, 0.5962, abs_tol=1e-4)
    assert interval(1.0, 10)[1] <= 1


# Wheel and sdist.


def test_wheel_and_sdist_hold_it(tmp_path):
    pytest.importorskip("setuptools", "70.1", reason="building needs setuptools 70.1 or later")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, tmp_path)
    copytree(ROOT / "minielectra", tmp_path / "minielectra", ignore=ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta as b; b.build_wheel('out'); b.build_sdist('out')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    wanted = {f"minielectra/pretrained/mini/{file}" for file in FILES}
    wanted |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("minielectra/*/page/*")}
    [wheel], [sdist] = (list((tmp_path / "out").glob(f"*.{kind}")) for kind in ("whl", "tar.gz"))
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        assert wanted <= {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
