"""Every objective and option of pre-training as a whole run: bits, resuming, pictures, export, --init."""

import json
import shutil

import numpy as np
import pytest
from conftest import cli_here, train_here
from small import VARIANTS
from test_bad_input import complaint

from minielectra.devices.export_files import export_files
from minielectra.errors import InputError
from minielectra.plots.draw import draw_all
from minielectra.pretraining.exported_pair import open_towers
from minielectra.pretraining.load import load_discriminator, load_pretraining


def words(overrides):
    """{field: value} as a command line has them."""
    return [word for name, value in overrides.items() for word in ("--set", f"{name}={value}")]


QUICK = ("unigram", "all-tokens-mlm", "rtd+mlm in two stages", "two-stage")
PARAMS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]


@pytest.fixture(scope="module", params=PARAMS)
def run(request, tmp_path_factory, corpus):
    """(folder of a run of six steps, its options)."""
    folder, options = tmp_path_factory.mktemp("objective") / "run", words(VARIANTS[request.param])
    train_here(folder, corpus, "--steps", "6", "--checkpoint-every", "2", "--threads", "1", *options)
    return folder, options


def parameters(run):
    return load_pretraining(run)[0].parameters.flat


def timeless(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: x for name, x in row.items() if name not in ("seconds", "tokens_per_second")} for row in rows
    ]


def test_resumed_it_ends_with_the_same_bits(run, tmp_path):
    folder, _ = run
    for step in (2, 4):  # before and after the middle, where runs in stages change
        cut = shutil.copytree(folder, tmp_path / f"from {step}")
        for later in range(step + 2, 8, 2):
            shutil.rmtree(cut / "checkpoints" / f"step-{later:08d}")
        cli_here("train", "--resume", cut, "--threads", "2")
        assert np.array_equal(parameters(folder), parameters(cut))
        assert timeless(folder) == timeless(cut)


def test_its_figures(run):
    folder, _ = run
    objective, _ = load_pretraining(folder)
    assert objective.encoder_tower.config == objective.model_config  # it is what fine-tuning starts from
    row = timeless(folder)[-1]
    for name in objective.loss_names:
        computed = name in objective.computed(1.0)
        if name != "adversarial_loss":  # known in training only
            assert (row.get(name) is not None) == computed
        assert row[f"train_{name}"] is not None or not computed
    assert (row.get("disc_auc") is not None) == ("discriminator" in objective.towers)


@pytest.mark.slow
def test_pictures_and_detection(run, tmp_path):
    folder, _ = run
    discriminates = "discriminator" in load_pretraining(folder)[0].towers
    pictures = draw_all(folder, tmp_path)
    assert len(pictures) == (8 if discriminates else 1)
    if discriminates:
        assert load_discriminator(folder)[0](np.array([[2, 5, 3]])).shape == (1, 3)
    else:
        with pytest.raises(InputError, match="has no discriminator"):
            load_discriminator(folder)


def test_exported_it_can_be_started_from(run, corpus, tmp_path):
    folder, options = run
    objective, _ = load_pretraining(folder)
    export_files(folder, tmp_path / "exported", "huggingface", None)
    towers = open_towers(tmp_path / "exported")
    assert towers.keys() == objective.towers.keys()
    ids = np.array([[2, 7, 9, 11, 3]])
    for name, tower in towers.items():
        np.testing.assert_allclose(tower(ids), objective.towers[name](ids), rtol=1e-4, atol=1e-5)
    again = tmp_path / "again"
    initial = (
        "--init",
        tmp_path / "exported",
        "--seq-length",
        "24",
        "--steps",
        "1",
        "--set",
        "learning_rate=1e-12",
    )
    cli_here("train", "--out", again, "--corpus", corpus, *options, *initial)
    kept = np.ones(objective.parameters.flat.size, bool)
    for name in objective.parameters:
        if name.startswith("generator.baseline."):  # of REINFORCE: no part of a model
            kept[slice(*objective.parameters.span(name))] = False
    np.testing.assert_allclose(parameters(again)[kept], parameters(folder)[kept], rtol=0, atol=1e-6)


def test_a_run_in_stages_is_not_made_longer(corpus, tmp_path):
    run = tmp_path / "run"
    train_here(run, corpus, "--steps", "2", *words(VARIANTS["two-stage"]))
    message = complaint("train", "--resume", run, "--steps", "4")
    assert "its two stages are shares of the run" in message
