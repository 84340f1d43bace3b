"""Surroundings that go wrong: full disks, pipes where files should be, no home, narrow locales."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import TINY, cli, cli_here, train_here

from minielectra.cli.entry import main
from minielectra.data.text import default_corpus as module
from minielectra.data.text.default_corpus import default_corpus
from minielectra.errors import InputError
from minielectra.formats.reading import read_json

unix = pytest.mark.skipif(os.name == "nt", reason="as on Unix")


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    run = tmp_path_factory.mktemp("runs") / "run"
    train_here(run, corpus, "--steps", "4", "--checkpoint-every", "2")
    return run


# Full disks.


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this system does not let us make a small disk (mount -t tmpfs)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@unix
@pytest.mark.parametrize("room", [0, 50_000, 150_000, 400_000])
def test_a_real_full_disk(small_disk, corpus, run, tmp_path, room):
    """room: bytes that are left when the run begins."""
    filler, out = small_disk / "filler", small_disk / "run"
    filler.write_bytes(bytes((1 << 20) - room - 4096 * 3))
    words = ["--out", str(out), "--corpus", str(corpus), *TINY, "--steps", "4", "--checkpoint-every", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "minielectra", "train", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "No space left" in done.stderr.splitlines()[-1]
    filler.unlink()
    again = ["train", "--resume", str(out)] if (out / "run.json").exists() else ["train", *words]
    cli_here(*again)
    for name in ("model.safetensors", "optimizer.safetensors"):
        same = [folder / "checkpoints" / "step-00000004" / name for folder in (run, out)]
        assert same[0].read_bytes() == same[1].read_bytes()
    assert not [path for path in out.rglob(".*")]


# Pipes, sockets and folders where files should be.


def within(seconds, function):
    """Call a function on a thread -> its result, if it comes in time."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it hangs"
    return found[0]


NAMES = [
    "run.json",
    "vocab.txt",
    "metrics.jsonl",
    "detection.npz",
    "data/dataset.json",
    "data/train.tokens.npy",
    "checkpoints/step-00000004/state.json",
    "checkpoints/step-00000004/model.safetensors",
    "checkpoints/step-00000004/checksums.json",
]


@unix
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(run, tmp_path, name, make, monkeypatch):
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "step-00000002")
    (copy / name).unlink()
    make(copy / name)
    monkeypatch.setattr("minielectra.cli.pretraining_commands._draw", lambda *_: [Path("x")])
    for words in (["detect", str(copy), "a cat"], ["train", "--resume", str(copy)], ["plot", str(copy)]):
        assert within(60, lambda words=words: main(words)) in (0, 2)
    assert (copy / name).exists() or list(copy.glob(f"{name}*"))


@unix
def test_devices_are_not_read():
    with pytest.raises(InputError, match="/dev/zero: is a device, not an ordinary file"):
        read_json("/dev/zero", "missing")


# The cache, and homes.


def broken_cache(monkeypatch, tmp_path, kind):
    monkeypatch.delenv("MINIELECTRA_CACHE")
    if kind == "no home":
        monkeypatch.setenv("HOME", "")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

        def home():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", home)
    elif kind == "unsearchable":
        monkeypatch.setenv("MINIELECTRA_CACHE", str(tmp_path))

        def is_file(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "is_file", is_file)
    else:
        monkeypatch.setenv(
            "MINIELECTRA_CACHE", "~nobody-of-this-name/cache" if kind == "~" else "/dev/null/a"
        )


@unix
@pytest.mark.parametrize("kind", ["no home", "unsearchable", "~", "below a file"])
def test_without_a_cache_the_corpus_is_gathered(monkeypatch, tmp_path, kind):
    documents = [["A line."]]
    monkeypatch.setattr(module, "gather_documents", lambda: documents)
    broken_cache(monkeypatch, tmp_path, kind)
    assert default_corpus() == documents


@unix
def test_a_full_cache_disk(monkeypatch, small_disk):
    documents = [["word " * 1000] * 1000]
    monkeypatch.setattr(module, "gather_documents", lambda: documents)
    monkeypatch.setenv("MINIELECTRA_CACHE", str(small_disk / "cache"))
    assert default_corpus() == documents
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


@unix
def test_an_unknown_home_is_one_line(tmp_path, capsys):
    for words in (["--corpus", "~nobody-of-this-name/x", "--out", str(tmp_path / "out")],):
        assert main(["prepare", *words]) == 2
        line = capsys.readouterr().err
        assert "~nobody-of-this-name/x: the home directory is not known" in line and line.count("\n") == 1


# Locales.


@unix
@pytest.mark.parametrize("command", ["prepare", "lessons", "train"])
def test_an_ascii_locale(tmp_path, command, run):
    text = tmp_path / "text.txt"
    text.write_text("Der Käfer läuft über die Brücke. 日本 is far.\n\n" * 200, encoding="utf-8")
    narrow = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    narrow |= {"PYTHONIOENCODING": "ascii"}
    out = tmp_path / "öut"
    if command == "prepare":
        cli("prepare", "--corpus", text, "--out", out, "--vocab-size", "100", env=narrow)
        assert "ä" in (out / "vocab.txt").read_text(encoding="utf-8") or (out / "dataset.json").exists()
    elif command == "train":
        words = ["--steps", "2", "--set", "vocab_size=100", *TINY[2:]]
        cli("train", "--corpus", text, "--out", out, *words, env=narrow)
        assert (out / "checkpoints" / "step-00000002").is_dir()
    else:
        assert "lessons" in cli("lessons", env=narrow).stdout
