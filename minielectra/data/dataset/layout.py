"""The layout of a prepared folder, which `prepare` writes and `Dataset.open` reads.

    vocab.txt                 the pieces, one per line
    tokenizer_config.json     how text is normalized, and tokens that were added to the vocabulary later
    dataset.json              format version, counts, fingerprint of the text, names of the sources
    train.tokens.npy          all tokens in a row: uint16 (int32 if there are more than 65 536 pieces)
    train.sentences.npy       tokens in each sentence: int32
    train.documents.npy       index of each document's first sentence: int64
    heldout.*.npy             the same for the part that is held out for evaluation
    checksums.json            what was written into these files

A run's `data/` folder is such a folder; the run also keeps its index of examples in it.
"""

from pathlib import Path

FORMAT, FORMAT_VERSION = "minielectra-dataset", 1
PARTS = ("train", "heldout")

# The kinds of arrays of a part, and the dtypes that each may have.
DTYPES = {"tokens": ("uint16", "int32"), "sentences": ("int32",), "documents": ("int64",)}


def array_path(folder: Path, part: str, kind: str) -> Path:
    """The file of one array; part: one of PARTS; kind: a key of DTYPES."""
    return folder / f"{part}.{kind}.npy"


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds a prepared corpus."""
    return (folder / "dataset.json").is_file()
