"""The one exception that means "the user can fix this"."""


class InputError(ValueError):
    """Something a user handed in cannot be used: a file, an option, a folder.

    The message is one line: what is wrong, where, and what to do. The command line prints it without a traceback and exits
    with status 2.
    """


def reason(error):
    """What an exception says, in one line; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def shown(name, limit=100):
    """A name out of a file as an error message can show it: on one line, not endless."""
    name = name if len(name) <= limit else name[:limit] + "…"
    return name if name.isprintable() and " " not in name else ascii(name)
