"""The fuzzer: damaged files of every format, and what the product makes of them.

    python -m tests.faults.fuzz                       200 files of each format
    python -m tests.faults.fuzz --thorough            100 000 files
    python -m tests.faults.fuzz --only run.json --seed 3 --count 1000

Each format is read in a process of its own, which may have 1 GB of memory more than it starts with, and 5 s
per file. Anything but success or one clear InputError is a fault: another exception, more memory or time, a
message of several lines, with control characters or without end, a file opened or removed outside the folder,
a process started, something unpickled. Prints a table of counts, then every kind of fault with the number of
a file that shows it.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from minielectra.errors import InputError

from .fuzz_formats import FORMATS, run_command
from .fuzz_start import make_start

SECONDS, MEMORY, LONGEST = 5, 1 << 30, 1000  # seconds of computing
WAITING = 12  # times as long by the clock, in case the machine is busy
BROKEN = 99  # exit status of a process in which the fuzzer itself failed
WHOLE_COMMAND = 40  # one file of so many is read by a whole command
THOROUGH = 100_000


class Hang(BaseException):
    """A file took too long."""


def fuzz(fmt, start, count, seed=0, first=0):
    """Damage a format `count` times -> (Counter of "read", "refused" and "faults", {fault: (times, number)}).

    start: the folder of `make_start`, which stays as it is. The damage of file number n follows from the seed
    and n.
    """
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(start, Path(work, "kept"))
        shutil.copytree(start, Path(work, "inside"))
        counts, faults = Counter(), {}
        while first < count:  # a process that died is replaced
            first = _in_child(fmt, Path(work), range(first, count), seed, counts, faults)
    return counts, faults


def _in_child(fmt, work, numbers, seed, counts, faults):
    """Read files in another process, until it ends -> the number of the next file."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            with open(writing, "w", encoding="utf-8") as out:
                _guard(work)
                for number in numbers:
                    fault = one(fmt, number, seed)
                    print(json.dumps([number, fault]), file=out, flush=True)
            status = 0
        except BaseException:  # of the fuzzer itself
            traceback.print_exc()
            status = BROKEN
        finally:
            os._exit(status)
    os.close(writing)
    number = numbers.start - 1
    with open(reading, encoding="utf-8") as lines:
        for line in lines:
            number, fault = json.loads(line)
            _note(counts, faults, number, fault)
    _, status = os.waitpid(child, 0)
    if status and os.waitstatus_to_exitcode(status) == BROKEN:
        raise SystemExit(f"the fuzzer failed at file {number + 1} of {fmt.name}")
    if status:
        number += 1
        _note(counts, faults, number, f"the process died ({os.waitstatus_to_exitcode(status)})")
    return number + 1 if status else numbers.stop


def _note(counts, faults, number, fault):
    counts[fault if fault in ("read", "refused") else "faults"] += 1
    if fault not in ("read", "refused"):
        times, earliest = faults.get(fault, (0, number))
        faults[fault] = times + 1, earliest


def _guard(work):
    """Limit this process, and let it notice what leaves the folder."""
    os.chdir(work / "inside")
    tempfile.tempdir = str(work / "inside")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGPROF, _too_slow)
    signal.signal(signal.SIGALRM, _too_slow)
    inside = str((work / "inside").resolve()) + os.sep

    def watch(event, arguments):
        if event in ("subprocess.Popen", "os.system", "os.exec", "pickle.find_class", "socket.connect"):
            raise AssertionError(f"{event} {arguments!r:.100}")
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes or event in ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "shutil.rmtree"):
            path = arguments[0]
            if isinstance(path, (str, bytes)) and len(arguments) < 5:
                path = os.path.realpath(os.fsdecode(path))
                if not (path + os.sep).startswith(inside) and path != os.devnull and _outside:
                    raise AssertionError(f"{event} outside the folder: {path}")

    _outside = True
    sys.addaudithook(watch)


def _too_slow(*_):
    raise Hang


