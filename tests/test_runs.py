"""The files of a run: each writer against its reader, older files, and what a killed process leaves."""

import io
import json
import tracemalloc
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_run import VOCAB, sentences, synthetic_arrays

from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError
from minielectra.formats import limits
from minielectra.formats.json_text import json_text
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.runs import checkpoints, run_folder
from minielectra.runs.detection_records import LAYOUT, PER_EVALUATION, DetectionLog, DetectionRecords
from minielectra.runs.metrics_log import MetricsLog, metric_columns, read_metrics

# --- run.json --------------------------------------------------------------------------------------------


def test_run_json_comes_back_as_it_was_written(tmp_path):
    folder = tmp_path / "run"
    info = run_folder.create(folder, {"preset": "tiny", "seed": 3})
    assert run_folder.load(folder) == info
    with pytest.raises(InputError, match="stopped before its data was ready"):
        run_folder.configs(info, ElectraConfig, PretrainingConfig, folder)
    config, pretraining = ElectraConfig(vocab_size=100), PretrainingConfig(batch_size=8)
    run_folder.save(folder, run_folder.with_configs(info, config, pretraining, steps=7))
    loaded = run_folder.load(folder)
    assert run_folder.configs(loaded, ElectraConfig, PretrainingConfig) == (config, pretraining)
    assert loaded["steps"] == 7
    later = loaded | {"config": loaded["config"] | {"colour": "red"}}
    with pytest.raises(InputError, match="does not know the setting colour"):
        run_folder.configs(later, ElectraConfig, PretrainingConfig)


def test_a_folder_with_something_in_it_is_no_place_for_a_run(tmp_path):
    run_folder.create(tmp_path / "run", {})
    with pytest.raises(InputError, match="already holds a run; continue it with --resume"):
        run_folder.create(tmp_path / "run", {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        run_folder.create(tmp_path / "other", {})
    with pytest.raises(InputError, match="not an empty folder"):
        run_folder.create(tmp_path / "other" / "file", {})


@pytest.mark.parametrize("text", ["{}", '{"format": "minielectra-run-1"}', "[]", "nonsense"])
def test_something_else_is_not_taken_for_run_json(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        run_folder.load(tmp_path)


# --- metrics.jsonl ---------------------------------------------------------------------------------------


def test_metrics_come_back_as_they_were_appended(tmp_path):
    log = MetricsLog(tmp_path)
    log.restore(-1)
    rows = [{"step": 0, "gen_loss": 7.5, "disc_auc": None}, {"step": 10, "gen_loss": 6.25, "disc_auc": 0.5}]
    for row in rows:
        log.append(row)
    assert log.rows == read_metrics(tmp_path) == rows
    columns = metric_columns(tmp_path)
    np.testing.assert_array_equal(columns["step"], [0, 10])
    np.testing.assert_array_equal(columns["disc_auc"], [np.nan, 0.5])
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(json.dumps(row) + "\n" for row in rows)


def test_what_is_not_a_number_is_null_in_json(tmp_path):
    """JSON has no NaN; programs other than Python refuse it."""
    log = MetricsLog(tmp_path)
    log.append({"step": 0, "auc": float("nan"), "nested": [{"x": float("inf")}, 1.5, "NaN"]})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 0, "auc": null, "nested": [{"x": null}, 1.5, "NaN"]}\n'
    assert np.isnan(metric_columns(tmp_path)["auc"]).all()
    exact = {"a": [0.1, 1e-300, True, None, np.float64(1 / 3)], "b": {}}
    assert json.loads(json_text(exact)) == exact


def test_a_step_that_was_done_twice_counts_once(tmp_path):
    """The later line wins, and what is not a number is NaN."""
    rows = [
        {"step": 0, "loss": 5},
        {"step": 10, "loss": 4},
        {"step": 20, "loss": 3},
        {"step": 10, "loss": None},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    metrics = metric_columns(tmp_path)
    np.testing.assert_array_equal(metrics["step"], [0, 10, 20])
    np.testing.assert_array_equal(metrics["loss"], [5, np.nan, 3])


@pytest.mark.parametrize("half", ["", "{", '{"step": 2', '{"step": 20, "gen_l', "\0\0\0"])
def test_a_half_written_last_line_is_ignored_and_removed(tmp_path, half):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 10}\n' + half)
    assert read_metrics(tmp_path) == [{"step": 0}, {"step": 10}]
    log = MetricsLog(tmp_path)
    log.restore(10)
    log.append({"step": 20})
    assert path.read_text() == '{"step": 0}\n{"step": 10}\n{"step": 20}\n'


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "3",
        "[1]",
        '{"loss": 2}',
        '{"step": "x"}',
        '{"step": Infinity}',
        "[" * 9999,
        '{"step": 1, "seconds": "x"}',
    ],
)
def test_a_damaged_line_in_the_middle_is_an_error(tmp_path, capsys, line):
    content = f'{{"step": 0}}\n{line}\n{{"step": 10}}\n'
    (tmp_path / "metrics.jsonl").write_text(content)
    for read in (read_metrics, metric_columns):
        with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: .*; delete this line"):
            read(tmp_path)
    MetricsLog(tmp_path).restore(10)  # a training goes on
    assert "set aside as metrics.jsonl.damaged" in capsys.readouterr().err
    assert read_metrics(tmp_path) == [{"step": 0}, {"step": 10}]
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == content


