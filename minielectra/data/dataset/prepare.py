"""Preparing a corpus: text in, a folder of token files out. Training only maps that folder into memory.

The text is read up to three times, line by line: to measure it, to learn a vocabulary, and to encode it. So
memory does not grow with the text, beyond some thirty bytes per document. `layout.py` describes the folder.
"""

import hashlib
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minielectra.data.dataset.array_files import NpyWriter
from minielectra.data.dataset.held_out import choose_held_out, sentences_by_part
from minielectra.data.dataset.layout import DTYPES, FORMAT, FORMAT_VERSION, PARTS, array_path, is_prepared
from minielectra.data.dataset.prepared import Dataset
from minielectra.data.text.corpus import lines_of
from minielectra.data.text.corpus_files import Paths, find_corpus_files, readable_again
from minielectra.data.wordpiece.rules import Rules
from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError, reason
from minielectra.formats.checksums import replacing_checked_folder
from minielectra.formats.files import write_json
from minielectra.formats.reading import expanded

_CHUNK = 4096  # sentences that are encoded at a time


def prepare(
    source: Paths | Iterable[list[str]],
    out_dir: str | PathLike,
    tokenizer: WordPieceTokenizer | int = 8192,
    held_out_fraction: float = 0.05,
    seed: int = 0,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Dataset:
    """Write the prepared folder of a corpus to `out_dir`, and open it.

    source: paths as for `find_corpus_files`, or documents, each a list of lines; tokenizer: the one to use,
    or the size of a vocabulary to learn from the training part; lowercase, strip_accents: of a learned one,
    as for `WordPieceTokenizer`; held_out_fraction: about this share of the text is held out for evaluation;
    seed: picks which; overwrite: if `out_dir` is a dataset, replace it; progress: show bars, and say what is
    left out.

    Raises InputError if the text is unusable or too short to split, if `out_dir` exists and must not be
    replaced, or if it cannot be written.
    """
    if not 0 < held_out_fraction < 1:
        raise InputError(f"held-out fraction {held_out_fraction} is not between 0 and 1; 0.05 is usual")
    out_dir = expanded(out_dir)
    files, documents = _files_or_documents(source, progress)
    _check_target(out_dir, overwrite)
    with _line_source(files, documents, out_dir) as lines:
        sizes, totals = _measure(lines(), progress)
        split = choose_held_out(sizes, held_out_fraction, seed)
        if isinstance(tokenizer, int):
            parts = sentences_by_part(lines(), sizes, split)
            text = (sentence for part, _, sentence in parts if part == "train")
            tokenizer = WordPieceTokenizer.train(text, tokenizer, lowercase, strip_accents=strip_accents)
        info = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "checksums": True,
            "vocab_size": len(tokenizer),
            "lowercase": tokenizer.lowercase,
            "held_out_fraction": held_out_fraction,
            "seed": seed,
            "sources": [file.name for file in files],
            **totals,
        }
        if tokenizer.rules != Rules(tokenizer.lowercase):
            info["tokenizer"] = str(tokenizer.rules)
        try:
            with replacing_checked_folder(out_dir, overwrite=out_dir.exists()) as folder:
                tokenizer.save(folder)
                sentences = sentences_by_part(lines(), sizes, split)
                counts = _encode(sentences, tokenizer, folder, totals["characters"], progress)
                write_json(folder / "dataset.json", info | {"parts": counts})
        except OSError as error:
            problem = f"cannot write the dataset ({reason(error)})"
            raise InputError(f"{out_dir}: {problem}; choose another place") from None
    return Dataset.open(out_dir)


def _check_target(out_dir: Path, overwrite: bool) -> None:
    """Raise InputError unless a dataset may be written to `out_dir`."""
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return
    if not is_prepared(out_dir):
        raise InputError(f"{out_dir}: exists and is not a dataset; choose another folder")
    if not overwrite:
        raise InputError(f"{out_dir}: there already is a dataset; choose another folder, or remove this one")


def _files_or_documents(source, progress: bool) -> tuple[list[Path], list]:
    """The source of a corpus, as (files, documents), of which one is empty."""
    if not isinstance(source, (str, PathLike)):
        source = list(source)
        if source and not isinstance(source[0], (str, PathLike)):
            return [], source
    return find_corpus_files(source, _say if progress else None), []


