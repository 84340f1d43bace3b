"""Opening what `prepare` wrote."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minielectra.data.dataset.array_files import in_pieces, open_array, release, stored_array
from minielectra.data.dataset.packing import SHORT_TARGET, SINGLE_SEGMENT, pack_pieces
from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.formats.files import read_json

FORMAT, FORMAT_VERSION = "minielectra-dataset", 1
INDEX_VERSION = 1  # of the files that `DatasetPart` keeps; a new one makes them anew

# An example as it is kept: where it starts in the stream, and the tokens of its two segments. 12 bytes.
_EXAMPLE = np.dtype([("start", "<i8"), ("first", "<u2"), ("second", "<u2")])
_PIECE = 1 << 20  # tokens or sentences read at a time


class Examples:
    """The examples of a part, in stream order: ``len(examples)``, and ``examples[i]`` for indices i [B] gives rows int64 [B, 3]
    of (start, split, end) as `packing.pack` has them. They are read from disk when they are asked for."""

    def __init__(self, kept: np.ndarray, seq_length: int, n_tokens: int):
        """``kept`` [n] of _EXAMPLE, checked row by row when used against ``seq_length`` and the length of the stream."""
        self._kept, self._seq_length, self._n_tokens = kept, seq_length, n_tokens

    def __len__(self) -> int:
        return len(self._kept)

    def release(self) -> None:
        """See `arrays.release`."""
        release(self._kept)

    def __getitem__(self, i: np.ndarray) -> np.ndarray:
        """Raises IndexError for an index that is out of range, InputError for a damaged row."""
        kept = np.take(self._kept, i)
        rows = np.empty((len(kept), 3), np.int64)
        for column, name in enumerate(_EXAMPLE.names):
            rows[:, column] = kept[name]
        rows = rows.cumsum(axis=1)
        start, split, end = rows.T
        specials = 2 + (end > split)
        if not ((start >= 0) & (split > start) & (end - start + specials <= self._seq_length) & (end <= self._n_tokens)).all():
            name = getattr(self._kept, "filename", None) or "the index of examples"
            raise InputError(f"{name}: damaged; remove it, it is made again")
        return rows


@dataclass(frozen=True)
class DatasetPart:
    """One part of a dataset, mapped into memory.

    ``tokens`` uint16 or int32 [T], ``sentence_lengths`` int32 [S] (tokens per sentence, sum T), ``document_starts`` int64 [D]
    (index of each document's first sentence). ``directory`` and ``identity`` (a hash of everything that tells two datasets
    apart) are for messages and for the files of `examples` and `token_counts`.
    """

    name: str
    tokens: np.ndarray
    sentence_lengths: np.ndarray
    document_starts: np.ndarray
    directory: Path
    identity: str

    def release(self) -> None:
        """See `arrays.release`."""
        release(self.tokens)

    @property
    def n_tokens(self) -> int:
        """Length of the token stream."""
        return len(self.tokens)

    def examples(
        self,
        seq_length: int,
        seed: int = 0,
        single_segment: float = SINGLE_SEGMENT,
        short_target: float = SHORT_TARGET,
        folder: Path | None = None,
    ) -> Examples:
        """What `packing.pack` makes of this part.

        ``folder``: where the index is kept, as ``<name>.examples-….npy``: made at the first call (1–3 µs an example, with a
        progress bar), mapped at every later one. Without it the index is held in memory, 12 bytes an example. Raises InputError
        for a part shorter than one example, or files that do not fit together.
        """
        if self.name == "train" and self.n_tokens < seq_length:
            raise InputError(
                f"the training part has {self.n_tokens} tokens, less than one sequence of {seq_length}; "
                "give more text or use shorter sequences"
            )
        if seq_length > 1 << 16:
            raise InputError(f"sequence length {seq_length} is too long; use at most {1 << 16}")
        settings = (seq_length, seed, single_segment, short_target)

        def pieces() -> Iterator[np.ndarray]:
            self._check_sentences()
            with self._bar("packing") as bar:
                for rows in pack_pieces(self.sentence_lengths, self.document_starts, *settings):
                    start, split, end = rows.T
                    kept = np.empty(len(rows), _EXAMPLE)
                    kept["start"], kept["first"], kept["second"] = start, split - start, end - split
                    bar.update(int(end[-1]) - bar.n)
                    yield kept

        kept = self._kept("examples", settings, _EXAMPLE, pieces, folder)
        return Examples(kept, seq_length, self.n_tokens)

    def token_counts(self, vocab_size: int, folder: Path | None = None) -> np.ndarray:
        """How often each vocabulary entry occurs, [V] int64. ``folder`` as in `examples`. Raises InputError for a token that is
        not in the vocabulary."""

        def pieces() -> Iterator[np.ndarray]:
            counts = np.zeros(vocab_size, np.int64)
            with self._bar("counting") as bar:
                for piece in in_pieces(self.tokens, _PIECE):
                    if int(piece.min()) < 0 or int(piece.max()) >= vocab_size:
                        path = self.directory / f"{self.name}.tokens.npy"
                        raise InputError(f"{path}: holds tokens that are not in the vocabulary; prepare the dataset again")
                    counts += np.bincount(piece, minlength=vocab_size)
                    bar.update(len(piece))
            yield counts

        return np.array(self._kept("counts", [vocab_size], np.dtype(np.int64), pieces, folder))

    def _kept(self, kind, settings, dtype, pieces, folder) -> np.ndarray:
        if folder is None:
            return np.concatenate(list(pieces()))
        key = [INDEX_VERSION, np.dtype(dtype).descr, self.identity, self.name, *settings]
        return stored_array(Path(folder) / f"{self.name}.{kind}", key, dtype, pieces)

    def _bar(self, verb: str) -> tqdm:
        # not for what is done before anyone wonders
        return tqdm(total=self.n_tokens, desc=f"{verb} {self.name}", unit="tok", unit_scale=True, delay=2, leave=False)

    def _check_sentences(self) -> None:
        """Here, and not in `Dataset.open`, because it reads a file that grows with the corpus."""
        total, least = 0, 0
        for lengths in in_pieces(self.sentence_lengths, _PIECE):
            total += int(lengths.sum(dtype=np.int64))
            least = min(least, int(lengths.min()))
        if total != self.n_tokens or least < 0:
            path = self.directory / f"{self.name}.sentences.npy"
            raise InputError(f"{path}: {total} tokens in all, but there are {self.n_tokens}; prepare the dataset again")


@dataclass(frozen=True)
class Dataset:
    """A prepared corpus: ``train`` and ``heldout`` (DatasetPart), ``tokenizer``, and ``info``, the content of dataset.json."""

    directory: Path
    info: dict
    tokenizer: WordPieceTokenizer
    train: DatasetPart
    heldout: DatasetPart

    @classmethod
    def open(cls, directory: str | PathLike) -> "Dataset":
        """Map a dataset folder into memory. Raises InputError if a file is missing, cut short or of something else."""
        directory = Path(directory).expanduser()
        path = directory / "dataset.json"
        info = read_json(path, f"{directory}: not a prepared dataset (no dataset.json); prepare one first")
        if info.get("format") != FORMAT:
            raise InputError(f"{path}: not a minielectra dataset; prepare one first")
        if info.get("version") != FORMAT_VERSION:
            raise InputError(
                f"{path}: format version {info.get('version')}, this program reads {FORMAT_VERSION}; prepare the dataset again"
            )
        try:
            tokenizer = WordPieceTokenizer.from_file(directory / "vocab.txt", info["lowercase"])
            if len(tokenizer) != info["vocab_size"]:
                raise InputError(
                    f"{directory / 'vocab.txt'}: {len(tokenizer)} pieces, dataset.json says {info['vocab_size']}; prepare again"
                )
            identity = hashlib.blake2b(json.dumps([info, tokenizer.vocab], sort_keys=True).encode(), digest_size=8).hexdigest()
            parts = [_open_part(directory, name, info["parts"][name], identity) for name in ("train", "heldout")]
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: entry {error} is missing or wrong; prepare the dataset again") from None
        return cls(directory, info, tokenizer, *parts)


def _open_part(directory: Path, name: str, counts: dict[str, int], identity: str) -> DatasetPart:
    arrays = {}
    for kind, dtypes in (("tokens", ("uint16", "int32")), ("sentences", ("int32",)), ("documents", ("int64",))):
        path = directory / f"{name}.{kind}.npy"
        try:
            values = open_array(path)
        except FileNotFoundError:
            raise InputError(f"{path}: missing from the dataset; prepare it again") from None
        except InputError as error:
            raise InputError(f"{error}; prepare the dataset again") from None
        if values.shape != (counts[kind],) or values.dtype not in dtypes:
            raise InputError(f"{path}: {values.dtype} {values.shape} is not what dataset.json says; prepare the dataset again")
        arrays[kind] = values
    return DatasetPart(name, arrays["tokens"], arrays["sentences"], arrays["documents"], directory, identity)
