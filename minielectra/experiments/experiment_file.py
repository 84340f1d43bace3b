"""The file of an experiment: what it may say, read and checked.

docs/experiments.md explains every entry. A mistake is reported with its line before anything is run.
"""

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from minielectra.data.text.corpus_files import find_corpus_files
from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError, shown
from minielectra.experiments.task_data import TaskSettings
from minielectra.experiments.toml_places import TomlFile
from minielectra.finetuning.finetuning_config import OPTIONS, FinetuningConfig
from minielectra.pretraining.presets import configure
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.settings import Settings, fault, find_field, setting

DATA_VARIABLE = "MINIELECTRA_DATA"
UNTRAINED = "untrained"  # the name of the variant that is not pre-trained
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SECTIONS = ("model", "variants", "tasks", "finetuning", "tuning", "pairs")


@dataclass(frozen=True)
class GridSettings(Settings):
    """The entries of the file that stand outside its tables."""

    title: str = setting(help="what the experiment asks")
    corpus: list[str] = setting(help="text to pre-train on, as for `train`; relative to the data folder")
    budgets: list[float] = setting(help="FLOPs of a pre-training run; each variant is run for each")
    seeds: list[int] = setting(help="seeds of pre-training; one number is one order of the data")
    baseline: str = setting(help="the variant that the others are compared with")
    untrained: bool = setting(True, help="whether to score the baseline's encoder before any training too")


@dataclass(frozen=True)
class PairSettings(Settings):
    """The table [pairs]: minimal pairs of sentences (minimal_pairs.py)."""

    per_kind: int = setting(100, help="pairs of each kind", at_least=1, at_most=10_000)


class Variant(NamedTuple):
    """One arm of the comparison."""

    name: str
    fields: dict  # {field of ElectraConfig or PretrainingConfig: value}, on top of [model]
    seeds: tuple  # of its pre-training runs
    same_as: str | None  # the variant whose pre-training runs it uses; it has none of its own
    against: str | None  # the variant that it is compared with; None for the baseline
    finetuning: dict  # {field of FinetuningConfig: value}, on top of [finetuning]

    @property
    def trained_as(self):
        """The variant whose pre-training runs it uses: perhaps itself."""
        return self.same_as or self.name


class Tuning(NamedTuple):
    """The table [tuning]: settings that are chosen for each variant, all from the same values."""

    budget: float
    seeds: tuple
    grid: dict  # {field: values}


class Experiment(NamedTuple):
    """A checked file. Paths in it are absolute."""

    file: TomlFile
    title: str
    corpus: list  # paths of the text
    budgets: tuple
    baseline: str
    preset: str
    model: dict  # {field: value} of all variants, on top of the preset
    variants: dict  # {name: Variant}
    tasks: dict  # {name: TaskSettings}
    finetuning: dict  # {field of FinetuningConfig: value}
    finetuning_seeds: tuple
    tuning: Tuning | None
    pairs: PairSettings | None
    untrained: bool

    def configs(self, variant, fields=None):
        """ElectraConfig and PretrainingConfig of a variant's runs. fields: further values, such as tuned."""
        own = self.variants[variant.trained_as].fields
        return configure(self.preset, self.model | own | (fields or {}))


def read_experiment(path, data=None):
    """The Experiment in the TOML file `path`.

    data: the folder that paths in the file are relative to; default: the environment variable
    MINIELECTRA_DATA, or else the folder of the file. Raises InputError, with the line, for anything that
    cannot be run: an unknown name, a value out of bounds, a missing baseline, a file that is not there.
    """
    file, values = TomlFile(path), None
    values = dict(file.values)
    sections = {name: values.pop(name, {}) for name in _SECTIONS}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise file.error((name,), f"must be a table, [{name}]")
    if "baseline" not in values:
        raise file.error((), 'there is no baseline; name the variant to compare with: baseline = "bert"')
    grid = _settings(file, (), GridSettings, values)
    _check_numbers(file, ("budgets",), grid.budgets, above=0)
    _check_numbers(file, ("seeds",), grid.seeds)
    root = Path(data or os.environ.get(DATA_VARIABLE) or Path(path).parent).absolute()
    corpus = [str(root / item) for item in grid.corpus]
    try:
        find_corpus_files(corpus)
    except InputError as error:
        raise file.error(
            ("corpus",), f"{error} (paths are relative to {root}; --data changes that)"
        ) from None
    model = dict(sections["model"])
    preset = model.pop("preset", "tiny")
    finetuning = dict(sections["finetuning"])
    seeds = finetuning.pop("seeds", [0])
    _check_numbers(file, ("finetuning", "seeds"), seeds)
    experiment = Experiment(
        file=file,
        title=grid.title,
        corpus=corpus,
        budgets=tuple(grid.budgets),
        baseline=grid.baseline,
        preset=preset,
        model=model,
        variants={},
        tasks=_tasks(file, sections["tasks"], root),
        finetuning=finetuning,
        finetuning_seeds=tuple(seeds),
        tuning=_tuning(file, sections["tuning"]),
        pairs=_settings(file, ("pairs",), PairSettings, sections["pairs"])
        if "pairs" in file.values
        else None,
        untrained=grid.untrained,
    )
    _configured(experiment, ("model",), model, model)
    _check_finetuning(experiment, ("finetuning",), model, finetuning)
    for name, section in sections["variants"].items():
        experiment.variants[name] = _variant(experiment, name, section, tuple(grid.seeds))
    _check_variants(experiment)
    _check_roles(experiment)
    return experiment


