"""What a fine-tuned head reads: the last layer, a layer of a truncated encoder, or a mix of all layers."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import cli, train_here
from small import SMALL
from test_finetuning import TEXTS, short

from minielectra.cli.entry import main
from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError
from minielectra.finetuning.backbone import make_objective, read_backbone
from minielectra.finetuning.directory import Finetuned
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    HeadConfig,
)
from minielectra.finetuning.loop import LabelledSet, evaluate
from minielectra.finetuning.objective import MIX_RATE, FinetuningObjective
from minielectra.finetuning.sequences import Encoded, pad_batch
from minielectra.finetuning.task_losses import AnsweringLoss, ClassificationLoss, TaggingLoss
from minielectra.finetuning.tasks import find
from minielectra.nn import inference
from minielectra.nn.layers import PassContext
from minielectra.nn.mixed_encoder import SCALE, START, WEIGHTS
from minielectra.training.engine import make_engine

SIZES = {name: SMALL[name] for name in SMALL if name in ElectraConfig.__dataclass_fields__}
MIXED = HeadConfig(**SIZES, readout="mix", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
KINDS = {
    "sequences": (ElectraForSequenceClassification, ClassificationLoss()),
    "tokens": (ElectraForTokenClassification, TaggingLoss()),
    "answers": (ElectraForQuestionAnswering, AnsweringLoss()),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def filled(model, seed=0):
    random = np.random.default_rng(seed)
    model.parameters.flat[...] = 0.3 * random.standard_normal(model.parameters.size)
    return model


def mixed_and_last(kind):
    """The same weights, once under a mix and once under the last layer."""
    mixed = filled(KINDS[kind][0](MIXED))
    last = KINDS[kind][0](dataclasses.replace(MIXED, readout="last"))
    last.parameters.load_state({n: x for n, x in mixed.parameters.state().items() if n not in START})
    return mixed, last


def tokens(seed=0, count=5, length=12):
    random = np.random.default_rng(seed)
    ids = random.integers(5, SIZES["vocab_size"], (count, length), dtype=np.int32)
    return ids, np.arange(length) < random.integers(3, length + 1, count)[:, None], ids % 2


@kinds
def test_a_mix_of_one_layer_is_that_layer(kind):
    """All weight on the last layer gives the usual model, all weight on layer i the truncated one."""
    mixed, last = mixed_and_last(kind)
    mixed.parameters[SCALE].value[...] = 1.0
    ids, valid, segments = tokens()
    for layer in (1, 2):
        mixed.parameters[WEIGHTS].value[...] = 200.0 * (np.arange(3) == layer)
        shallow = KINDS[kind][0](dataclasses.replace(last.config, num_hidden_layers=layer))
        state = last.parameters.state()
        shallow.parameters.load_state({name: state[name] for name in shallow.parameters})
        np.testing.assert_allclose(mixed(ids, valid, segments), shallow(ids, valid, segments), atol=2e-6)


@kinds
def test_the_mix_is_what_its_definition_says(kind):
    """And a forward pass alone, which overwrites layers, gives what one with a backward pass gives."""
    mixed, _ = mixed_and_last(kind)
    ids, valid, segments = tokens(1)
    trained, _ = mixed.forward(ids, valid, segments, PassContext())
    np.testing.assert_allclose(
        mixed(ids, valid, segments).reshape(trained.shape), trained, rtol=1e-4, atol=2e-6
    )
    x, _ = mixed.embeddings.forward(ids, segments, PassContext())
    _, cache = mixed.encoder.forward(x, valid, ids.shape, PassContext())
    assert len(cache.mix.layers) == 3
    w = mixed.parameters[WEIGHTS].value
    shares = np.exp(w) / np.exp(w).sum()
    expected = mixed.parameters[SCALE].value * sum(
        s * layer for s, layer in zip(shares, cache.mix.layers, strict=True)
    )
    np.testing.assert_allclose(mixed.encode(ids, valid, segments, PassContext())[0], expected, atol=2e-6)


def test_a_mix_needs_no_more_memory_for_a_deep_model(monkeypatch):
    sizes = []
    monkeypatch.setattr(inference, "usable_cores", lambda: 1)
    for layers in (1, 9):
        monkeypatch.setattr(inference, "_spare", [])
        config = dataclasses.replace(MIXED, num_hidden_layers=layers, max_position_embeddings=300)
        ElectraForTokenClassification(config)(np.zeros((4, 300), np.int32))
        sizes.append(inference._spare[0].nbytes)
    assert sizes[0] == sizes[1] > 0


@kinds
def test_engines_give_the_same_bits(kind):
    sequences = []
    for i in range(7):
        ids = [2, *range(5, 8 + i), 3]
        target = {"sequences": i % 2, "tokens": [k % 2 for k in range(len(ids))], "answers": (1, 2)}[kind]
        sequences.append(
            Encoded(ids, [0] * len(ids), i, target, None if kind == "sequences" else [1.0] * len(ids))
        )
    found = {}
    for workers in ("plain", "threads", "processes"):
        objective = FinetuningObjective(MIXED, FinetuningConfig(batch_size=7, shards=3), *KINDS[kind])
        filled(objective.model)
        engine = make_engine(objective, workers=workers)
        for step in range(3):
            assert engine.step(pad_batch(sequences, 0), 1e-3, 0, step).finite
        found[workers] = engine.objective.parameters.flat.copy()
        engine.close()
    assert (found["plain"] == found["threads"]).all() and (found["plain"] == found["processes"]).all()


# From the command line to a directory and back.


@pytest.fixture(scope="module", params=["electra", "mlm"])
def run(request, tmp_path_factory, corpus):
    """A run of each arm, barely trained."""
    out = tmp_path_factory.mktemp("readout") / "run"
    train_here(out, corpus, "--steps", "3", "--objective", request.param, "--set", "num_hidden_layers=3")
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name in ("sst.tsv", "pos.conll"):
        (folder / name).write_text(TEXTS[name], encoding="utf-8")
    return folder


CASES = {"sst-2": "sst.tsv", "tagging": "pos.conll"}


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("readout", ["last", "mix", "1", "3"])
def test_a_directory_remembers_what_is_read(run, files, tmp_path, task, readout):
    options = {"epochs": 1.0, "max_length": 24, "readout": readout}
    results = short(task, run, files / CASES[task], tmp_path / "out", options, dev=files / CASES[task])
    assert results["settings"]["readout"] == readout
    model = Finetuned(tmp_path / "out")
    best = results["starts"]["pre-trained"]["seeds"][0]["best"]
    scores = model.evaluate(files / CASES[task])
    assert all(scores[name] == pytest.approx(best[name]) for name in model.task.metrics)
    about = json.loads((tmp_path / "out" / "config.json").read_text())
    assert about["num_hidden_layers"] == (1 if readout == "1" else 3)
    assert about["model_type"] == ("minielectra" if readout == "mix" else "electra")
    assert ("readout" in about) == (readout == "mix")
    assert (WEIGHTS in model.model.parameters) == (readout == "mix")
    again = read_backbone(tmp_path / "out")  # the encoder can be fine-tuned again
    assert again.config.num_hidden_layers == about["num_hidden_layers"]


def test_the_control_of_a_truncated_model_is_truncated_too(run, files, tmp_path):
    options = {"epochs": 1.0, "max_length": 24, "readout": "2"}
    results = short("sst-2", run, files / "sst.tsv", tmp_path / "out", options, control=True)
    assert len(results["starts"]) == 2
    backbone, task = read_backbone(run), find("sst-2").from_file("sst-2", files / "sst.tsv", {})[0]
    for scratch in (False, True):
        model = make_objective(backbone, task, FinetuningConfig(readout="2"), 0, scratch).model
        assert len(model.encoder.blocks) == 2
        name = "electra.encoder.layer.1.output.dense.weight"
        assert (model.parameters[name].value == backbone.state[name]).all() != scratch


def test_a_mix_starts_as_the_mean_and_learns_at_its_own_rate(run, files):
    task, examples = find("sst-2").from_file("sst-2", files / "sst.tsv", {})
    backbone = read_backbone(run)
    objective = make_objective(backbone, task, FinetuningConfig(readout="mix", layer_decay=0.5), 0)
    parameters = objective.parameters
    assert (parameters[WEIGHTS].value == 0.0).all() and (parameters[SCALE].value == 1.0).all()
    assert objective.rate_factor(WEIGHTS) == objective.rate_factor(SCALE) == MIX_RATE
    assert objective.rate_factor("classifier.dense.weight") == 1.0
    batch = pad_batch(task.encode(examples, backbone.tokenizer, 24), backbone.tokenizer.pad_id)
    engine = make_engine(objective, workers="plain")
    for step in range(30):
        assert engine.step(batch, 1e-3, 0, step).finite
    weights = engine.objective.parameters[WEIGHTS].value
    assert np.ptp(weights) > 0.1
    engine.close()
    labelled = LabelledSet(examples, task.encode(examples, backbone.tokenizer, 24))
    assert evaluate(engine.objective.model, task, labelled, backbone.tokenizer)["accuracy"] > 0.4


def test_what_transformers_cannot_open_is_said_in_one_line(run, files, tmp_path):
    out = tmp_path / "mixed"
    common = ("sst-2", "--model", run, "--train", files / "sst.tsv", "--epochs", 1, "--max-length", 24)
    done = cli("finetune", *common, "--readout", "mix", "--out", out)
    assert "transformers cannot" in done.stdout.splitlines()[-2] and done.stdout.splitlines()[-1] == str(out)
    assert cli("predict", out, "-", input="the old cat\n").stdout.endswith("the old cat\n")
    problem = cli("export", out, tmp_path / "exported", check=2).stderr
    assert problem.count("\n") == 1 and "reads a mix of layers" in problem and "--readout" in problem
    done = cli("finetune", *common, "--readout", 2, "--out", tmp_path / "two")
    assert "transformers cannot" not in done.stdout
    assert (
        "Hugging Face's layout already"
        in cli("export", tmp_path / "two", tmp_path / "exported", check=2).stderr
    )
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--readout", "4"), "--readout 4: the model has 3 layers"),
        (("--readout", "0"), "readout must be last, mix, or the number of a layer"),
        (("--readout", "-1"), "readout must be last, mix"),
        (("--readout", "first"), "got first"),
        (("--readout", "9" * 5000), "readout must be last, mix"),
        (("--readout", "2", "--reinitialized-layers", "3"), "only 2 of 3 are used"),
        (("--reinitialized-layers", "4"), "the model has 3"),
    ],
)
def test_a_readout_that_cannot_be(run, files, tmp_path, capsys, options, problem):
    common = ("sst-2", "--model", run, "--train", files / "sst.tsv", "--out", tmp_path / "out")
    assert main([*map(str, ("finetune", *common, *options))]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and problem in error and len(error) < 500
    assert not (tmp_path / "out").exists()


def test_a_damaged_readout_is_an_error(run, files, tmp_path):
    short(
        "sst-2", run, files / "sst.tsv", tmp_path / "out", {"epochs": 1.0, "max_length": 24, "readout": "mix"}
    )
    path = tmp_path / "out" / "config.json"
    about = json.loads(path.read_text())
    for readout, problem in (
        (3, "readout must be a string"),
        ("some", "'some' is not known"),
        ("last", "layer_mix"),
    ):
        path.write_text(json.dumps(about | {"readout": readout}))
        with pytest.raises(InputError, match=problem):
            Finetuned(tmp_path / "out")


def test_an_experiment_from_before_there_was_a_choice():
    values = dataclasses.asdict(FinetuningConfig())
    del values["readout"]
    assert FinetuningConfig.from_record(values).readout == "last"
