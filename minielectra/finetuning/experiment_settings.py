"""What an experiment is asked for: the task, the files, how often to train and on what."""

import os
from dataclasses import dataclass

from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.settings import Settings, setting

PATHS = ("model", "train", "dev", "out")
CHANGEABLE = ("threads", "checkpoint_every", "out")  # what a resumed experiment may have otherwise


@dataclass(frozen=True)
class ExperimentSettings(Settings):
    """The settings of `run_experiment`: the options of `finetune` that are not in FinetuningConfig.

    Paths may be pathlib's. `out=None`: nothing is written.
    """

    task: str = setting(
        help="cola, sst-2, mrpc, rte, sts-b, qqp, mnli, qnli or wnli (GLUE's files as they come); "
        "classification or regression (TSV, CSV, JSON Lines, or lines of a label and a text); "
        "tagging (CoNLL columns); squad (JSON)",
        metavar="TASK",
        positional=True,
    )
    model: str = setting(
        help="a run, a directory in Hugging Face's layout, or mini: the model that comes with minielectra",
        metavar="RUN|DIR|mini",
    )
    train: str = setting(help="labelled examples to train on", metavar="FILE")
    dev: str | None = setting(
        None,
        "labelled examples that choose the best evaluation",
        metavar="FILE",
        shown_default="every tenth of --train",
    )
    out: str | None = setting(
        None, "folder for the model of the best seed", metavar="DIR", shown_default="runs/TASK-DATE"
    )
    seeds: int = setting(1, "train this many times; the table shows mean and standard deviation", at_least=1)
    from_scratch: bool = setting(False, "leave the pre-training out: the control")
    control: bool = setting(False, "also train from scratch, for comparison")
    text: str | None = setting(
        None,
        "tables: column of the text, by name, or by number from 0; numbers alone mean: no header",
        metavar="COLUMN",
    )
    pair: str | None = setting(None, "tables: column of a pair's second text, likewise", metavar="COLUMN")
    label: str | None = setting(None, "tables: column of the label, likewise", metavar="COLUMN")
    word: int | None = setting(
        None, "tagging: column of the words, from 0, or from the end if negative", shown_default="0"
    )
    tag: int | None = setting(None, "tagging: column of the tags, likewise", shown_default="the last")
    separator: str | None = setting(
        None,
        "tables and tagging: what separates columns",
        shown_default="TAB in .tsv, found out in .csv; tagging: a TAB if the file has one, else spaces",
    )
    checkpoint_every: int | None = setting(
        None, "steps between checkpoints", at_least=1, shown_default="about one checkpoint per minute"
    )
    threads: int | None = setting(
        None, "shards of a batch to compute at the same time", at_least=1, shown_default="all"
    )
    device: str = setting("cpu", "where to compute", choices=("cpu", "gpu"))
    seed: int = setting(0, "the first seed", at_least=0)

    def __post_init__(self):
        for name in PATHS:
            if isinstance(getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(getattr(self, name)))
        super().__post_init__()

    def reader_options(self, task_class):
        """The reader options given -> {option: value}. Raises InputError if the task does not take one."""
        options = {name: getattr(self, name) for name in tasks.reader_options()}
        options = {name: value for name, value in options.items() if value is not None}
        for name in options:
            if name not in task_class.reader_options:
                raise InputError(f"--{name}: does not apply to {self.task}; leave it out")
        return options
