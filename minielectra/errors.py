"""InputError, the exception that means "the user can fix this", and what its messages are made of."""


class InputError(ValueError):
    """Something that the user handed in cannot be used: a file, an option, a folder.

    The message is one line: what is wrong, where, and what to do. The command line prints it without a
    traceback and exits with status 2.
    """


def reason(error: BaseException) -> str:
    """The first line of an exception's message, or the exception's name if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def shown(name: str, limit: int = 100) -> str:
    """A name from a file as an error message can show it: on one line, and cut after `limit` characters."""
    name = name if len(name) <= limit else name[:limit] + "…"
    return name if name.isprintable() and " " not in name else ascii(name)
