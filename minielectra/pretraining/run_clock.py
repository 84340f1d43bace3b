"""The clock of a run of --minutes."""

import time


def now():
    """Seconds since some moment, those included in which the machine slept if the system can tell.

    Linux and macOS have clocks for that; on Windows, `time.monotonic` is one.
    """
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # Linux, macOS
        if hasattr(time, name):
            return time.clock_gettime(getattr(time, name))
    return time.monotonic()
