"""Classifiers that transformers wrote: there is no task.json, so config.json says what there is to know.

It names the head and its labels. How files are written it does not say. For that there are the reader options
of `finetune`; without them, a header with usual names, the file's name or its content tells.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minielectra.errors import InputError, shown
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.readers.lines import read_file
from minielectra.finetuning.readers.squad_json import has_impossible
from minielectra.finetuning.readers.table_detection import detect_format
from minielectra.finetuning.readers.tables import TableFormat, read_examples
from minielectra.finetuning.tasks.answering import Answering
from minielectra.finetuning.tasks.classification import Classification
from minielectra.finetuning.tasks.tagging import Tagging
from minielectra.formats import huggingface
from minielectra.formats.reading import read_json

LINES = TableFormat("lines", pair=1)  # a text per line, with a TAB before the second text of a pair


def read_foreign_task(directory, options):
    """The task of a directory without task.json -> Task, the longest sequence in tokens.

    options: {reader option: value}. Raises InputError if the head is not one of `KINDS`, or does something
    else with its logits, or if its task does not take an option.
    """
    directory = Path(directory)
    config = huggingface.load_config(directory, HeadConfig)
    about = read_json(directory / "config.json", f"{directory}: has no config.json")
    name = _head_name(directory, about)
    kind = KINDS[name]
    _check_problem(directory / "config.json", about.get("problem_type"), config)
    for option in options:
        if option not in kind.task_class.reader_options:
            raise InputError(f"--{option}: does not apply to an {name}; leave it out")
    if config.regression and about.get("problem_type") is None:
        print(f"{directory}: one label and no problem_type: taken for a regression", file=sys.stderr)
    task = kind.make(config.labels, options)
    longest = min(config.max_position_embeddings, kind.longest or config.max_position_embeddings)
    return task, min(longest, _model_max_length(directory) or longest)


def _head_name(directory, about):
    """The class of transformers that wrote a directory -> a key of `KINDS`. Raises InputError for others."""
    names = about.get("architectures")
    arrays = huggingface.model_arrays(directory)
    if not names:
        names = [name for name, kind in KINDS.items() if kind.head_array in arrays]
    if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) and names[0] in KINDS:
        return names[0]
    found = shown(", ".join(map(str, names))) if isinstance(names, list) and names else "no classifier"
    *others, last = KINDS
    raise InputError(
        f"{directory}: has no task.json, and holds {found} instead of an {', '.join(others)} or {last}; "
        "make a directory with `minielectra finetune`"
    )


def _check_problem(path, problem, config):
    """Raise InputError if the logits mean something else than one label of several, or one number."""
    meant = "regression" if config.regression else "single_label_classification"
    if problem not in (None, meant):
        raise InputError(
            f"{path}: problem_type is {shown(str(problem))} with {len(config.labels)} label(s); "
            "only one label of several, or one number, is supported"
        )


def _model_max_length(directory):
    """What tokenizer_config.json allows, or None."""
    path = directory / "tokenizer_config.json"
    length = read_json(path, "").get("model_max_length") if path.is_file() else None
    usable = isinstance(length, int | float) and not isinstance(length, bool) and 8 <= length <= 1 << 30
    return int(length) if usable else None  # transformers writes 1e30 for "unlimited"


class ForeignClassification(Classification):
    """A classification or regression whose files are of any form."""

    def __init__(self, labels, options):
        """labels: in the order of the logits; options: {reader option: value}."""
        super().__init__("regression" if len(labels) == 1 else "classification", LINES, labels)
        self._options = options

    def read(self, path, labelled=True, form=None):
        """The examples of a file: a table, lines of a label and a text, or, unlabelled, lines of text.

        Labels may be names of config.json or, as in data sets for transformers, their numbers.
        """
        file = read_file(path, blank=not labelled)
        if form is None and str(path) == "-" and not (self._options or file.holds_json):
            form = "lines"  # as for a classifier of `finetune`
        if form == "lines" and not labelled:
            return read_examples(file, LINES, labelled=False)
        found = detect_format(file, **self._options, labelled=labelled or form == "training")
        examples = read_examples(file, found, labelled)
        if not labelled or self.regression:
            return examples
        examples = self._with_names(examples, file)
        self._targets(examples, file.where)  # checks the labels
        return examples

    def _with_names(self, examples, file):
        """The examples with names in place of numbers, if every label is a number and none is a name."""
        numbers = {str(i): label for i, label in enumerate(self.labels)}
        found = {example.label for example in examples}
        if found & set(self.labels) or not found <= set(numbers):
            return examples
        for example in examples:
            file.count(
                "label(s) are numbers, taken for those of id2label in config.json", f"line {example.line}"
            )
        file.tell()
        return [dataclasses.replace(example, label=numbers[example.label]) for example in examples]


class ForeignAnswering(Answering):
    """Question answering of which nobody knows whether a question may have no answer."""

    def read(self, path, labelled=True, form=None):
        """The questions of a SQuAD file; if it is labelled, that tells whether answers may be missing."""
        questions = super().read(path, labelled, form)
        self.impossible = labelled and has_impossible(questions)
        if not labelled:
            print("no task.json says whether answers may be missing: each question gets one", file=sys.stderr)
        return questions


class Kind(NamedTuple):
    """What a class of transformers is here."""

    task_class: type
    make: Callable  # labels, {reader option: value} -> Task
    head_array: str  # which tells it from the others
    longest: int | None  # tokens of a sequence; None: what the model reads


KINDS = {
    "ElectraForSequenceClassification": Kind(
        Classification, ForeignClassification, "classifier.out_proj.weight", None
    ),
    "ElectraForTokenClassification": Kind(
        Tagging, lambda labels, options: Tagging("tagging", labels, **options), "classifier.weight", None
    ),
    "ElectraForQuestionAnswering": Kind(
        Answering,
        lambda labels, options: ForeignAnswering("squad"),
        "qa_outputs.weight",
        Answering.max_length,
    ),
}
