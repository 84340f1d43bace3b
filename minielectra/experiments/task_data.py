"""The tasks of an experiment: their files, cut once into training, development and test examples.

What is cut is written into the experiment's folder, so that every run is scored on the same examples, also if
the files change or move. The development examples choose the best evaluation of a fine-tuning; the test
examples are only scored. Among both, examples with a label that no training example has are left out.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.formats.files import replacing_folder
from minielectra.formats.json_text import json_text
from minielectra.settings import Settings, setting

HELD_OUT = 10  # without a test file, every tenth example is a test example
DEVELOPMENT = 10  # every tenth of the others is a development example
FEWEST = 40  # examples to learn from
KINDS = ("classification", "tagging")  # whose features a linear probe can read
COLUMNS = ("text", "pair", "label", "word", "tag", "separator")


@dataclass(frozen=True)
class TaskSettings(Settings):
    """A table [tasks.NAME]."""

    task: str = setting(help=f"what kind of task: {' or '.join(KINDS)}", choices=KINDS)
    train: str = setting(help="labelled examples; relative to the data folder")
    test: str | None = setting(None, help="examples to score on; without it, every tenth of train")
    text: str | None = setting(None, help="as for `finetune`, like the next five")
    pair: str | None = setting(None)
    label: str | None = setting(None)
    word: int | None = setting(None)
    tag: int | None = setting(None)
    separator: str | None = setting(None)
    selection: bool = setting(
        False, help="whether it chooses the values of [tuning]; then it is not reported"
    )
    frozen: bool = setting(True, help="whether linear probes read every layer of the frozen encoder")
    finetuned: bool = setting(True, help="whether the encoder is fine-tuned")
    examples: int = setting(4000, help="examples to learn from, at most", at_least=FEWEST)
    test_examples: int = setting(2000, help="examples to score on, at most", at_least=1)

    @property
    def reader_options(self):
        """{option of `finetune`: value} that say how the files are written."""
        return {name: getattr(self, name) for name in COLUMNS if getattr(self, name) is not None}

    def reads_as(self, other):
        """Whether both read the same examples with the same labels."""
        return (self.train, self.label, self.tag) == (other.train, other.label, other.tag)


class TaskExamples(NamedTuple):
    """The examples of a task, as its reader gives them."""

    train: list
    development: list
    test: list


def read_task(name, settings):
    """The TaskExamples of a task. settings: TaskSettings. Raises InputError for files that cannot be used."""
    task_class = tasks.find(settings.task)
    options = settings.reader_options
    for option in options:
        if option not in task_class.reader_options:
            raise InputError(f"tasks.{name}.{option}: does not apply to {settings.task}; leave it out")
    task, examples = task_class.from_file(settings.task, settings.train, options)
    if settings.test:
        test = task.read(settings.test)
    else:
        test = examples[HELD_OUT - 1 :: HELD_OUT]
        examples = [example for number, example in enumerate(examples, 1) if number % HELD_OUT]
    examples = _some(examples, settings.examples)
    if len(examples) < FEWEST:
        problem = f"{settings.train}: {len(examples)} examples are too few to learn from"
        raise InputError(f"{problem}; tasks.{name} needs {FEWEST}")
    development = examples[DEVELOPMENT - 1 :: DEVELOPMENT]
    train = [example for number, example in enumerate(examples, 1) if number % DEVELOPMENT]
    known = set().union(*map(_labels, train))
    development, test = (
        [example for example in part if _labels(example) <= known] for part in (development, test)
    )
    test = _some(test, settings.test_examples)
    if not development or not test:
        raise InputError(f"{settings.test or settings.train}: too few examples for tasks.{name} to score on")
    return TaskExamples(train, development, test)


def write_tasks(found, folder):
    """Write {name: (TaskSettings, TaskExamples)} into the new folder `folder`, one folder a task.

    They hold train, development and test, each as `task_file` names it.
    """
    with replacing_folder(folder) as temporary:
        for name, (settings, examples) in found.items():
            (temporary / name).mkdir()
            for part, own in examples._asdict().items():
                path = task_file(temporary, name, part)
                path.write_text(_text(settings, own), encoding="utf-8", newline="\n")


def task_file(folder, name, part):
    """The path of the file that `write_tasks` writes. part: a field of TaskExamples."""
    return Path(folder) / name / f"{part}.jsonl"


def fingerprint(found):
    """A short text that changes with any example of {name: (TaskSettings, TaskExamples)}."""
    digest = hashlib.sha256()
    for name, (settings, examples) in found.items():
        digest.update(f"{name}\n".encode())
        for own in examples:
            digest.update(_text(settings, own).encode())
    return digest.hexdigest()[:16]


def _some(examples, count):
    """`count` examples spread evenly over the list, or all if there are fewer."""
    if len(examples) <= count:
        return list(examples)
    return [examples[i] for i in np.arange(count) * len(examples) // count]


def _labels(example):
    """The set of labels of an Example or a Sentence."""
    return set(getattr(example, "tags", None) or [example.label])


def _text(settings, examples):
    """Examples as JSON Lines."""
    names = ("words", "tags") if settings.task == "tagging" else ("text", "pair", "label")
    rows = ({name: getattr(example, name) for name in names} for example in examples)
    given = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return "".join(json_text(row) + "\n" for row in given)
