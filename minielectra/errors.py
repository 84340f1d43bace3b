"""The one exception that means "the user can fix this"."""


class InputError(ValueError):
    """Something a user handed in cannot be used: a file, an option, a folder.

    The message is one line: what is wrong, where, and what to do. The command line prints it without a traceback and exits
    with status 2.
    """
