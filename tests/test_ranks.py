"""Training on ranks of MPI: the bits of threads, endings of every kind, and one line if it cannot be."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from conftest import ROOT, TINY, cli, cli_here, train_here
from small import small_objective
from test_bad_input import complaint, refused

from minielectra.optim.buffer_blocks import contiguous_shares
from minielectra.runs.checkpoints import list_checkpoints
from minielectra.runs.metrics_log import read_metrics
from minielectra.runs.schedule_record import finished_schedule
from minielectra.training import mpi
from minielectra.training.engine import make_engine
from minielectra.training.needed_memory import needed_memory

MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
WITH_MPI = MPIEXEC is not None and importlib.util.find_spec("mpi4py") is not None
PROGRAM = Path(__file__).parent / "on_ranks.py"
SETTINGS = ["--steps", "60", "--checkpoint-every", "4", "--keep", "0", "--set", "shards=4"]
MARK = "MINIELECTRA_TEST_RUN"  # in the environment of all that a test starts


def needs_mpi(test):
    """A slow test, skipped without MPI."""
    skipped = pytest.mark.skipif(not WITH_MPI, reason="needs mpiexec and mpi4py: pip install '.[mpi]'")
    return pytest.mark.slow(skipped(test))


def start(ranks, *words, mark=""):
    """Start the program on ranks of MPI -> Popen."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [MPIEXEC, "-n", str(ranks), sys.executable, str(PROGRAM), *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths, MARK: mark},
    )


def on_ranks(ranks, *words, check=0):
    """Run the program on ranks of MPI -> standard output, standard error; asserts its exit status."""
    process = start(ranks, *words)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == check, f"exit {process.returncode}\n{output}\n{errors}"
    return output, errors


