"""The report of a run: what it says, what it leaves out, and where it is refused."""

import base64
import gzip
import json
import re
import threading

import numpy as np
import pytest
from synthetic_run import VOCAB, sentences, synthetic_arrays, write_run

from minielectra.cli.entry import main
from minielectra.errors import InputError
from minielectra.formats.locks import LOCK_NAME, is_held, locked
from minielectra.report import follow_report, write_report
from minielectra.report.contents import report_contents
from minielectra.report.figures import charts_for
from minielectra.report.packed_records import LEVELS, pack_records, score_levels, spread
from minielectra.report.write_report import default_path
from minielectra.runs import run_folder
from minielectra.runs.detection_records import DetectionRecords


@pytest.fixture(scope="module")
def arrays():
    return synthetic_arrays(VOCAB, sentences(np.random.default_rng(1), 24, 30), evaluations=7)


@pytest.fixture
def run_dir(arrays, tmp_path):
    return write_run(tmp_path / "run", VOCAB, arrays)


def contents_of(page):
    """What a page says: the JSON in it."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="contents">(.*?)</script>', text, re.DOTALL)[1])


def unpacked(packed):
    """{name: array} of what `pack_records` packed, read as the page reads it."""
    data, arrays = gzip.decompress(base64.b64decode(packed["data"])), {}
    for about in packed["arrays"]:
        size, width = int(np.prod(about["shape"])), about["bytes"]
        planes = np.frombuffer(data, np.uint8, size * width, about["at"]).reshape(width, size)
        values = sum(planes[k].astype(np.uint64) << np.uint64(8 * k) for k in range(width))
        arrays[about["name"]] = values.reshape(about["shape"])
    return arrays


# The records in the page.


def test_every_threshold_of_thousandths_flags_the_same_tokens():
    scores = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # every float16 from 0 to 1
    levels = score_levels(scores)
    assert levels.min() == 0 and levels.max() == LEVELS - 1
    exact = scores.astype(np.float64)
    for threshold in range(1, LEVELS):
        np.testing.assert_array_equal(levels >= threshold, exact * LEVELS > threshold)


def test_the_page_holds_what_was_recorded(arrays):
    records = DetectionRecords(arrays, VOCAB)
    packed = unpacked(pack_records(records))
    np.testing.assert_array_equal(packed["steps"], arrays["steps"])
    np.testing.assert_array_equal(packed["originals"], arrays["input_ids"])
    np.testing.assert_array_equal(packed["trainCounts"], arrays["train_counts"])
    np.testing.assert_array_equal(packed["scores"], score_levels(arrays["scores"]))
    seen = (
        np.broadcast_to(arrays["input_ids"], arrays["scores"].shape).copy().reshape(len(arrays["steps"]), -1)
    )
    seen[:, packed["places"].astype(int)] = packed["samples"]
    np.testing.assert_array_equal(seen.reshape(arrays["scores"].shape), records.seen)


def test_vocabularies_beyond_two_bytes(arrays):
    many = [*VOCAB, *(f"word{i}" for i in range(70_000))]
    wide = arrays | {"train_counts": np.zeros(len(many), np.int64)}
    wide["samples"] = np.where(arrays["samples"] == 9, len(many) - 1, arrays["samples"]).astype(np.int32)
    packed = unpacked(pack_records(DetectionRecords(wide, many)))
    np.testing.assert_array_equal(packed["samples"], wide["samples"][:, wide["position_valid"]])


def test_what_is_left_out_is_in_between_and_said(arrays, run_dir, monkeypatch):
    assert spread(100, 5).tolist() == [0, 25, 50, 74, 99] and spread(3, 10).tolist() == [0, 1, 2]
    records = DetectionRecords(arrays, VOCAB)
    few = pack_records(records, most_bytes=1)
    assert few["evaluations"] == [0, 6] and unpacked(few)["steps"].tolist() == [0, 4000]
    monkeypatch.setattr("minielectra.report.contents.MOST_ROWS", 3)
    monkeypatch.setattr("minielectra.report.contents.MOST_BYTES", 1)
    run = report_contents([run_dir])["runs"][0]
    assert run["metrics"]["step"] == [0.0, 2000.0, 4000.0] and run["evaluations"] == 7
    assert len(run["detection"]["evaluations"]) == 2 and run["detection"]["count"] == 7


# What is said.


def test_every_setting_is_there_with_its_meaning(run_dir):
    info = run_folder.load(run_dir)
    info["settings"] |= {"steps": 4000, "corpus": ["a.txt", "b.txt"], "seed": 3}
    info |= {
        "pretraining": {"mask_fraction": 0.15},
        "config": {"hidden_size": 8},
        "corpus": {"train_tokens": 7},
    }
    run_folder.save(run_dir, info | {"fields": {"hidden_size": 8}})
    rows = {row["name"]: row for row in report_contents([run_dir])["runs"][0]["settings"]}
    assert rows["corpus"]["value"] == "a.txt, b.txt" and rows["seed"]["value"] == "3"
    assert rows["corpus.train_tokens"]["value"] == "7" and rows["format"]["value"] == run_folder.FORMAT
    assert rows["mask_fraction"]["meaning"] and rows["hidden_size"]["meaning"]
    assert {row["group"] for row in rows.values()} == {
        "settings of the run",
        "model",
        "pre-training",
        "record",
    }


def test_a_column_of_a_later_version_gets_a_chart_of_its_own():
    metrics = {
        "step": np.arange(3.0),
        "tokens": np.arange(3.0),
        "gen_loss": np.ones(3),
        "new": np.arange(3.0),
    }
    charts = charts_for([metrics | {"empty": np.full(3, np.nan)}])
    assert [chart.title for chart in charts] == ["Generator: loss on masked tokens", "new"]


def test_two_runs_of_one_name_are_told_apart(arrays, tmp_path):
    runs = [write_run(tmp_path / where / "run", VOCAB, arrays) for where in "ab"]
    assert [run["name"] for run in report_contents(runs)["runs"]] == [str(run) for run in runs]
    assert default_path([runs[0], tmp_path / "other"]) == runs[0] / "report-other.html"


def test_a_run_without_a_discriminator(arrays, tmp_path):
    run = write_run(tmp_path / "run", VOCAB, arrays, objective="mlm")
    contents = contents_of(write_report([run]))
    assert contents["runs"][0]["detection"] is None and "first guess" in contents["runs"][0]["finding"]
    assert not any("Discriminator" in chart["title"] for chart in contents["charts"])


def test_the_same_records_give_the_same_bytes(run_dir, tmp_path):
    first, second = (write_report([run_dir], tmp_path / f"{name}.html").read_bytes() for name in "ab")
    assert first == second


def test_nothing_of_a_run_is_markup(arrays, tmp_path):
    hostile = "</script><script>alert(1)</script>"
    tokens = [hostile if token == "the" else token for token in VOCAB]
    page = write_report([write_run(tmp_path / "<b>run", tokens, arrays)]).read_text(encoding="utf-8")
    assert hostile not in page and "<b>" not in page and page.count("<script") == 2


# Bad input: one line, and nothing lost.


@pytest.fixture
def refused(capsys):
    """A function that gives the command these words -> the one line with which it refuses them."""

    def refusal(*words):
        assert main(["report", *map(str, words)]) == 2
        out, line = capsys.readouterr()
        assert out == "" and line.startswith("minielectra: ") and line.count("\n") == 1
        return line

    return refusal


def test_runs_that_cannot_be_shown(run_dir, tmp_path, refused):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no such directory" in refused(tmp_path / "nowhere")
    assert "run.json is missing" in refused(empty)
    assert "one run or two, got 3" in refused(run_dir, run_dir, run_dir)
    assert "--out page.html" in refused(run_dir, "page.html")
    (run_dir / "detection.npz").unlink()
    assert "no detection records" in refused(run_dir)
    (run_dir / "metrics.jsonl").write_text("")
    assert "no evaluation yet" in refused(run_dir)
    assert "no evaluation yet" in refused(run_dir, "--live")
    assert not list(tmp_path.rglob("*.html"))


def test_files_that_cannot_be_written(run_dir, tmp_path, refused):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_text("kept")
    before = (run_dir / "metrics.jsonl").read_bytes()
    assert "choose another --out" in refused(run_dir, "--out", tmp_path / "folder.html")
    assert "choose another --out" in refused(run_dir, "--out", tmp_path / "file" / "page.html")
    assert "ends in .html" in refused(run_dir, "--out", run_dir / "metrics.jsonl")
    assert (tmp_path / "file").read_text() == "kept" and (run_dir / "metrics.jsonl").read_bytes() == before


def test_a_page_stays_if_the_next_one_fails(run_dir, tmp_path):
    page = write_report([run_dir], tmp_path / "page.html")
    before = page.read_bytes()
    (run_dir / "detection.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"detection\.npz"):
        write_report([run_dir], page)
    assert page.read_bytes() == before


# While a run trains.


class Training:
    """Holds the lock of a run in another thread until it is ended."""

    def __init__(self, run_dir):
        self.run_dir, self.over, self.begun = run_dir, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._hold)
        self.thread.start()
        assert self.begun.wait(20)

    def _hold(self):
        with locked(self.run_dir / LOCK_NAME, self.run_dir):
            self.begun.set()
            self.over.wait(60)

    def evaluate(self):
        last = (self.run_dir / "metrics.jsonl").read_text().splitlines()[-2]
        row = json.loads(last)
        lines = [json.dumps(row | {"step": row["step"] + 1}), '{"half']
        (self.run_dir / "metrics.jsonl").write_text("\n".join([last, *lines]))

    def end(self):
        self.over.set()
        self.thread.join(20)


def test_whether_a_lock_is_held(tmp_path):
    assert not is_held(tmp_path / LOCK_NAME)
    with locked(tmp_path / LOCK_NAME, tmp_path):
        assert is_held(tmp_path / LOCK_NAME)
    (tmp_path / LOCK_NAME).write_text("left by a process that was killed")
    assert not is_held(tmp_path / LOCK_NAME)


def test_the_page_follows_a_training_to_its_end(run_dir):
    training, pages = Training(run_dir), []

    def written(path):
        pages.append(contents_of(path))
        (training.evaluate, training.end, lambda: None)[len(pages) - 1]()

    try:
        path = follow_report([run_dir], written=written, poll=0.01)
    finally:
        training.end()
    assert path == run_dir / "report.html"
    assert [page["runs"][0]["metrics"]["step"][-1] for page in pages] == [4000, 4001, 4001]
    assert [bool(page["live"]) for page in pages] == [True, True, False]


def test_a_training_without_an_evaluation_is_waited_for(run_dir):
    rows = (run_dir / "metrics.jsonl").read_text()
    (run_dir / "metrics.jsonl").write_text("")
    training, told, pages = Training(run_dir), [], []

    def waiting(why):
        told.append(why)
        (run_dir / "metrics.jsonl").write_text(rows)

    def written(path):
        pages.append(path)
        training.end()

    try:
        follow_report([run_dir], written=written, waiting=waiting, poll=0.01)
    finally:
        training.end()
    assert len(told) == 1 and "no evaluation yet" in told[0] and len(pages) == 2


def test_a_last_page_does_not_refresh_after_an_interruption(run_dir):
    training = Training(run_dir)

    def written(path):
        assert contents_of(path)["live"]["seconds"] >= 5
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            follow_report([run_dir], written=written, poll=0.01)
    finally:
        training.end()
    assert not contents_of(run_dir / "report.html")["live"]


def test_a_run_that_nobody_trains_is_written_once(run_dir):
    pages = []
    follow_report([run_dir], written=pages.append, poll=0.01)
    assert len(pages) == 1 and contents_of(pages[0])["live"] is None


def test_the_command_prints_the_file(run_dir, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    assert main(["report", str(run_dir), "--live", "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n" and page.is_file()
