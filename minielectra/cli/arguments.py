"""The command line's arguments: every command with its options, help and examples."""

import argparse

from minielectra import __version__

DEFAULT_MINUTES = 3.9  # of a `train` without --steps and --minutes; one that is slowed down still ends within five


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser(commands):
    """The parser of all commands -> argparse.ArgumentParser; commands {name: function of the parsed arguments}."""
    parser = _Parser(prog="minielectra", description="ELECTRA from scratch: train it, watch each token come to be detected.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, summary, *examples):
        text = "examples:\n" + "\n".join(f"  minielectra {name} {example}" for example in examples)
        added = subparsers.add_parser(
            name, help=summary, description=summary, epilog=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        added.set_defaults(run=commands[name])
        return added

    p = command(
        "train", "pre-train a generator and a discriminator", "",
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

    p = command("detect", "show which tokens of a text look replaced", 'runs/books "The cat sat on the moon."',
                "runs/books --json < sentences.txt")  # fmt: skip
    p.add_argument("source", metavar="RUN|DIR", help="a run, or a model directory in Hugging Face's layout")
    p.add_argument("text", nargs="*", default=[], metavar="TEXT", help="texts (default: the lines of standard input)")
    p.add_argument("--json", action="store_true", help="one JSON object a text")
    p.add_argument("--color", choices=("auto", "always", "never"), default="auto")

    p = command("plot", "draw the pictures of a run", "runs/books", 'runs/books --tokens the,not,river --sentence "He eat fish."')
    p.add_argument("folder", metavar="RUN")
    p.add_argument("--tokens", metavar="A,B,…", help="word pieces to follow")
    p.add_argument("--sentence", metavar="TEXT", help="one sentence of your own, scored at every checkpoint")
    p.add_argument("--out", metavar="DIR", help="where the pictures go (default: RUN/plots)")

    p = command("gradcheck", "check every gradient against finite differences", "", "--json")
    p.add_argument("--json", action="store_true")
    _seed(p)

    p = command("tokenize", "cut text into word pieces", '--vocab vocab.txt "Unbelievable!"')
    p.add_argument("--vocab", required=True, metavar="FILE")
    p.add_argument("text", nargs="*", default=[], metavar="TEXT", help="texts (default: the lines of standard input)")
    p.add_argument("--json", action="store_true", help="one JSON object a text: tokens, ids, offsets")

    p = command("prepare", "turn text into memory-mapped token files", "--corpus books/ --out prepared --vocab-size 8192")
    p.add_argument("--corpus", nargs="+", metavar="PATH", help="as for train")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--vocab", metavar="FILE", help="a vocab.txt to use (default: learn one)")
    p.add_argument("--vocab-size", type=_positive(int), default=8192, metavar="N")
    p.add_argument("--held-out-fraction", type=float, default=0.05, metavar="SHARE")
    _seed(p)

    p = command("export", "write a run's towers in Hugging Face's layout", "runs/books exported")
    p.add_argument("folder", metavar="RUN")
    p.add_argument("out", metavar="DIR")

    p = command(
        "finetune", "fine-tune a pre-trained model for a task",
        "sst-2 --model runs/books --train SST-2/train.tsv --dev SST-2/dev.tsv --out sst --seeds 3 --control",
        "classification --model runs/books --train questions.csv --text question --label type",
        "tagging --model exported/discriminator --train train.conll --dev dev.conll --tag 1",
        "squad --model runs/books --train train-v2.0.json --dev dev-v2.0.json",
    )  # fmt: skip
    p.add_argument("task", metavar="TASK", help="cola, sst-2, mrpc, rte, sts-b, qqp, mnli, qnli or wnli (GLUE's files as they come); "
                   "classification or regression (TSV, CSV, or lines of a label and a text); tagging (CoNLL columns); squad (JSON)")  # fmt: skip
    p.add_argument("--model", required=True, metavar="RUN|DIR", help="a run, or a directory in Hugging Face's layout")
    p.add_argument("--train", required=True, metavar="FILE")
    p.add_argument("--dev", metavar="FILE", help="chooses the best epoch (default: every tenth example of --train)")
    p.add_argument("--out", metavar="DIR", help="where the model of the best seed goes (default: runs/<task>-<date>)")
    p.add_argument(
        "--seeds", type=_positive(int), default=1, metavar="N", help="train N times; the table gives mean and deviation"
    )
    p.add_argument("--from-scratch", action="store_true", help="leave the pre-training out: the control")
    p.add_argument("--control", action="store_true", help="also train from scratch, and show it beside")
    for name, kind, text in (
        ("--epochs", float, "default 3"), ("--learning-rate", float, "of the head, at its peak; default by the model's size, 5e-5 to 1e-3"),
        ("--layer-decay", float, "its factor for each layer further from the head; default by size, 0.8 or 0.9"),
        ("--batch-size", int, "sequences; default 32"), ("--max-length", int, "tokens; default 128, squad 384, or what the model reads"),
    ):  # fmt: skip
        p.add_argument(name, type=_positive(kind), metavar="N", help=text)
    p.add_argument(
        "--reinitialized-layers", type=int, metavar="N", help="pre-trained layers that start afresh, from the top; default 0"
    )
    p.add_argument("--dropout", type=float, metavar="P", help="default 0.1")
    p.add_argument("--warmup-fraction", type=float, metavar="SHARE", help="of the steps; default 0.1")
    for name, text in (("--text", "of the text"), ("--pair", "of the second text"), ("--label", "of the label")):
        p.add_argument(name, metavar="COLUMN", help=f"tables: name or number, from 0, of the column {text}")
    for name, text in (("--word", "of the words; default 0"), ("--tag", "of the tags; default: the last")):
        p.add_argument(
            name, type=int, metavar="N", help=f"tagging: number, from 0 (negative: from the end), of the column {text}"
        )
    p.add_argument("--separator", help="tagging: what stands between columns (default: TAB where there is one, else spaces)")
    p.add_argument("--threads", type=_positive(int), metavar="N")
    p.add_argument("--device", choices=("cpu", "gpu"))
    _seed(p)

    p = command("predict", "predict with a fine-tuned model", "sst reviews.txt", "squad-model dev.json --json --official answers.json",
                "sst - < reviews.txt")  # fmt: skip
    p.add_argument("directory", metavar="DIR", help="a directory that finetune wrote")
    p.add_argument(
        "file",
        metavar="FILE|-",
        help="as for training, labels not needed; or plain lines: texts (a TAB between two), sentences to tag",
    )
    p.add_argument("--json", action="store_true", help="one JSON object an example")
    p.add_argument("--official", metavar="FILE", help="squad: also write the answers in the form that SQuAD's own script reads")
    p.add_argument("--device", choices=("cpu", "gpu"))

    p = command("evaluate", "score a fine-tuned model on a labelled file", "sst SST-2/dev.tsv --json")
    p.add_argument("directory", metavar="DIR", help="a directory that finetune wrote")
    p.add_argument("file", metavar="FILE", help="a labelled file, as for training")
    p.add_argument("--json", action="store_true", help="one JSON object")
    p.add_argument("--device", choices=("cpu", "gpu"))

    p = command("lessons", "list the lessons, what is done of them, and the next one", "")
    p.add_argument("--markdown", action="store_true", help="print the table of lessons/README.md instead")

    p = command("bench", "time training steps on random tokens", "--preset small --batch-size 16", "--set hidden_size=256 --json")
    p.add_argument("--steps", type=_positive(int), default=20)
    p.add_argument("--vocab-size", type=_positive(int), metavar="N")
    p.add_argument("--dropout", type=float, metavar="P")
    p.add_argument("--json", action="store_true")
    _model_options(p)
    return parser


def _model_options(p):
    p.add_argument("--preset", help="tiny (default), mini, small, base or large")
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
