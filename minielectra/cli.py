"""The command line: arguments to calls, nothing else. `minielectra COMMAND --help` shows each command with examples."""

import argparse
import json
import sys
import time
from itertools import islice

from minielectra import __version__
from minielectra.errors import InputError

DEFAULT_MINUTES = 3.9  # of a `train` without --steps and --minutes; one that is slowed down still ends within five


def main(argv=None):
    """Run one command -> exit status: 0, 2 for input that cannot be used, 130 after Ctrl-C, or what the command says."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and hasattr(arguments, "text") and not any(word.startswith("-") for word in rest):
        # `detect RUN --json TEXT`: before Python 3.12 argparse gives up on texts after an option
        arguments.text = [*arguments.text, *rest]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        return _fail(error)
    except BrokenPipeError:  # the reader of our output has seen enough
        return 0
    except OSError as error:  # a full disk, a folder that went away
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _fail(message):
    print(f"minielectra: {' '.join(str(message).split())}", file=sys.stderr)
    return 2


# Commands import what they need when they run: `--help` and a mistyped option answer at once.


def train(a):
    """Start a run or continue one; its last line of output names the folder."""
    from minielectra.training.launch import launch, resume
    from minielectra.training.trainer import Interrupted

    started = time.monotonic()
    given = {name: getattr(a, name) for name in _SETTINGS if getattr(a, name) is not None}
    overrides = _overrides(a)
    try:
        if a.resume:
            folder, metrics = resume(a.resume, given, overrides, started)
        else:
            folder, metrics = launch(given, overrides, a.out, DEFAULT_MINUTES, started)
    except Interrupted as stop:
        print(f"{stop}; continue with:\n  minielectra train --resume {stop.folder}")
        return 130
    print("  ".join(f"{name} {value:.3f}" for name, value in metrics.items() if _shown(name, value)))
    print(folder)


def _shown(name, value):
    return (
        name in ("gen_loss", "unigram_entropy", "gen_accuracy", "disc_auc", "disc_recall", "disc_precision") and value is not None
    )


def detect(a):
    """Score texts, from the arguments or from standard input."""
    from minielectra.inference import colored, detect_many, load_discriminator, plain

    model, tokenizer = load_discriminator(a.source)
    color = not a.json and (a.color == "always" or (a.color == "auto" and sys.stdout.isatty()))
    show = json.dumps if a.json else colored if color else plain
    at_once = 1 if sys.stdin.isatty() else 256  # a person wants an answer to every line
    texts = iter(a.text or (line.rstrip("\n") for line in sys.stdin))
    while group := list(islice(texts, at_once)):
        print(*map(show, detect_many(model, tokenizer, group)), sep="\n", flush=True)


def plot(a):
    """Draw a run's pictures."""
    from minielectra.inference import score_at_checkpoints
    from minielectra.plots.draw import draw_all
    from minielectra.plots.film_strip import film_strip_sentence

    tokens = [token for token in a.tokens.split(",") if token] if a.tokens else None
    paths = draw_all(a.folder, a.out, tokens)
    if a.sentence is not None:
        pieces, scores, steps = score_at_checkpoints(a.folder, a.sentence)
        folder = paths[0].parent
        paths.append(film_strip_sentence(folder / "film_strip_sentence.png", pieces, scores, steps, f"“{a.sentence}”"))
    print(*paths, sep="\n")


def gradcheck(a):
    """Check every gradient; status 1 when one is wrong."""
    from minielectra.gradcheck import format_table
    from minielectra.gradcheck_suite import check_all

    rows = check_all(seed=a.seed or 0)
    if a.json:
        print(json.dumps([row._asdict() for row in rows]))
    else:
        print(format_table(rows))
    return 0 if all(row.ok for row in rows) else 1