def _variant(experiment, name, section, seeds):
    """The Variant of the table [variants.NAME]."""
    file, place = experiment.file, ("variants", name)
    if not _NAME.fullmatch(name) or name == UNTRAINED:
        problem = f'"{UNTRAINED}" has a meaning of its own' if name == UNTRAINED else "cannot be a name"
        raise file.error(place, f"{problem}; use small letters, digits and -, at most 40 of them")
    if not isinstance(section, dict):
        raise file.error(place, f"must be a table, [variants.{name}]")
    fields = dict(section)
    seeds = fields.pop("seeds", list(seeds))
    _check_numbers(file, (*place, "seeds"), seeds)
    own = {"same_as": None, "against": experiment.baseline if name != experiment.baseline else None}
    for key in own:
        if key in fields:
            own[key] = fields.pop(key)
            if not isinstance(own[key], str):
                raise file.error((*place, key), f"must be the name of a variant, got {shown(own[key])}")
    finetuning = fields.pop("finetuning", {})
    if not isinstance(finetuning, dict):
        raise file.error((*place, "finetuning"), 'must be a table, such as {readout = "mix"}')
    if "vocab_size" in fields:
        raise file.error((*place, "vocab_size"), "all variants read one text; put it into [model]")
    _configured(experiment, place, experiment.model | fields, fields)
    options = experiment.finetuning | finetuning
    _check_finetuning(experiment, (*place, "finetuning"), experiment.model | fields, options)
    return Variant(name, fields, tuple(seeds), finetuning=finetuning, **own)


def _check_variants(experiment):
    """Raise InputError if variants name others that are not there, or cannot be compared with them."""
    file, variants = experiment.file, experiment.variants
    if experiment.baseline not in variants:
        known = ", ".join(variants) or "none"
        raise file.error(
            ("baseline",), f"there is no variant {shown(experiment.baseline)}; the file has {known}"
        )
    for variant in variants.values():
        place = ("variants", variant.name)
        for key, other in (("same_as", variant.same_as), ("against", variant.against)):
            if other is not None and (other not in variants or other == variant.name):
                problem = f"there is no other variant {shown(other)}; the file has {', '.join(variants)}"
                raise file.error((*place, key), problem)
        if variant.same_as:
            origin = variants[variant.same_as]
            if variant.fields:
                problem = f"uses the runs of {origin.name}, so it cannot change their settings; leave it out"
                raise file.error((*place, next(iter(variant.fields))), problem)
            if origin.same_as:
                raise file.error((*place, "same_as"), f"{origin.name} has no runs of its own; name another")
            if missing := set(variant.seeds) - set(origin.seeds):
                problem = f"{origin.name} has no run of seed {min(missing)}; leave it out, or add it there"
                raise file.error((*place, "seeds"), problem)
        if variant.against and not set(variant.seeds) & set(variants[variant.against].seeds):
            problem = f"has no seed in common with {variant.against}, so nothing can be paired"
            raise file.error((*place, "seeds"), f"{problem}; add one")


def _tasks(file, section, root):
    """{name: TaskSettings} of the tables [tasks.NAME], with absolute paths."""
    if not section:
        raise file.error((), "there are no tasks to score on; add a table [tasks.NAME]")
    tasks = {}
    for name, values in section.items():
        place = ("tasks", name)
        if not _NAME.fullmatch(name) or not isinstance(values, dict):
            raise file.error(place, "must be a table with a name of small letters, digits and -")
        task = _settings(file, place, TaskSettings, values)
        paths = {key: str(root / getattr(task, key)) for key in ("train", "test") if getattr(task, key)}
        for key, path in paths.items():
            if not Path(path).is_file():
                problem = f"{path}: no such file (paths are relative to {root}; --data changes that)"
                raise file.error((*place, key), problem)
        tasks[name] = dataclasses.replace(task, **paths)
    return tasks


