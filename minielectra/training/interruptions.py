"""Stopping politely: Ctrl-C and the like end a training between two steps, after saving."""

import signal
import sys
import threading
from contextlib import contextmanager


class Interrupted(Exception):
    """A training was stopped by Ctrl-C, SIGTERM or SIGHUP. Everything up to `step` is saved in `folder`."""

    def __init__(self, step, folder):
        super().__init__(f"stopped after step {step}; everything is saved in {folder}")
        self.step, self.folder = step, folder


@contextmanager
def interruptible():
    """Within it, Ctrl-C, a polite kill (SIGTERM) and a closed terminal (SIGHUP) set the event that it gives.

    They do not break off in the middle of a step. A second Ctrl-C does.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(number, _):
        hangup = number == getattr(signal, "SIGHUP", None)  # a terminal that closes may say so twice
        if stop.is_set() and not hangup:
            sys.exit(130)  # a second Ctrl-C means now
        stop.set()

    before = {number: signal.signal(number, handler) for number in _signals()}
    try:
        yield stop
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


def _signals():
    """The signals to catch. Windows has no SIGHUP, and under `nohup` it is to be ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        numbers.append(hangup)
    return numbers
