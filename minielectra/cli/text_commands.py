"""Commands on text: detect, tokenize, prepare.

They import what they need when they run, so that `--help` answers at once.
"""

import dataclasses
import os
import sys
from dataclasses import dataclass
from itertools import count

from minielectra.cli.command import Options, command
from minielectra.cli.streams import readable
from minielectra.errors import InputError
from minielectra.formats import limits
from minielectra.formats.json_text import json_text
from minielectra.pretrained import shipped
from minielectra.pretraining.run_settings import CASE, CORPUS, DEFAULT_CORPUS, RunSettings
from minielectra.settings import Settings, setting

AT_ONCE = 256  # texts that `detect` scores together …
CHARACTERS_AT_ONCE = 1 << 18  # … unless they are long


@dataclass(frozen=True)
class DetectOptions(Settings):
    """The options of `detect`."""

    text: list[str] | None = setting(
        None,
        "texts, each in quotes. What comes first is the model instead if it is a folder or a single word",
        metavar="TEXT",
        positional=True,
        shown_default="the lines of standard input",
    )
    model: str | None = setting(
        None,
        "a run, a folder that `export` wrote, a model directory in Hugging Face's layout, or mini",
        metavar="RUN|DIR|mini",
        shown_default="mini, the model that comes with minielectra",
    )
    json: bool = setting(False, "print one JSON object per text: tokens, probabilities and offsets")
    color: str = setting(
        "auto", "color the tokens; auto: if the output is a terminal", choices=("auto", "always", "never")
    )


@command(
    Options(DetectOptions),
    examples=(
        '"The captain ate the harbour at noon."',
        'runs/books "The cat sat on the moon."',
        "--model runs/books --json < sentences.txt",
    ),
)
def detect(options):
    """Show which tokens of a text look replaced."""
    from minielectra.cli.show_tokens import colored, plain
    from minielectra.detect import detect_many
    from minielectra.pretraining.load import load_discriminator

    source, texts = _model_and_texts(options)
    model, tokenizer = load_discriminator(source)
    color = options.color == "always" or (options.color == "auto" and sys.stdout.isatty())
    show = json_text if options.json else colored if color else plain
    at_once = 1 if sys.stdin.isatty() else AT_ONCE  # a person at a terminal wants an answer to every line
    texts = map(readable, texts) if texts else _standard_input()
    for group in _grouped(texts, at_once):
        print(*map(show, detect_many(model, tokenizer, group)), sep="\n", flush=True)


def _grouped(texts, at_once):
    """Texts in lists of at most so many, and fewer if they are long."""
    group, characters = [], 0
    for text in texts:
        group.append(text)
        characters += len(text)
        if len(group) == at_once or characters >= CHARACTERS_AT_ONCE:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _model_and_texts(options):
    """What the words of `detect` mean -> the model's name or folder, list of texts.

    Raises InputError if two words name a model, or if the first is a single word that names none: most
    likely, a folder is spelled wrong, or quotes are missing.
    """
    words = options.text or []
    first = words[0] if words else ""
    names_model = shipped.is_shipped(first) or os.path.isdir(first)
    if options.model is not None:
        if names_model:
            raise InputError(f"--model {options.model} and {first} both name a model: leave one out")
        return options.model, words
    if names_model:
        return first, words[1:]
    if len(first.split()) == 1:
        raise InputError(
            f"{first}: neither a folder nor a model that comes with minielectra "
            f"({', '.join(shipped.NAMES)}). Put a sentence in quotes; a text of one word needs --model"
        )
    return shipped.DEFAULT, words


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
    for text in map(readable, options.text) if options.text else _standard_input():
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
    """The lines of standard input, without their ends: UTF-8 or, if a line is not, Latin-1.

    Raises InputError for a line that is too long.
    """
    if sys.stdin.isatty():
        print("type one text per line; Ctrl-D ends", file=sys.stderr)
    stream, longest = getattr(sys.stdin, "buffer", sys.stdin), limits.limit(limits.TEXT)
    for number in count(1):
        raw = stream.readline(longest + 1)
        if not raw:
            return
        if len(raw) > longest:
            too_large = limits.too_large(limits.TEXT)
            raise InputError(f"standard input: line {number} has {too_large}, or cut it into several")
        line = raw if isinstance(raw, str) else _decoded(raw)
        yield line.removesuffix("\n").removesuffix("\r")


def _decoded(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
