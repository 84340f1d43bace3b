"""Checkpoints: everything needed to continue a run, as safetensors and JSON, never pickle.

    checkpoints/step-00001000/
        model.safetensors       every parameter under its name
        optimizer.safetensors   the optimizer's arrays, under the names that it gives them
        state.json              step, tokens, seconds, running sums

A fine-tuning has the same in the folder of its model while it goes on, and further arrays (`more`).

Adam's arrays are first_moment and second_moment [P], in the order of the flat buffer.

A checkpoint is written beside its place and renamed, so it is there as a whole or not at all.
"""

import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from minielectra.backend import to_host
from minielectra.errors import InputError, reason
from minielectra.formats.files import read_json, replacing_folder
from minielectra.formats.json_text import json_text

FORMAT = "minielectra-checkpoint-1"
_NAME = re.compile(r"step-(\d{8,})")
_ADVICE = "remove the folder to use an earlier checkpoint"


def list_checkpoints(run_dir):
    """[(step, folder)] of the complete checkpoints of a run, in order of step."""
    folders = (Path(run_dir) / "checkpoints").glob("step-*")
    return sorted((int(match[1]), folder) for folder in folders if (match := _NAME.fullmatch(folder.name)))


def last_step(run_dir):
    """The step of the last checkpoint of a run; 0 if it has none."""
    return max((step for step, _ in list_checkpoints(run_dir)), default=0)


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
        with replacing_folder(target) as beside:
            save_file(parameters.state(), beside / "model.safetensors")
            moments = {name: to_host(array) for name, array in optimizer.state().items()}
            save_file(moments, beside / "optimizer.safetensors")
            for name, arrays in (more or {}).items():
                save_file(arrays, beside / f"{name}.safetensors")
            text = json_text({"format": FORMAT, "step": step, **state}, indent=2) + "\n"
            (beside / "state.json").write_text(text, encoding="utf-8", newline="\n")
    except SafetensorError as error:  # how safetensors reports a full disk
        raise InputError(
            f"{target}: cannot be written ({reason(error)}); make room, then continue with --resume {run_dir}"
        ) from None
    return target


def load_checkpoint(folder, parameters, optimizer):
    """Read a checkpoint into `parameters` and `optimizer` -> its state.json, a dict.

    Raises InputError if a file is missing or damaged, or does not fit these parameters or this optimizer.
    """
    state = load_state(folder)
    path = Path(folder) / "optimizer.safetensors"
    arrays = _load(path)
    if _shapes(arrays) != _shapes(optimizer.state()):
        raise InputError(f"{path}: does not fit this run; {_ADVICE}")
    load_parameters(folder, parameters)
    optimizer.load_state(arrays)
    return state


def load_parameters(folder, parameters):
    """Read a checkpoint's model.safetensors into `parameters`. Raises InputError if it does not fit them."""
    path = Path(folder) / "model.safetensors"
    try:
        parameters.load_state(_load(path))
    except ValueError as error:
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
    """state.json of a checkpoint, a dict. Raises InputError if it is missing, damaged or something else."""
    path = Path(folder) / "state.json"
    state = read_json(path, f"{path}: missing, so this is not a checkpoint; {_ADVICE}")
    if state.get("format") != FORMAT or not isinstance(state.get("step"), int):
        raise InputError(f"{path}: not a minielectra checkpoint; {_ADVICE}")
    return state


def _load(path):
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: truncated or not safetensors ({reason(error)}); {_ADVICE}") from None


def _shapes(arrays):
    return {name: tuple(array.shape) for name, array in arrays.items()}
