"""One process at a time in a folder: the lock, what others are told, and what is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT, TINY, cli_here, train_here

from minielectra.cli.entry import main
from minielectra.errors import InputError
from minielectra.formats import locks
from minielectra.formats.locks import LOCK_NAME, claimed, locked, locked_beside, unused, vacant

HOLD = """
import sys, time
from minielectra.formats.locks import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A function that starts another process which holds the lock of a folder -> Popen."""
    started = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_is_held_by_one_and_says_by_whom(tmp_path):
    folder = tmp_path / "run"
    with claimed(folder):
        with pytest.raises(InputError) as refusal, claimed(folder):
            pass
        message = str(refusal.value)
        assert message.startswith(f"{folder}: in use by process {os.getpid()} (") and " since 2" in message
        assert vacant(folder)
    assert list(folder.iterdir()) == []
    with claimed(folder):
        pass


def test_a_lock_ends_with_its_process(tmp_path, holder):
    folder = tmp_path / "run"
    process = holder(folder)
    with pytest.raises(InputError, match=f"process {process.pid} "), claimed(folder):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / LOCK_NAME).exists()  # a leftover, which means nothing
    with claimed(folder):
        assert f"process {os.getpid()} " in (folder / LOCK_NAME).read_text()
    assert not (folder / LOCK_NAME).exists()


def test_a_lock_that_was_removed_between_opening_and_locking_is_made_again(tmp_path, monkeypatch):
    path, lock = tmp_path / LOCK_NAME, locks._lock
    removals = [path.unlink, path.unlink]

    def late(descriptor):
        if removals:
            removals.pop()()
        return lock(descriptor)

    monkeypatch.setattr(locks, "_lock", late)
    with locked(path, tmp_path):
        assert not removals and path.exists()
        with pytest.raises(InputError), locked(path, tmp_path):
            pass


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / LOCK_NAME).symlink_to(target)
    with pytest.raises(OSError), locked(tmp_path / LOCK_NAME, tmp_path):
        pass
    assert target.read_text() == "mine"


def test_what_strangers_wrote_is_not_repeated(tmp_path):
    path = tmp_path / LOCK_NAME
    for text, shown in (("x" * 9999, "another process"), ("process 1\x1b[2J\n", "process 1?[2J?")):
        with locked(path, "here"):
            path.write_text(text)
            with pytest.raises(InputError) as refusal, locked(path, "here"):
                pass
        assert str(refusal.value) == f"here: in use by {shown}; wait for it to end, or stop it"


def test_an_owner_that_has_not_signed_yet_is_waited_for(tmp_path):
    path = tmp_path / LOCK_NAME
    with locked(path, "here"):
        signature = path.read_text()
        path.write_text("")
        signing = threading.Timer(0.1, path.write_text, [signature])
        signing.start()
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} "), locked(path, "here"):
            pass
        signing.join()


def test_without_locks_in_the_file_system_work_goes_on(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    with claimed(tmp_path / "run") as claim:
        assert claim.made


def test_a_lock_beside_leaves_no_folder(tmp_path):
    out = tmp_path / "a" / "b" / "prepared"
    with locked_beside(out):
        assert not out.exists() and [path.name for path in out.parent.iterdir()] == [".prepared.lock"]
        with pytest.raises(InputError, match="in use by process"), locked_beside(out):
            pass
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_made_is_undone(tmp_path):
    for existing in (False, True):
        folder = tmp_path / str(existing)
        if existing:
            folder.mkdir()
        with claimed(folder) as claim:
            (folder / "data").mkdir()
            (folder / "data" / "x").write_text("x")
            claim.undo(["data", "missing"])
        assert folder.exists() == existing
    with claimed(tmp_path / "foreign") as claim:
        (tmp_path / "foreign" / "notes.txt").write_text("mine")
        claim.undo(["data"])
    assert (tmp_path / "foreign" / "notes.txt").read_text() == "mine"


def test_default_names_that_are_taken_get_a_number(tmp_path):
    assert unused(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").write_text("")
    assert unused(tmp_path / "a") == tmp_path / "a-3"


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    run = tmp_path_factory.mktemp("runs") / "run"
    train_here(run, corpus, "--steps", "2")
    return run


def test_commands_refuse_a_folder_in_use(tmp_path, corpus, run, holder, capsys):
    examples = tmp_path / "sst.tsv"
    examples.write_text("sentence\tlabel\n" + "the old cat\t0\na river\t1\n" * 10)
    words = ["--corpus", str(corpus), "--out", str(tmp_path / "out")]
    finetune = ["finetune", "sst-2", "--model", str(run), "--train", str(examples), "--out", words[-1]]
    process = holder(run)
    assert main(["train", "--resume", str(run)]) == 2
    assert f"{run}: in use by process {process.pid} " in capsys.readouterr().err
    process = holder(tmp_path / "out")
    for command in (["train", *words, "--steps", "2", *TINY], finetune):
        assert main(command) == 2
        line = capsys.readouterr().err
        assert f"in use by process {process.pid} " in line and line.count("\n") == 1
    with locked_beside(words[-1]):
        for command in (["prepare", *words], ["export", str(run), words[-1]]):
            assert main(command) == 2
            assert "in use by process" in capsys.readouterr().err


def test_two_resumes_of_one_run_write_each_evaluation_once(tmp_path, corpus):
    run = tmp_path / "run"
    train_here(run, corpus, "--steps", "40", "--eval-every", "2", "--checkpoint-every", "10")
    whole = (run / "metrics.jsonl").read_text().count("\n")
    for folder in (run / "checkpoints").iterdir():
        if folder.name > "step-00000010":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
    command = [sys.executable, "-m", "minielectra", "train", "--resume", str(run)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) in ([0, 2], [0, 0])  # the second may come after the first has ended
    if 2 in codes:
        assert "in use by process" in errors[codes.index(2)].splitlines()[-1]
    assert (run / "metrics.jsonl").read_text().count("\n") == whole
    assert not (run / LOCK_NAME).exists()


def test_a_killed_run_leaves_a_lock_that_resuming_clears(tmp_path, corpus):
    run = tmp_path / "run"
    words = ["train", "--out", str(run), "--corpus", str(corpus), "--steps", "6", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "minielectra", *words], stderr=subprocess.DEVNULL, cwd=ROOT
    )
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    cli_here("train", "--resume", run)
    assert not (run / LOCK_NAME).exists()
