"""Commands on text: detect, tokenize, prepare.

They import what they need when they run, so that `--help` answers at once.
"""

import dataclasses
import sys
from dataclasses import dataclass
from itertools import islice

from minielectra.cli.command import Options, command
from minielectra.formats.json_text import json_text
from minielectra.pretraining.run_settings import CASE, CORPUS, DEFAULT_CORPUS, RunSettings
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
    show = json_text if options.json else colored if color else plain
    at_once = 1 if sys.stdin.isatty() else AT_ONCE  # a person at a terminal wants an answer to every line
    texts = iter(options.text or _standard_input())
    while group := list(islice(texts, at_once)):
        print(*map(show, detect_many(model, tokenizer, group)), sep="\n", flush=True)


@dataclass(frozen=True)
class TokenizeOptions(Settings):
    """The options of `tokenize`."""

    vocab: str = setting(
        help="a WordPiece vocabulary, such as a run's vocab.txt, or a folder with one", metavar="FILE|DIR"
    )
    text: list[str] | None = setting(
        None, "texts", metavar="TEXT", positional=True, shown_default="the lines of standard input"
    )
    json: bool = setting(False, "print one JSON object per text: tokens, ids and offsets")


@command(
    Options(TokenizeOptions),
    Options(RunSettings, only=CASE),
    examples=('--vocab vocab.txt "Unbelievable!"', '--vocab vocab.txt --cased "Mr. Fox"'),
)
def tokenize(options, settings):
    """Cut text into word pieces."""
    from minielectra.pretraining.run_data import read_tokenizer

    tokenizer = read_tokenizer(dataclasses.replace(settings, vocab=options.vocab), tell=True)
    for text in options.text or _standard_input():
        ids, tokens, offsets = tokenizer.encode_with_offsets(text)
        found = {
            "text": text,
            "tokens": list(tokens),
            "ids": [int(number) for number in ids],
            "offsets": [list(pair) for pair in offsets],
        }
        print(json_text(found) if options.json else " ".join(tokens))


@dataclass(frozen=True)
class PrepareOptions(Settings):
    """The options of `prepare`, apart from those that mean the same in `train`."""

    out: str = setting(help="folder to write", metavar="DIR")
    corpus: list[str] | None = setting(
        None,
        CORPUS,
        metavar="PATH",
        shown_default=DEFAULT_CORPUS,
    )
    vocab_size: int = setting(8192, "size of the vocabulary to learn", at_least=1)
    held_out_fraction: float = setting(
        0.05, "share of the text to hold out for evaluation", above=0, below=1, metavar="SHARE"
    )


@command(
    Options(PrepareOptions),
    Options(RunSettings, only=("vocab", *CASE, "seed")),
    examples=(
        "--corpus books/ --out prepared --vocab-size 8192",
        "--corpus articles.jsonl.gz --cased --out prepared",
        "--corpus /dev/stdin --out prepared",
    ),
)
def prepare(options, settings):
    """Turn text into memory-mapped files of tokens.

    `train --corpus DIR` then starts at once, and several runs can share the folder.
    """
    from minielectra.data.dataset.prepare import prepare
    from minielectra.data.text.default_corpus import default_corpus
    from minielectra.formats.locks import locked_beside
    from minielectra.pretraining.run_data import read_tokenizer

    with locked_beside(options.out):
        dataset = prepare(
            options.corpus or default_corpus(),
            options.out,
            read_tokenizer(settings, tell=True) or options.vocab_size,
            options.held_out_fraction,
            settings.seed,
            lowercase=not settings.cased,
            strip_accents=False if settings.keep_accents else None,
            progress=True,
        )
    print(
        f"{dataset.train.n_tokens:,} tokens to train on, {dataset.heldout.n_tokens:,} held out, "
        f"{len(dataset.tokenizer):,} word pieces"
    )
    print(options.out)


def _standard_input():
    """The lines of standard input, without their ends: UTF-8 or, if a line is not, Latin-1."""
    for raw in getattr(sys.stdin, "buffer", sys.stdin):
        line = raw if isinstance(raw, str) else _decoded(raw)
        yield line.removesuffix("\n").removesuffix("\r")


def _decoded(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
