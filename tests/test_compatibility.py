"""Run folders and fine-tuned directories that version 0.1 wrote still work, with the same results.

`fixtures/run_0_1` was killed between the evaluation and the checkpoint of step 12, so it resumes from step 8.
What version 0.1 itself went on to is in `fixtures/expected.json` and `fixtures/expected_weights.safetensors`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import cli
from safetensors.numpy import load_file

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
CLOSE = {"rel": 1e-3, "abs": 1e-5}  # another processor's BLAS rounds differently


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The run, resumed to its end."""
    run = tmp_path_factory.mktemp("old") / "run"
    shutil.copytree(FIXTURES / "run_0_1", run)
    assert cli("train", "--resume", run).stdout.splitlines()[-1] == str(run)
    return run


@pytest.fixture
def finetuned(tmp_path):
    shutil.copytree(FIXTURES / "finetuned_0_1", tmp_path / "finetuned")
    return tmp_path / "finetuned"


def test_a_resumed_run_ends_with_the_same_weights(resumed):
    weights = load_file(resumed / "checkpoints" / "step-00000012" / "model.safetensors")
    expected = load_file(FIXTURES / "expected_weights.safetensors")
    assert list(weights) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(weights[name], array, rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_resumed_run_has_the_same_metrics(resumed):
    lines = (resumed / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(EXPECTED["metrics"])
    for line, expected in zip(lines, EXPECTED["metrics"], strict=True):
        row = json.loads(line)
        assert row.keys() >= expected.keys()
        for name, value in expected.items():  # another BLAS moves shares by whole tokens
            near = value if value is None else pytest.approx(value, rel=1e-3, abs=0.01)
            assert row[name] == near, name


def test_detect_plot_and_export(resumed, tmp_path):
    text = EXPECTED["detect"]["text"]
    found = json.loads(cli("detect", resumed, text, "--json").stdout)
    assert found["tokens"] == EXPECTED["detect"]["tokens"]
    assert found["replaced"] == pytest.approx(EXPECTED["detect"]["replaced"], **CLOSE)
    pictures = cli("plot", resumed, "--out", tmp_path / "plots").stdout.splitlines()
    assert len(pictures) == 8 and all(Path(picture).stat().st_size for picture in pictures)
    directories = cli("export", resumed, tmp_path / "exported").stdout.splitlines()
    assert [Path(directory).name for directory in directories] == ["discriminator", "generator"]


def test_detection_records_of_an_unfinished_run_can_be_drawn(tmp_path):
    from minielectra.runs.detection_records import DetectionRecords

    assert list(DetectionRecords.load(FIXTURES / "run_0_1").steps) == [0, 4, 8, 12]


def test_a_fine_tuned_directory_predicts_the_same(finetuned):
    lines = cli("predict", finetuned, FIXTURES / "sentences.tsv", "--json").stdout.splitlines()
    for line, expected in zip(lines, EXPECTED["predict"], strict=False):
        found = json.loads(line)
        assert found["text"] == expected["text"]
        assert found["scores"] == pytest.approx(expected["scores"], **CLOSE)
    scores = json.loads(cli("evaluate", finetuned, FIXTURES / "sentences.tsv", "--json").stdout)
    assert scores == pytest.approx(EXPECTED["evaluate"], abs=0.05)