@contextmanager
def _line_source(files: list[Path], documents: list, out_dir: Path) -> Iterator[Callable[[], Iterator[str]]]:
    """A function that reads the text from its beginning, as `corpus_lines` does.

    A pipe is read once, into a file beside `out_dir`.
    """
    folder = next(parent for parent in out_dir.absolute().parents if parent.is_dir())
    with readable_again(files, folder) as readable:
        yield lambda: lines_of(readable) if readable else _lines_of(documents)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _lines_of(documents: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of documents in memory, as `corpus_lines` yields those in files."""
    for document in documents:
        yield from filter(None, map(str.strip, document))
        yield ""


def _measure(lines: Iterable[str], progress: bool) -> tuple[np.ndarray, dict]:
    """(characters in each document, int64 [documents]; characters, words and fingerprint of all)."""
    sizes, words, size, digest = array("q"), 0, 0, hashlib.sha256()
    for line in tqdm(lines, desc="reading", unit=" lines", unit_scale=True, disable=not progress):
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
        if line:
            size += len(line) + 1  # and its end
            words += len(line.split())
        else:
            sizes.append(size)
            size = 0
    total = sum(sizes)
    if not total:
        raise InputError("the corpus holds no text; give files with sentences in them")
    return np.array(sizes), {"characters": total, "words": words, "fingerprint": digest.hexdigest()}


def _encode(
    sentences: Iterable[tuple[str, int, str]],
    tokenizer: WordPieceTokenizer,
    folder: Path,
    characters: int,
    progress: bool,
) -> dict:
    """Write the arrays of both parts -> {part: {kind: length}}."""
    writers = {part: _PartWriter(folder, part, tokenizer) for part in PARTS}
    try:
        with tqdm(total=characters, desc="encoding", unit="ch", unit_scale=True, disable=not progress) as bar:
            for part, document, sentence in sentences:
                writers[part].add(document, sentence)
                bar.update(min(len(sentence) + 1, characters - bar.n))  # not all are separated by a space
        for writer in writers.values():
            writer.flush()
    finally:
        for writer in writers.values():
            writer.close()
    for part, writer in writers.items():
        if not writer.lengths["tokens"]:
            problem = f"its {part} part has no tokens"
            raise InputError(f"the corpus is too short to split: {problem}; give more text")
    return {part: writer.lengths for part, writer in writers.items()}


class _PartWriter:
    """The three arrays of one part. Sentences are gathered, and encoded by the thousand."""

    def __init__(self, folder: Path, part: str, tokenizer: WordPieceTokenizer):
        small, large = DTYPES["tokens"]
        dtypes = {kind: allowed[0] for kind, allowed in DTYPES.items()}
        dtypes["tokens"] = small if len(tokenizer) <= 1 << 16 else large
        self.arrays = {kind: NpyWriter(array_path(folder, part, kind), dtypes[kind]) for kind in dtypes}
        self.tokenizer = tokenizer
        self.waiting: list[tuple[int, str]] = []  # (document's number, sentence)
        self.previous = -1  # number of the document that the last sentence on disk is from

    @property
    def lengths(self) -> dict[str, int]:
        """{kind: length of that array so far}."""
        return {kind: writer.length for kind, writer in self.arrays.items()}

    def add(self, document: int, sentence: str) -> None:
        """Write a sentence, now or later."""
        self.waiting.append((document, sentence))
        if len(self.waiting) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Encode and write the sentences that are waiting."""
        tokens, lengths = self.tokenizer.encode_lines(sentence for _, sentence in self.waiting)
        documents = np.array([document for document, _ in self.waiting], np.int64)[lengths > 0]
        lengths = lengths[lengths > 0]  # a sentence of control characters has no tokens
        starts = np.flatnonzero(np.diff(documents, prepend=self.previous))
        self.arrays["documents"].append(self.arrays["sentences"].length + starts)
        self.arrays["sentences"].append(lengths)
        self.arrays["tokens"].append(tokens)
        self.previous = documents[-1] if len(documents) else self.previous
        self.waiting.clear()

    def close(self) -> None:
        """Close the files. Sentences that are still waiting are lost."""
        for writer in self.arrays.values():
            writer.close()