def test_restoring_metrics_forgets_later_evaluations(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 10}\n{"step": 20}\n')
    log = MetricsLog(tmp_path)
    log.restore(10)
    assert log.rows == read_metrics(tmp_path) == [{"step": 0}, {"step": 10}]
    log.restore(-1)
    assert log.rows == read_metrics(tmp_path) == []
    with pytest.raises(InputError, match="no evaluation yet"):
        metric_columns(tmp_path)


# --- detection.npz ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays():
    return synthetic_arrays(VOCAB, sentences(np.random.default_rng(1), 7, 30), evaluations=5)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCAB))
    return tmp_path


def open_log(run, arrays):
    batch = SimpleNamespace(
        input_ids=arrays["input_ids"],
        positions=arrays["positions"],
        weights=arrays["position_valid"].astype(np.float32),
    )
    return DetectionLog(run, batch, arrays["train_counts"], (0, 2, 3))


def append(log, arrays, *evaluations):
    """Append some evaluations of `arrays`, with what the trainer's evaluation returns."""
    for e in evaluations:
        log.append(
            int(arrays["steps"][e]), {n: arrays[n][e] for n in ("samples", "scores", "gen_correct_prob")}
        )


def only(arrays, *evaluations):
    return arrays | {name: arrays[name][list(evaluations)] for name in PER_EVALUATION}


def assert_equal(found, expected):
    for name, (dtype, *_) in LAYOUT.items():
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        assert found[name].dtype == dtype, name


def assert_reads(run, expected):
    assert_equal(vars(DetectionRecords.load(run)), expected)


def assert_whole(run, expected):
    """detection.npz alone holds everything, as users open it, and nothing else is left."""
    with np.load(run / "detection.npz", allow_pickle=False) as file:
        assert set(file.files) == set(LAYOUT)
        assert_equal(file, expected)
    assert {path.name for path in run.iterdir()} == {"vocab.txt", "detection.npz"}


def write_old(run, arrays):
    """detection.npz as versions before wrote it at every evaluation."""
    np.savez_compressed(run / "detection.npz", **arrays)


def test_a_closed_log_is_one_file_with_everything(run, arrays):
    log = open_log(run, arrays)
    log.restore(-1)
    for e in range(5):
        append(log, arrays, e)
        assert_reads(run, only(arrays, *range(e + 1)))  # while the run goes on, too
    log.close()
    assert_whole(run, arrays)
    before = (run / "detection.npz").stat()
    log.close()  # once more does no harm, and no work
    open_log(run, arrays).restore(int(arrays["steps"][-1]))
    after = (run / "detection.npz").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_an_evaluation_costs_the_same_however_many_came_before(run, arrays):
    """What is written at the last evaluation is as much as at the second."""
    log = open_log(run, arrays)
    sizes = []
    for e in range(5):
        before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npz")}
        append(log, arrays, e)
        sizes.append(
            sum(
                path.stat().st_size
                for path in run.rglob("*.npz")
                if path.stat().st_mtime_ns != before.get(path)
            )
        )
    assert max(sizes[1:]) < 1.1 * min(sizes[1:])


def test_a_killed_run_loses_nothing_and_resumes(run, arrays):
    log = open_log(run, arrays)
    append(log, arrays, 0, 1, 2)  # killed here: never closed
    assert_reads(run, only(arrays, 0, 1, 2))
    log = open_log(run, arrays)
    log.restore(int(arrays["steps"][1]))  # the last checkpoint is older than the last evaluation
    assert_whole(run, only(arrays, 0, 1))
    append(log, arrays, 2, 3)  # killed once more
    assert_reads(run, only(arrays, 0, 1, 2, 3))
    log = open_log(run, arrays)
    log.restore(int(arrays["steps"][3]))
    append(log, arrays, 4)
    log.close()
    assert_whole(run, arrays)


