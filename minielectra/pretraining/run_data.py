"""From the settings of a run to its dataset, which is prepared once, in the run's folder."""

import sys
from pathlib import Path

from minielectra.data.dataset import layout
from minielectra.data.dataset.prepare import prepare
from minielectra.data.dataset.prepared import Dataset
from minielectra.data.text.default_corpus import default_corpus
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.pretraining.presets import configure
from minielectra.runs import run_folder


def open_dataset(folder, settings):
    """The Dataset of the run in `folder`. settings: RunSettings.

    It is the prepared folder that the settings name, or else the run's own, which is prepared now if need be.
    Raises InputError if the text or the vocabulary cannot be used, and Damaged if a file of the folder is not
    what was written.
    """
    corpus = settings.corpus
    if corpus and is_prepared(corpus):
        dataset = Dataset.open(corpus[0])
        dataset.verify()
        _check_agreement(settings, dataset)
        return dataset
    data = Path(folder) / "data"
    if layout.is_prepared(data):
        dataset = Dataset.open(data)
        dataset.verify(f"remove {data}, then --resume {folder} prepares it again")
        return dataset
    return prepare(
        corpus or default_corpus(),
        data,
        read_tokenizer(settings) or _vocabulary_size(folder, settings),
        seed=settings.seed,
        lowercase=not settings.cased,
        strip_accents=False if settings.keep_accents else None,
        progress=True,
    )


def _vocabulary_size(folder, settings):
    """How many pieces to learn: what run.json recorded, because another version's presets may differ."""
    recorded = run_folder.load(folder)
    for fields in (recorded.get("config"), recorded.get("fields")):
        if isinstance(fields, dict) and type(fields.get("vocab_size")) is int:
            return fields["vocab_size"]
    return configure(settings.preset, settings.overrides)[0].vocab_size


def is_prepared(corpus):
    """Whether a list of paths is one folder that `prepare` wrote."""
    return len(corpus) == 1 and layout.is_prepared(Path(corpus[0]))


def read_tokenizer(settings, tell=False):
    """The tokenizer that the settings name, or None if one is to be learned.

    tell: say it on standard error if the vocabulary does not look like one for lower-cased text.
    Raises InputError if it cannot be read, or if --cased or --keep-accents contradict it.
    """
    if not settings.vocab:
        return None
    tokenizer = WordPieceTokenizer.open(settings.vocab, settings.cased, settings.keep_accents)
    if tell and tokenizer.lowercase:
        capital = sum(piece != piece.lower() and piece[0] != "[" for piece in tokenizer.vocab)
        if capital > 0.01 * len(tokenizer):
            print(
                f"{settings.vocab}: {capital:,} of its {len(tokenizer):,} pieces have capitals, which "
                "lower-cased text never reaches; --cased keeps capitals",
                file=sys.stderr,
            )
    return tokenizer


def _check_agreement(settings, dataset):
    """Raise InputError if the settings ask for another tokenizer than a prepared folder was made with."""
    own, folder = dataset.tokenizer, settings.corpus[0]
    advice = "leave {} out, or prepare it again"
    if (settings.cased and own.lowercase) or (settings.keep_accents and own.rules.strips_accents):
        options = "--cased and --keep-accents"
        raise InputError(f"{folder}: was prepared {own.rules}; {advice.format(options)}")
    tokenizer = read_tokenizer(settings)
    if tokenizer and tokenizer.vocab != own.vocab:
        problem = f"was prepared with a vocabulary other than {settings.vocab}"
        raise InputError(f"{folder}: {problem}; {advice.format('--vocab')}")
    if tokenizer and tokenizer.rules != own.rules:
        problem = f"was prepared {own.rules}, but {settings.vocab} is {tokenizer.rules}"
        raise InputError(f"{folder}: {problem}; {advice.format('--vocab')}")
