"""The command line: help, examples and options of each command, exit codes, imports, input."""

import io
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, TINY, train_here
from hostile import save

from minielectra.cli import entry as command_line
from minielectra.cli.command import command
from minielectra.cli.entry import COMMANDS, build_parser, main, parse
from minielectra.errors import InputError
from minielectra.finetuning.experiment_settings import ExperimentSettings

EXAMPLES = [f"{own.name} {example}" for own in COMMANDS for example in own.examples]
each = pytest.mark.parametrize("own", COMMANDS, ids=lambda own: own.name)


def exit_status(*words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code


# Help.


def test_the_commands_are_those_that_others_rely_on():
    names = "train detect plot report gradcheck tokenize prepare"
    names += " export page finetune predict evaluate lessons bench experiment flops"
    assert sorted(own.name for own in COMMANDS) == sorted(names.split())


def test_help_lists_every_command(capsys):
    assert exit_status("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {own.name}" in shown for own in COMMANDS)


@each
def test_help_of_a_command(own, capsys):
    assert exit_status(own.name, "--help") == 0
    shown = capsys.readouterr().out
    assert own.description in shown and f"minielectra {own.name}" in shown and "examples:" in shown


@each
def test_every_option_is_explained_and_tells_its_default_once(own):
    [subparsers] = (action for action in build_parser([own.name])._actions if action.nargs == "A...")
    for action in subparsers.choices[own.name]._actions:
        assert action.help, f"{own.name}: {action.dest} has no help"
        assert action.help.count("default") <= 1, f"{own.name}: {action.help}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_can_be_typed(example):
    words = shlex.split(example.split("<")[0])
    assert parse(words).command.name == words[0]


# Options that others rely on, with what they mean.


def read(line):
    """What the options of a command line give to its function."""
    arguments = parse(shlex.split(line))
    return [options.read(arguments) for options in arguments.command.options]


def test_options_of_train():
    options, given, overrides = read(
        "train --preset mini --corpus a b --vocab v --out o --steps 5 --batch-size 4 --seq-length 16 "
        "--eval-every 2 --checkpoint-every 3 --seed 7 --threads 2 --workers threads --device cpu "
        "--objective mlm --set hidden_size=32 --set tie_encoders=true --init i"
    )
    assert (options.resume, options.out) == (None, "o")
    assert given == {
        "preset": "mini",
        "corpus": ["a", "b"],
        "vocab": "v",
        "steps": 5,
        "eval_every": 2,
        "checkpoint_every": 3,
        "seed": 7,
        "threads": 2,
        "workers": "threads",
        "device": "cpu",
        "init": "i",
    }
    assert overrides == {
        "hidden_size": 32,
        "tie_encoders": True,
        "batch_size": 4,
        "seq_length": 16,
        "objective": "mlm",
    }
    assert read("train --minutes 2.5")[1] == {"minutes": 2.5}
    assert read("train") == [type(options)(), {}, {}]


def test_an_option_of_its_own_goes_before_set():
    assert read("train --batch-size 4 --set batch_size=8")[2] == {"batch_size": 4}


def test_options_of_finetune():
    about, given, options = read(
        "finetune squad --model m --train t --dev d --out o --seeds 3 --control --text 0 --tag -1 "
        "--epochs 2 --learning-rate 1e-4 --dropout 0"
    )
    assert about.resume is None
    settings = ExperimentSettings(**given)
    paths = settings.model, settings.train, settings.dev, settings.out
    assert (settings.task, *paths) == ("squad", "m", "t", "d", "o")
    assert (settings.seeds, settings.control, settings.from_scratch) == (3, True, False)
    assert (settings.text, settings.tag) == ("0", -1)
    about, given, _ = read("finetune --resume o --threads 1")
    assert about.resume == "o" and given == {"threads": 1}
    assert options == {"epochs": 2.0, "learning_rate": 1e-4, "dropout": 0.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "invalid choice: 'trian'"),
        ([], "required: COMMAND"),
        (
            ["train", "--stpes", "3"],
            "minielectra train: unrecognized arguments: --stpes (see minielectra train --help)",
        ),
        (["train", "extra"], "unrecognized arguments: extra"),
        (["train", "--steps", "3", "--minutes", "3"], "not allowed with argument --steps"),
        (["train", "--preset", "gigantic"], "choose tiny, mini, small, base or large"),
        (["export", "runs/books"], "required: OUT"),
        (
            ["prepare", "--out", "o", "--held-out-fraction", "1"],
            "must be greater than 0 and less than 1, got 1",
        ),
        (["finetune", "squad", "--model", "m"], "required: --train"),
    ],
)
def test_words_that_make_no_sense(words, message, capsys):
    assert exit_status(*words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


# How commands end.


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (InputError("a.txt: two\n  lines"), 2, "minielectra: a.txt: two lines\n"),
        (OSError(28, "No space left on device", "a.txt"), 2, "minielectra: a.txt: No space left on device\n"),
        (OSError("something else"), 2, "minielectra: something else\n"),
        (BrokenPipeError(), 141, ""),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (None, 0, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_exit_codes(error, status, shown, monkeypatch, capsys):
    @command()
    def end():
        """End."""
        if error is not None:
            raise error

    monkeypatch.setattr(command_line, "COMMANDS", (end,))
    assert main(["end"]) == status
    assert capsys.readouterr().err == shown


def test_a_bug_is_not_hidden(monkeypatch):
    @command()
    def end():
        """End."""
        raise ValueError("a bug")

    monkeypatch.setattr(command_line, "COMMANDS", (end,))
    with pytest.raises(ValueError, match="a bug"):
        main(["end"])


# Imports.


def imported_by(code):
    """The names of the modules in memory after some code has run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["train", "--stpes", "3"], ["bench", "--steps", "x"]]
)
def test_help_and_typing_errors_wait_for_no_large_library(words):
    modules = imported_by(
        f"from minielectra.cli.entry import main\ntry:\n    main({words})\nexcept SystemExit:\n    pass",
    )
    assert not {"numpy", "matplotlib", "safetensors", "tqdm"} & modules


def test_public_names():
    """Among them `detect`, whatever is imported before: the function, not the module of that name."""
    modules = imported_by(
        "import minielectra.pretraining.load\n"
        "from minielectra import *\n"
        "import minielectra\n"
        "assert minielectra.detect is detect and detect.__name__ == 'detect', detect\n"
        "assert issubclass(InputError, ValueError)\n"
        "assert set(minielectra.__all__) <= set(dir(minielectra))\n"
        "assert len(minielectra.__all__) == 12\n"
        "assert not hasattr(minielectra, 'nothing')",
    )
    assert "matplotlib" not in modules


# Texts: after options, or from standard input.


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory whose words are a, b, c and d."""
    return str(save(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize(
    "words", [["{}", "--json", "a b", "c"], ["--json", "{}", "a b", "c"], ["{}", "a b", "c", "--json"]]
)
def test_texts_may_follow_options(words, model, capsys):
    assert main(["detect", *(word.format(model) for word in words)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["tokens"] for line in lines] == [["a", "b"], ["c"]]


def test_an_option_is_no_text(model, capsys):
    assert exit_status("detect", model, "--json", "a", "--colour") == 2
    assert "unrecognized arguments: --colour" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["detect", "tokenize"])
def test_texts_of_standard_input(name, model, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("a b\n\nc"))
    source = [model] if name == "detect" else ["--vocab", f"{model}/vocab.txt"]
    assert main([name, *source, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["tokens"] for line in lines] == [["a", "b"], [], ["c"]]
    assert {"detect": "replaced", "tokenize": "ids"}[name] in lines[0]


def test_colors(model, capsys):
    for color, is_colored in (("always", True), ("never", False), ("auto", False)):
        assert main(["detect", model, "a b", "--color", color]) == 0
        assert ("\x1b[" in capsys.readouterr().out) == is_colored


# What may be called a model, and --init.


@pytest.fixture(scope="module")
def exported(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("exported")
    train_here(folder / "run", corpus, "--steps", "2")
    assert main(["export", str(folder / "run"), str(folder / "pair")]) == 0
    return folder


def test_detect_reads_runs_exported_folders_and_model_directories(exported, capsys):
    found = []
    for source in ("run", "pair", "pair/discriminator"):
        assert main(["detect", str(exported / source), "--json", "the old cat"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] == found[2]


def test_the_weights_of_init_are_read_once(exported, corpus, tmp_path, monkeypatch):
    from minielectra.pretraining import exported_pair, start, trainer
    from minielectra.pretraining.load import load_pretraining

    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return exported_pair.read_towers(*arguments)

    monkeypatch.setattr(start, "read_towers", counting)
    monkeypatch.setattr(trainer, "read_towers", counting)
    monkeypatch.setattr("minielectra.cli.pretraining_commands._draw", lambda folder: None)
    out = tmp_path / "run"
    words = ["--corpus", str(corpus), "--steps", "1", "--seq-length", "24", "--init", str(exported / "pair")]
    assert main(["train", "--out", str(out), *words, "--set", "learning_rate=1e-12"]) == 0
    assert len(calls) == 1
    before, after = (load_pretraining(run)[0].parameters.flat for run in (exported / "run", out))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-8)


def test_train_draws_the_pictures_and_says_where_the_run_is(corpus, tmp_path, monkeypatch, capsys):
    drawn, out = [], tmp_path / "run"
    monkeypatch.setattr("minielectra.cli.pretraining_commands._draw", drawn.append)
    assert main(["train", "--out", str(out), "--corpus", str(corpus), "--steps", "2", *TINY]) == 0
    *_, figures, last = capsys.readouterr().out.splitlines()
    assert last == str(out) and "disc_auc" in figures
    assert drawn == [out]
