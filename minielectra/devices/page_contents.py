"""A model as a page for the browser: what the page needs to know, and the file itself."""

import base64
import dataclasses
from importlib import resources
from os import PathLike
from pathlib import Path

import numpy as np

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.devices.character_table import character_table
from minielectra.devices.opened_source import OpenedSource, open_source
from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError
from minielectra.finetuning.metrics.spans import find_scheme
from minielectra.formats.html_page import html_page
from minielectra.formats.int8_weights import quantized

SCRIPTS = ("wordpiece.js", "model.js", "tasks.js", "interface.js")  # in the order in which they run
LARGEST = 400_000_000  # bytes of weights; browsers refuse longer texts


def page_of(source: str | PathLike) -> str:
    """The page of a run's discriminator, a fine-tuned directory, or "mini" -> the text of an HTML file.

    Raises InputError if there is no such model, or if a page cannot hold it.
    """
    opened = open_source(source)
    about, weights = page_contents(opened)
    about["name"] = Path(source).resolve().name if source != "mini" else "mini"
    script = "\n".join(map(page_file, SCRIPTS))
    data = {"about": about, "weights": base64.b64encode(weights).decode("ascii")}
    title = f"{about['name']} · minielectra"
    return html_page(title, page_file("page.html"), page_file("page.css"), script, data)


def page_file(name: str) -> str:
    """The text of a file in `page/`."""
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def page_contents(opened: OpenedSource) -> tuple[dict, bytes]:
    """What the script needs: a JSON-able dict, and the bytes of the weights. Raises InputError."""
    model = opened.models.get("" if opened.finetuned else "discriminator")
    if model is None:
        raise InputError("there is no discriminator, and a page of the generator alone shows nothing")
    arrays, weights = _pack(model.standalone_state())
    if len(weights) > LARGEST:
        raise InputError(
            f"the model has {len(weights):,} bytes of weights; a page holds at most {LARGEST:,}: "
            "export it with --format onnx"
        )
    config = {field.name: getattr(model.config, field.name) for field in dataclasses.fields(ElectraConfig)}
    about = {
        "config": config,
        "arrays": arrays,
        "tokenizer": _tokenizer(opened.tokenizer),
        "maxLength": model.config.max_position_embeddings,
        **(_task(opened.finetuned) if opened.finetuned else {"kind": "detection"}),
    }
    return about, weights


def _pack(state):
    """{name: array} as int8 rows and float32 vectors -> {name: {"shape", "at", "scales"}}, their bytes.

    at, scales: where the numbers and, of a matrix, the scales begin; multiples of 4.
    """
    arrays, parts, size = {}, [], 0

    def place(array):
        nonlocal size
        raw = array.tobytes()
        parts.append(raw + bytes(-len(raw) % 4))
        size += len(parts[-1])
        return size - len(parts[-1])

    for name, array in state.items():
        arrays[name] = {"shape": list(array.shape)}
        if array.ndim == 2:
            numbers, scale = quantized(array)
            arrays[name] |= {"at": place(numbers), "scales": place(scale.astype("<f4"))}
        else:
            arrays[name]["at"] = place(np.asarray(array, "<f4"))
    return arrays, b"".join(parts)


def _tokenizer(tokenizer: WordPieceTokenizer):
    if tokenizer.rules.added:
        names = ", ".join(token.content for token in tokenizer.rules.added)
        raise InputError(f"tokens were added to the vocabulary ({names:.60}), which a page does not know")
    return {
        "pieces": tokenizer.vocab,
        "special": dict(zip(SPECIAL_TOKENS, tokenizer.special_ids, strict=True)),
        "characters": character_table(tokenizer.rules),
    }


def _task(finetuned):
    """What the script needs to know of a task."""
    task = finetuned.task
    about = {"kind": task.head, "maxLength": finetuned.max_length, "labels": list(task.labels)}
    if task.head == "classification":
        form = task.table_format
        pair = "optional" if form.kind == "lines" else form.pair is not None
        about |= {"pair": pair, "scale": task.scale}
    elif task.head == "tagging":
        scheme = find_scheme(task.labels)
        about["spans"] = None if scheme is None else [scheme.split(label) for label in task.labels]
    elif task.head == "answering":
        about |= {"impossible": task.impossible, "threshold": task.threshold}
    else:
        raise InputError(f"a page cannot show the task {task.name}; export it with --format onnx")
    return about
