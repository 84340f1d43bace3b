"""What a task is: the contract between the fine-tuning loop and the files in this folder.

The walk of an example, and the method that takes each step:

    from_file, read    file        -> examples       of the task's own kind: a text, a sentence, a question
    encode             example     -> Encoded        token ids, segments, targets; several if it is long
    decode             logits      -> prediction     a JSON-able dict
    score              predictions -> {metric: value}
    show, report       prediction  -> text, JSON
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from minielectra.errors import InputError, shown
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.formats.json_text import is_texts

FORMS = ("training", "lines")  # like the training file, or plain lines: a text or a sentence on each


class Task(ABC):
    """A task: how to read its files, encode its examples, and turn logits into predictions and scores.

    To add a task, put a file with a subclass into this folder, and write its test. Commands find it by its
    `names`.
    """

    names: ClassVar[tuple[str, ...]]  # what the user may call it on the command line
    head: ClassVar[str]  # what task.json calls its head
    model_class: ClassVar[type]  # the encoder with that head (heads.py)
    reader_options: ClassVar[tuple[str, ...]] = ()  # the fields of ExperimentSettings that `from_file` takes
    max_length: ClassVar[int] = FinetuningConfig.max_length  # tokens of a sequence, by default

    name: str  # which of `names` it was made for
    labels: tuple[str, ...]  # of the head, in the order of its logits
    metrics: tuple[str, ...]  # reported in tables; the first decides which evaluation is the best
    loss: object  # what training minimises: an instance of a class in task_losses.py

    @classmethod
    @abstractmethod
    def from_file(cls, name, path, options):
        """The task as a training file defines it -> task, its labelled examples.

        options: {reader option: value} that the user gave. Raises InputError, with file and line, for a file
        that cannot be used.
        """

    @property
    @abstractmethod
    def settings(self):
        """What `from_settings` needs to make this task again -> JSON-able dict."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings):
        """The task that `settings`, from a file, describes.

        Raises KeyError, TypeError or ValueError if there is none.
        """

    @abstractmethod
    def read(self, path, labelled=True, form=None):
        """The examples of a file, "-" for standard input -> list. labelled=False: labels may be absent.

        form: how an unlabelled file is written, one of FORMS; None: its name or its content tells. Raises
        InputError, with file and line, for a file that cannot be used, or a label that was not in the
        training file.
        """

    @abstractmethod
    def encode(self, examples, tokenizer, max_length, labelled=True):
        """The sequences of examples, each of at most `max_length` tokens -> list of Encoded.

        labelled: whether to set targets, which training needs and prediction does not.
        """

    @abstractmethod
    def decode(self, logits, encoded, examples):
        """Predictions from logits -> list of JSON-able dicts, one per example.

        logits: one array per sequence of `encoded`, [L], or [T, L] if the head has an output per token.
        """

    def tune(self, examples, predictions):
        """Choose what is fitted on the development set, such as a threshold -> the predictions it leads to.

        Called at each evaluation during training; afterwards `settings` holds the choice. By default there is
        nothing to choose.
        """
        return predictions

    @abstractmethod
    def score(self, examples, predictions):
        """Scores of predictions, given the examples' labels -> {metric: float}, at least `metrics`."""

    @abstractmethod
    def show(self, example, prediction, gold=False):
        """An example and its prediction for people to read -> str, one line or several.

        gold: whether to show the example's own label too, if it has one.
        """

    @abstractmethod
    def report(self, example, prediction, gold=False):
        """An example and its prediction for `--json` -> JSON-able dict. gold: as in `show`."""

    def check_official(self, examples):
        """Raise InputError if there is no official file of predictions for these examples.

        By default there is none.
        """
        raise InputError(f"--official: {self.name} has no official file of predictions; leave it out")

    def official_format(self, examples, predictions):
        """Predictions as the text of the file that the task's official scorer reads -> str.

        `check_official` has accepted the examples.
        """
        raise NotImplementedError(f"{type(self).__name__} accepts --official, so it must write the file")


def checked_labels(labels, at_least):
    """`labels` from a file, if they are so many different texts or more. Raises ValueError otherwise."""
    if not is_texts(labels) or not at_least <= len(set(labels)) == len(labels):
        raise ValueError(f"labels are {shown(labels)}")
    return labels
