"""run.json: every setting of a run, so that the folder alone says how the run continues.

A run's folder:

    run.json          settings, configuration, seed, steps, versions, fingerprint of the corpus
    data/             indexes into the corpus, and the prepared corpus itself, if it was not prepared before
    vocab.txt         the vocabulary
    metrics.jsonl     one line per evaluation
    detection.npz     what was recorded at each evaluation; while the run goes on, also detection/
    schedule.bin      of a run of --minutes: what the clock decided about each step
    checkpoints/      step-00001000/ …
    plots/            pictures
    .lock             while a process works in the folder: its name

What is recorded is what a resumed run uses. Presets and defaults are not asked again, because another version
of the program may have others.
"""

import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minielectra import __version__
from minielectra.errors import InputError, reason, shown
from minielectra.formats.files import make_folder, write_json
from minielectra.formats.json_text import is_integer
from minielectra.formats.locks import vacant
from minielectra.formats.reading import check_links, read_json

FORMAT = "minielectra-run-1"
_NUMERIC = ("minielectra", "numpy")  # whose versions may change results
# What a run may have made before its first checkpoint.
FILES = (
    "run.json",
    "data",
    "vocab.txt",
    "tokenizer_config.json",
    "metrics.jsonl",
    "detection.npz",
    "detection",
    "schedule.bin",
)


def create(folder, settings, fields=None):
    """Make the folder of a new run and write its first run.json -> its contents, a dict.

    settings: a JSON-able dict; fields: {configuration field: value} that follow from them, until the
    configurations themselves are known. Raises InputError if the folder already holds a run or other files.
    """
    folder = Path(folder)
    check_vacant(folder)
    try:
        make_folder(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created ({reason(error)}); choose another --out") from None
    info = {"format": FORMAT, "settings": settings, "versions": versions()}
    if fields:
        info["fields"] = fields
    save(folder, info)
    return info


def check_vacant(folder):
    """Raise InputError if a new run cannot have this folder, because something is in it."""
    folder = Path(folder)
    if (folder / "run.json").exists():
        raise InputError(
            f"{folder}: already holds a run; continue it with --resume {folder}, or choose another --out"
        )
    if not vacant(folder):
        raise InputError(f"{folder}: exists and is not an empty folder; choose another --out")


def versions():
    """{name: version} of what computes the numbers."""
    return {"minielectra": __version__, "numpy": np.__version__, "python": platform.python_version()}


def other_versions(recorded):
    """What to tell somebody who goes on with other versions than those recorded -> a sentence, or ""."""
    now = versions()
    if not isinstance(recorded, dict) or all(recorded.get(name) in (None, now[name]) for name in _NUMERIC):
        return ""
    then = " and ".join(f"{name} {shown(recorded.get(name))}" for name in _NUMERIC)
    return (
        f"begun with {then}, continued with {' and '.join(f'{name} {now[name]}' for name in _NUMERIC)}: "
        "the settings stay, but the last bits may differ"
    )


def save(folder, info):
    """Write `info` as the run.json of a folder."""
    write_json(Path(folder) / "run.json", info)


def load(folder):
    """The run.json of a folder, a dict.

    Raises InputError if it is missing, damaged or not a run's, or if a link leads out of the folder.
    """
    path = Path(folder) / "run.json"
    check_links(folder)
    info = read_json(path, f"{folder}: no run there (run.json is missing); train one first")
    if info.get("format") != FORMAT or not isinstance(info.get("settings"), dict):
        raise InputError(f"{path}: not a minielectra run")
    for name, (usable, what) in _ENTRIES.items():
        if name in info and not usable(info[name]):
            raise InputError(
                f"{path}: {name} must be {what}, got {shown(info[name])}; restore it from a copy"
            )
    return info


def _is_counts(value):
    return isinstance(value, dict) and all(is_integer(count, 1) for count in value.values())


def _is_dict(value):
    return isinstance(value, dict)


# What run.json may hold beside its settings, which RunSettings checks: {entry: (a test, the test in words)}.
_ENTRIES = {
    "fields": (_is_dict, "a dictionary"),
    "config": (_is_dict, "a dictionary"),
    "pretraining": (_is_dict, "a dictionary"),
    "versions": (_is_dict, "a dictionary"),
    "corpus": (_is_dict, "a dictionary"),
    "steps": (lambda value: is_integer(value, 1), "a number of steps"),
    "every": (_is_counts, "numbers of steps"),
    "extensions": (lambda value: isinstance(value, list), "a list"),
    "lowercase": (lambda value: isinstance(value, bool), "true or false"),
}


def configs(info, model_kind, training_kind, folder="the run"):
    """Both configurations from the contents of a run.json, as instances of these classes.

    folder: the run's name in error messages. Raises InputError if the run stopped before it knew them (the
    vocabulary size comes from the corpus), if a value cannot be, or if another version wrote fields that this
    one does not know.
    """
    if "config" not in info or "pretraining" not in info:
        raise InputError(f"{folder}: stopped before its data was ready; continue it with --resume {folder}")
    try:
        return model_kind.from_record(info["config"]), training_kind.from_record(info["pretraining"])
    except InputError as error:
        raise InputError(f"{folder}/run.json: {error}") from None


def with_configs(info, config, pretraining, **more):
    """`info` with both configurations written in, as `configs` reads them, and further entries."""
    return info | {"config": asdict(config), "pretraining": asdict(pretraining), **more}
