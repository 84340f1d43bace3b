"""Two processes in one folder, and worker processes that somebody stops."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY, cli, cli_here, train_here

from minielectra.cli.entry import main
from minielectra.training import processes

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="worker processes need Linux")


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    run = tmp_path_factory.mktemp("runs") / "run"
    train_here(run, corpus, "--steps", "4", "--checkpoint-every", "2")
    return run


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["prepare", "export"])
def test_two_processes_that_write_one_folder(tmp_path, corpus, run, command):
    """One of them does it, or both do, one after the other; the result is that of one alone."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"

    def words(out):
        if command == "export":
            return ["export", str(run), str(out)]
        return ["prepare", "--corpus", str(corpus), "--out", str(out), "--vocab-size", "120"]

    cli_here(*words(alone))
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "minielectra", *words(shared)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) in ([0, 0], [0, 2])
    for code, error in zip(codes, errors, strict=True):
        assert "Traceback" not in error
        assert code == 0 or re.search("in use by process|already is a dataset", error.splitlines()[-1])
    assert content(shared) == content(alone)
    assert {path.name for path in tmp_path.iterdir()} == {"alone", "shared"}


def children(pid):
    """Processes that a process has started (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = path.read_text().rpartition(")")[2].split()[1]
            found += [int(path.parent.name)] if int(parent) == pid else []
    return found


def stop_a_worker(monkeypatch, step):
    """The worker process is stopped before its call number `step` -> a list that will hold its number."""
    before, calls, stopped = processes.Processes.run, [], []

    def run(team, method, *arguments):
        calls.append(method)
        if len(calls) == step:
            stopped.append(team._children[0].process.pid)
            os.kill(stopped[0], signal.SIGSTOP)
        return before(team, method, *arguments)

    monkeypatch.setattr(processes.Processes, "run", run)
    return stopped


@linux
def test_a_stopped_worker_is_named_and_given_up(tmp_path, corpus, run, monkeypatch, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "step-00000004")
    monkeypatch.setattr(processes, "TOLD_AFTER", 1)
    monkeypatch.setattr(processes, "GIVEN_UP_AFTER", 2)
    words = ["train", "--resume", str(copy), "--workers", "processes", "--threads", "2"]
    with monkeypatch.context() as stopping:
        stopped = stop_a_worker(stopping, 4)
        assert main(words) == 2
    error = capsys.readouterr().err
    number = stopped[0]
    assert f"worker process {number} is stopped; `kill -CONT {number}` lets it go on" in error
    line = error.splitlines()[-1]
    assert f"({number}) is stopped and does not go on" in line and f"--resume {copy} --threads 1" in line
    assert not Path(f"/proc/{number}").exists()  # it was killed, because it cannot end by itself
    cli_here("train", "--resume", copy)
    for name in ("model.safetensors", "optimizer.safetensors"):
        same = [folder / "checkpoints" / "step-00000004" / name for folder in (run, copy)]
        assert same[0].read_bytes() == same[1].read_bytes()


@linux
def test_a_worker_that_goes_on_is_waited_for(tmp_path, run, monkeypatch, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "step-00000004")
    monkeypatch.setattr(processes, "TOLD_AFTER", 1)
    stopped, before = stop_a_worker(monkeypatch, 4), processes._is_stopped

    def is_stopped(number):
        found = before(number)
        if found and len(stopped) == 1:
            stopped.append(os.kill(number, signal.SIGCONT))
        return found

    monkeypatch.setattr(processes, "_is_stopped", is_stopped)
    cli_here("train", "--resume", copy, "--workers", "processes", "--threads", "2")
    assert len(stopped) == 2 and "is stopped" in capsys.readouterr().err


@linux
def test_no_worker_survives_a_killed_parent(tmp_path, corpus):
    run = tmp_path / "run"
    words = ["train", "--out", str(run), "--corpus", str(corpus), "--steps", "2000", *TINY]
    words += ["--workers", "processes", "--threads", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minielectra", *words], stderr=subprocess.DEVNULL, cwd=ROOT
    )
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert workers
    while any(Path(f"/proc/{number}").exists() for number in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{number}").exists() for number in workers)


def test_the_other_process_is_named(tmp_path, corpus, run):
    from minielectra.formats.locks import LOCK_NAME, locked

    with locked(run / LOCK_NAME, run):
        error = cli("train", "--resume", run, check=2).stderr
    assert f"{run}: in use by process {os.getpid()} (" in error and error.count("\n") == 1
