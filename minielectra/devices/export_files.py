"""The folders of `export`: models with smaller weights, or as ONNX files.

    of a run or mini     OUT/discriminator and OUT/generator; int8 weights of both in OUT/towers.safetensors
    of another model     OUT itself, with task.json and results.json if it was fine-tuned

Every folder of a model holds config.json and the vocabulary too, and model.safetensors or model.onnx.
"""

import os
import shutil
from os import PathLike
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from minielectra.devices.onnx_graph import onnx_bytes
from minielectra.devices.opened_source import open_source
from minielectra.errors import InputError
from minielectra.finetuning.directory import RESULTS_FILE, TASK_FILE
from minielectra.formats import huggingface
from minielectra.formats.files import make_folder, replacing_folder
from minielectra.formats.int8_weights import save_int8
from minielectra.pretraining.exported_pair import save_compact, save_towers

LARGEST_FLOAT16 = 65504


def export_files(source: str | PathLike, out: str | PathLike, file_format: str, quantize: str | None):
    """Write the models in `source` into the folder `out` -> their folders, list of Path.

    source: see `open_source`; file_format: "huggingface" or "onnx"; quantize: "float16", "int8" or None.
    Raises InputError if there is nothing to export. It also does if `out` exists, except for float32 weights
    in Hugging Face's layout, which replace older ones.
    """
    plain = file_format == "huggingface" and quantize is None
    if not plain and os.path.lexists(out):
        raise InputError(f"{out}: exists already; choose another name for the folder to write")
    opened = open_source(source)
    if plain and "" in opened.models:
        problem = "is in Hugging Face's layout already"
        if huggingface.is_our_own(opened.directory):
            problem = "reads a mix of layers, and cannot become a model for transformers (--readout N can)"
        raise InputError(f"{source}: {problem}; add --format onnx or --quantize")
    if plain:
        return save_towers(opened.models, out, opened.tokenizer)
    with replacing_folder(out) as folder:
        if file_format == "huggingface" and quantize == "int8" and not opened.finetuned:
            save_compact(opened.models, folder, opened.tokenizer)
        else:
            for name, model in opened.models.items():
                make_folder(folder / name)
                _save_weights(model, folder / name, file_format, quantize)
                huggingface.save_description(model, folder / name, opened.tokenizer)
        for name in (RESULTS_FILE, TASK_FILE):
            if opened.finetuned and (opened.directory / name).is_file():
                shutil.copyfile(opened.directory / name, folder / name)
    return [Path(out, name) for name in opened.models]


def _save_weights(model, folder, file_format, quantize):
    path, state = folder / "model.safetensors", model.standalone_state()
    if quantize == "float16":
        for name, array in state.items():
            if np.abs(array).max() > LARGEST_FLOAT16:
                problem = f"holds numbers beyond {LARGEST_FLOAT16}, too large for float16"
                raise InputError(f"{name} {problem}; choose --quantize int8")
    if file_format == "onnx":
        (folder / "model.onnx").write_bytes(onnx_bytes(model, quantize or "float32"))
    elif quantize == "int8":
        save_int8(state, path)
    else:
        dtype = quantize or "float32"
        save_file({name: array.astype(dtype) for name, array in state.items()}, path, {"format": "pt"})
