"""The file of an experiment: what it means, and what is said about mistakes in it."""

from pathlib import Path

import pytest
from experiment_case import TINY, make_case

from minielectra.cli.entry import main
from minielectra.errors import InputError
from minielectra.experiments.experiment_file import read_experiment
from minielectra.experiments.grid import candidates, report_runs, tuning_runs
from minielectra.experiments.task_data import read_task, task_file, write_tasks

tomllib = pytest.importorskip("tomllib", reason="reading TOML needs Python 3.11")
SHIPPED = sorted((Path(__file__).parent.parent / "experiments").glob("*.toml"))


def read(folder, text=TINY):
    return read_experiment(make_case(folder, text))


def test_a_file_says_which_runs_there_are(tmp_path):
    experiment = read(tmp_path)
    runs = report_runs(experiment, {"bert": {"learning_rate": 3e-3}})
    names = [run.name for run in runs]
    assert len(set(names)) == len(names) == 2 + 3 * 2 * 2
    assert names[:3] == ["untrained-seed1", "untrained-seed2", "bert-2e08-seed1"]
    own = {run.name: run for run in runs}
    assert own["bert-2e08-seed1"].overrides["learning_rate"] == 3e-3
    assert "learning_rate" not in own["electra-2e08-seed1"].overrides
    mixed = own["electra-mix-6e08-seed2"]
    assert (mixed.trained_as, mixed.steps) == ("electra-6e08-seed2", 0)
    assert mixed.finetuning == {"epochs": 1, "readout": "mix"}
    tuning = tuning_runs(experiment)
    assert {(run.variant, run.seed, run.overrides["learning_rate"]) for run in tuning} == {
        (variant, 9, rate) for variant in ("bert", "electra") for rate in (1e-3, 3e-3)
    }
    assert candidates(experiment.tuning) == [{"learning_rate": 1e-3}, {"learning_rate": 3e-3}]


def test_every_variant_spends_the_budget_and_not_more(tmp_path):
    """One step more would be too much, whatever the variant."""
    for run in report_runs(read(tmp_path), {}):
        if run.steps:
            assert run.flops <= run.budget < run.flops * (run.steps + 1) / run.steps


def test_tasks_are_cut_into_parts_that_share_nothing(tmp_path):
    experiment = read(tmp_path)
    found = {name: (task, read_task(name, task)) for name, task in experiment.tasks.items()}
    for _, examples in found.values():
        lines = [{example.line for example in part} for part in examples]
        assert not (lines[0] & lines[1] or lines[0] & lines[2] or lines[1] & lines[2])
        assert [len(part) for part in examples] == [36, 4, 6]
    write_tasks(found, tmp_path / "tasks")
    for name, (task, examples) in found.items():
        again = read_experiment(tmp_path / "tiny.toml").tasks[name]
        assert again == task
        for part, own in examples._asdict().items():
            path = task_file(tmp_path / "tasks", name, part)
            assert len(path.read_text(encoding="utf-8").splitlines()) == len(own)


def test_paths_are_relative_to_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    path = make_case(tmp_path / "data").rename(tmp_path / "tiny.toml")
    with pytest.raises(InputError, match=r"tiny.toml:3: corpus: .*--data changes that"):
        read_experiment(path)
    read_experiment(path, tmp_path / "data")
    monkeypatch.setenv("MINIELECTRA_DATA", str(tmp_path / "data"))
    read_experiment(path)


