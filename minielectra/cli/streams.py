"""Standard streams as they come: of any encoding, closed, or with nobody who reads them any more."""

import contextlib
import os
import sys

CLOSED_PIPE = 141  # the status of a command whose reader has gone, as shells show it (128 + SIGPIPE)


class Messages:
    """Standard error for messages and progress bars: what cannot be written is dropped.

    A terminal that was closed, or a pipe that nobody reads, must not end a training.
    """

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        """Write, if anybody can still read it."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed by this process
            self._stream.write(text)
        return len(text)

    def flush(self):
        """Flush, likewise."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name):
        return getattr(self._stream, name)


@contextlib.contextmanager
def any_streams():
    """Within it, printing never fails for want of a character: what the encoding lacks is printed as "?".

    Standard error never fails, and a stream that the caller has closed leads nowhere.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    with contextlib.ExitStack() as opened:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                setattr(sys, name, opened.enter_context(open(os.devnull, mode, encoding="utf-8")))
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        sys.stderr = Messages(sys.stderr)
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def readable(word):
    """A word of the command line as text, also where the system's encoding is not the one it was typed in.

    Python keeps the bytes that it cannot decode. Like lines of a file, they are UTF-8 or, if not, Latin-1.
    """
    try:
        raw = word.encode(sys.getfilesystemencoding(), "surrogateescape")
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
    except UnicodeEncodeError:
        return word


def finish_output():
    """Write what is still in standard output's buffer. Raises OSError if that is not possible."""
    sys.stdout.flush()


def abandon_output():
    """Forget what is still in the buffer, which Python would otherwise try to write at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
