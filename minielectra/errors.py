"""InputError, the exception that means "the user can fix this", and what its messages are made of."""

LONGEST = 1000  # characters of a message


class InputError(ValueError):
    """Something that the user handed in cannot be used: a file, an option, a folder.

    The message is one line: what is wrong, where, and what to do. The command line prints it without a
    traceback and exits with status 2. Whatever the message is made of, it becomes one printable line of at
    most 1 000 characters. What comes from a file should go through `shown` all the same, so that the end of
    the message, with what to do, is not what is cut.
    """

    def __init__(self, message=""):
        super().__init__(printable(str(message), LONGEST))


def printable(text: str, limit: int) -> str:
    """A text as one printable line: white space is one space, other characters that do not print are escaped,
    and of a text of more than `limit` characters the middle is left out.
    """
    if len(text) > limit:
        tail = limit // 3
        text = f"{text[: limit - tail - 1]}…{text[-tail:]}"
    if text.isprintable():
        return text
    text = " ".join(text.split())
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def reason(error: BaseException) -> str:
    """Why something failed: what the system says, or the first line of an exception's message, or its name.

    A path is left out, because messages begin with it.
    """
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return printable(text.splitlines()[0], 200)


def shown(value: object, limit: int = 100) -> str:
    """A text from a file as an error message can show it: on one line, and cut after `limit` characters.

    Other values are shown as Python writes them.
    """
    if isinstance(value, str):
        text = value if len(value) <= limit else value[:limit] + "…"
        return text if text.isprintable() and " " not in text else ascii(text)
    try:
        return printable(repr(value), limit)
    except (ValueError, RecursionError):  # an integer of too many digits, a list in a list in a list …
        return f"a value of the type {type(value).__name__}"
