"""Resident memory of this process and its children, in MB."""

import os
import resource
import sys
from pathlib import Path


def resident():
    """What is resident now, MB; where the system does not tell, the peak so far."""
    return _total("VmRSS") or _max_rss()


def peak():
    """The most that ever was resident, MB."""
    return _total("VmHWM") or _max_rss()


def _max_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _total(field):
    """`field` of this process and its descendants. Libraries and shared memory are counted once."""
    try:
        total = 0
        for pid in (os.getpid(), *_descendants(os.getpid())):
            status, shares = _fields(pid, "status"), _fields(pid, "smaps_rollup")
            # PSS gives each process its share of a common page.
            total += status[field] - status["RssShmem"] + shares["Pss_Shmem"]
            total -= 0 if pid == os.getpid() else status["RssFile"]
    except (OSError, KeyError):
        return None
    return total / 1024


def _fields(pid, file):
    """{field: kB} of a file of /proc."""
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if rest.endswith(" kB")
    }


def _descendants(pid):
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))