def test_killed_while_gathering_both_places_hold_the_same(run, arrays):
    log = open_log(run, arrays)
    append(log, arrays, 0, 1, 2, 3)
    parts = {path: path.read_bytes() for path in (run / "detection").iterdir()}
    log.close()
    for kept in (2, 4):  # killed while the parts were being removed, or before
        (run / "detection").mkdir(exist_ok=True)
        for path, content in list(parts.items())[:kept]:
            path.write_bytes(content)
        assert_reads(run, only(arrays, 0, 1, 2, 3))
    (run / "detection" / ".step-00000000.npz.0123456789abcdef.partial").mkdir()  # killed while writing a part
    assert_reads(run, only(arrays, 0, 1, 2, 3))
    open_log(run, arrays).restore(int(arrays["steps"][2]))
    assert_whole(run, only(arrays, 0, 1, 2))


def test_a_run_of_an_older_version_is_read_and_resumed(run, arrays):
    write_old(run, only(arrays, 0, 1, 2))
    assert_reads(run, only(arrays, 0, 1, 2))
    log = open_log(run, arrays)
    log.restore(int(arrays["steps"][1]))
    append(log, arrays, 2)
    assert_reads(run, only(arrays, 0, 1, 2))
    append(log, arrays, 3, 4)
    log.close()
    assert_whole(run, arrays)


def test_a_run_that_starts_over_forgets_everything(run, arrays):
    write_old(run, arrays)
    log = open_log(run, arrays)
    log.restore(-1)
    with pytest.raises(InputError, match="holds no evaluation yet"):
        DetectionRecords.load(run)
    append(log, arrays, 0, 1, 2, 3, 4)
    log.close()
    assert_whole(run, arrays)


def test_a_part_wins_over_the_whole(run, arrays):
    write_old(run, only(arrays, 0, 1))
    log = open_log(run, arrays)
    changed = arrays | {"scores": 1 - arrays["scores"]}
    append(log, changed, 1)
    records = DetectionRecords.load(run)
    np.testing.assert_array_equal(records.scores, [arrays["scores"][0], changed["scores"][1]])


def test_without_evaluations_there_is_nothing_to_gather(run, arrays):
    log = open_log(run, arrays)
    log.restore(-1)
    log.close()
    assert {path.name for path in run.iterdir()} == {"vocab.txt"}
    with pytest.raises(InputError, match=r"detection\.npz is missing"):
        DetectionRecords.load(run)


def forged(path, **changed):
    """Replace arrays of an .npz file."""
    with np.load(path) as file:
        np.savez(path, **({name: file[name] for name in file.files} | changed))


def npy(shape, data=b""):
    """The bytes of an .npy file of int32 whose header may say anything."""
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        (None, lambda whole: b"", "cut short"),
        (None, lambda whole: whole[: len(whole) // 2], "cut short"),
        ("scores", lambda a: a[:, :3], "scores has B = 3, but input_ids has B = 7"),
        ("scores", lambda a: a * np.nan, "scores holds nan"),
        ("scores", lambda a: a + 1, "scores holds 1"),
        ("samples", lambda a: a - 1000, "samples holds -"),
        ("kept", lambda a: a.astype(float), "dtype float64, expected .E, V. of int32"),
        ("kept", lambda a: a[:, :-1], "kept has V = "),
        ("kept", lambda a: np.array([None]), "kept has shape .1,. and dtype object"),
        ("kept", lambda a: npy((10**6, 10**6)), "kept has .* 1000000"),
        ("kept", lambda a: npy(a.shape, bytes(8)), "kept is not as long as its header says"),
        ("kept", lambda a: npy((-1, -1)), "kept has .*-1"),
        ("kept", lambda a: npy("('a', [])"), "cut short or not an .npz file"),
        (
            "kept",
            lambda a: npy(f"({a.shape[0]}, {a.shape[1]}, " + "(" * 5000),
            "cut short or not an .npz file",
        ),
    ],
)
@pytest.mark.parametrize("place", ["whole", "part"])
def test_a_damaged_file_is_one_line_and_does_not_stop_a_training(
    run, arrays, capsys, place, name, change, match
):
    log = open_log(run, arrays)
    append(log, arrays, 0, 1)
    if place == "whole":
        log.close()
    path = run / "detection.npz" if place == "whole" else sorted((run / "detection").iterdir())[1]
    if name is None:
        path.write_bytes(change(path.read_bytes()))
    else:
        with np.load(path) as file:
            changed = change(file[name])
        if isinstance(changed, bytes):
            replace_member(path, name, changed)
        else:
            forged(path, **{name: changed})
    with pytest.raises(InputError, match=match) as caught:
        DetectionRecords.load(run)
    assert str(path) in str(caught.value) and "train --resume" in str(caught.value)
    log.restore(10**6)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{path}: " in said and f"set aside as {path.name}.damaged" in said
    assert path.with_name(path.name + ".damaged").exists() and log.lost
    append(log, arrays, 2)
    log.close()
    assert_reads(run, only(arrays, *([2] if place == "whole" else [0, 2])))


