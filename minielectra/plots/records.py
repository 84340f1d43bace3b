"""Reading a run folder: settings, metrics and detection records, checked as they are opened.

Dimensions: E evaluations, S held-out sequences, L positions, K masked positions in a sequence, V vocabulary entries.
"""

import json
import zipfile
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np

from minielectra.detection import corrupt
from minielectra.errors import InputError

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


def load_metrics(run_dir):
    """`metrics.jsonl` as columns: dict of [E] float64 arrays sorted by step, NaN where a line has no such figure.

    A last line that is half-written (the run was cut off, or goes on) is ignored; where a step occurs twice the later line wins.
    InputError when the file is missing, has no complete line, or another line is broken.
    """
    path = Path(run_dir) / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise InputError(f"{run_dir} is not a run folder: metrics.jsonl is missing") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from None
    by_step = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            by_step[int(row["step"])] = row
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise InputError(f"{path}, line {number}: not a JSON object with a step") from None
    if not by_step:
        raise InputError(f"{path} holds no evaluation yet")
    rows = [by_step[step] for step in sorted(by_step)]
    names = {name: None for row in rows for name in row}  # a dict keeps the order
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(value):
    """A float, or NaN for whatever is not a number (null, text)."""
    return float(value) if isinstance(value, (int, float)) else np.nan