def running(mark):
    """{number of a process: its rank} of what was started with this mark and still runs (Linux)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, KeyError):
            entries = path.joinpath("environ").read_bytes().split(b"\0")
            environment = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
            if environment.get(MARK.encode()) == mark.encode():
                is_rank = str(PROGRAM).encode() in path.joinpath("cmdline").read_bytes()
                rank = int(environment[b"PMI_RANK"]) if is_rank and b"PMI_RANK" in environment else None
                found[int(path.name)] = rank
    return found


def wait_until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus):
    """A finished run on threads."""
    run = tmp_path_factory.mktemp("runs") / "run"
    train_here(run, corpus, *SETTINGS, "--workers", "threads")
    return run


def assert_same_end(run, reference):
    """The last checkpoint has the same bits, and evaluations gave the same figures."""
    for name in ("model.safetensors", "optimizer.safetensors"):
        ends = [list_checkpoints(folder)[-1][1] / name for folder in (run, reference)]
        assert ends[0].parent.name == ends[1].parent.name
        assert ends[0].read_bytes() == ends[1].read_bytes()
    timed = ("seconds", "tokens_per_second")
    rows = [
        [{name: row[name] for name in row if name not in timed} for row in read_metrics(folder)]
        for folder in (run, reference)
    ]
    assert rows[0] == rows[1]


# --- without MPI


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("train --workers mpi", True),
        ("train --workers=mpi --steps 3", True),
        ("train --work mpi", True),
        ("train --workers threads mpi", False),
        ("train --workers", False),
        ("train --out mpi", False),
        ("detect mpi --w", False),
    ],
)
def test_what_asks_for_mpi(words, asked):
    assert mpi.asked_for(words.split()) == asked


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_shares_of_neighbours(optimizer, count):
    """Every block is in one share, in order, and no share costs much more than it should."""
    objective = small_objective(optimizer=optimizer, num_hidden_layers=6)
    blocks = make_engine(objective, workers="plain").optimizer.blocks
    shares = contiguous_shares(blocks, count)
    assert [number for share in shares for number in share] == list(range(len(blocks)))
    costs = [sum(blocks[number].cost for number in share) for share in shares]
    assert max(costs) <= sum(costs) / count + max(block.cost for block in blocks)


def test_without_mpi4py(tmp_path, corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    line = refused(tmp_path, corpus, "--workers", "mpi")
    assert "needs mpi4py, which is not installed: pip install 'minielectra[mpi]'" in line


def fake_mpi4py(monkeypatch, get):
    """Let `from mpi4py import MPI` call `get`."""
    module = ModuleType("mpi4py")
    module.__getattr__ = get
    monkeypatch.setitem(sys.modules, "mpi4py", module)


def test_without_a_library_of_mpi(tmp_path, corpus, monkeypatch):
    def get(name):
        raise RuntimeError("cannot load MPI library\nlibmpi.so: not found")

    fake_mpi4py(monkeypatch, get)
    line = refused(tmp_path, corpus, "--workers", "mpi")
    assert "mpi4py cannot use MPI (cannot load MPI library): pip install" in line


def started_by_mpiexec(monkeypatch, rank):
    for name, value in (("PMI_RANK", rank), ("PMI_SIZE", 2)):
        monkeypatch.setenv(name, str(value))


def test_the_mpiexec_of_another_mpi(tmp_path, corpus, monkeypatch):
    """Then every process would be a first rank, and train on its own."""
    one = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1), Get_library_version=lambda: "Some MPI 5\nmore")
    fake_mpi4py(monkeypatch, lambda name: one)
    started_by_mpiexec(monkeypatch, 0)
    line = refused(tmp_path, corpus, "--workers", "mpi")
    assert "started 2 ranks, but mpi4py sees 1: it uses Some MPI 5" in line


def test_mpiexec_without_workers_mpi(tmp_path, corpus, monkeypatch, capsys):
    run = tmp_path / "run"
    train_here(run, corpus, "--steps", "1", "--workers", "plain")
    started_by_mpiexec(monkeypatch, 0)
    assert "mpiexec has started 2 of these: add --workers mpi" in refused(tmp_path, corpus)
    assert "add --workers mpi" in complaint("train", "--resume", run)
    capsys.readouterr()
    started_by_mpiexec(monkeypatch, 1)
    for words in (["--out", tmp_path / "out", "--corpus", corpus], ["--resume", run]):
        with pytest.raises(SystemExit) as end:
            cli_here("train", *words)
        assert end.value.code == 2 and capsys.readouterr() == ("", "")


def test_needed_memory():
    """Ranks on one machine need more than threads, and a rank on its own machine needs less."""
    objective = small_objective(shards=8, batch_size=8, hidden_size=128, intermediate_size=512)

    def needed(workers, ranks):
        return needed_memory(objective, [], 8, 14, 0, workers, ranks)

    assert needed(2, 2) > needed(2, 1)
    assert needed(1, 8) < needed(1, 2) < needed(1, 1)


# --- on ranks


@needs_mpi
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_bits_of_threads(ranks):
    found = json.loads(on_ranks(ranks, "same_bits")[0])
    assert len(found) > 5 and all(found.values()), found


@needs_mpi
def test_what_fails_on_another_rank():
    """The first rank raises it, and all go on. A rank that takes long is named."""
    output, errors = on_ranks(2, "failures")
    assert json.loads(output) == {
        "InputError": "InputError: no such file",
        "MemoryError": "MemoryError: ",
        "KeyError": "RuntimeError: on rank 1: KeyError: 'a mistake'",
        "slow": [0, 1],
    }
    assert errors.count("still waiting for rank 1") == 1


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_run(tmp_path, corpus, reference, ranks):
    """Its files are those of a run on threads, and its messages come once."""
    run = tmp_path / "run"
    words = ["--out", run, "--corpus", corpus, *TINY, *SETTINGS, "--workers", "mpi"]
    output, errors = on_ranks(ranks, "cli", "train", *words)
    assert_same_end(run, reference)
    assert {path.name for path in run.iterdir()} == {path.name for path in reference.iterdir()}
    assert output.count("gen_loss") == 1 and output.splitlines()[-1] == str(run)
    assert errors.count(f"tokens on {ranks} workers") == 1 and "killed" not in errors


@needs_mpi
def test_one_rank_without_mpiexec(tmp_path, corpus, reference):
    run = tmp_path / "run"
    words = ["--out", run, "--corpus", corpus, *TINY, *SETTINGS, "--workers", "mpi"]
    environment = {name: os.environ[name] for name in os.environ if not name.startswith(("PMI", "OMPI"))}
    subprocess.run(
        [sys.executable, PROGRAM, "cli", "train", *words],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )
    assert_same_end(run, reference)
    shutil.rmtree(list_checkpoints(run)[-1][1])
    cli_here("train", "--resume", run)  # without MPI, though run.json says mpi
    assert_same_end(run, reference)


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_resuming_on_ranks_what_threads_began(tmp_path, reference, ranks):
    run = shutil.copytree(reference, tmp_path / "run")
    for step, folder in list_checkpoints(run):
        if step > 20:
            shutil.rmtree(folder)
    on_ranks(ranks, "cli", "train", "--resume", run, "--workers", "mpi")
    assert_same_end(run, reference)


def disturbed(tmp_path, corpus, ranks, disturb):
    """A run on ranks with which `disturb(Popen, {process: rank})` does something after its first checkpoint.

    -> its folder, exit status, standard output, standard error. Nothing of it runs any more.
    """
    run, mark = tmp_path / "run", uuid.uuid4().hex
    words = ["--out", run, "--corpus", corpus, *TINY, *SETTINGS, "--workers", "mpi"]
    process = start(ranks, "cli", "train", *words, mark=mark)
    wait_until(lambda: process.poll() is not None or list_checkpoints(run))
    disturb(process, running(mark))
    output, errors = process.communicate(timeout=120)
    wait_until(lambda: not running(mark), 30)
    assert list_checkpoints(run)[-1][0] < 60
    return run, process.returncode, output, errors


@needs_mpi
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("killed", "ranks_after"), [(1, 4), (0, 2)])
def test_a_rank_that_is_killed(tmp_path, corpus, reference, killed, ranks_after):
    def kill(_, processes):
        os.kill(next(number for number, rank in processes.items() if rank == killed), signal.SIGKILL)

    run, status, _, errors = disturbed(tmp_path, corpus, 2, kill)
    assert status != 0 and errors.count("minielectra: a rank was killed") == 1
    on_ranks(ranks_after, "cli", "train", "--resume", run, "--workers", "mpi")
    assert_same_end(run, reference)


@needs_mpi
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping(tmp_path, corpus, reference, number):
    """mpiexec hands Ctrl-C and the like to all ranks; the first one saves. Threads go on."""
    run, status, output, errors = disturbed(
        tmp_path, corpus, 2, lambda process, _: process.send_signal(number)
    )
    step = list_checkpoints(run)[-1][0]
    assert status == 130 and output.count(f"stopped after step {step}; everything is saved") == 1
    assert "Traceback" not in errors and "killed" not in errors
    cli_here("train", "--resume", run, "--workers", "threads")
    assert_same_end(run, reference)


@needs_mpi
def test_minutes(tmp_path, corpus):
    """The clock of the first rank decides; what it decided can be repeated on threads."""
    run, again = tmp_path / "run", tmp_path / "again"
    words = ["--corpus", corpus, *TINY, "--set", "shards=4"]
    on_ranks(2, "cli", "train", "--out", run, *words, "--minutes", "0.2", "--workers", "mpi")
    assert len(finished_schedule(run)) == read_metrics(run)[-1]["step"] > 1
    cli_here("train", "--out", again, *words, "--schedule", run, "--workers", "threads")
    assert_same_end(again, run)


@needs_mpi
def test_bad_input(tmp_path, corpus, reference):
    """One line from all ranks together, and nothing on disk."""
    new = ["train", "--out", tmp_path / "out", "--corpus", corpus, "--steps", "2", *TINY]
    resumed = ["train", "--resume", reference]
    with_mpi = ["--workers", "mpi"]
    for ranks, words, expected in (
        (3, [*new, *with_mpi], "use mpiexec -n 2, or start a run with --set shards=3"),
        (5, [*resumed, *with_mpi], "started 5 ranks, but batches are cut into 4 shards"),
        (2, [*new, *with_mpi, "--threads", "2"], "--threads does not apply to --workers mpi"),
        (2, [*new, *with_mpi, "--device", "gpu"], "--workers mpi needs --device cpu"),
        (2, [*new, *with_mpi, "--seed", "-1"], "--seed: must be at least 0"),
        (2, [*new, *with_mpi, "--corpus", tmp_path / "missing"], "no such file"),
        (2, new, "mpiexec has started 2 of these: add --workers mpi"),
        (2, ["finetune", *with_mpi], "minielectra finetune: "),
    ):
        output, errors = on_ranks(ranks, "cli", *words, check=2)
        assert expected in errors and errors.count("\n") == 1 and not output, (words, errors)
    assert not (tmp_path / "out").exists()
    assert "--workers mpi" not in cli("train", "--resume", reference).stderr  # its lock is free, too