def _tuning(file, section):
    """The Tuning of the table [tuning], or None."""
    if not section:
        return None
    grid = dict(section)
    if "budget" not in grid:
        raise file.error(("tuning",), "budget is missing: the FLOPs of a run that tries a value")
    budget, seeds = grid.pop("budget"), grid.pop("seeds", [0])
    _check_numbers(file, ("tuning", "budget"), [budget], above=0)
    _check_numbers(file, ("tuning", "seeds"), seeds)
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise file.error(("tuning", name), "must be a list of values to try")
    if not grid:
        raise file.error(("tuning",), "there is nothing to try; add a field with a list of values")
    return Tuning(float(budget), tuple(seeds), grid)


def _check_roles(experiment):
    """Raise InputError unless what chooses settings and what is reported are different tasks."""
    file, tasks = experiment.file, experiment.tasks
    selection = {name: task for name, task in tasks.items() if task.selection}
    if len(selection) == len(tasks):
        raise file.error(("tasks",), "all tasks are for selection; add one that is reported")
    if experiment.tuning and not selection:
        raise file.error(("tuning",), "no task chooses among the values; mark one with selection = true")
    if selection and not experiment.tuning:
        name = next(iter(selection))
        raise file.error(("tasks", name, "selection"), "there is no [tuning]; leave it out, or add the table")
    for name, task in selection.items():
        for other, reported in tasks.items():
            if not reported.selection and task.reads_as(reported):
                problem = f"chooses settings by what tasks.{other} reports; use another task for one of them"
                raise file.error(("tasks", name), problem)
        if not task.finetuned:
            raise file.error(("tasks", name, "finetuned"), "a task for selection is fine-tuned; leave it out")
    for variant in experiment.variants.values():
        names = experiment.tuning.grid if experiment.tuning else {}
        for name, values in names.items():
            for value in values:
                _configured(
                    experiment, ("tuning",), experiment.model | variant.fields | {name: value}, (name,)
                )
            if name in variant.fields:
                problem = f"is tuned; leave it out of [variants.{variant.name}]"
                raise file.error(("variants", variant.name, name), problem)


# Checks that say where.


def _settings(file, place, kind, values):
    """An instance of the settings class `kind` from a table's values."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in fields:
            known = ", ".join((*fields, *(() if place else _SECTIONS)))
            raise file.error((*place, name), f"unknown; known are {known}")
        if problem := fault(fields[name], value):
            raise file.error((*place, name), problem)
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING:
            raise file.error(place, f"{name} is missing: {field.metadata['help']}")
    try:
        return kind(**values)
    except InputError as error:
        raise file.error(place, str(error)) from None


def _configured(experiment, place, fields, names):
    """Raise InputError unless `fields` make configurations. names: those of them that stand at `place`."""
    for name in names:
        try:
            problem = fault(find_field(name, ElectraConfig, PretrainingConfig), fields[name])
        except InputError as error:
            problem = str(error)
        if problem:
            raise experiment.file.error((*place, name), problem)
    try:
        configure(experiment.preset, fields)
    except InputError as error:
        raise experiment.file.error(place, str(error)) from None


def _check_finetuning(experiment, place, fields, options):
    """Raise InputError unless `options` are settings of fine-tuning that suit a model of these fields."""
    for name in options:
        if name not in OPTIONS:
            raise experiment.file.error((*place, name), f"unknown; known are {', '.join(OPTIONS)} and seeds")
    try:
        FinetuningConfig.suited_to(configure(experiment.preset, fields)[0], 128, options)
    except InputError as error:
        raise experiment.file.error(place, str(error)) from None


def _check_numbers(file, place, values, above=None):
    """Raise InputError unless `values` is a list of different numbers: seeds, or, with `above`, budgets."""
    if not isinstance(values, list) or not values:
        raise file.error(place, f"must be a list of numbers, got {shown(values)}")
    for value in values:
        if above is None and (type(value) is not int or not 0 <= value < 2**53):
            raise file.error(place, f"must be a list of integers from 0, got {shown(value)}")
        if above is not None and (type(value) not in (int, float) or not above < value < float("inf")):
            raise file.error(place, f"must be positive numbers of FLOPs, got {shown(value)}")
    if len({f"{value:.3g}" if above is not None else value for value in values}) < len(values):
        raise file.error(place, "has a value twice; leave one out")
