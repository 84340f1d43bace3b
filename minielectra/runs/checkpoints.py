"""Checkpoints: everything needed to continue a run, as safetensors and JSON, never pickle.

    checkpoints/step-00001000/
        model.safetensors       every parameter under its name
        optimizer.safetensors   the optimizer's arrays, under the names that it gives them
        state.json              step, tokens, seconds, running sums; the score of the last evaluation, and
                                which checkpoint had the best score so far
        checksums.json          what was written into these files: see formats/checksums.py

A fine-tuning has the same in the folder of its model while it goes on, and further arrays (`more`).

Adam's arrays are first_moment and second_moment [P], in the order of the flat buffer.

A checkpoint is written beside its place and renamed, so it is there as a whole or not at all.
"""

import contextlib
import re
import sys
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from minielectra.backend import to_host
from minielectra.errors import InputError, reason, shown
from minielectra.formats.checksums import Damaged, replacing_checked_folder, verify
from minielectra.formats.files import remove_folder, set_aside
from minielectra.formats.json_text import is_integer, is_number, json_text
from minielectra.formats.reading import check_ordinary, read_json

FORMAT = "minielectra-checkpoint-1"
_NAME = re.compile(r"step-(\d{8,})")


def _are_running_losses(value):
    """Whether a value is {name: [sum, steps]} or, as earlier versions wrote it, [steps, sum, sum]."""
    if isinstance(value, list):
        return len(value) <= 3 and all(map(is_number, value))
    return isinstance(value, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and is_number(pair[0]) and is_integer(pair[1])
        for pair in value.values()
    )


# What state.json of a run holds: {entry: whether a value can be one}.
_ENTRIES = {
    "tokens": is_integer,
    "seconds": lambda value: is_number(value) and value >= 0,
    "running": _are_running_losses,
}
_ADVICE = "remove the folder to use an earlier checkpoint"


def list_checkpoints(run_dir):
    """[(step, folder)] of the complete checkpoints of a run, in order of step. Links are not among them."""
    folders = (Path(run_dir) / "checkpoints").glob("step-*")
    return sorted(
        (int(match[1]), folder)
        for folder in folders
        if (match := _NAME.fullmatch(folder.name)) and not folder.is_symlink()
    )


def last_step(run_dir):
    """The step of the last checkpoint of a run; 0 if it has none."""
    return max((step for step, _ in list_checkpoints(run_dir)), default=0)


# Writing.


def save_checkpoint(run_dir, step, parameters, optimizer, state, more=None):
    """Write the checkpoint after `step` training steps, unless it is there already -> its folder.

    parameters: Parameters; optimizer: its `state()` gives {name: array}; state: a JSON-able dict;
    more {name: {name: array}}: further files, NAME.safetensors. Raises InputError or OSError if the disk is
    full; nothing is left behind then.
    """
    target = Path(run_dir) / "checkpoints" / f"step-{step:08d}"
    if target.exists():
        return target
    try:
        with replacing_checked_folder(target) as beside:
            save_file(parameters.state(), beside / "model.safetensors")
            moments = {name: to_host(array) for name, array in optimizer.state().items()}
            save_file(moments, beside / "optimizer.safetensors")
            for name, arrays in (more or {}).items():
                save_file(arrays, beside / f"{name}.safetensors")
            content = {"format": FORMAT, "step": step, "checksums": True, **state}
            write_json_text(beside / "state.json", content)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise InputError(
            f"{target}: cannot be written ({reason(error)}); make room, then continue with --resume {run_dir}"
        ) from None
    return target


