"""Reading a run folder: settings, metrics and detection records, checked as they are opened.

Dimensions: E evaluations, S held-out sequences, L positions, K masked positions in a sequence, V vocabulary entries.
"""

import os
import zipfile
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np

from minielectra.errors import InputError
from minielectra.runs import detection_counts as detection
from minielectra.runs.detection_counts import corrupt
from minielectra.runs.run_folder import load_vocab

SHAPES = {
    "steps": "E",
    "input_ids": "SL",
    "positions": "SK",
    "position_valid": "SK",
    "samples": "ESK",
    "scores": "ESL",
    "gen_correct_prob": "ESK",
    "train_counts": "V",
    "original": "EV",
    "kept": "EV",
    "replaced": "EV",
    "caught": "EV",
    "replaced_original": "EV",
    "caught_original": "EV",
}


class DetectionRecords:
    """Everything the discriminator said about the fixed held-out set, evaluation by evaluation.

    The arrays of `detection.npz` are attributes under their own names (see SHAPES); what follows from them is derived once and
    kept. Open with `DetectionRecords.load(run_dir)`.
    """

    def __init__(self, arrays, tokens):
        """arrays: dict with the keys and dimensions of SHAPES; tokens: list of V word pieces. Raises InputError on a misfit."""
        _check(arrays, tokens)
        for name in SHAPES:
            setattr(self, name, arrays[name])
        self.tokens = list(tokens)

    @classmethod
    def load(cls, run_dir):
        """Open `run_dir/detection.npz` and `run_dir/vocab.txt`; InputError when one is missing, cut short or something else."""
        path = Path(run_dir) / "detection.npz"
        tokens = load_vocab(run_dir)
        if not path.is_file():
            raise InputError(f"no detection records in {run_dir}: {path.name} is missing (the first evaluation writes it)")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in SHAPES if name in file.files}
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"cannot read {path}: it is cut short or not a detection record ({type(error).__name__})") from error
        try:
            return cls(arrays, tokens)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @cached_property
    def ids(self):
        """Vocabulary entry -> id."""
        return {token: index for index, token in enumerate(self.tokens)}

    @cached_property
    def valid(self):
        """[S, L] bool: not padding."""
        return self.input_ids != self.ids.get("[PAD]", -1)

    @cached_property
    def counted(self):
        """[S, L] bool: an ordinary token, neither padding nor [CLS] nor [SEP]."""
        special = [self.ids[name] for name in ("[PAD]", "[CLS]", "[SEP]") if name in self.ids]
        return ~np.isin(self.input_ids, special)

    @cached_property
    def seen(self):
        """[E, S, L] int32: the tokens the discriminator saw at each evaluation."""
        return corrupt(self.input_ids, self.positions, self.position_valid, self.samples)

    @cached_property
    def replaced_mask(self):
        """[E, S, L] bool: really replaced."""
        return self.seen != self.input_ids

    def corrupted_ids(self, e):
        """[S, L] int32: the tokens the discriminator saw at evaluation e."""
        return self.seen[e]

    def labels(self, e):
        """[S, L] bool: which of them were replaced."""
        return self.replaced_mask[e]

    def id_of(self, token):
        """The id of a word piece; InputError with the nearest known ones when there is none."""
        if token in self.ids:
            return self.ids[token]
        import difflib  # only needed here

        near = difflib.get_close_matches(token, self.tokens, n=4, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InputError(f"token {token!r} is not in the run's vocabulary{hint}")


def _check(arrays, tokens):
    """Raise InputError unless every array is there, of the right kind, and all agree on E, S, L, K, V."""
    missing = [name for name in SHAPES if name not in arrays]
    if missing:
        raise InputError(f"not a detection record: no {', '.join(missing)}")
    sizes = {"V": (len(tokens), "vocab.txt")}
    for name, dims in SHAPES.items():
        shape, kind = arrays[name].shape, arrays[name].dtype.kind
        wanted = "f" if name in ("scores", "gen_correct_prob") else "b" if name == "position_valid" else "iu"
        if len(shape) != len(dims) or kind not in wanted:
            raise InputError(f"{name} has shape {shape} and dtype {arrays[name].dtype}, expected dimensions [{', '.join(dims)}]")
        for dim, size in zip(dims, shape, strict=True):
            known, where = sizes.setdefault(dim, (size, name))
            if size != known:
                raise InputError(f"{name} has {dim} = {size}, but {where} has {dim} = {known}")
    if not sizes["E"][0]:
        raise InputError("the record holds no evaluation yet")
    for name, limit in (("input_ids", len(tokens)), ("samples", len(tokens)), ("positions", sizes["L"][0])):
        used = arrays[name][..., arrays["position_valid"]] if name != "input_ids" else arrays[name]
        if used.size and (used.min() < 0 or used.max() >= limit):
            raise InputError(f"{name} holds {used.min()} … {used.max()}, outside 0 … {limit - 1}")


class DetectionLog:
    """`detection.npz` of a run: the evaluation set, and for every evaluation the samples, the scores and the counts per token.

    E evaluations, S sequences of L tokens, K chosen positions each, V vocabulary entries. Arrays: `steps` [E] int64; `input_ids`
    [S, L], `positions` [S, K] int32; `position_valid` [S, K] bool; `samples` [E, S, K] int32; `scores` [E, S, L] float16, the
    probability of "replaced"; `gen_correct_prob` [E, S, K] float16; `train_counts` [V] int64; and [E, V] int32 each of
    `original`, `kept`, `replaced`, `caught`, `replaced_original`, `caught_original` (see `detection.count_detections`).
    """

    def __init__(self, path, batch, train_counts, special_ids):
        self.path = Path(path)
        self.special_ids = special_ids
        self.fixed = {
            "input_ids": batch.input_ids,
            "positions": batch.positions,
            "position_valid": batch.weights > 0,
            "train_counts": train_counts,
        }
        self.steps, self.entries = [], []

    def restore(self, step):
        """Read back the evaluations up to `step` of an earlier, interrupted process."""
        if self.path.exists():
            with np.load(self.path, allow_pickle=False) as saved:
                self.steps = [int(s) for s in saved["steps"] if s <= step]
                names = [name for name in saved.files if name not in self.fixed and name != "steps"]
                arrays = {name: saved[name] for name in names}
            self.entries = [{name: array[e] for name, array in arrays.items()} for e in range(len(self.steps))]

    def append(self, step, record):
        """record: the second result of `Evaluator`. Written at once, beside and then renamed."""
        f = self.fixed
        counts = detection.count_detections(
            f["input_ids"], f["positions"], f["position_valid"], record["samples"], record["scores"].astype(np.float32),
            len(f["train_counts"]), self.special_ids,
        )  # fmt: skip
        self.steps.append(step)
        self.entries.append(record | counts)
        stacked = {name: np.stack([entry[name] for entry in self.entries]) for name in self.entries[0]}
        beside = self.path.with_name(self.path.name + ".partial")
        try:
            with open(beside, "wb") as file:
                np.savez_compressed(file, steps=np.array(self.steps, np.int64), **f, **stacked)
            os.replace(beside, self.path)
        finally:
            beside.unlink(missing_ok=True)
