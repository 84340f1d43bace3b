"""Commands on text: detect, tokenize, prepare.

They import what they need when they run, so that `--help` answers at once.
"""

import json
import sys
from dataclasses import dataclass
from itertools import islice

from minielectra.cli.command import Options, command
from minielectra.pretraining.run_settings import DEFAULT_CORPUS, RunSettings
from minielectra.settings import Settings, setting

AT_ONCE = 256  # texts that `detect` scores together


@dataclass(frozen=True)
class DetectOptions(Settings):
    """The options of `detect`."""

    source: str = setting(
        help="a run, a folder that `export` wrote, or a model directory in Hugging Face's layout",
        metavar="RUN|DIR",
        positional=True,
    )
    text: list[str] | None = setting(
        None, "texts", metavar="TEXT", positional=True, shown_default="the lines of standard input"
    )
    json: bool = setting(False, "print one JSON object per text: tokens, probabilities and offsets")
    color: str = setting(
        "auto", "color the tokens; auto: if the output is a terminal", choices=("auto", "always", "never")
    )


@command(
    Options(DetectOptions),
    examples=('runs/books "The cat sat on the moon."', "runs/books --json < sentences.txt"),
)
def detect(options):
    """Show which tokens of a text look replaced."""
    from minielectra.cli.show_tokens import colored, plain
    from minielectra.detect import detect_many
    from minielectra.pretraining.load import load_discriminator

    model, tokenizer = load_discriminator(options.source)
    color = options.color == "always" or (options.color == "auto" and sys.stdout.isatty())
    show = json.dumps if options.json else colored if color else plain
    at_once = 1 if sys.stdin.isatty() else AT_ONCE  # a person at a terminal wants an answer to every line
    texts = iter(options.text or _standard_input())
    while group := list(islice(texts, at_once)):
        print(*map(show, detect_many(model, tokenizer, group)), sep="\n", flush=True)


@dataclass(frozen=True)
class TokenizeOptions(Settings):
    """The options of `tokenize`."""

    vocab: str = setting(help="a WordPiece vocabulary, such as a run's vocab.txt", metavar="FILE")
    text: list[str] | None = setting(
        None, "texts", metavar="TEXT", positional=True, shown_default="the lines of standard input"
    )
    json: bool = setting(False, "print one JSON object per text: tokens, ids and offsets")


@command(Options(TokenizeOptions), examples=('--vocab vocab.txt "Unbelievable!"',))
def tokenize(options):
    """Cut text into word pieces."""
    from minielectra.data.wordpiece import WordPieceTokenizer

    tokenizer = WordPieceTokenizer.from_file(options.vocab)
    for text in options.text or _standard_input():
        ids, tokens, offsets = tokenizer.encode_with_offsets(text)
        found = {
            "text": text,
            "tokens": list(tokens),
            "ids": [int(number) for number in ids],
            "offsets": [list(pair) for pair in offsets],
        }
        print(json.dumps(found) if options.json else " ".join(tokens))


@dataclass(frozen=True)
class PrepareOptions(Settings):
    """The options of `prepare`, apart from those that mean the same in `train`."""

    out: str = setting(help="folder to write", metavar="DIR")
    corpus: list[str] | None = setting(
        None,
        "UTF-8 text: files, folders, globs or .gz files, with blank lines between documents",
        metavar="PATH",
        shown_default=DEFAULT_CORPUS,
    )
    vocab_size: int = setting(8192, "size of the vocabulary to learn", at_least=1)
    held_out_fraction: float = setting(
        0.05, "share of the text to hold out for evaluation", above=0, below=1, metavar="SHARE"
    )


@command(
    Options(PrepareOptions),
    Options(RunSettings, only=("vocab", "seed")),
    examples=("--corpus books/ --out prepared --vocab-size 8192",),
)
def prepare(options, settings):
    """Turn text into memory-mapped files of tokens.

    `train --corpus DIR` then starts at once, and several runs can share the folder.
    """
    from minielectra.data.dataset.prepare import prepare
    from minielectra.data.text.default_corpus import default_corpus
    from minielectra.data.wordpiece import WordPieceTokenizer

    tokenizer = WordPieceTokenizer.from_file(settings.vocab) if settings.vocab else options.vocab_size
    corpus = options.corpus or default_corpus()
    dataset = prepare(corpus, options.out, tokenizer, options.held_out_fraction, settings.seed, progress=True)
    print(
        f"{dataset.train.n_tokens:,} tokens to train on, {dataset.heldout.n_tokens:,} held out, "
        f"{len(dataset.tokenizer):,} word pieces"
    )
    print(options.out)


def _standard_input():
    """The lines of standard input, without their ends."""
    return (line.rstrip("\n") for line in sys.stdin)
