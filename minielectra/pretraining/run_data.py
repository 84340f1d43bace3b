"""From the settings of a run to its dataset, which is prepared once, in the run's folder."""

from pathlib import Path

from minielectra.data.dataset import layout
from minielectra.data.dataset.prepare import prepare
from minielectra.data.dataset.prepared import Dataset
from minielectra.data.text.default_corpus import default_corpus
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.pretraining.presets import configure


def open_dataset(folder, settings):
    """The Dataset of the run in `folder`. settings: RunSettings.

    It is the prepared folder that the settings name, or else the run's own, which is prepared now if need be.
    Raises InputError if the text or the vocabulary cannot be used.
    """
    corpus, vocab = settings.corpus, settings.vocab
    if corpus and is_prepared(corpus):
        dataset = Dataset.open(corpus[0])
        if vocab and read_tokenizer(vocab).vocab != dataset.tokenizer.vocab:
            raise InputError(
                f"{corpus[0]}: was prepared with a vocabulary other than {vocab}; "
                "leave --vocab out, or prepare it again"
            )
        return dataset
    data = Path(folder) / "data"
    if layout.is_prepared(data):
        return Dataset.open(data)
    config, _ = configure(settings.preset, settings.overrides)
    tokenizer = read_tokenizer(vocab) if vocab else config.vocab_size
    return prepare(corpus or default_corpus(), data, tokenizer, seed=settings.seed, progress=True)


def is_prepared(corpus):
    """Whether a list of paths is one folder that `prepare` wrote."""
    return len(corpus) == 1 and layout.is_prepared(Path(corpus[0]))


def read_tokenizer(path):
    """The tokenizer of a vocab.txt (which lower-cases) or of a model's directory."""
    return (
        WordPieceTokenizer.from_pretrained(path)
        if Path(path).is_dir()
        else WordPieceTokenizer.from_file(path)
    )