def replace_member(path, name, content):
    """Replace the bytes of one array of an .npz file."""
    with zipfile.ZipFile(path) as file:
        members = {member: file.read(member) for member in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for member, old in members.items():
            file.writestr(member, content if member == f"{name}.npy" else old)


def test_records_that_expand_to_gigabytes_take_no_memory(run, arrays, monkeypatch):
    """All arrays fit together, and 4 GB of zeros take 4 MB."""
    shapes = {
        name: [1000 if dim == "E" else arrays[name].shape[i] for i, dim in enumerate(about.dims)]
        for name, about in LAYOUT.items()
    }
    with zipfile.ZipFile(run / "detection.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name, shape in shapes.items():
            array = np.zeros(shape, LAYOUT[name].dtype) if "E" in LAYOUT[name].dims else arrays[name]
            buffer = io.BytesIO()
            np.save(buffer, np.arange(1000) if name == "steps" else array)
            file.writestr(f"{name}.npy", buffer.getvalue())
    DetectionRecords.load(run)
    monkeypatch.setattr(limits, "RECORDS", 100_000)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"more than 0 MiB; MINIELECTRA_LIMITS=4 in the environment"):
        DetectionRecords.load(run)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    monkeypatch.setenv("MINIELECTRA_LIMITS", "1000")
    DetectionRecords.load(run)


def test_records_of_another_text_are_set_aside(run, arrays, capsys):
    log = open_log(run, arrays)
    append(log, arrays, 0)
    log.close()
    forged(run / "detection.npz", input_ids=arrays["input_ids"][::-1])
    open_log(run, arrays).restore(10**6)
    assert "input_ids is not that of this run" in capsys.readouterr().err


# --- checkpoints -----------------------------------------------------------------------------------------


class Store:
    """Named arrays with the interface that checkpoints need of parameters and of an optimizer."""

    def __init__(self, **arrays):
        self.arrays = {name: np.array(values, np.float32) for name, values in arrays.items()}

    def state(self):
        return self.arrays

    def load_state(self, arrays):
        if arrays.keys() != self.arrays.keys():
            raise ValueError("other names")
        for name, array in arrays.items():
            self.arrays[name][...] = array


def stores():
    return Store(weight=[[1, 2], [3, 4]]), Store(first_moment=[5, 6, 7, 8], second_moment=[9, 10, 11, 12])


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    parameters, optimizer = stores()
    assert checkpoints.list_checkpoints(tmp_path) == []
    for step in (200, 1000):
        folder = checkpoints.save_checkpoint(tmp_path, step, parameters, optimizer, {"tokens": 5})
        parameters.arrays["weight"] += 1
    (tmp_path / "checkpoints" / ".step-00002000.0123456789abcdef.partial").mkdir()
    assert [step for step, _ in checkpoints.list_checkpoints(tmp_path)] == [200, 1000]
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "checksums.json",
    }
    parameters, optimizer = Store(weight=np.zeros((2, 2))), Store(first_moment=[0] * 4, second_moment=[0] * 4)
    state = checkpoints.load_checkpoint(folder, parameters, optimizer)
    assert state == {"format": checkpoints.FORMAT, "step": 1000, "checksums": True, "tokens": 5}
    np.testing.assert_array_equal(parameters.arrays["weight"], [[2, 3], [4, 5]])
    np.testing.assert_array_equal(optimizer.arrays["second_moment"], [9, 10, 11, 12])


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    folder = checkpoints.save_checkpoint(tmp_path, 1, *stores(), {})
    for misfit in (
        (Store(weight=np.zeros((2, 2))), Store(momentum=[0] * 4)),
        (Store(weight=np.zeros((2, 2))), Store(first_moment=[0] * 3, second_moment=[0] * 3)),
        (Store(bias=np.zeros((2, 2))), stores()[1]),
    ):
        with pytest.raises(InputError, match=r"does not fit this run.*; remove the folder"):
            checkpoints.load_checkpoint(folder, *misfit)
        assert not any(array.any() for array in misfit[0].arrays.values())


def test_a_checkpoint_is_written_once(tmp_path):
    parameters, optimizer = stores()
    folder = checkpoints.save_checkpoint(tmp_path, 1, parameters, optimizer, {"tokens": 5})
    before = (folder / "model.safetensors").read_bytes()
    parameters.arrays["weight"] += 1
    assert checkpoints.save_checkpoint(tmp_path, 1, parameters, optimizer, {"tokens": 6}) == folder
    assert (folder / "model.safetensors").read_bytes() == before
