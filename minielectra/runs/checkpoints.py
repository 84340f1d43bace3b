"""Checkpoints: safetensors for arrays, JSON for the rest, never pickle; written beside and renamed, so never half there.

checkpoints/step-00001000/
    model.safetensors       every parameter under its name
    optimizer.safetensors   first_moment, second_moment [P], in the order of the flat buffer
    state.json              step, tokens, seconds, running sums
"""

import json
import os
import re
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from minielectra.backend import to_host
from minielectra.errors import InputError, reason
from minielectra.formats.files import read_json

FORMAT = "minielectra-checkpoint-1"
_NAME = re.compile(r"step-(\d{8,})")


def list_checkpoints(run):
    """[(step, folder)] of a run's complete checkpoints, in order of step."""
    folders = (Path(run) / "checkpoints").glob("step-*")
    return sorted((int(match[1]), folder) for folder in folders if (match := _NAME.fullmatch(folder.name)))


def save_checkpoint(run, step, trainee, state):
    """Write the checkpoint of `step` (a no-op if it is there). state: a JSON-able dict."""
    target = Path(run) / "checkpoints" / f"step-{step:08d}"
    if target.exists():
        return target
    beside = target.with_name(target.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        save_file(trainee.model.parameters.state(), beside / "model.safetensors")
        moments = {"first_moment": to_host(trainee.optimizer.first), "second_moment": to_host(trainee.optimizer.second)}
        save_file(moments, beside / "optimizer.safetensors")
        (beside / "state.json").write_text(json.dumps({"format": FORMAT, "step": step, **state}, indent=2) + "\n")
        for file in beside.iterdir():
            _flush(file)
        os.replace(beside, target)
        _flush(target.parent)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise InputError(f"{target}: cannot be written ({reason(error)}); make room, then continue with --resume {run}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def load_state(folder):
    """state.json of a checkpoint. Raises InputError where it is missing, damaged or not ours."""
    path = Path(folder) / "state.json"
    state = read_json(path, f"{path}: missing, so this is no checkpoint; remove the folder to use an earlier one")
    if state.get("format") != FORMAT or not isinstance(state.get("step"), int):
        raise InputError(f"{path}: not a minielectra checkpoint; remove the folder to use an earlier one")
    return state


def load_parameters(folder, parameters):
    """Read model.safetensors of a checkpoint into `parameters`."""
    path = Path(folder) / "model.safetensors"
    try:
        parameters.load_state(_load(path))
    except ValueError as error:
        raise InputError(f"{path}: does not fit this run ({reason(error)}); remove the folder to use an earlier one") from None


def load_checkpoint(folder, trainee):
    """Parameters and optimiser state of a checkpoint into `trainee` -> its state.json."""
    state = load_state(folder)
    path = Path(folder) / "optimizer.safetensors"
    moments = _load(path)
    shape = trainee.model.parameters.flat.shape
    if {name: array.shape for name, array in moments.items()} != {"first_moment": shape, "second_moment": shape}:
        raise InputError(f"{path}: does not fit this run; remove the folder to use an earlier one")
    load_parameters(folder, trainee.model.parameters)
    trainee.optimizer.first[...] = trainee.xp.asarray(moments["first_moment"])
    trainee.optimizer.second[...] = trainee.xp.asarray(moments["second_moment"])
    return state


def _load(path):
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: truncated or not safetensors ({reason(error)}); remove the folder to use an earlier one"
        ) from None


def _flush(path):
    """Make a file, or the names in a folder, survive a power cut (folders only where the system can)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
