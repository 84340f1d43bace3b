"""What users do, by the rules of Windows as far as they can be played here (like_windows.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY

WORK = """
import like_windows
import sys
from minielectra.cli import main
for line in sys.argv[1:]:
    status = main(line.split("|"))
    assert status == 0, f"{line}: {status}"
"""


def follow(lines, expected=0):
    """Run command lines in one process that takes this machine for Windows."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONIOENCODING": "cp1252"}
    lines = ["|".join(map(str, words)) for words in lines]
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", WORK, *lines],
        capture_output=True,
        text=True,
        encoding="cp1252",
        cwd=ROOT,
        env=environment,
        timeout=300,
    )
    assert done.returncode == expected, done.stderr[-3000:]
    return done


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="plays Windows with Linux's /proc")
def test_from_text_to_predictions(tmp_path, corpus):
    run, model, table = tmp_path / "run", tmp_path / "model", tmp_path / "sst.tsv"
    rows = [f"the {word} cat 日本\t{i % 2}\r\n" for i, word in enumerate(("old", "small") * 10)]
    table.write_bytes(("sentence\tlabel\r\n" + "".join(rows)).encode())
    options = ["--max-length", "24", "--epochs", "1", "--seeds", "2", "--checkpoint-every", "1"]
    steps = ["--steps", "4", "--eval-every", "2", "--checkpoint-every", "2"]
    follow(
        [
            ["prepare", "--corpus", corpus, "--out", tmp_path / "prepared", "--vocab-size", "150"],
            ["train", "--corpus", corpus, "--out", run, *steps, *TINY],
            ["train", "--resume", run, "--steps", "6"],
            ["train", "--corpus", tmp_path / "prepared", "--out", tmp_path / "second", "--steps", "2", *TINY],
            ["plot", run, "--sentence", "日本 cat"],
            ["export", run, tmp_path / "pair"],
            ["export", run, tmp_path / "pair"],
            ["detect", tmp_path / "pair", "日本 cat"],
            ["finetune", "sst-2", "--model", run, "--train", table, "--out", model, *options],
            ["predict", model, table],
            ["evaluate", model, table, "--json"],
            ["bench", "--steps", "1", *TINY],
            ["lessons"],
        ]
    )
    names = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in names if set('<>:"|?*\\') & set(name) or name.endswith((".", " "))]
    assert not [name for name in names if name.endswith((".partial", ".lock"))]
    for path in tmp_path.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".txt") and path.is_file():
            assert b"\r" not in path.read_bytes(), path


HOLD = """
import like_windows
import sys
from minielectra.formats.locks import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    input()
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="plays Windows with Linux's /proc")
def test_the_lock_of_windows(tmp_path, corpus):
    """Its locks belong to processes here, so another process asks."""
    run = tmp_path / "run"
    follow([["train", "--corpus", corpus, "--out", run, "--steps", "1", *TINY]])
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        done = follow([["train", "--resume", run]], expected=1)
        assert f"in use by process {holder.pid} " in done.stderr
    finally:
        holder.communicate("\n")
    assert holder.returncode == 0
    follow([["train", "--resume", run]])
