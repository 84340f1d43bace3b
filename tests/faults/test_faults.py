"""Every command that writes, disturbed at a few of its calls to the file system: `python -m tests.faults`."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from .disk import Disk
from .scenarios import SCENARIOS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and /proc")


@pytest.fixture(scope="module")
def found():
    """{command: {kind of disturbance: (number, faults)}}, from a process without threads, which can fork."""
    command = [sys.executable, "-m", "tests.faults", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1200)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_a_disturbed_command_goes_on_to_the_same_bits_and_leaves_nothing(found, name):
    assert [fault for _, faults in found[name].values() for fault in faults] == []
    assert found[name]["kill"][0] >= 1 and found[name]["power cut"][0] >= 20


# The simulated disk itself.


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    return Disk(tmp_path, tmp_path)


def survivors(disk, root, *calls, how="nothing"):
    for call, *arguments in calls:
        absolute = [os.path.normpath(os.path.join(root, x)) if isinstance(x, str) else x for x in arguments]
        disk.apply(call, *absolute)
    return disk.after_power_cut(how)


def test_what_is_not_flushed_is_lost(disk, tmp_path):
    new = [("create", "new"), ("write", "new", 0, b"1234")]
    assert survivors(disk, disk.root, *new) == {"old": b"old"}
    assert survivors(disk, disk.root, ("fsync", "new")) == {"old": b"old"}  # its name is not on the disk
    assert disk.after_power_cut("names") == {"old": b"old", "new": b"1234"}
    assert survivors(disk, disk.root, ("fsync", "")) == {"old": b"old", "new": b"1234"}


def test_a_name_without_its_content(disk):
    calls = [("create", "new"), ("write", "new", 0, b"1234"), ("fsync", "")]
    assert survivors(disk, disk.root, *calls) == {"old": b"old", "new": b""}
    assert disk.after_power_cut("zeros") == {"old": b"old", "new": b"\0\0\0\0"}


def test_a_rename_that_is_not_flushed_may_be_undone(disk):
    calls = [
        ("create", "x"),
        ("write", "x", 0, b"new"),
        ("fsync", "x"),
        ("fsync", ""),
        ("rename", "x", "old"),
    ]
    assert survivors(disk, disk.root, *calls) == {"old": b"old", "x": b"new"}
    assert disk.after_power_cut("zeros") == {"old": b"new"}
    assert survivors(disk, disk.root, ("fsync", "")) == {"old": b"new"}


def test_a_folder_without_a_flushed_parent_takes_its_files_along(disk):
    calls = [("mkdir", "a"), ("create", "a/b"), ("write", "a/b", 0, b"1"), ("fsync", "a/b"), ("fsync", "a")]
    assert survivors(disk, disk.root, *calls) == {"old": b"old"}
    assert survivors(disk, disk.root, ("fsync", "")) == {"old": b"old", "a": None, "a/b": b"1"}


@pytest.mark.parametrize("missing", ["fsync of the file", "fsync of the folder"])
def test_a_writer_that_does_not_flush_is_caught(tmp_path, missing):
    """The proof would notice: without either flush, something announced is lost."""
    from .power_cuts import HOW, _broken

    disk = Disk(tmp_path, tmp_path)
    calls = [
        ("create", "t"),
        ("write", "t", 0, b"content"),
        ("fsync", "t"),
        ("rename", "t", "a"),
        ("fsync", ""),
    ]
    del calls[2 if missing == "fsync of the file" else 4]
    survivors(disk, disk.root, *calls)
    faults = [_broken({"a": b"content"}, disk.seen(), disk.after_power_cut(how, 1)) for how in HOW]
    assert any(faults)
