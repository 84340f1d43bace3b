"""Bad input: one clear line, exit status 2, no traceback, nothing lost."""

import contextlib
import io
import json
import shutil

import pytest
from conftest import TINY, cli, train_here
from safetensors import SafetensorError

from minielectra.cli.entry import main


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    out = tmp_path_factory.mktemp("runs") / "run"
    train_here(out, corpus, "--steps", "4", "--checkpoint-every", "2")
    return out


def complaint(*arguments):
    """The one line with which the command line refuses its arguments, in this process."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
    assert status == 2
    assert "usage:" not in errors.getvalue()
    line = errors.getvalue().strip().splitlines()[-1]
    assert line.startswith("minielectra")
    return line


def refused(tmp_path, corpus, *arguments):
    """The same for a new run, which must not leave a folder behind."""
    out = tmp_path / "out"
    line = complaint("train", "--out", out, "--corpus", corpus, "--steps", "2", *TINY, *arguments)
    assert not out.exists()
    return line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such"),
        (b"", "empty"),
        (b"abc\x00def" * 50, "binary"),
        (b"caf\xe9 au lait\n" * 50, "UTF-8"),
        (b"Two words.\n", ""),
    ],
    ids=["missing", "empty", "binary", "not UTF-8", "short"],
)
def test_corpus(tmp_path, content, words):
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    line = refused(tmp_path, path)
    assert words.lower() in line.lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "gigantic"], "gigantic"),
        (["--set", "hidden_sise=3"], "hidden_size"),
        (["--set", "hidden_size=three"], "hidden_size must be an integer, got 'three'"),
        (["--set", "hidden_size=25"], "divisible"),
        (["--set", "num_attention_heads=8", "--set", "generator_width=0.7"], "divisible"),
        (["--seq-length", "5000"], "max_position_embeddings"),
        (["--set", "hidden_act=tanh"], "tanh"),
        (["--set", "mask_fraction=0"], "mask_fraction"),
        (["--set", "hidden_dropout_prob=1"], "hidden_dropout_prob"),
        (["--objective", "chess"], "chess"),
        (["--steps", "0"], "must be at least 1, got 0"),
        (["--minutes", "inf"], "must be a finite number"),
        (["--set", "learning_rate=nan"], "learning_rate must be a finite number"),
    ],
)
def test_settings(tmp_path, corpus, arguments, words):
    assert words in refused(tmp_path, corpus, *arguments)


def test_one_line_and_no_traceback_in_a_process_of_its_own(tmp_path):
    done = cli("train", "--corpus", tmp_path / "nothing.txt", "--out", tmp_path / "out", check=2)
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"minielectra: {tmp_path}/nothing.txt: ")


def test_vocabulary_without_special_tokens(tmp_path, corpus):
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("the\ncat\n")
    assert "[MASK]" in refused(tmp_path, corpus, "--vocab", vocab)


def test_an_output_folder_in_use_is_left_alone(run, tmp_path, corpus):
    before = sorted(path.name for path in run.rglob("*"))
    assert "--resume" in complaint("train", "--out", run, "--corpus", corpus, "--steps", "2")
    assert sorted(path.name for path in run.rglob("*")) == before
    (tmp_path / "notes.txt").write_text("mine")
    assert "not an empty folder" in complaint("train", "--out", tmp_path, "--corpus", corpus, "--steps", "2")


@pytest.mark.parametrize(
    "arguments", [["--steps", "3"], ["--seed", "8"], ["--preset", "small"], ["--set", "hidden_size=64"]]
)
def test_resume_with_contradicting_settings(run, arguments):
    assert "was started with" in complaint("train", "--resume", run, *arguments)


def test_resume_of_nothing(tmp_path):
    assert "no run" in complaint("train", "--resume", tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_truncated_checkpoint(run, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    path = copy / "checkpoints" / "step-00000004" / file
    path.write_bytes(path.read_bytes()[:-10])
    shutil.rmtree(copy / "checkpoints" / "step-00000002")
    line = complaint("train", "--resume", copy)
    assert f"{path}: damaged" in line and "no checkpoint of this run is whole" in line
    assert path.exists()


def test_foreign_checkpoint(run, tmp_path, corpus):
    other, copy = tmp_path / "other", tmp_path / "copy"
    train_here(other, corpus, "--steps", "4", "--set", "num_hidden_layers=1")
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints")
    shutil.copytree(other / "checkpoints", copy / "checkpoints")
    assert "does not fit" in complaint("train", "--resume", copy)


def test_damaged_run_json(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "run.json").write_text('{"format": ')
    assert "run.json" in complaint("train", "--resume", copy)
    (copy / "run.json").write_text(json.dumps({"some": "thing"}))
    assert "not a minielectra run" in complaint("detect", copy, "text")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, corpus):
    out = tmp_path / "out"
    line = complaint(
        "train", "--out", out, "--corpus", corpus, "--steps", "50", *TINY, "--set", "learning_rate=1e30"
    )
    assert "not finite" in line and "learning_rate" in line


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_full_disk_is_one_line_and_loses_nothing(run, tmp_path, monkeypatch, capsys, error):
    from minielectra.runs import checkpoints as checkpoint

    def full(*_, **__):
        raise error

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / "step-00000004")
    monkeypatch.setattr("minielectra.cli.pretraining_commands._draw", lambda folder: None)
    with monkeypatch.context() as disk:
        disk.setattr(checkpoint, "save_file", full)
        assert main(["train", "--resume", str(copy)]) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in (copy / "checkpoints").iterdir()] == ["step-00000002"]
    assert main(["train", "--resume", str(copy)]) == 0
    a, b = (folder / "checkpoints" / "step-00000004" / "model.safetensors" for folder in (run, copy))
    assert a.read_bytes() == b.read_bytes()


def test_a_gpu_that_is_not_there(tmp_path, corpus):
    try:
        import cupy

        if cupy.is_available():
            pytest.skip("there is a GPU here")
    except ImportError:
        pass
    assert "gpu" in refused(tmp_path, corpus, "--device", "gpu")