def write_json_text(path, content):
    """A JSON file in a folder that is not in its place yet."""
    path.write_text(json_text(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def prune(run_dir, keep):
    """Remove checkpoints, so that `keep` stay, and the best one besides. keep = 0: all stay."""
    checkpoints = dict(list_checkpoints(run_dir))
    best = best_of(run_dir)
    for step in superfluous(sorted(checkpoints), keep, best and best["step"]):
        remove_folder(checkpoints[step])


def superfluous(steps, keep, best=None):
    """Which checkpoints to remove so that `keep` stay besides the best one. steps: in order -> list.

    The newest two stay, so that there is another one if the newest is damaged. The others are those that lie
    most evenly over the run: pictures show what was learnt from the beginning on.
    """
    others, gone = [step for step in steps if step != best], []
    while keep and len(others) > keep:
        free = range(len(others) - min(keep, 2))  # without the newest
        gaps = [others[i + 1] - (others[i - 1] if i else 0) for i in free]
        gone.append(others.pop(gaps.index(min(gaps))))
    return gone


def best_of(run_dir, step=None, score=None):
    """The best checkpoint of a run by its last evaluation -> {"step", **score}, or None if none has a score.

    step, score: those of a checkpoint that is about to be written.
    """
    checkpoints = list_checkpoints(run_dir)
    scored = [] if score is None else [{**score, "step": step}]
    newest = _entry(checkpoints[-1][1], "best") if checkpoints else None
    if newest and newest["step"] in dict(checkpoints):
        scored.append(newest)
    else:  # an earlier version wrote it, or that checkpoint is gone
        found = ((other, _entry(folder, "score")) for other, folder in checkpoints)
        scored += [{**own, "step": other} for other, own in found if own]

    def goodness(found):
        return (found["value"] if found.get("higher_is_better") else -found["value"]), found["step"]

    return max(scored, key=goodness, default=None)


def _entry(folder, name):
    """A score in state.json of a checkpoint, a dict, or None if it has none that can be used."""
    with contextlib.suppress(InputError, OSError):
        found = load_state(folder).get(name)
        if isinstance(found, dict) and type(found.get("value")) is float and np.isfinite(found["value"]):
            return found | {"step": found["step"] if type(found.get("step")) is int else None}
    return None


# Reading.


def newest_whole(run_dir, needed=()):
    """(step, folder) of the newest checkpoint that is whole, or None if there is no checkpoint.

    needed: entries that each state.json must have. Damaged checkpoints that are newer are set aside as
    `step-….damaged`, and one line on standard error says so. Raises Damaged if no checkpoint is whole, and
    OSError for files that may not be read.
    """
    faults = []
    for step, folder in reversed(list_checkpoints(run_dir)):
        try:
            check_whole(folder, needed)
        except Damaged as fault:
            faults.append((folder, fault))
            continue
        for damaged, fault in reversed(faults):
            aside = set_aside(damaged, "damaged")
            print(f"{fault}; set aside as {aside.name}, goes on after step {step:,}", file=sys.stderr)
        return step, folder
    if faults:
        raise Damaged(f"{faults[0][1]}; no checkpoint of this run is whole: start a new one")
    return None


def check_whole(folder, needed=()):
    """Raise Damaged unless all files of a checkpoint are as they were written, and hold finite numbers.

    needed: entries that its state.json must have.
    """
    folder = Path(folder)
    checked, state = verify(folder), load_state(folder)
    if state.get("checksums") and not checked:
        raise Damaged(f"{folder}: damaged (checksums.json is missing)")
    for name in needed:
        if name not in state:
            raise Damaged(f"{folder / 'state.json'}: damaged ({name} is missing)")
    names = {path.name for path in folder.glob("*.safetensors")} | {"model.safetensors"}
    for name in sorted(names):
        _load(folder / name)


def load_checkpoint(folder, parameters, optimizer):
    """Read a checkpoint into `parameters` and `optimizer` -> its state.json, a dict.

    Raises InputError if a file is missing or damaged, or does not fit these parameters or this optimizer.
    """
    state = load_state(folder)
    path = Path(folder) / "optimizer.safetensors"
    arrays = _load(path)
    if _shapes(arrays) != _shapes(optimizer.state()):
        raise InputError(f"{path}: does not fit this run; {_ADVICE}")
    load_parameters(folder, parameters, check=False)
    optimizer.load_state(arrays)
    return state


def load_parameters(folder, parameters, check=True):
    """Read a checkpoint's model.safetensors into `parameters`. Raises InputError if it does not fit them.

    check: whether to compare it with its checksum first. Raises Damaged, with what to do.
    """
    folder = Path(folder)
    path = folder / "model.safetensors"
    try:
        if check:
            verify(folder, [path.name])
        parameters.load_state(_load(path))
    except Damaged as fault:
        run, advice = folder.parent.parent, "remove its folder"
        if folder.name == f"step-{last_step(run):08d}":
            advice = f"--resume {run} goes back to the newest whole checkpoint"
        raise Damaged(f"{fault}; {advice}") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: does not fit this run ({reason(error)}); {_ADVICE}") from None


def load_more(folder, name, shapes):
    """The further arrays NAME.safetensors of a checkpoint, or None if it has none -> {name: array}.

    shapes {name: shape}: what they must be; None: anything. Raises InputError if they are something else.
    """
    path = Path(folder) / f"{name}.safetensors"
    if not path.exists():
        return None
    arrays = _load(path)
    if shapes is not None and _shapes(arrays) != shapes:
        raise InputError(f"{path}: does not fit this run; {_ADVICE}")
    return arrays


def load_state(folder):
    """state.json of a checkpoint, a dict. Raises Damaged if it is missing, damaged or something else."""
    path = Path(folder) / "state.json"
    try:
        state = read_json(path, f"{path}: missing, so this is not a checkpoint")
    except InputError as error:
        raise Damaged(str(error)) from None
    step = state.get("step")
    if state.get("format") != FORMAT or type(step) is not int or step < 0:
        raise Damaged(f"{path}: not a minielectra checkpoint")
    for name, usable in _ENTRIES.items():
        if name in state and not usable(state[name]):
            raise Damaged(f"{path}: damaged ({name} is {shown(state[name])})")
    return state


def _load(path):
    """{name: array} of a safetensors file, all of finite numbers."""
    try:
        check_ordinary(path)
        arrays = load_file(path)
    except PermissionError:
        raise
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise Damaged(f"{path}: truncated or not safetensors ({reason(error)})") from None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise Damaged(f"{path}: {name} holds NaN or infinite numbers")
    return arrays


def _shapes(arrays):
    return {name: tuple(array.shape) for name, array in arrays.items()}
