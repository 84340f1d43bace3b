"""The entry of the command line: parse, call the command, turn errors into exit codes."""

import argparse
import sys

from minielectra import __version__
from minielectra.cli.check_commands import bench, flops, gradcheck, lessons
from minielectra.cli.command import Parser
from minielectra.cli.device_commands import export, page
from minielectra.cli.experiment_commands import experiment
from minielectra.cli.finetuning_commands import evaluate, finetune, predict
from minielectra.cli.pretraining_commands import plot, train
from minielectra.cli.report_command import report
from minielectra.cli.streams import CLOSED_PIPE, abandon_output, any_streams, finish_output
from minielectra.cli.text_commands import detect, prepare, tokenize
from minielectra.errors import LONGEST, InputError, printable, reason
from minielectra.training import mpi

COMMANDS = (
    train,
    detect,
    plot,
    report,
    export,
    page,
    finetune,
    predict,
    evaluate,
    experiment,
    tokenize,
    prepare,
    lessons,
    gradcheck,
    bench,
    flops,
)


def main(argv=None):
    """Run one command -> exit status.

    0: done; 1: a check failed; 2: the input cannot be used, as one line on standard error says; 130: Ctrl-C;
    141: nobody reads the output any more.
    """
    argv = sys.argv[1:] if argv is None else argv
    with any_streams():
        status = _run_on_first_rank(argv) if mpi.asked_for(argv) else _run(argv)
        sys.stderr.flush()
    return status


def _run_on_first_rank(argv):
    """Run one command with the help of all ranks of MPI -> exit status."""
    try:
        with mpi.first_rank() as first:
            return _run(argv) if first else 0
    except InputError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _interrupted()


def _run(argv):
    try:
        try:
            arguments = parse(argv)
            status = arguments.command.run(arguments) or 0
        except SystemExit:
            finish_output()  # of --help
            raise
        finish_output()
        return status
    except InputError as error:
        return _fail(error)
    except BrokenPipeError:
        abandon_output()
        return CLOSED_PIPE
    except OSError as error:  # a full disk, or a folder that went away
        abandon_output()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{reason(error)}")
    except MemoryError:
        abandon_output()
        return _fail("there is not enough memory; choose smaller sizes, a smaller batch or a smaller file")
    except KeyboardInterrupt:
        return _interrupted()


def parse(argv):
    """The words of a command line -> argparse.Namespace: the command, and the values of the options typed.

    Exits with status 2 and one line if the words make no sense, and with 0 after `--help`.
    """
    parser = build_parser(argv)
    arguments, rest = parser.parse_known_args(argv)
    options = [word for word in rest if word.startswith("-")]
    if rest and not options and isinstance(getattr(arguments, "text", None), list):
        # `detect RUN --json TEXT`: before Python 3.12, argparse gives up on texts after an option
        arguments.text = [*arguments.text, *rest]
    elif rest:
        arguments.parser.error(f"unrecognized arguments: {' '.join(options or rest)}")
    return arguments


def build_parser(argv):
    """The parser of all commands. Only the command that `argv` names declares its options."""
    description = "ELECTRA from scratch: train it, and watch it learn to detect each token."
    parser = Parser(prog="minielectra", description=description)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        own = subparsers.add_parser(
            command.name,
            help=command.description.splitlines()[0].removesuffix("."),
            description=command.description,
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        own.set_defaults(command=command, parser=own)
        if command.name in argv:
            command.add_to(own)
    return parser


def _interrupted():
    print("interrupted", file=sys.stderr)
    return 130


def _fail(message):
    print(f"minielectra: {printable(str(message), LONGEST)}", file=sys.stderr)
    return 2
