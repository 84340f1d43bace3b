"""Text -> token files on disk, once, so that training only maps them into memory.

A dataset is a folder:

    vocab.txt                 the pieces, one a line
    dataset.json              format version, counts, fingerprint of the text, names of the sources
    train.tokens.npy          all tokens in a row: uint16 (int32 for more than 65 536 pieces)
    train.sentences.npy       tokens in each sentence: int32
    train.documents.npy       index of each document's first sentence: int64
    heldout.*.npy             the same for the part kept for evaluation

The text is read line by line (three times: to measure, to learn the vocabulary if asked to, to encode), so memory does not
grow with it beyond some thirty bytes a document. The folder is written under another name and renamed when complete.
"""

import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minielectra.data.dataset.array_files import NpyWriter
from minielectra.data.dataset.dataset import FORMAT, FORMAT_VERSION, Dataset
from minielectra.data.text.corpus import Paths, find_corpus_files, read_lines
from minielectra.data.text.sentences import split_sentences
from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError

_CHUNK = 4096  # sentences encoded at a time


def prepare(
    source: Paths | Iterable[list[str]],
    out_dir: str | PathLike,
    tokenizer: WordPieceTokenizer | int = 8192,
    held_out_fraction: float = 0.05,
    seed: int = 0,
    lowercase: bool = True,
    overwrite: bool = False,
    progress: bool = False,
) -> Dataset:
    """Write the dataset of a corpus to ``out_dir`` and open it.

    ``source``: paths as for `corpus.find_corpus_files`, or a list of documents, each a list of lines. ``tokenizer``: one to use,
    or the size of a vocabulary to learn from the training part (``lowercase`` matters only then). About ``held_out_fraction`` of
    the text is held out: whole documents where they are small enough, else the last sentences of the longest document.
    Raises InputError for unusable text, a corpus too short to split, or an ``out_dir`` that exists (unless it is a dataset and
    ``overwrite``).
    """
    if not 0 < held_out_fraction < 1:
        raise InputError(f"held-out fraction {held_out_fraction} is not between 0 and 1; 0.05 is usual")
    out_dir = Path(out_dir).expanduser()
    lines, names = _line_source(source)
    _check_target(out_dir, overwrite)

    sizes, info = _measure(lines(), progress)
    split = _choose_held_out(sizes, held_out_fraction, seed)
    if isinstance(tokenizer, int):
        text = (sentence for part, _, sentence in _sentences(lines(), sizes, split) if part == "train")
        tokenizer = WordPieceTokenizer.train(text, tokenizer, lowercase)

    temporary = out_dir.with_name(f".{out_dir.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        tokenizer.save(temporary / "vocab.txt")
        bar = tqdm(total=info["characters"], desc="encoding", unit="ch", unit_scale=True, disable=not progress)
        info["parts"] = _encode(_sentences(lines(), sizes, split), tokenizer, temporary, bar)
        header = {"format": FORMAT, "version": FORMAT_VERSION, "vocab_size": len(tokenizer), "lowercase": tokenizer.lowercase}
        header |= {"held_out_fraction": held_out_fraction, "seed": seed, "sources": names}
        (temporary / "dataset.json").write_text(json.dumps(header | info, indent=2) + "\n", encoding="utf-8")
        _move_into_place(temporary, out_dir)
    except OSError as error:
        raise InputError(f"{out_dir}: cannot write the dataset ({error.strerror or error}); choose another place") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Dataset.open(out_dir)


def _check_target(out_dir: Path, overwrite: bool) -> None:
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return
    if not (out_dir / "dataset.json").is_file():
        raise InputError(f"{out_dir}: exists and is not a dataset; choose another folder")
    if not overwrite:
        raise InputError(f"{out_dir}: there already is a dataset; choose another folder, or ask for it to be overwritten")


def _move_into_place(temporary: Path, out_dir: Path) -> None:
    """Rename; what was there before (an empty folder or an older dataset) goes only once the new one is complete."""
    old = temporary.with_suffix(".old")
    if out_dir.exists():
        out_dir.rename(old)
    temporary.rename(out_dir)
    shutil.rmtree(old, ignore_errors=True)


def _line_source(source) -> tuple[Callable[[], Iterator[str]], list[str]]:
    """A function that reads the text from its beginning (as `read_lines` does), and the names of the files."""
    if not isinstance(source, (str, PathLike)):
        source = list(source)
        if source and not isinstance(source[0], (str, PathLike)):
            return lambda: (line for document in source for line in (*filter(None, map(str.strip, document)), "")), []
    files = find_corpus_files(source)
    return lambda: read_lines(files), [file.name for file in files]


def _measure(lines: Iterable[str], progress: bool) -> tuple[np.ndarray, dict]:
    """Characters in each document, and totals with a fingerprint of the text."""
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


# Which text is held out.


@dataclass(frozen=True)
class _Split:
    documents: frozenset[int]  # held out whole
    cut_document: int = -1  # or this one from
    cut_at: int = 0  # this character on


def _choose_held_out(sizes: np.ndarray, fraction: float, seed: int) -> _Split:
    """Documents in an order given by hashes of (seed, index), as long as they fit; a cut if whole ones miss the aim by far."""
    aim = fraction * sizes.sum()
    hashes = (hashlib.blake2b(f"{seed} {i}".encode(), digest_size=8).digest() for i in range(len(sizes)))
    order = np.fromiter((int.from_bytes(h, "big") for h in hashes), np.uint64, len(sizes)).argsort(kind="stable")
    chosen, taken = [], 0
    for i in order:
        if taken >= 0.9 * aim:
            break
        if sizes[i] and taken + sizes[i] <= 1.5 * aim:
            chosen.append(int(i))
            taken += sizes[i]
    if taken >= 0.5 * aim and len(chosen) < np.count_nonzero(sizes):
        return _Split(frozenset(chosen))
    longest = int(sizes.argmax())
    return _Split(frozenset(), longest, int(max(sizes[longest] - aim, sizes[longest] / 2)))


def _sentences(lines: Iterable[str], sizes: np.ndarray, split: _Split) -> Iterator[tuple[str, int, str]]:
    """(part, document, sentence) for every sentence, in the order of the text."""
    document, position = 0, 0
    whole = "heldout" if 0 in split.documents else "train"
    for line in lines:
        if not line:
            document, position = document + 1, 0
            whole = "heldout" if document in split.documents else "train"
            continue
        sentences = split_sentences(line)
        end = position + len(line) + 1
        for k, sentence in enumerate(sentences):
            # the document that is cut gives at least its first sentence to training and its last to the held-out part
            last = end == sizes[document] and k == len(sentences) - 1
            cut = document == split.cut_document and position > 0 and (position >= split.cut_at or last)
            yield ("heldout" if cut else whole), document, sentence
            position += len(sentence) + 1
        position = end


# Encoding.


class _PartWriter:
    """The three files of one part; sentences are gathered and encoded by the thousand."""

    def __init__(self, folder: Path, name: str, tokenizer: WordPieceTokenizer):
        self.tokenizer, self.waiting, self.previous = tokenizer, [], -1
        self.tokens = NpyWriter(folder / f"{name}.tokens.npy", np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)
        self.sentences = NpyWriter(folder / f"{name}.sentences.npy", np.int32)
        self.documents = NpyWriter(folder / f"{name}.documents.npy", np.int64)

    def add(self, document: int, sentence: str) -> None:
        self.waiting.append((document, sentence))
        if len(self.waiting) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        tokens, lengths = self.tokenizer.encode_lines(sentence for _, sentence in self.waiting)
        documents = np.array([document for document, _ in self.waiting], np.int64)[lengths > 0]
        lengths = lengths[lengths > 0]  # a sentence of control characters has no tokens
        starts = np.flatnonzero(np.diff(documents, prepend=self.previous))
        self.documents.append(self.sentences.length + starts)
        self.sentences.append(lengths)
        self.tokens.append(tokens)
        self.previous = documents[-1] if len(documents) else self.previous
        self.waiting.clear()

    def close(self) -> dict[str, int]:
        self.flush()
        writers = {"tokens": self.tokens, "sentences": self.sentences, "documents": self.documents}
        for writer in writers.values():
            writer.close()
        return {name: writer.length for name, writer in writers.items()}


def _encode(sentences: Iterable[tuple[str, int, str]], tokenizer: WordPieceTokenizer, folder: Path, bar: tqdm) -> dict:
    """Write both parts and return their counts."""
    writers = {part: _PartWriter(folder, part, tokenizer) for part in ("train", "heldout")}
    try:
        for part, document, sentence in sentences:
            writers[part].add(document, sentence)
            bar.update(len(sentence) + 1)
    finally:
        bar.close()
        counts = {part: writer.close() for part, writer in writers.items()}
    for part, count in counts.items():
        if not count["tokens"]:
            raise InputError(f"the corpus is too short to split: its {part} part has no tokens; give more text")
    return counts