def tokenize(a):
    """Cut texts into word pieces."""
    from minielectra.data.wordpiece import WordPieceTokenizer

    tokenizer = WordPieceTokenizer.from_file(a.vocab)
    for text in a.text or (line.rstrip("\n") for line in sys.stdin):
        ids, tokens, offsets = tokenizer.encode_with_offsets(text)
        if a.json:
            print(
                json.dumps(
                    {"text": text, "tokens": list(tokens), "ids": [int(i) for i in ids], "offsets": [list(o) for o in offsets]}
                )
            )
        else:
            print(*tokens)


def prepare(a):
    """Write a dataset folder."""
    from minielectra.data.default_corpus import default_corpus
    from minielectra.data.prepare import prepare
    from minielectra.data.wordpiece import WordPieceTokenizer

    tokenizer = WordPieceTokenizer.from_file(a.vocab) if a.vocab else a.vocab_size
    dataset = prepare(a.corpus or default_corpus(), a.out, tokenizer, a.held_out_fraction, a.seed or 0, progress=True)
    counts = (
        f"{dataset.train.n_tokens:,} tokens to train on, {dataset.heldout.n_tokens:,} held out, {len(dataset.tokenizer):,} pieces"
    )
    print(counts)
    print(a.out)


def export(a):
    """Write Hugging Face directories."""
    from minielectra.inference import export

    print(*export(a.folder, a.out), sep="\n")


def bench(a):
    """Time training steps."""
    from minielectra.bench import bench
    from minielectra.electra.config import configure

    config, pretraining = configure(a.preset or "tiny", _overrides(a))
    result = bench(config, pretraining, a.steps, a.threads, a.device or "cpu", a.seed or 0, a.workers)
    print(json.dumps(result) if a.json else "\n".join(f"{name:18} {value}" for name, value in result.items()))


# Arguments.

