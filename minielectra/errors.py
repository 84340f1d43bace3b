"""The one exception that means "the user can fix this"."""


class InputError(ValueError):
    """Something a user handed in cannot be used: a file, an option, a folder.

    The message is one line: what is wrong, where, and what to do. The command line prints it without a traceback and exits
    with status 2.
    """


def reason(error):
    """What an exception says, in one line; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
