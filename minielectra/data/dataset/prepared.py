"""A prepared folder, mapped into memory: its tokens, its tokenizer and its examples."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minielectra.data.dataset.array_files import cached_array, digest, in_pieces, open_array, release
from minielectra.data.dataset.examples import EXAMPLE, MAXIMUM_LENGTH, Examples, compact
from minielectra.data.dataset.layout import DTYPES, FORMAT, FORMAT_VERSION, PARTS, array_path
from minielectra.data.dataset.packing import SHORT_TARGET, SINGLE_SEGMENT, pack_pieces
from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError, shown
from minielectra.formats import checksums
from minielectra.formats.checksums import Damaged, recorded, verify
from minielectra.formats.reading import expanded, read_json

INDEX_VERSION = 1  # of the files that a `DatasetPart` keeps; with a new number they are made again
_ADVICE = "prepare the dataset again"
_PIECE = 1 << 20  # tokens or sentences that are read at a time


@dataclass(frozen=True)
class DatasetPart:
    """One part of a prepared corpus, mapped into memory.

    name: "train" or "heldout"; tokens: uint16 or int32 [tokens], all of them in a row; sentence_lengths:
    int32 [sentences], tokens in each; document_starts: int64 [documents], the index of each document's first
    sentence; directory: the prepared folder; identity: a digest of what tells two prepared corpora apart.
    """

    name: str
    tokens: np.ndarray
    sentence_lengths: np.ndarray
    document_starts: np.ndarray
    directory: Path
    identity: str

    @property
    def n_tokens(self) -> int:
        """How many tokens the part has."""
        return len(self.tokens)

    def examples(
        self,
        seq_length: int,
        seed: int = 0,
        single_segment: float = SINGLE_SEGMENT,
        short_target: float = SHORT_TARGET,
        folder: Path | None = None,
    ) -> Examples:
        """What `pack_pieces` makes of this part, with the same arguments.

        folder: where to keep the index of examples, as `<name>.examples-….npy`. The first call makes it, with
        a progress bar, in 1–3 µs per example; later calls map it. Without a folder the index is held in
        memory, 12 bytes per example.

        Raises InputError if the part is shorter than one example, or if files do not fit together.
        """
        if self.name == "train" and self.n_tokens < seq_length:
            raise InputError(
                f"the training part has {self.n_tokens} tokens, less than one sequence of {seq_length}; "
                "give more text or use shorter sequences"
            )
        if seq_length > MAXIMUM_LENGTH:
            raise InputError(f"sequence length {seq_length} is too long; use at most {MAXIMUM_LENGTH}")
        settings = (seq_length, seed, single_segment, short_target)

        def pieces() -> Iterator[np.ndarray]:
            self._check_sentences()
            with self._bar("packing") as bar:
                for rows in pack_pieces(self.sentence_lengths, self.document_starts, *settings):
                    bar.update(int(rows[-1, 2]) - bar.n)
                    yield compact(rows)

        kept = self._cached("examples", settings, EXAMPLE, pieces, folder)
        return Examples(kept, seq_length, self.n_tokens)

    def token_counts(self, vocab_size: int, folder: Path | None = None) -> np.ndarray:
        """How often each vocabulary entry occurs: int64 [V].

        folder: where to keep the counts, as for `examples`. Raises InputError for a token that is not in the
        vocabulary.
        """

        def pieces() -> Iterator[np.ndarray]:
            counts = np.zeros(vocab_size, np.int64)
            with self._bar("counting") as bar:
                for piece in in_pieces(self.tokens, _PIECE):
                    if int(piece.min()) < 0 or int(piece.max()) >= vocab_size:
                        path = array_path(self.directory, self.name, "tokens")
                        raise _damaged(path, "holds tokens that are not in the vocabulary")
                    counts += np.bincount(piece, minlength=vocab_size)
                    bar.update(len(piece))
            yield counts

        return np.array(self._cached("counts", [vocab_size], np.dtype(np.int64), pieces, folder))

    def release(self) -> None:
        """Take the tokens read so far out of this process's memory (see `array_files.release`)."""
        release(self.tokens)

    def _cached(
        self,
        kind: str,
        settings,
        dtype: np.dtype,
        pieces: Callable[[], Iterable[np.ndarray]],
        folder: Path | None,
    ) -> np.ndarray:
        """All that `pieces()` yields as one array, kept in `folder` unless it is None."""
        if folder is None:
            return np.concatenate(list(pieces()))
        key = [INDEX_VERSION, np.dtype(dtype).descr, self.identity, self.name, *settings]
        return cached_array(Path(folder) / f"{self.name}.{kind}", key, dtype, pieces)

    def _bar(self, verb: str) -> tqdm:
        """A progress bar over the tokens of this part, which shows only after two seconds."""
        return tqdm(
            total=self.n_tokens, desc=f"{verb} {self.name}", unit="tok", unit_scale=True, delay=2, leave=False
        )

    def _check_sentences(self) -> None:
        """Raise InputError unless the lengths of the sentences add up to the tokens of the part.

        `Dataset.open` leaves this out, because it takes time that grows with the corpus.
        """
        total, least = 0, 0
        for lengths in in_pieces(self.sentence_lengths, _PIECE):
            total += int(lengths.sum(dtype=np.int64))
            least = min(least, int(lengths.min()))
        if total != self.n_tokens or least < 0:
            path = array_path(self.directory, self.name, "sentences")
            raise _damaged(path, f"{total} tokens in all, but there are {self.n_tokens}")