MISTAKES = {
    "no TOML": ('title = "A', "title = A", r"tiny.toml: cannot be read \(.*line 2"),
    "an unknown entry": ("seeds = [1, 2]", "seed = [1]", r":5: seed: unknown; known are .*seeds"),
    "an unknown table": ("[pairs]", "[pear]", r":49: pear: unknown"),
    "no baseline": ('baseline = "bert"', "", r"no baseline; name the variant"),
    "a baseline that is no variant": (
        'baseline = "bert"',
        'baseline = "bart"',
        r":6: baseline: there is no variant bart; the file has bert, electra, electra-mix",
    ),
    "an unknown objective": (
        'objective = "mlm"',
        'objective = "xlm"',
        r":20: variants.bert.objective: .*xlm",
    ),
    "an unknown field": (
        "generator_width = 0.5",
        "generator_wide = 0.5",
        r":24: variants.electra.generator_wide: .*did you mean generator_width",
    ),
    "a value out of bounds": ("batch_size = 8", "batch_size = 0", r":16: model.batch_size: must be"),
    "a configuration that cannot be": (
        "num_attention_heads = 2",
        "num_attention_heads = 3",
        r":8: model: hidden_size 8 is not divisible",
    ),
    "a name that is no file name": ("[variants.electra]", '[variants."../x"]', r":22: variants.../x: cannot"),
    "a reserved name": ("[variants.electra]", "[variants.untrained]", r":22: variants.untrained: "),
    "runs of nobody": ('same_as = "electra"', 'same_as = "elektra"', r":27: .*no other variant elektra"),
    "runs of another, changed": (
        'same_as = "electra"',
        'same_as = "electra"\nmask_fraction = 0.3',
        r":28: variants.electra-mix.mask_fraction: uses the runs of electra",
    ),
    "nothing to pair": (
        'objective = "mlm"',
        'objective = "mlm"\nseeds = [7]',
        r"no seed in common with bert",
    ),
    "a seed twice": ("seeds = [1, 2]", "seeds = [1, 1]", r":5: seeds: has a value twice"),
    "a seed that is none": ("seeds = [9]", "seeds = [true]", r":32: tuning.seeds: must be"),
    "budgets that cannot be told apart": ("[2e8, 6e8]", "[2e8, 2.0001e8]", r":4: budgets: has a value twice"),
    "a negative budget": ("[2e8, 6e8]", "[-2e8]", r":4: budgets: must be positive"),
    "no tasks": ("[tasks.", "[pairs.", r"there are no tasks"),
    "a task file that is missing": ('"pos.jsonl"', '"pose.jsonl"', r":37: tasks.pos.train: .*no such file"),
    "a kind of task without a probe": ('"tagging"', '"squad"', r":36: tasks.pos.task: .*is not known"),
    "a task without a file": ('train = "pos.jsonl"', "", r":35: tasks.pos: train is missing"),
    "nothing that is reported": (
        'train = "pos.jsonl"',
        'train = "pos.jsonl"\nselection = true',
        r"all tasks are for selection",
    ),
    "nothing that chooses": ("selection = true", "", r":30: tuning: no task chooses"),
    "choosing by what is reported": (
        '"topic.tsv"',
        '"topic.tsv"\n[tasks.again]\ntask = "classification"\ntrain = "topic.tsv"',
        r"tasks.again: chooses settings by what tasks.topic reports",
    ),
    "a tuned field that a variant sets": (
        "generator_width = 0.5",
        "learning_rate = 0.1",
        r":24: variants.electra.learning_rate: is tuned",
    ),
    "a value to try that cannot be": ("[1e-3, 3e-3]", "[1e-3, -1]", r":33: tuning.learning_rate: must be"),
    "an unknown option of fine-tuning": ("epochs = 1", "epoch = 1", r":47: finetuning.epoch: unknown"),
    "a readout of a layer that is not there": (
        '"mix"}',
        '"4"}',
        r"variants.electra-mix.*the model has 1 layers",
    ),
    "a vocabulary of one's own": (
        "generator_width = 0.5",
        "vocab_size = 99",
        r":24: variants.electra.vocab_size: all variants read one text",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_reported_with_their_line(tmp_path, mistake):
    before, after, message = MISTAKES[mistake]
    assert before in TINY
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, TINY.replace(before, after))
    assert str(error.value).startswith(str(tmp_path / "tiny.toml"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[2e8, 6e8]", "[2e8, 10]", r":4: budgets: 10 FLOPs do not pay for one step"),
        ("[2e8, 6e8]", "[2e8, 9e6]", r":4: budgets: .*pay for . steps of .*give .* or more"),
        ("budget = 2e8", "budget = 9e6", r":31: tuning.budget: .*pay for"),
    ],
)
def test_budgets_that_pay_for_nothing(tmp_path, capsys, before, after, message):
    path = make_case(tmp_path, TINY.replace(before, after))
    assert main(["experiment", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_files_that_come_along_can_be_run(tmp_path, path):
    """Their data do not come along: empty files stand in for them."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    named = [task.get(part) for task in values["tasks"].values() for part in ("train", "test")]
    for name in (*filter(None, named), *(name.replace("*", "a") for name in values["corpus"])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    experiment = read_experiment(path, tmp_path)
    runs = report_runs(experiment, {}) + tuning_runs(experiment)
    assert all(0.97 * run.budget < run.flops <= run.budget for run in runs if run.steps)
    assert {run.variant for run in runs} == {*experiment.variants, "untrained"}


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    path = make_case(tmp_path)
    assert main(["experiment", str(path), "--out", str(tmp_path / "out"), "--dry-run", "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert "runs:   14 (0 of them done)" in said and "tuning: 4" in said and "about" in said
    assert not (tmp_path / "out").exists()