def one(fmt, number, seed=0):
    """Damage a file and read it, in the present folder -> "read", "refused" or what went wrong."""
    rng = random.Random(f"{seed} {fmt.name} {number}")
    sound = Path("../kept", fmt.sound or fmt.path)
    path = Path(fmt.path)
    top = path.parts[0]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(fmt.damage(sound.read_bytes(), rng))
    whole = fmt.command is not None and number % WHOLE_COMMAND == WHOLE_COMMAND - 1
    before = _listing(top)
    printed = io.StringIO()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAITING * SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
            if whole:
                status, found = run_command(fmt.command), "read"
                if status not in (0, 2) or (status and fmt.never_blocks):
                    found = f"status {status}: {_kind(printed.getvalue().splitlines()[-1])}"
                elif status:
                    found = _message(printed.getvalue().splitlines()[-1]) or "refused"
            else:
                fmt.use()
                found = "read"
    except InputError as error:
        found = _message(str(error)) or "refused"
    except Hang:
        found = f"more than {SECONDS} s"
    except BaseException as error:
        found = _exception(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    if found in ("read", "refused"):
        lines = re.split("[\r\n]+", printed.getvalue())  # progress bars begin with a carriage return
        found = next(filter(None, map(_message, lines)), found)
    if whole or _listing(top) != before:
        _restore(top)
    return found


def _message(line):
    """What is wrong with a message, or ""."""
    if len(line) > LONGEST:
        return f"message of more than {LONGEST} characters: {_kind(line)}"
    if not line.isprintable():
        return f"message with control characters: {_kind(line)}"
    start = line.split(": ")[0]
    if "/" in start and line.count(f"{start}: ") > 1:
        return f"message doubled: {_kind(line)}"
    return ""


def _kind(line):
    """A message without what differs from file to file."""
    return re.sub(r"[0-9]+", "0", ascii(line))[:150]


def _exception(error):
    """An exception as a kind of fault: its name, and the last lines of the product that it went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "minielectra" in f.filename]
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-3:]]
    return f"{type(error).__name__}({ascii(str(error))[:60]}) at {' > '.join(places)}"


def _listing(top):
    found = []
    for parent, _, names in os.walk(top):
        for name in names:
            about = os.lstat(os.path.join(parent, name))
            found.append((parent, name, about.st_size, about.st_mtime_ns, about.st_ino))
    return sorted(found)


def _restore(top):
    """Everything as it was."""
    for path in Path().iterdir():
        if not Path("../kept", path).exists() or path.name == top:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    source = Path("../kept", top)
    (shutil.copytree if source.is_dir() else shutil.copy)(source, top)


def main(arguments=None):
    """The command line -> exit status: 1 if there is a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--thorough", action="store_true", help=f"{THOROUGH:,} files in all")
    parser.add_argument("--count", type=int, default=200, help="files per format")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--only", action="append", help="a format; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chosen = [fmt for fmt in FORMATS if not options.only or fmt.name in options.only]
    count = -(-THOROUGH // len(FORMATS)) if options.thorough else options.count
    total, failed, begin, here = Counter(), {}, time.monotonic(), os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder, "start")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            make_start(start)
        print(f"{'format':28}{'files':>8}{'read':>8}{'refused':>9}{'faults':>8}")
        for fmt in chosen:
            counts, faults = fuzz(fmt, start, options.first + count, options.seed, options.first)
            row = [sum(counts.values()), counts["read"], counts["refused"], counts["faults"]]
            print(f"{fmt.name:28}{row[0]:8}{row[1]:8}{row[2]:9}{row[3]:8}", flush=True)
            failed |= {(fmt.name, fault): found for fault, found in faults.items()}
            total += counts
        os.chdir(here)
    row = [sum(total.values()), total["read"], total["refused"], total["faults"]]
    print(f"{'all':28}{row[0]:8}{row[1]:8}{row[2]:9}{row[3]:8}   {time.monotonic() - begin:.0f} s")
    for (name, fault), (times, number) in sorted(failed.items(), key=lambda item: -item[1][0]):
        print(f"{times:6}  {name} (file {number}): {fault}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