@dataclass(frozen=True)
class Dataset:
    """A prepared corpus: its two parts, its tokenizer, and `info`, the content of dataset.json."""

    directory: Path
    info: dict
    tokenizer: WordPieceTokenizer
    train: DatasetPart
    heldout: DatasetPart

    @classmethod
    def open(cls, directory: str | PathLike) -> "Dataset":
        """Map a prepared folder into memory. Raises InputError if a file is missing or damaged."""
        directory = expanded(directory)
        path = directory / "dataset.json"
        info = read_json(path, f"{directory}: not a prepared dataset (no dataset.json); prepare one first")
        if info.get("format") != FORMAT:
            raise InputError(f"{path}: not a minielectra dataset; prepare one first")
        version = info.get("version")
        if version != FORMAT_VERSION:
            raise _damaged(path, f"format version {shown(version)}, but this program reads {FORMAT_VERSION}")
        try:
            vocab, size = directory / "vocab.txt", info["vocab_size"]
            tokenizer = WordPieceTokenizer.from_file(vocab, info["lowercase"])
            if len(tokenizer) != size:
                raise _damaged(vocab, f"{len(tokenizer)} pieces, dataset.json says {shown(size)}")
            if tokenizer.lowercase != info["lowercase"]:
                problem = f"lowercase is {shown(info['lowercase'])}, but the files beside it disagree"
                raise _damaged(path, problem)
            identity = digest([info, tokenizer.vocab])
            parts = [_open_part(directory, name, info["parts"][name], identity) for name in PARTS]
        except (KeyError, TypeError) as error:
            raise _damaged(path, f"entry {error} is missing or wrong") from None
        return cls(directory, info, tokenizer, *parts)

    def verify(self, advice: str = _ADVICE) -> None:
        """Compare all files with their checksums. Folders that earlier versions prepared have none.

        It takes half a second per GB once the system has read the files, and longer on a slow disk. Raises
        Damaged, which names the file. advice: the end of its message.
        """
        if not self.info.get("checksums"):
            return
        names = ["dataset.json", "vocab.txt"]
        names += [array_path(self.directory, part, kind).name for part in PARTS for kind in DTYPES]
        try:
            names += {"tokenizer_config.json"} & set(recorded(self.directory) or ())
            if not verify(self.directory, names, progress=True):
                raise Damaged(f"{self.directory / checksums.NAME}: missing")
        except Damaged as fault:
            raise Damaged(f"{fault}; {advice}") from None


def _open_part(directory: Path, name: str, counts: dict[str, int], identity: str) -> DatasetPart:
    """Map the arrays of a part; counts: {kind: length} as dataset.json has them."""
    arrays = {}
    for kind, dtypes in DTYPES.items():
        path = array_path(directory, name, kind)
        try:
            values = open_array(path)
        except FileNotFoundError:
            raise _damaged(path, "missing from the dataset") from None
        except InputError as error:
            raise InputError(f"{error}; {_ADVICE}") from None
        if values.shape != (counts[kind],) or values.dtype not in dtypes:
            raise _damaged(path, f"{values.dtype} {values.shape} is not what dataset.json says")
        arrays[kind] = values
    return DatasetPart(name, arrays["tokens"], arrays["sentences"], arrays["documents"], directory, identity)


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{path}: {problem}; {_ADVICE}")
