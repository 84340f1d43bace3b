"""What a command of the command line is: a function, the options that it takes, and examples of its use."""

import argparse
import inspect
import sys
from dataclasses import dataclass
from typing import NamedTuple

from minielectra.cli.options import add_options, given, missing


class Command(NamedTuple):
    """One command. Its name is the function's, its description the function's docstring."""

    function: object
    options: tuple  # of Options, Given, …: each gives the function one argument
    examples: tuple[str, ...]  # as typed after the command's name

    @property
    def name(self):
        """What the user types."""
        return self.function.__name__

    @property
    def description(self):
        """What the command does: one line, and perhaps more after a blank one."""
        return inspect.cleandoc(self.function.__doc__)

    @property
    def epilog(self):
        """The examples, as `--help` shows them."""
        return "\n".join(
            ["examples:", *(f"  minielectra {self.name} {text}".rstrip() for text in self.examples)]
        )

    def add_to(self, parser):
        """Declare the options."""
        for options in self.options:
            options.add_to(parser)

    def run(self, arguments):
        """Call the function -> exit status or None."""
        return self.function(*(options.read(arguments) for options in self.options))


def command(*options, examples=("",)):
    """Make a function a Command. The function gets one argument for each of `options`."""
    return lambda function: Command(function, options, tuple(examples))


@dataclass(frozen=True)
class Options:
    """The fields of a settings class, as options; the function gets an instance of the class."""

    kind: type
    only: tuple[str, ...] | None = None  # names of fields; None: all
    title: str | None = None  # of their group in `--help`
    shown_defaults: dict | None = None  # {field: the default in words}

    def add_to(self, parser):
        """Declare the options."""
        group = parser.add_argument_group(self.title) if self.title else parser
        add_options(group, self.kind, self.only, **self.shown_defaults or {})

    def read(self, arguments):
        """An instance of the class: what the user gave, on top of the defaults."""
        return self.kind(**given(arguments, self.kind, self.only))


@dataclass(frozen=True)
class Given(Options):
    """Like Options, but the function gets only what the user gave, as {field: value}."""

    unless: str | None = None  # an option with which nothing else has to be given

    def add_to(self, parser):
        """Declare the options."""
        group = parser.add_argument_group(self.title) if self.title else parser
        optional = self.unless is not None
        add_options(group, self.kind, self.only, all_optional=optional, **self.shown_defaults or {})

    def read(self, arguments):
        """{field: value} of what the user gave. Exits with status 2 if something needed is missing."""
        values = given(arguments, self.kind, self.only)
        needed = self.unless is not None and getattr(arguments, self.unless) is None
        if needed and (names := missing(values, self.kind)):
            arguments.parser.error(f"the following arguments are required: {', '.join(names)}")
        return values


class Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message):
        """Print the message to standard error and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _print_message(self, message, file=None):
        """As in argparse, but an output that nobody reads is not passed over in silence."""
        print(message or "", end="", file=file or sys.stderr)
