"""The tasks a model can be fine-tuned for, one file each: any that defines a `Task` (contract.py) is found.

In: the name that the user typed. Out: the class that reads its files, encodes its examples, decodes logits
and scores predictions.
"""

import functools
import importlib
import inspect
import pkgutil

from minielectra.errors import InputError
from minielectra.finetuning.tasks.contract import Task


def find(name):
    """The Task class that answers to `name`. Raises InputError, with the known names, if none does."""
    for task_class in task_classes():
        if name in task_class.names:
            return task_class
    raise InputError(f"unknown task {name!r}: choose one of {', '.join(names())}")


def names():
    """Every name that a task answers to -> list of str."""
    return [name for task_class in task_classes() for name in task_class.names]


def reader_options():
    """Every option that the reader of some task takes -> list of str, perhaps with repetitions."""
    return [option for task_class in task_classes() for option in task_class.reader_options]


@functools.cache
def task_classes():
    """The Task classes defined in this folder, by file name -> tuple of classes."""
    found = []
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for member in vars(module).values():
            defined_here = inspect.isclass(member) and member.__module__ == module.__name__
            if defined_here and issubclass(member, Task) and member is not Task:
                found.append(member)
    return tuple(found)
