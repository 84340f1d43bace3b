"""The command line: typed options in, calls of the library out, nothing else.

entry.py parses, calls and turns errors into exit codes; streams.py makes printing safe. command.py says what
a command is, options.py makes options from settings, overrides.py those that change a preset. The commands
are in files by subject, …_commands.py. To add one, write it there and name it in entry.py.
"""

from minielectra.cli.entry import main

__all__ = ["main"]
