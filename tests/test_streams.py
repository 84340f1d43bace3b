"""Standard streams of every kind: encodings that lack characters, closed ones, and readers that have gone."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from conftest import ROOT, TINY, train_here

from minielectra.cli import streams
from minielectra.runs.checkpoints import list_checkpoints

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "日", "本", "dog", "café", "cat")


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpus):
    run = tmp_path_factory.mktemp("runs") / "run"
    train_here(run, corpus, "--steps", "2")
    return run


def run(*words, encoding=None, **options):
    """The command line in a process of its own, with bytes in and out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    environment |= encoding or {}
    command = [sys.executable, "-m", "minielectra", *map(str, words)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=120, **options)


ENCODINGS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "cp437 strict": {"PYTHONIOENCODING": "cp437:strict"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C locale": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}
COMMANDS = {
    "tokenize": (["tokenize", "--vocab", "{vocab}", "日本 dog"], b"? ? dog"),
    "plot --help": (["plot", "--help"], b"usage: minielectra plot"),
    "lessons": (["lessons"], b"of"),
    "detect": (["detect", "{run}", "日本 cat \udce9"], b"0."),
    "an error": (["plot", "{run}", "--tokens", "日本"], b""),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_an_encoding_lacks_is_replaced(command, encoding, vocab, finished):
    words, expected = COMMANDS[command]
    words = [word.format(vocab=vocab, run=finished) for word in words]
    done = run(*words, encoding=ENCODINGS[encoding])
    assert done.returncode == (2 if command == "an error" else 0), done.stderr.decode("latin-1")
    assert expected in done.stdout and b"Traceback" not in done.stderr


@pytest.mark.slow
def test_fine_tuning_ends_well_in_a_narrow_encoding(finished, tmp_path):
    table = tmp_path / "sst.tsv"
    rows = [f"the {word} cat 日本\t{i % 2}\n" for i, word in enumerate(("old", "small") * 10)]
    table.write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    words = ["finetune", "sst-2", "--model", finished, "--train", table, "--seeds", "2", "--epochs", "1"]
    done = run(*words, "--max-length", "24", "--out", tmp_path / "out", encoding=ENCODINGS["ascii"])
    assert done.returncode == 0 and b" ? " in done.stdout, done.stderr
    done = run("predict", tmp_path / "out", table, encoding=ENCODINGS["cp1252"])
    assert done.returncode == 0 and done.stdout.count(b"??") == 20, done.stderr


def test_input_that_is_not_utf_8_is_read_line_by_line(vocab):
    for encoding in ({"PYTHONIOENCODING": "utf-8:strict"}, ENCODINGS["ascii"]):
        text = b"caf\xe9 dog\n" + "café 日\r\n".encode() + b"\xff\n\ncat"
        done = run("tokenize", "--vocab", vocab, "--json", encoding=encoding, input=text)
        assert done.returncode == 0, done.stderr
        texts = [line.split(b'"tokens"')[0] for line in done.stdout.splitlines()]
        assert len(texts) == 5 and texts[0] == rb'{"text": "caf\u00e9 dog", '
        assert texts[1] == rb'{"text": "caf\u00e9 \u65e5", '


# Nobody reads any more.


def closed_pipe():
    """The writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


TRAINING = ["--steps", "3", "--eval-every", "1", *TINY]


def slow(value):
    """A value of a parameter for the slow tests: it trains, and draws all pictures."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.mark.parametrize("closed", ["stdout+stderr", slow("stdout"), slow("stderr")])
def test_training_goes_on_without_readers(tmp_path, corpus, closed):
    pipes = {name: closed_pipe() for name in closed.split("+")}
    done = run("train", "--out", tmp_path / "run", "--corpus", corpus, *TRAINING, **pipes)
    for pipe in pipes.values():
        os.close(pipe)
    assert done.returncode == (streams.CLOSED_PIPE if "stdout" in closed else 0)
    assert list_checkpoints(tmp_path / "run")[-1][0] == 3
    assert b"Traceback" not in (done.stderr or b"") and b"Exception ignored" not in (done.stderr or b"")


@pytest.mark.parametrize("closed", ["0<&- 1>&- 2>&-", slow("1>&-"), slow("2>&-"), slow("1>&- 2>&-")])
def test_training_goes_on_with_closed_streams(tmp_path, corpus, closed):
    words = ["train", "--out", tmp_path / "run", "--corpus", corpus, *TRAINING]
    line = " ".join(map(str, [sys.executable, "-m", "minielectra", *words, closed]))
    assert subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, timeout=120).returncode == 0
    assert list_checkpoints(tmp_path / "run")[-1][0] == 3


def test_a_reader_that_has_seen_enough_is_no_success_and_no_traceback(vocab, tmp_path):
    for words in (["tokenize", "--vocab", vocab, "cat"], ["--help"], ["tokenize", "--help"]):
        pipe = closed_pipe()
        done = run(*words, stdout=pipe)
        os.close(pipe)
        assert (done.returncode, done.stderr) == (streams.CLOSED_PIPE, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output_is_an_error(vocab):
    with open("/dev/full", "wb") as full:
        done = run("tokenize", "--vocab", vocab, "cat", stdout=full)
    assert (done.returncode, done.stderr) == (2, b"minielectra: No space left on device\n")


@pytest.mark.slow
def test_a_terminal_that_closes_saves(tmp_path, corpus):
    """SIGHUP, with an output that fails from then on; under nohup, nothing happens."""
    for ignored in (False, True):
        out = tmp_path / str(ignored)
        steps = [
            "--steps",
            "400" if ignored else "100000",
            "--eval-every",
            "100",
            "--checkpoint-every",
            "50000",
        ]
        command = [
            sys.executable,
            "-m",
            "minielectra",
            "train",
            "--out",
            out,
            "--corpus",
            corpus,
            *TINY,
            *steps,
        ]
        process = subprocess.Popen(
            [*map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            # said either way: the tests themselves may run under nohup
            preexec_fn=partial(signal.signal, signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL),
        )
        deadline = time.monotonic() + 60
        while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        process.stdout.close()
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        status = process.wait(timeout=60)
        assert status == streams.CLOSED_PIPE  # the last lines reached nobody
        [(step, _)] = list_checkpoints(out)
        assert (step == 400) == ignored


def test_in_process_the_streams_come_back():
    before = sys.stdin, sys.stdout, sys.stderr
    with streams.any_streams():
        assert isinstance(sys.stderr, streams.Messages)
        print("x", file=sys.stderr)
    assert before == (sys.stdin, sys.stdout, sys.stderr)
