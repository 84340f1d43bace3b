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
import sys
from functools import cached_property
from pathlib import Path

import numpy as np

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.formats.files import make_folder, replacing, set_aside
from minielectra.runs.detection_counts import corrupt, count_detections
from minielectra.runs.npz_arrays import Array, read_npz

LAST = 2**53  # a step below it is exact as a float
FULL = 1.001  # a probability of 1, rounded

# E evaluations; B held-out sequences of T positions, of which up to K are masked; V vocabulary entries.
LAYOUT = {
    "steps": Array(np.int64, "E", below=LAST),  # training steps done before each evaluation
    "input_ids": Array(np.int32, "BT", below="V"),  # the held-out text
    # which positions are masked, the same at every evaluation …
    "positions": Array(np.int32, "BK", below="T", used="position_valid"),
    "position_valid": Array(np.bool_, "BK"),  # … and which of these slots are used
    "train_counts": Array(np.int64, "V"),  # occurrences in the training text
    # what the generator wrote at the masked positions
    "samples": Array(np.int32, "EBK", below="V", used="position_valid"),
    "scores": Array(np.float16, "EBT", below=FULL),  # the discriminator's probability of "replaced"
    # the generator's probability of the original token
    "gen_correct_prob": Array(np.float16, "EBK", below=FULL),
    "original": Array(np.int32, "EV"),  # this and what follows: see `detection_counts.count_detections`
    "kept": Array(np.int32, "EV"),
    "replaced": Array(np.int32, "EV"),
    "caught": Array(np.int32, "EV"),
    "replaced_original": Array(np.int32, "EV"),
    "caught_original": Array(np.int32, "EV"),
}
PER_EVALUATION = [name for name, array in LAYOUT.items() if "E" in array.dims]
HELD_OUT = [name for name in LAYOUT if name not in PER_EVALUATION]
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
        self.lost = False  # whether evaluations of an earlier process could not be read
        self.held_out = {
            "input_ids": batch.input_ids,
            "positions": batch.positions,
            "position_valid": batch.weights > 0,
            "train_counts": train_counts,
        }

    def restore(self, step):
        """Keep the evaluations up to `step` of an earlier process (−1: none).

        Later ones are removed, because they will be done again. A damaged file is set aside under another
        name, which one line on standard error says: the pictures lack its evaluations, the training does not.
        Raises OSError for files that may not be read.
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
        make_folder(self.parts)
        _save(self.parts / f"step-{step:08d}.npz", part)

    def close(self):
        """Gather all evaluations into detection.npz, unless there are none or it was done already."""
        self._gather()

    def _gather(self, up_to=math.inf):
        vocab_size, files = len(self.held_out["train_counts"]), _parts(self.parts)
        whole = self._sound(self.whole, lambda: self._read_whole(vocab_size)) if self.whole.exists() else None
        read = {path: self._sound(path, lambda path=path: _read_part(path, self.held_out)) for path in files}
        pieces = [piece for piece in (whole, *read.values()) if piece is not None]
        if pieces:
            arrays = _merged(pieces)
            kept = arrays["steps"] <= up_to
            if files or not kept.all():
                _save(self.whole, self.held_out | {name: arrays[name][kept] for name in PER_EVALUATION})
        if any(self.parts.glob("*.damaged*")):
            for path in files:
                path.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.parts, ignore_errors=True)

    def _read_whole(self, vocab_size):
        arrays = _read_whole(self.whole, vocab_size)
        for name in ("input_ids", "positions", "position_valid"):
            if not np.array_equal(arrays[name], self.held_out[name]):
                raise InputError(f"{self.whole}: damaged ({name} is not that of this run)")
        return arrays

    def _sound(self, path, read):
        """What `read` reads from `path`; None, and the file set aside, if it is damaged."""
        try:
            return read()
        except InputError as fault:
            self.lost = True
            aside = set_aside(path, "damaged")
            told = f"set aside as {aside.name}; the training goes on, the pictures lack these evaluations"
            print(f"{fault}; {told}", file=sys.stderr)
            return None


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
        try:
            arrays = _read(whole, parts, len(tokens))
        except InputError as error:
            raise InputError(f"{error}; `train --resume {run_dir}` sets it aside and goes on") from None
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


def _parts(folder):
    """The files of evaluations that are not gathered yet."""
    return sorted(path for path in folder.glob("*.npz") if _PART.fullmatch(path.name))


def _read(whole, parts, vocab_size):
    """All evaluations in `whole` and `parts`, in order of step -> {name: array} with the names of LAYOUT.

    Raises InputError for the first file that is damaged.
    """
    arrays = _read_whole(whole, vocab_size)
    held_out = {name: arrays[name] for name in HELD_OUT}
    return held_out | _merged([arrays, *(_read_part(path, held_out) for path in _parts(parts))])


def _read_whole(path, vocab_size):
    arrays = read_npz(path, LAYOUT, {"V": (vocab_size, "vocab.txt")})
    if (np.diff(arrays["steps"]) <= 0).any():
        raise InputError(f"{path}: damaged (its steps do not rise)")
    return arrays


def _read_part(path, held_out):
    """One evaluation; held_out: {name: array} of the whole file."""
    return read_npz(path, LAYOUT, {"E": (1, "each file in this folder")}, held_out)


def _merged(pieces):
    """The evaluations of several files in order of step -> {name: array}, without the held-out set.

    An evaluation that is in several is taken from the last one.
    """
    if len(pieces) == 1:
        return {name: pieces[0][name] for name in PER_EVALUATION}
    by_step = {}
    for piece in pieces:
        by_step |= {step: (piece, row) for row, step in enumerate(piece["steps"].tolist())}
    chosen = [by_step[step] for step in sorted(by_step)]
    return {name: np.stack([piece[name][row] for piece, row in chosen]) for name in PER_EVALUATION}


def _no_evaluations(held_out):
    """The per-evaluation arrays of LAYOUT with E = 0, in the sizes of the held-out set."""
    sizes = {"E": 0}
    for name, array in held_out.items():
        sizes |= zip(LAYOUT[name].dims, array.shape, strict=True)
    layout = {name: LAYOUT[name] for name in PER_EVALUATION}
    return {name: np.zeros([sizes[dim] for dim in about.dims], about.dtype) for name, about in layout.items()}


def _save(path, arrays):
    """Write arrays under names of LAYOUT, in its order and dtypes."""
    typed = {name: np.asarray(arrays[name], LAYOUT[name].dtype) for name in LAYOUT if name in arrays}
    with replacing(path) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, **typed)
