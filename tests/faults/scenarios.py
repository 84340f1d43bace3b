"""The commands that write, each with the folder that it starts from, and what is typed after it failed."""

import contextlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from minielectra.runs.schedule_record import Planned

SIZES = {
    "vocab_size": 120,
    "embedding_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "batch_size": 4,
    "seq_length": 16,
}
SET = [word for name, value in SIZES.items() for word in ("--set", f"{name}={value}")]
TRAIN = ["train", "--corpus", "text.txt", "--out", "run", "--steps", "8", "--eval-every", "2", *SET]
TRAIN += ["--checkpoint-every", "2", "--keep", "2", "--workers", "plain"]
BY_THE_CLOCK = [*TRAIN[: TRAIN.index("--steps")], "--minutes", "1", *TRAIN[TRAIN.index("--steps") + 2 :]]
FINETUNE = ["finetune", "sst-2", "--model", "run", "--train", "sst.tsv", "--out", "sst", "--epochs", "1"]
FINETUNE += ["--max-length", "16", "--batch-size", "4", "--seeds", "2", "--threads", "1"]
FINETUNE += ["--checkpoint-every", "3"]
VARIES = ("seconds", "tokens_per_second")  # figures that no two runs share


class EightSteps:
    """Stands for the clock of a run of --minutes: eight steps fit in, whatever they take."""

    steps = None

    def __init__(self, *_):
        pass

    def go_on(self, record):
        """The steps say all."""

    def plan(self, step):
        """Decide about a step as a clock would."""
        return Planned(step / 8, step % 2 == 1, step % 2 == 1, step == 7, step / 8)

    def evaluated(self, seconds, slowness):
        """Costs do not matter."""

    def saved(self, seconds):
        """Nor here."""

    def seconds_left(self):
        """For the bar."""
        return 1.0


class Scenario(NamedTuple):
    """A command. All happens in a folder that is copied before each run."""

    name: str
    words: list  # of the command line
    again: object  # function() -> the words to type after a failure, in that folder
    start: object  # function(base, folder): fills the folder; base: what `make_base` filled
    allowed: tuple = ()  # what the second command may answer instead of success, because all was done


def make_base(folder):
    """What commands start from: a text, a run, a labelled file, a fine-tuned model."""
    folder.mkdir()
    os.chdir(folder)
    names = ("cat", "river", "house", "teacher", "engine", "garden")
    lines = [
        f"the {a} of the {b} sees a {c}." + "\n\n" * (i % 6 == 5)
        for i, (a, b, c) in enumerate((a, b, c) for a in names for b in names for c in names)
    ]
    Path("text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"the {name} {'sees' if i % 2 else 'likes'} it\t{i % 2}\n" for i, name in enumerate(names * 5)]
    Path("sst.tsv").write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    assert run(TRAIN) == 0
    assert run(FINETUNE) == 0


def _copy(*names):
    def start(base, folder):
        folder.mkdir()
        for name in names:
            source = base / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)

    return start


def _same(words):
    return lambda: words


def _train_again(words=TRAIN):
    return ["train", "--resume", "run", "--workers", "plain"] if Path("run/run.json").exists() else words


def _finetune_again():
    unfinished = Path("sst/unfinished.json").exists() or Path("sst/task.json").exists()
    return ["finetune", "--resume", "sst", "--threads", "1"] if unfinished else FINETUNE


def _record_lesson():
    """Not a command: what `python lessons/01_arrays.py` writes at its end."""
    return ["record-lesson"]


PREPARE = ["prepare", "--corpus", "text.txt", "--out", "deep/prepared", "--vocab-size", "120"]
EXPORT = ["export", "run", "deep/exported"]
PLOT = ["plot", "run", "--sentence", "the cat sees it"]
REPORT = ["report", "run", "--out", "deep/report.html"]
QUANTIZE = ["export", "sst", "deep/int8", "--quantize", "int8"]
PAGE = ["page", "run", "deep/page.html"]
PREDICT = ["predict", "sst", "sst.tsv", "--official", "answers.tsv"]
SCENARIOS = [
    Scenario("train", TRAIN, _train_again, _copy("text.txt")),
    Scenario("train --resume", ["train", "--resume", "run"], _train_again, _copy("text.txt", "run")),
    Scenario("train --minutes", BY_THE_CLOCK, partial(_train_again, BY_THE_CLOCK), _copy("text.txt")),
    Scenario("prepare", PREPARE, _same(PREPARE), _copy("text.txt"), ("there already is a dataset",)),
    Scenario("finetune", FINETUNE, _finetune_again, _copy("run", "sst.tsv", "text.txt")),
    Scenario(
        "finetune --resume",
        ["finetune", "--resume", "sst", "--threads", "1"],
        _finetune_again,
        _copy("run", "sst.tsv", "text.txt", "sst"),
    ),
    Scenario("export", EXPORT, _same(EXPORT), _copy("run")),
    Scenario("export --quantize", QUANTIZE, _same(QUANTIZE), _copy("sst"), ("exists already",)),
    Scenario("page", PAGE, _same(PAGE), _copy("run")),
    Scenario("plot", PLOT, _same(PLOT), _copy("run")),
    Scenario("report", REPORT, _same(REPORT), _copy("run")),
    Scenario("predict --official", PREDICT, _same(PREDICT), _copy("sst", "sst.tsv")),
    Scenario("a lesson", _record_lesson(), _record_lesson, _copy("text.txt")),
]
INTERRUPTED = {"train --resume": "train", "finetune --resume": "finetune"}  # start from a killed one of these


def run(words):
    """Run a command line of a scenario in this process -> its exit status."""
    if words == ["record-lesson"]:
        from minielectra.lessons import record

        try:  # as lessons/course.py
            record("01_arrays", ["mean", "add"], Path.cwd())
        except OSError as error:
            print(f"(your progress could not be recorded: {error})")
        except KeyboardInterrupt:
            return 130
        return 0
    from minielectra.cli.entry import main
    from minielectra.plots import style
    from minielectra.pretraining import choose_schedule

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(style, "DPI", 20))  # which saves time
        patches.enter_context(mock.patch.object(choose_schedule, "ClockSchedule", EightSteps))
        if words[0] in ("train", "finetune"):  # `plot` is a scenario of its own
            for module in ("pretraining_commands", "finetuning_commands"):
                patches.enter_context(mock.patch(f"minielectra.cli.{module}._draw"))
        return main(words)


def content(folder):
    """{relative path: content} of all files in a folder, without what no two runs share."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() or path.is_symlink()
    }


def _content(path):
    if path.name == "metrics.jsonl":
        return [_without(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.name == "state.json":
        return _without(json.loads(path.read_text(encoding="utf-8")))
    if path.name == "checksums.json":
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: value for name, value in files.items() if name != "state.json"}
    return path.read_bytes()


def _without(row):
    return {name: value for name, value in row.items() if name not in VARIES}
