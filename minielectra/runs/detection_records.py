"""detection.npz: what the discriminator said at every evaluation. Its layout, its writer, its reader.

While a run goes on, each evaluation is a file of its own, so that it costs the same however many came before:

    detection.npz                 the held-out set, and the evaluations up to the last start or end of the run
    detection/step-00000200.npz   one evaluation since then: the same arrays with E = 1, no held-out set

At the end of the run, or when it is interrupted, the evaluations are gathered into detection.npz and the
folder is removed. If the process is killed, both stay; the reader merges them by step, and resuming the run
gathers them. So nothing is lost.
"""

import difflib
import math
import re
import shutil
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.formats.files import replacing
from minielectra.runs.detection_counts import corrupt, count_detections


class Array(NamedTuple):
    """What an array of the file looks like: a NumPy dtype, and a letter for each dimension."""

    dtype: type
    dims: str


# E evaluations; B held-out sequences of T positions, of which up to K are masked; V vocabulary entries.
LAYOUT = {
    "steps": Array(np.int64, "E"),  # training steps done before each evaluation
    "input_ids": Array(np.int32, "BT"),  # the held-out text
    "positions": Array(np.int32, "BK"),  # which positions are masked, the same at every evaluation …
    "position_valid": Array(np.bool_, "BK"),  # … and which of these slots are used
    "train_counts": Array(np.int64, "V"),  # occurrences in the training text
    "samples": Array(np.int32, "EBK"),  # what the generator wrote at the masked positions
    "scores": Array(np.float16, "EBT"),  # the discriminator's probability of "replaced"
    "gen_correct_prob": Array(np.float16, "EBK"),  # the generator's probability of the original token
    "original": Array(np.int32, "EV"),  # this and what follows: see `detection_counts.count_detections`
    "kept": Array(np.int32, "EV"),
    "replaced": Array(np.int32, "EV"),
    "caught": Array(np.int32, "EV"),
    "replaced_original": Array(np.int32, "EV"),
    "caught_original": Array(np.int32, "EV"),
}
PER_EVALUATION = [name for name, array in LAYOUT.items() if "E" in array.dims]
# What NumPy raises for a file that is cut short or is something else.
_DAMAGE = (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
_PART = re.compile(r"step-\d{8,}\.npz")


class DetectionLog:
    """Writes the records of a run: call `restore` once, `append` at every evaluation, `close` at the end."""

    def __init__(self, run_dir, batch, train_counts, special_ids):
        """Nothing is read or written yet.

        run_dir: the folder of the run; batch: the held-out set, a Batch with input_ids [B, T],
        positions [B, K] and weights [B, K] (0 for a slot that is not used); train_counts [V]: occurrences in
        the training text; special_ids: tokens that are not counted.
        """
        self.whole, self.parts = _paths(run_dir)
        self.special_ids = special_ids
        self.held_out = {
            "input_ids": batch.input_ids,
            "positions": batch.positions,
            "position_valid": batch.weights > 0,
            "train_counts": train_counts,
        }

    def restore(self, step):
        """Keep the evaluations up to `step` of an earlier process (−1: none).

        Later ones are removed, because they will be done again. Raises InputError if a file is damaged.
        """
        self._gather(up_to=step)

    def append(self, step, record):
        """Write the evaluation made after `step` training steps, as a file of its own.

        record: dict with samples [B, K], scores [B, T] and gen_correct_prob [B, K], from the `Evaluator`.
        """
        if not self.whole.exists():
            _save(self.whole, self.held_out | _no_evaluations(self.held_out))
        masked = [self.held_out[name] for name in ("input_ids", "positions", "position_valid")]
        scores, vocab_size = record["scores"].astype(np.float32), len(self.held_out["train_counts"])
        counts = count_detections(*masked, record["samples"], scores, vocab_size, self.special_ids)
        evaluation = {"steps": step} | record | counts
        part = {name: np.asarray(evaluation[name])[None] for name in PER_EVALUATION}
        self.parts.mkdir(exist_ok=True)
        _save(self.parts / f"step-{step:08d}.npz", part)

    def close(self):
        """Gather all evaluations into detection.npz, unless there are none or it was done already."""
        self._gather()

    def _gather(self, up_to=math.inf):
        if self.whole.exists():
            arrays = _read(self.whole, self.parts, len(self.held_out["train_counts"]))
            kept = arrays["steps"] <= up_to
            if self.parts.exists() or not kept.all():
                _save(self.whole, self.held_out | {name: arrays[name][kept] for name in PER_EVALUATION})
        shutil.rmtree(self.parts, ignore_errors=True)


class DetectionRecords:
    """Everything that the discriminator said about the held-out set, evaluation by evaluation.

    The arrays of LAYOUT are attributes under their own names. What follows from them is computed at the first
    use. Open a run's records with `DetectionRecords.load(run_dir)`.
    """

    def __init__(self, arrays, tokens):
        """arrays: {name: array} of LAYOUT, at least one evaluation; tokens: the V word pieces by id."""
        for name in LAYOUT:
            setattr(self, name, arrays[name])
        self.tokens = list(tokens)

    @classmethod
    def load(cls, run_dir):
        """The records in the folder of a run, also while it goes on.

        Raises InputError if they or vocab.txt are missing, cut short or something else, or hold no evaluation
        yet.
        """
        whole, parts = _paths(run_dir)
        tokens = WordPieceTokenizer.from_file(Path(run_dir) / "vocab.txt").vocab
        if not whole.is_file():
            raise InputError(
                f"no detection records in {run_dir}: {whole.name} is missing (the first evaluation writes it)"
            )
        arrays = _read(whole, parts, len(tokens))
        if not len(arrays["steps"]):
            raise InputError(f"{whole}: holds no evaluation yet")
        return cls(arrays, tokens)

    @cached_property
    def ids(self):
        """{word piece: id}."""
        return {token: index for index, token in enumerate(self.tokens)}

    @cached_property
    def valid(self):
        """[B, T] bool: not padding."""
        return self.input_ids != self.ids.get("[PAD]", -1)

    @cached_property
    def counted(self):
        """[B, T] bool: an ordinary token, neither padding nor [CLS] nor [SEP]."""
        special = [self.ids[name] for name in ("[PAD]", "[CLS]", "[SEP]") if name in self.ids]
        return ~np.isin(self.input_ids, special)

    @cached_property
    def seen(self):
        """[E, B, T] int32: the tokens that the discriminator saw at each evaluation."""
        return corrupt(self.input_ids, self.positions, self.position_valid, self.samples)

    @cached_property
    def replaced_mask(self):
        """[E, B, T] bool: which of the tokens seen were replaced."""
        return self.seen != self.input_ids

    def id_of(self, token):
        """The id of a word piece. Raises InputError, with similar pieces, if it is not in the vocabulary."""
        if token in self.ids:
            return self.ids[token]
        similar = difflib.get_close_matches(token, self.tokens, n=4, cutoff=0.5)
        hint = f"; did you mean {', '.join(similar)}?" if similar else ""
        raise InputError(f"token {token!r} is not in the run's vocabulary{hint}")


def _paths(run_dir):
    """Where a run has its records: detection.npz, and the folder of evaluations not yet gathered into it."""
    return Path(run_dir) / "detection.npz", Path(run_dir) / "detection"


def _read(whole, parts, vocab_size):
    """All evaluations in `whole` and `parts`, in order of step -> {name: array} with the names of LAYOUT.

    An evaluation that is in both is taken from its part, which is the newer one. Raises InputError for the
    first file that is damaged.
    """
    arrays = _load(whole, LAYOUT, vocab_size)
    held_out = {name: arrays[name] for name in LAYOUT if name not in PER_EVALUATION}
    files = [path for path in parts.glob("*.npz") if _PART.fullmatch(path.name)]
    if not files:
        return arrays
    by_step = {}
    for piece in (arrays, *(_load(path, PER_EVALUATION, vocab_size, held_out) for path in files)):
        by_step |= {step: (piece, row) for row, step in enumerate(piece["steps"].tolist())}
    pieces = [by_step[step] for step in sorted(by_step)]
    return held_out | {name: np.stack([piece[name][row] for piece, row in pieces]) for name in PER_EVALUATION}


def _load(path, names, vocab_size, held_out=None):
    """The arrays `names` of an .npz file, and those of `held_out` -> {name: array}, checked together."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file.files}
    except _DAMAGE as error:
        raise InputError(
            f"{path}: cut short or not a detection record ({type(error).__name__}); restore it from a copy, "
            "or remove it to resume the run without these evaluations"
        ) from error
    arrays |= held_out or {}
    if problem := _misfit(arrays, vocab_size):
        raise InputError(f"{path}: {problem}")
    return arrays


def _misfit(arrays, vocab_size):
    """What is wrong with the arrays of a file, or "" if all are there, of the right kind and size."""
    if missing := [name for name in LAYOUT if name not in arrays]:
        return f"not a detection record: no {', '.join(missing)}"
    sizes = {"V": (vocab_size, "vocab.txt")}
    for name, (dtype, dims) in LAYOUT.items():
        array = arrays[name]
        if array.ndim != len(dims) or array.dtype.kind != np.dtype(dtype).kind:
            wanted = f"[{', '.join(dims)}] of {np.dtype(dtype)}"
            return f"{name} has shape {array.shape} and dtype {array.dtype}, expected {wanted}"
        for dim, size in zip(dims, array.shape, strict=True):
            known, where = sizes.setdefault(dim, (size, name))
            if size != known:
                return f"{name} has {dim} = {size}, but {where} has {dim} = {known}"
    used = arrays["position_valid"]
    for name, values, limit in (
        ("input_ids", arrays["input_ids"], vocab_size),
        ("samples", arrays["samples"][..., used], vocab_size),
        ("positions", arrays["positions"][used], arrays["input_ids"].shape[1]),
    ):
        if values.size and (values.min() < 0 or values.max() >= limit):
            return f"{name} holds {values.min()} … {values.max()}, outside 0 … {limit - 1}"
    return ""


def _no_evaluations(held_out):
    """The per-evaluation arrays of LAYOUT with E = 0, in the sizes of the held-out set."""
    sizes = {"E": 0}
    for name, array in held_out.items():
        sizes |= zip(LAYOUT[name].dims, array.shape, strict=True)
    layout = {name: LAYOUT[name] for name in PER_EVALUATION}
    return {name: np.zeros([sizes[dim] for dim in dims], dtype) for name, (dtype, dims) in layout.items()}


def _save(path, arrays):
    """Write arrays under names of LAYOUT, in its order and dtypes."""
    typed = {name: np.asarray(arrays[name], dtype) for name, (dtype, _) in LAYOUT.items() if name in arrays}
    with replacing(path) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, **typed)
