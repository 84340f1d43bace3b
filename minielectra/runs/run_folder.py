"""A run is a folder; `run.json` in it holds every setting, so that it alone says how the run goes on.

run.json          settings, configuration, seed, steps, versions, corpus fingerprint
data/             the prepared corpus (unless an already prepared one is used in place), and indices over it
vocab.txt         the vocabulary
metrics.jsonl     one line an evaluation
detection.npz     what was recorded at each evaluation
checkpoints/      step-00001000/ …
plots/            pictures
"""

import json
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minielectra import __version__
from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError
from minielectra.formats.files import read_json, write_text
from minielectra.pretraining.pretraining_config import PretrainingConfig

FORMAT = "minielectra-run-1"


def create(folder, settings):
    """Make a run's folder with its first run.json. Raises InputError where one is there already, or another's files."""
    folder = Path(folder)
    if (folder / "run.json").exists():
        raise InputError(f"{folder}: already holds a run; continue it with --resume {folder}, or choose another --out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created ({error.strerror}); choose another --out") from None
    versions = {"minielectra": __version__, "numpy": np.__version__, "python": platform.python_version()}
    info = {"format": FORMAT, "settings": settings, "versions": versions}
    save(folder, info)
    return info


def save(folder, info):
    """Write run.json, beside and then renamed."""
    write_text(Path(folder) / "run.json", json.dumps(info, indent=2) + "\n")


def load(folder):
    """run.json of a folder. Raises InputError where there is none or it is not a run's."""
    path = Path(folder) / "run.json"
    info = read_json(path, f"{folder}: no run there (run.json is missing); train one first")
    if info.get("format") != FORMAT:
        raise InputError(f"{path}: not a minielectra run")
    return info


def configs(info, folder="the run"):
    """(ElectraConfig, PretrainingConfig) of a run.json. Raises InputError before they are known."""
    if "config" not in info:
        raise InputError(f"{folder}: stopped before its data was ready; continue it with --resume {folder}")
    try:
        return ElectraConfig(**info["config"]), PretrainingConfig(**info["pretraining"])
    except TypeError as error:
        raise InputError(f"{folder}/run.json: written by another version ({error})") from None


def with_configs(info, config, pretraining, **more):
    """`info` with the configuration, and more, written in."""
    return info | {"config": asdict(config), "pretraining": asdict(pretraining), **more}


def load_vocab(run_dir):
    """The word pieces of `vocab.txt`, a list of V strings; InputError when the file is missing or not text."""
    path = Path(run_dir) / "vocab.txt"
    try:
        return path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except FileNotFoundError:
        raise InputError(f"{run_dir} is not a run folder: vocab.txt is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None


def load_settings(run_dir):
    """`run.json` as a dict; {} when there is none, InputError when it is not a JSON object."""
    path = Path(run_dir) / "run.json"
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} is not a JSON object")
    return settings