_SETTINGS = (
    "preset",
    "corpus",
    "vocab",
    "steps",
    "minutes",
    "eval_every",
    "checkpoint_every",
    "seed",
    "threads",
    "workers",
    "device",
    "init",
)


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser():
    """The parser of all commands -> argparse.ArgumentParser."""
    parser = _Parser(prog="minielectra", description="ELECTRA from scratch: train it, watch each token come to be detected.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, summary, *examples):
        text = "examples:\n" + "\n".join(f"  minielectra {name} {example}" for example in examples)
        added = commands.add_parser(
            name, help=summary, description=summary, epilog=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        added.set_defaults(run=run)
        return added

    p = command(
        "train", train, "pre-train a generator and a discriminator", "",
        "--corpus books/*.txt --minutes 30 --out runs/books", "--preset small --vocab vocab.txt --corpus prepared --steps 20000",
        "--resume runs/books", "--init exported --corpus law/ --out runs/law --set learning_rate=5e-4",
    )  # fmt: skip
    p.add_argument("--resume", metavar="RUN", help="continue this run with its own settings")
    p.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/<preset>-<date>)")
    p.add_argument("--corpus", nargs="+", metavar="PATH", help="UTF-8 text files, folders, globs, .gz, or one prepared folder; "
                   "blank lines separate documents (default: English prose from this installation's own documentation)")  # fmt: skip
    p.add_argument("--vocab", metavar="FILE", help="a WordPiece vocab.txt to use (default: learn one)")
    p.add_argument("--init", metavar="DIR", help="begin with the weights, sizes and vocabulary of DIR/generator and DIR/discriminator, "
                   "as `export` writes them")  # fmt: skip
    length = p.add_mutually_exclusive_group()
    length.add_argument("--steps", type=_positive(int), help="number of updates")
    length.add_argument("--minutes", type=_positive(float), help=f"length of the whole run; default {DEFAULT_MINUTES}")
    p.add_argument("--eval-every", type=_positive(int), metavar="N", help="steps between evaluations (default: 30 in a run)")
    p.add_argument("--checkpoint-every", type=_positive(int), metavar="N", help="steps between checkpoints (default: 8 in a run)")
    p.add_argument("--objective", choices=("electra", "mlm"), help="mlm: train the discriminator's encoder as BERT would")
    _model_options(p)

    p = command("detect", detect, "show which tokens of a text look replaced", 'runs/books "The cat sat on the moon."',
                "runs/books --json < sentences.txt")  # fmt: skip
    p.add_argument("source", metavar="RUN|DIR", help="a run, or a model directory in Hugging Face's layout")
    p.add_argument("text", nargs="*", default=[], metavar="TEXT", help="texts (default: the lines of standard input)")
    p.add_argument("--json", action="store_true", help="one JSON object a text")
    p.add_argument("--color", choices=("auto", "always", "never"), default="auto")

    p = command(
        "plot", plot, "draw the pictures of a run", "runs/books", 'runs/books --tokens the,not,river --sentence "He eat fish."'
    )
    p.add_argument("folder", metavar="RUN")
    p.add_argument("--tokens", metavar="A,B,…", help="word pieces to follow")
    p.add_argument("--sentence", metavar="TEXT", help="one sentence of your own, scored at every checkpoint")
    p.add_argument("--out", metavar="DIR", help="where the pictures go (default: RUN/plots)")

    p = command("gradcheck", gradcheck, "check every gradient against finite differences", "", "--json")
    p.add_argument("--json", action="store_true")
    _seed(p)

    p = command("tokenize", tokenize, "cut text into word pieces", '--vocab vocab.txt "Unbelievable!"')
    p.add_argument("--vocab", required=True, metavar="FILE")
    p.add_argument("text", nargs="*", default=[], metavar="TEXT", help="texts (default: the lines of standard input)")
    p.add_argument("--json", action="store_true", help="one JSON object a text: tokens, ids, offsets")

    p = command(
        "prepare", prepare, "turn text into memory-mapped token files", "--corpus books/ --out prepared --vocab-size 8192"
    )
    p.add_argument("--corpus", nargs="+", metavar="PATH", help="as for train")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--vocab", metavar="FILE", help="a vocab.txt to use (default: learn one)")
    p.add_argument("--vocab-size", type=_positive(int), default=8192, metavar="N")
    p.add_argument("--held-out-fraction", type=float, default=0.05, metavar="SHARE")
    _seed(p)

    p = command("export", export, "write a run's towers in Hugging Face's layout", "runs/books exported")
    p.add_argument("folder", metavar="RUN")
    p.add_argument("out", metavar="DIR")

    p = command(
        "bench", bench, "time training steps on random tokens", "--preset small --batch-size 16", "--set hidden_size=256 --json"
    )
    p.add_argument("--steps", type=_positive(int), default=20)
    p.add_argument("--vocab-size", type=_positive(int), metavar="N")
    p.add_argument("--dropout", type=float, metavar="P")
    p.add_argument("--json", action="store_true")
    _model_options(p)
    return parser


def _model_options(p):
    p.add_argument("--preset", help="tiny (default), small, base or large")
    p.add_argument("--batch-size", type=_positive(int), metavar="N")
    p.add_argument("--seq-length", type=_positive(int), metavar="N")
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="fields",
                   help="any configuration field, e.g. hidden_size=256 or disc_weight=50; repeatable")  # fmt: skip
    p.add_argument("--threads", type=_positive(int), metavar="N", help="at most one for each shard of a batch (default)")
    p.add_argument("--workers", choices=("threads", "processes"), help="what runs the shards: the results are the same")
    p.add_argument("--device", choices=("cpu", "gpu"))
    _seed(p)


def _seed(p):
    p.add_argument("--seed", type=_natural, metavar="N")


def _overrides(a):
    """Configuration fields given by --set and by options of their own."""
    from minielectra.electra.config import parse_field

    overrides = dict(parse_field(text) for text in a.fields)
    own = {name: getattr(a, name, None) for name in ("batch_size", "seq_length", "objective", "vocab_size")}
    if getattr(a, "dropout", None) is not None:
        own |= {"hidden_dropout_prob": a.dropout, "attention_probs_dropout_prob": a.dropout}
    return overrides | {name: value for name, value in own.items() if value is not None}


def _positive(kind):
    def convert(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be greater than 0, got {text}")
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert


def _natural(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text}")
    return value
