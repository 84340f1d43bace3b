"""Opening what `prepare` wrote."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from minielectra.data.packing import pack
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.files import read_json

FORMAT, FORMAT_VERSION = "minielectra-dataset", 1


@dataclass(frozen=True)
class DatasetPart:
    """One part of a dataset, mapped into memory.

    ``tokens`` uint16 or int32 [T], ``sentence_lengths`` int32 [S] (tokens per sentence, sum T), ``document_starts`` int64 [D]
    (index of each document's first sentence).
    """

    name: str
    tokens: np.ndarray
    sentence_lengths: np.ndarray
    document_starts: np.ndarray

    @property
    def n_tokens(self) -> int:
        """Length of the token stream."""
        return len(self.tokens)

    def examples(self, seq_length: int, seed: int = 0, *shares: float) -> np.ndarray:
        """The rows of `packing.pack` (``shares``: its last two arguments). Raises InputError for a training part shorter than one example."""
        if self.name == "train" and self.n_tokens < seq_length:
            raise InputError(
                f"the training part has {self.n_tokens} tokens, less than one sequence of {seq_length}; "
                "give more text or use shorter sequences"
            )
        return pack(self.sentence_lengths, self.document_starts, seq_length, seed, *shares)


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
            parts = [_open_part(directory, name, info["parts"][name]) for name in ("train", "heldout")]
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: entry {error} is missing or wrong; prepare the dataset again") from None
        return cls(directory, info, tokenizer, *parts)


def _open_part(directory: Path, name: str, counts: dict[str, int]) -> DatasetPart:
    arrays = {}
    for kind, dtypes in (("tokens", ("uint16", "int32")), ("sentences", ("int32",)), ("documents", ("int64",))):
        path = directory / f"{name}.{kind}.npy"
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise InputError(f"{path}: missing from the dataset; prepare it again") from None
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: damaged or cut short ({error}); prepare the dataset again") from None
        if values.shape != (counts[kind],) or values.dtype not in dtypes:
            raise InputError(f"{path}: {values.dtype} {values.shape} is not what dataset.json says; prepare the dataset again")
        arrays[kind] = values
    total = int(arrays["sentences"].sum(dtype=np.int64))
    if total != counts["tokens"]:
        path = directory / f"{name}.sentences.npy"
        raise InputError(f"{path}: {total} tokens in all, but there are {counts['tokens']}; prepare the dataset again")
    return DatasetPart(name, arrays["tokens"], arrays["sentences"], arrays["documents"])
