"""`export` with smaller weights and as ONNX files: folders that come back, and what is refused."""

import json

import numpy as np
import pytest
from conftest import cli_here, train_here
from hostile import CONFIG
from test_exports import refused

from minielectra.cli.entry import main
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.devices import export_files
from minielectra.finetuning.directory import Finetuned, save_finetuned
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.loop import SeedResult
from minielectra.finetuning.readers.tables import Example, TableFormat
from minielectra.finetuning.tasks.classification import Classification
from minielectra.formats.int8_weights import quantized, restored
from minielectra.pretraining.exported_pair import open_towers
from minielectra.pretraining.load import load_pretraining

EXAMPLES = [Example("a b", "c", None, 1), Example("d", "a a a", None, 2)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    out = tmp_path_factory.mktemp("exported") / "run"
    train_here(out, corpus, "--steps", "2")
    return out


@pytest.fixture
def finetuned(tmp_path):
    """A fine-tuned directory with random weights."""
    task = Classification("rte", TableFormat("columns", text=0, pair=1), ("no", "yes"))
    model = task.model_class(HeadConfig(**vars(CONFIG), labels=task.labels))
    flat = np.random.default_rng(0).standard_normal(model.parameters.size).astype(np.float32)
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, *"abcd"])
    results = {"task": "rte"}
    save_finetuned(
        tmp_path / "rte", task, model, SeedResult(0, [], {}, flat, task.settings), tokenizer, 12, results
    )
    return tmp_path / "rte"


def rounded(array, quantize):
    if array.ndim == 2 and quantize == "int8":
        return restored(*quantized(array))
    return array.astype(np.float16).astype(np.float32) if quantize == "float16" else array


@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_both_towers_come_back_rounded(run, tmp_path, quantize, capsys):
    capsys.readouterr()
    assert main(["export", str(run), str(tmp_path / "out"), "--quantize", quantize]) == 0
    folders = [tmp_path / "out" / name for name in ("discriminator", "generator")]
    assert capsys.readouterr().out.split() == [str(folder) for folder in folders]
    objective, _ = load_pretraining(run)
    found = open_towers(tmp_path / "out")
    for name, tower in objective.towers.items():
        for key, array in tower.standalone_state().items():
            assert np.array_equal(found[name].parameters[key].value, rounded(array, quantize)), key
    cli_here("detect", tmp_path / "out", "the old cat")
    names = {path.name for path in (tmp_path / "out").rglob("*.safetensors")}
    assert names == {"towers.safetensors" if quantize == "int8" else "model.safetensors"}


@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_a_fine_tuned_directory_comes_back_rounded(finetuned, tmp_path, quantize):
    cli_here("export", finetuned, tmp_path / "out", "--quantize", quantize)
    before, after = Finetuned(finetuned), Finetuned(tmp_path / "out")
    for name in before.model.parameters:
        array = before.model.parameters[name].value
        assert np.array_equal(after.model.parameters[name].value, rounded(array, quantize)), name
    assert after.task.settings == before.task.settings and after.tokenizer.same_as(before.tokenizer)
    assert after.max_length == before.max_length
    assert {path.name for path in finetuned.iterdir()} == {path.name for path in (tmp_path / "out").iterdir()}


def test_an_int8_directory_is_rounded_only_once(finetuned, tmp_path):
    cli_here("export", finetuned, tmp_path / "a", "--quantize", "int8")
    cli_here("export", tmp_path / "a", tmp_path / "b", "--quantize", "int8")
    once, twice = (Finetuned(tmp_path / name).model.parameters.flat for name in "ab")
    assert np.abs(once - twice).max() <= 1e-6 * np.abs(once).max()


@pytest.mark.parametrize("quantize", [(), ("--quantize", "float16"), ("--quantize", "int8")])
def test_onnx_files_and_what_belongs_to_them(run, finetuned, tmp_path, quantize):
    runtime = pytest.importorskip("onnxruntime", reason="running ONNX files needs pip install onnxruntime")
    cli_here("export", run, tmp_path / "pair", "--format", "onnx", *quantize)
    beside = {"config.json", "model.onnx", "tokenizer_config.json", "vocab.txt"}
    for name in ("discriminator", "generator"):
        assert {path.name for path in (tmp_path / "pair" / name).iterdir()} == beside
    cli_here("export", finetuned, tmp_path / "rte-onnx", "--format", "onnx", *quantize)
    found = {path.name for path in (tmp_path / "rte-onnx").iterdir()}
    assert found == beside | {"task.json", "results.json"}
    opened = Finetuned(finetuned)
    session = runtime.InferenceSession(tmp_path / "rte-onnx" / "model.onnx")
    for sequence in opened.task.encode(EXAMPLES, opened.tokenizer, 12, labelled=False):
        ids, segments = (np.array([x], np.int64) for x in (sequence.ids, sequence.segments))
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": segments}
        (logits,) = session.run(["logits"], inputs)
        tolerance = {(): 1e-5, ("--quantize", "float16"): 0.02}.get(quantize, 0.5)
        assert np.abs(logits - opened.model(ids, None, segments)).max() < tolerance


def test_one_tower_alone_is_exported_too(run, tmp_path):
    pytest.importorskip("onnx", reason="ONNX files need pip install onnx")
    cli_here("export", run, tmp_path / "pair")
    cli_here("export", tmp_path / "pair" / "generator", tmp_path / "out", "--format", "onnx")
    assert (tmp_path / "out" / "generator" / "model.onnx").is_file()


def test_nothing_of_the_users_is_replaced(finetuned, run, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in finetuned.iterdir()}
    for options in (("--quantize", "int8"), ("--format", "onnx")):
        assert "exists already" in refused(capsys, "export", finetuned, finetuned, *options)
        assert "exists already" in refused(capsys, "export", run, finetuned, *options)
    assert {path.name: path.read_bytes() for path in finetuned.iterdir()} == before
    assert "already" in refused(capsys, "export", finetuned, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rte"]


def test_what_fails_in_the_middle_leaves_nothing(finetuned, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr(export_files, "save_int8", full)
    assert "No space left" in refused(capsys, "export", finetuned, tmp_path / "out", "--quantize", "int8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rte"]


def test_weights_too_large_for_float16_are_refused(finetuned, tmp_path, capsys):
    model = Finetuned(finetuned).model
    model.parameters["classifier.dense.weight"].value[0, 0] = 1e5
    model.save_pretrained(finetuned)
    for options in ((), ("--format", "onnx")):
        line = refused(capsys, "export", finetuned, tmp_path / "out", "--quantize", "float16", *options)
        assert "classifier.dense.weight" in line and "choose --quantize int8" in line


def test_bad_sources_are_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "head").mkdir()
    config = {"architectures": ["ElectraForMultipleChoice"], "model_type": "electra"}
    (tmp_path / "head" / "config.json").write_text(json.dumps(config))
    for source, words in (("nothing", "no such folder"), ("empty", "neither a run"), ("head", "missing")):
        assert words in refused(capsys, "export", tmp_path / source, tmp_path / "out", "--format", "onnx")
