"""From the settings of a run to its dataset: prepared once, in the run's folder, unless a prepared one was handed in."""

import shutil
from pathlib import Path

from minielectra.data.dataset.dataset import Dataset
from minielectra.data.dataset.prepare import prepare
from minielectra.data.text.default_corpus import default_corpus
from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.pretraining.pretraining_config import configure


def open_dataset(folder, settings):
    """settings: `corpus` (None for the default one, or a list of paths), `vocab` (None, a vocab.txt or a model's directory),
    `preset`, `overrides`, `seed`. -> Dataset."""
    corpus, vocab = settings["corpus"], settings["vocab"]
    if corpus and len(corpus) == 1 and (Path(corpus[0]) / "dataset.json").is_file():
        dataset = Dataset.open(corpus[0])
        if vocab and read_tokenizer(vocab).vocab != dataset.tokenizer.vocab:
            raise InputError(
                f"{corpus[0]}: was prepared with another vocabulary than {vocab}; leave --vocab out, or prepare again"
            )
        return dataset
    data = Path(folder) / "data"
    if (data / "dataset.json").exists():
        return Dataset.open(data)
    for leftover in data.parent.glob(f".{data.name}.*"):  # of a process that was killed while preparing
        shutil.rmtree(leftover, ignore_errors=True)
    config, _ = configure(settings["preset"], settings["overrides"])
    tokenizer = read_tokenizer(vocab) if vocab else config.vocab_size
    return prepare(corpus or default_corpus(), data, tokenizer, seed=settings["seed"], progress=True)


def read_tokenizer(path):
    """The tokenizer of a vocab.txt (lower-casing) or of a model's directory."""
    return WordPieceTokenizer.from_pretrained(path) if Path(path).is_dir() else WordPieceTokenizer.from_file(path)
