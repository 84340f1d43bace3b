"""The command line: arguments to calls, nothing else. `minielectra COMMAND --help` shows each command with examples."""

import json
import sys
import time
from itertools import islice
from pathlib import Path

from minielectra.cli.arguments import DEFAULT_MINUTES, build_parser
from minielectra.errors import InputError

# Options that are handed on by name.
_COLUMNS = ("text", "pair", "label", "word", "tag", "separator")
_FINETUNING = ("epochs", "learning_rate", "layer_decay", "reinitialized_layers", "batch_size", "max_length", "dropout",
               "warmup_fraction")  # fmt: skip
_SETTINGS = ("preset", "corpus", "vocab", "steps", "minutes", "eval_every", "checkpoint_every", "seed", "threads", "workers",
             "device", "init")  # fmt: skip


def main(argv=None):
    """Run one command -> exit status: 0, 2 for input that cannot be used, 130 after Ctrl-C, or what the command says."""
    parser = build_parser({command.__name__: command for command in COMMANDS})
    arguments, rest = parser.parse_known_args(argv)
    if rest and isinstance(getattr(arguments, "text", None), list) and not any(word.startswith("-") for word in rest):
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
    from minielectra.pretraining.start import launch, resume
    from minielectra.pretraining.trainer import Interrupted

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
    from minielectra.cli.show_tokens import colored, plain
    from minielectra.detect import detect_many
    from minielectra.pretraining.load import load_discriminator

    model, tokenizer = load_discriminator(a.source)
    color = not a.json and (a.color == "always" or (a.color == "auto" and sys.stdout.isatty()))
    show = json.dumps if a.json else colored if color else plain
    at_once = 1 if sys.stdin.isatty() else 256  # a person wants an answer to every line
    texts = iter(a.text or (line.rstrip("\n") for line in sys.stdin))
    while group := list(islice(texts, at_once)):
        print(*map(show, detect_many(model, tokenizer, group)), sep="\n", flush=True)


def plot(a):
    """Draw a run's pictures."""
    from minielectra.plots.draw import draw_all
    from minielectra.plots.film_strip import film_strip_sentence
    from minielectra.pretraining.load import score_at_checkpoints

    tokens = [token for token in a.tokens.split(",") if token] if a.tokens else None
    paths = draw_all(a.folder, a.out, tokens)
    if a.sentence is not None:
        pieces, scores, steps = score_at_checkpoints(a.folder, a.sentence)
        folder = paths[0].parent
        paths.append(film_strip_sentence(folder / "film_strip_sentence.png", pieces, scores, steps, f"“{a.sentence}”"))
    print(*paths, sep="\n")


def gradcheck(a):
    """Check every gradient; status 1 when one is wrong."""
    from minielectra.gradcheck.checker import format_table
    from minielectra.gradcheck.suite import check_all

    rows = check_all(seed=a.seed or 0)
    if a.json:
        print(json.dumps([row._asdict() for row in rows]))
    else:
        print(format_table(rows))
    return 0 if all(row.ok for row in rows) else 1


def tokenize(a):
    """Cut texts into word pieces."""
    from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer

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
    from minielectra.data.dataset.prepare import prepare
    from minielectra.data.text.default_corpus import default_corpus
    from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer

    tokenizer = WordPieceTokenizer.from_file(a.vocab) if a.vocab else a.vocab_size
    dataset = prepare(a.corpus or default_corpus(), a.out, tokenizer, a.held_out_fraction, a.seed or 0, progress=True)
    counts = (
        f"{dataset.train.n_tokens:,} tokens to train on, {dataset.heldout.n_tokens:,} held out, {len(dataset.tokenizer):,} pieces"
    )
    print(counts)
    print(a.out)


def export(a):
    """Write Hugging Face directories."""
    from minielectra.pretraining.load import export

    print(*export(a.folder, a.out), sep="\n")


def bench(a):
    """Time training steps."""
    from minielectra.pretraining.bench import bench
    from minielectra.pretraining.pretraining_config import configure

    config, pretraining = configure(a.preset or "tiny", _overrides(a))
    result = bench(config, pretraining, a.steps, a.threads, a.device or "cpu", a.seed or 0, a.workers)
    print(json.dumps(result) if a.json else "\n".join(f"{name:18} {value}" for name, value in result.items()))


def lessons(a):
    """List the lessons, what is done of them, and the next one."""
    from minielectra.lessons import markdown_map, overview

    print(markdown_map() if a.markdown else overview())


def finetune(a):
    """Fine-tune, print the table; the last line names the folder."""
    from minielectra.finetuning.experiment import format_results, launch

    columns = {name: getattr(a, name) for name in _COLUMNS if getattr(a, name) is not None}
    options = {name: getattr(a, name) for name in _FINETUNING}
    out = a.out or f"runs/{a.task}-{time.strftime('%Y%m%d-%H%M%S')}"
    results = launch(
        a.task, a.model, a.train, a.dev, out, options, columns, a.seeds, a.seed or 0, a.from_scratch, a.control, a.threads,
        a.device or "cpu",
    )  # fmt: skip
    print(format_results(results), out, sep="\n")


def predict(a):
    """Predict for a file, or for standard input."""
    from minielectra.finetuning.experiment import Finetuned
    from minielectra.formats.files import write_text

    model = Finetuned(a.directory, a.device or "cpu")
    examples = model.task.read(a.file, labelled=False)
    predictions = model.predict(examples)
    if a.official:
        if model.task.head != "answering":
            raise InputError(f"--official: {a.directory} answers no questions; leave it out")
        write_text(Path(a.official), json.dumps(model.task.official(examples, predictions), ensure_ascii=False) + "\n")
    for example, prediction in zip(examples, predictions, strict=True):
        print(json.dumps(model.task.report(example, prediction)) if a.json else model.task.show(example, prediction))


def evaluate(a):
    """Score a fine-tuned directory on a labelled file."""
    from minielectra.finetuning.experiment import Finetuned

    scores = Finetuned(a.directory, a.device or "cpu").evaluate(a.file)
    print(json.dumps(scores) if a.json else "\n".join(f"{name:22} {value:.6g}" for name, value in scores.items()))


def _overrides(a):
    """Configuration fields given by --set and by options of their own."""
    from minielectra.pretraining.pretraining_config import parse_field

    overrides = dict(parse_field(text) for text in a.fields)
    own = {name: getattr(a, name, None) for name in ("batch_size", "seq_length", "objective", "vocab_size")}
    if getattr(a, "dropout", None) is not None:
        own |= {"hidden_dropout_prob": a.dropout, "attention_probs_dropout_prob": a.dropout}
    return overrides | {name: value for name, value in own.items() if value is not None}


COMMANDS = (train, detect, plot, gradcheck, tokenize, prepare, export, bench, lessons, finetune, predict, evaluate)
