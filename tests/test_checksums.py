"""Checksums: damage to a checkpoint or to prepared data is noticed, named, and gone around."""

import json
import os
import shutil

import numpy as np
import pytest
from conftest import cli_here, train_here
from safetensors.numpy import load_file, save_file

from minielectra.cli.entry import main
from minielectra.data.dataset.prepared import Dataset
from minielectra.errors import InputError
from minielectra.formats import checksums
from minielectra.formats.checksums import Damaged, replacing_checked_folder, verify
from minielectra.runs.checkpoints import best_of, check_whole, list_checkpoints, newest_whole, superfluous

STEPS = ("--steps", "6", "--eval-every", "2", "--checkpoint-every", "2")


def flip(path, bit=0):
    """Turn one bit of a file around, in its middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    with replacing_checked_folder(tmp_path / "folder") as beside:
        (beside / "a").write_bytes(bytes(range(256)) * 9)
        (beside / "b").write_bytes(b"")
    return tmp_path / "folder"


def test_sound_files_pass(folder):
    assert verify(folder) and verify(folder, ["a"])
    assert sorted(os.listdir(folder)) == ["a", "b", checksums.NAME]


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_found(folder, bit):
    flip(folder / "a", bit)
    with pytest.raises(Damaged, match=r"folder/a: damaged \(checksum [0-9a-f]{8}, that of what was written"):
        verify(folder)
    assert verify(folder, ["b"])


def test_other_damage_is_found(folder):
    whole = (folder / "a").read_bytes()
    for content in (whole[:-1], whole + b"\0", bytes(len(whole)), whole[::-1], b""):
        (folder / "a").write_bytes(content)
        with pytest.raises(Damaged, match="folder/a: damaged"):
            verify(folder)
    (folder / "a").unlink()
    with pytest.raises(Damaged, match="folder/a: missing"):
        verify(folder)
    with pytest.raises(Damaged, match=r"b2: damaged \(checksums.json does not know it\)"):
        verify(folder, ["b2"])


def test_damaged_checksums_are_damage(folder):
    path = folder / checksums.NAME
    for content in ("", "{}", '{"format": "minielectra-checksums-1", "files": {"a": 3}}'):
        path.write_text(content)
        with pytest.raises(Damaged):
            verify(folder, ["a"])
    path.unlink()
    assert not verify(folder)


def test_a_file_that_comes_later(folder):
    (folder / "c").write_text("c")
    checksums.add(folder, "c")
    assert verify(folder) and set(checksums.recorded(folder)) == {"a", "b", "c"}


# Runs.


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpus):
    run = tmp_path_factory.mktemp("runs") / "run"
    train_here(run, corpus, *STEPS)
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def checkpoint(run, step):
    return run / "checkpoints" / f"step-{step:08d}"


def same_end(run, finished):
    names = ("model.safetensors", "optimizer.safetensors")
    return all(
        (checkpoint(run, 6) / name).read_bytes() == (checkpoint(finished, 6) / name).read_bytes()
        for name in names
    )


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", checksums.NAME, None]
)
def test_resuming_goes_back_to_the_newest_whole_checkpoint(run, finished, capsys, name):
    folder = checkpoint(run, 6)
    if name is None:
        (folder / checksums.NAME).unlink()
    else:
        flip(folder / name)
    cli_here("train", "--resume", run)
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "set aside" in line]
    assert told.startswith(str(folder)) and "damaged" in told
    assert told.endswith("set aside as step-00000006.damaged, goes on after step 4")
    assert same_end(run, finished)
    assert checkpoint(run, 6).with_name("step-00000006.damaged").is_dir()  # nothing is lost
    rows = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows == [0, 2, 4, 6]


def test_two_damaged_checkpoints_are_gone_around_and_three_are_an_error(run, finished, tmp_path, capsys):
    for step in (6, 4):
        flip(checkpoint(run, step) / "model.safetensors")
    third = shutil.copytree(run, tmp_path / "third")
    cli_here("train", "--resume", run)
    assert capsys.readouterr().err.count("goes on after step 2") == 2 and same_end(run, finished)
    (checkpoint(third, 2) / "state.json").unlink()
    before = sorted(third.rglob("*"))
    assert main(["train", "--resume", str(third)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "step-00000006/model.safetensors: damaged" in line and "no checkpoint of this run is whole" in line
    assert sorted(third.rglob("*")) == before


def damage_like_an_older_version(folder, value):
    """A NaN or the like in the weights of a checkpoint that has no checksums."""
    arrays = load_file(folder / "model.safetensors")
    next(iter(arrays.values())).flat[3] = value
    save_file(arrays, folder / "model.safetensors")
    (folder / checksums.NAME).unlink()
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({k: v for k, v in state.items() if k != "checksums"}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_a_checkpoint_is_named_and_not_blamed_on_the_learning_rate(run, finished, capsys, value):
    damage_like_an_older_version(checkpoint(run, 6), value)
    assert main(["detect", str(run), "a cat"]) == 2
    error = capsys.readouterr().err
    assert "model.safetensors: " in error and "holds NaN or infinite numbers" in error
    assert f"--resume {run} goes back" in error and "learning_rate" not in error
    cli_here("train", "--resume", run)
    error = capsys.readouterr().err
    assert "holds NaN or infinite numbers" in error and "learning_rate" not in error
    assert same_end(run, finished)


def test_commands_that_read_a_checkpoint_notice_damage(run, tmp_path, capsys):
    flip(checkpoint(run, 6) / "model.safetensors", 4)
    for words in (["detect", str(run), "a cat"], ["export", str(run), str(tmp_path / "out")]):
        assert main(words) == 2
        line = capsys.readouterr().err
        assert "model.safetensors: damaged (checksum" in line and f"--resume {run}" in line
        assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["train.tokens.npy", "heldout.tokens.npy", "vocab.txt", "dataset.json"])
def test_damaged_data_is_named_and_made_again(run, finished, capsys, name):
    shutil.rmtree(checkpoint(run, 6))
    flip(run / "data" / name)
    assert main(["train", "--resume", str(run)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{run / 'data' / name}: " in line
    shutil.rmtree(run / "data")
    cli_here("train", "--resume", run)
    assert same_end(run, finished)


def test_damaged_prepared_data_of_several_runs(tmp_path, corpus, capsys):
    cli_here("prepare", "--corpus", corpus, "--out", tmp_path / "data", "--vocab-size", "120")
    Dataset.open(tmp_path / "data").verify()
    flip(tmp_path / "data" / "train.sentences.npy")
    assert main(["train", "--corpus", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *STEPS]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{tmp_path / 'data'}/train.sentences.npy: damaged" in line and "prepare the dataset again" in line
    assert not (tmp_path / "run").exists()


# Which checkpoints stay.


def test_the_newest_two_and_others_spread_over_the_run():
    steps = []
    for step in range(100, 10100, 100):
        steps.append(step)
        for gone in superfluous(steps, 6):
            steps.remove(gone)
        assert len(steps) <= 6 and steps[-2:] == [step - 100, step][-len(steps) :]
    gaps = np.diff([0, *steps])
    assert max(gaps) <= 4000 and steps[0] <= 4000


@pytest.mark.parametrize(
    ("keep", "best", "stay"),
    [
        (0, None, 5),
        (1, None, [5]),
        (2, None, [4, 5]),
        (1, 2, [2, 5]),
        (1, 5, [4, 5]),
        (9, 1, 5),
        (2, 4, [3, 4, 5]),
    ],
)
def test_how_many_stay(keep, best, stay):
    steps = [1, 2, 3, 4, 5]
    left = [step for step in steps if step not in superfluous(steps, keep, best)]
    assert left == stay or len(left) == stay


def test_keep_and_the_best(tmp_path, corpus):
    run = tmp_path / "run"
    train_here(run, corpus, "--steps", "10", "--eval-every", "1", "--checkpoint-every", "1", "--keep", "2")
    steps = [step for step, _ in list_checkpoints(run)]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = best_of(run)
    metric = best["metric"]
    top = max(rows[1:], key=lambda row: (row[metric], row["step"]))
    assert best["step"] == top["step"] and best["value"] == top[metric]
    assert set(steps) >= {9, 10, top["step"]} and len(steps) <= 3
    state = json.loads((checkpoint(run, 10) / "state.json").read_text())
    assert state["best"] == best
    cli_here("train", "--resume", run, "--steps", "12", "--keep", "1")
    kept = [step for step, _ in list_checkpoints(run)]
    assert 12 in kept and best_of(run)["step"] in kept and len(kept) <= 2
    assert json.loads((run / "run.json").read_text())["settings"]["keep"] == 1


def test_a_run_of_a_version_that_kept_all_keeps_all(run):
    info = json.loads((run / "run.json").read_text())
    del info["settings"]["keep"]
    (run / "run.json").write_text(json.dumps(info))
    for step in range(10, 30):
        shutil.copytree(checkpoint(run, 2), run / "checkpoints" / f"step-{step:08d}")
    count = len(list_checkpoints(run))
    with pytest.raises(InputError):  # the last "checkpoint" lies after the end of the run
        cli_here("train", "--resume", run)
        raise InputError
    assert len(list_checkpoints(run)) == count


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_links_are_neither_followed_nor_removed(run, tmp_path):
    elsewhere = shutil.copytree(checkpoint(run, 6), tmp_path / "elsewhere")
    shutil.rmtree(checkpoint(run, 6))
    checkpoint(run, 6).symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.iterdir()}
    assert main(["train", "--resume", str(run), "--keep", "1"]) == 2
    assert main(["detect", str(run), "a cat"]) == 2
    assert {path: path.read_bytes() for path in elsewhere.iterdir()} == before
    assert checkpoint(run, 6).is_symlink()
    with pytest.raises(Damaged):
        check_whole(tmp_path)
    assert newest_whole(tmp_path / "nowhere") is None
