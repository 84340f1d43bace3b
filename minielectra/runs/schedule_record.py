"""schedule.bin: what the clock decided about each step of a run of --minutes, so that it can be repeated.

    "minielectra-schedule-1\\n", then 20 bytes per step, little-endian:
        fraction    float64   how much of the schedule has passed: the learning rate follows from it
        used        float32   how much of the minutes has passed
        flags       uint32    1: evaluate after the step; 2: save; 4: it is the last step
        crc         uint32    CRC-32 of the step's number (uint64) and of the three fields

A record is handed to the operating system before its step is computed, so a killed process leaves at most one
record whose step did not end. Records are appended, as in metrics.jsonl, because there is one per step. What
a kill or a power cut leaves half-written at the end of the file is ignored, and cut off by the next record.
"""

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minielectra.errors import InputError
from minielectra.formats.checksums import Damaged
from minielectra.formats.files import flush_file, open_for_appending, replacing
from minielectra.formats.reading import check_ordinary

NAME = "schedule.bin"
_MAGIC = b"minielectra-schedule-1\n"
_DTYPE = np.dtype([("fraction", "<f8"), ("used", "<f4"), ("flags", "<u4"), ("crc", "<u4")])
_FIELDS = struct.Struct("<dfI")


class Planned(NamedTuple):
    """What is decided about a step before it is taken."""

    fraction: float  # how much of the schedule has passed, from 0 to 1
    evaluate: bool  # after the step
    save: bool  # after the step
    last: bool
    used: float = 0.0  # how much of the minutes has passed


class ScheduleRecord:
    """The schedule.bin of a run: what an earlier process recorded, and what this one adds."""

    def __init__(self, run_dir):
        """Reads what is there. Raises Damaged as `read_schedule` does."""
        self.path = Path(run_dir) / NAME
        self._known = read_schedule(run_dir)
        self._count = len(self._known)
        self._file = None

    def __len__(self):
        """How many steps an earlier process recorded."""
        return len(self._known)

    def __getitem__(self, step):
        """What an earlier process recorded about a step -> Planned."""
        row = self._known[step]
        flags = int(row["flags"])
        return Planned(
            float(row["fraction"]), bool(flags & 1), bool(flags & 2), bool(flags & 4), float(row["used"])
        )

    @property
    def finished(self):
        """Whether an earlier process recorded the last step."""
        return len(self) > 0 and self[-1].last

    def used_at(self, flag):
        """The share of the minutes at which `evaluate` or `save` was last recorded; 0.0 if never."""
        found = np.flatnonzero(self._known["flags"] & {"evaluate": 1, "save": 2}[flag])
        return float(self._known["used"][found[-1]]) if len(found) else 0.0

    def evaluations_after(self, step):
        """How many evaluations an earlier process recorded after `step` steps."""
        return int(np.count_nonzero(self._known["flags"][step:] & 1))

    def append(self, planned):
        """Record the next step. It is in the operating system's hands afterwards. Raises OSError."""
        if self._file is None:
            size = len(_MAGIC) + self._count * _DTYPE.itemsize if self._count else 0
            self._file = open_for_appending(self.path, size)
            if not size:
                self._write(_MAGIC)
        fields = _FIELDS.pack(
            planned.fraction, planned.used, planned.evaluate | planned.save << 1 | planned.last << 2
        )
        self._write(fields + struct.pack("<I", _crc(self._count, fields)))
        self._count += 1

    def flush(self):
        """Wait until the disk has all records: before a checkpoint, which needs them, is announced."""
        if self._file is not None:
            flush_file(self.path)

    def close(self):
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, content):
        while content:  # a disk that is almost full takes a part, and then raises OSError
            content = content[self._file.write(content) :]


def read_schedule(run_dir):
    """What is recorded about each step of a run [S], with the fields of the file; S = 0 if there is no file.

    A half-written end is left out. Raises Damaged if the file is something else, or damaged elsewhere.
    """
    path = Path(run_dir) / NAME
    check_ordinary(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return np.empty(0, _DTYPE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not content.strip(b"\0"):
        return np.empty(0, _DTYPE)
    start = len(_MAGIC)
    if not _MAGIC.startswith(content[:start]):
        raise Damaged(f"{path}: not the schedule of a run; {_advice(run_dir)}")
    whole = max(0, len(content) - start) // _DTYPE.itemsize
    rows = np.frombuffer(content, _DTYPE, whole, start) if whole else np.empty(0, _DTYPE)
    good = _good(rows, content[start:])
    after = content[start + (good + 1) * _DTYPE.itemsize :]
    if good < whole and after.strip(b"\0"):  # zeros at the end are what a power cut can leave
        raise Damaged(f"{path}: damaged (the record of step {good + 1:,}); {_advice(run_dir)}")
    rows = rows[:good]
    if len(rows) and not (np.isfinite(rows["used"]).all() and _is_schedule(rows)):
        raise Damaged(f"{path}: not the schedule of a run; {_advice(run_dir)}")
    return rows


def finished_schedule(run_dir):
    """As `read_schedule`, of a run that took all its steps by the clock. Raises InputError for another."""
    rows = read_schedule(run_dir)
    if not len(rows):
        raise InputError(
            f"{run_dir}: has no recorded schedule ({NAME}), because its length was no number of minutes; "
            "repeat it with the same --steps"
        )
    if not rows["flags"][-1] & 4:
        raise InputError(
            f"{run_dir}: was stopped before its end; finish it with --resume {run_dir}, then repeat it"
        )
    return rows


def copy_schedule(source, run_dir):
    """Give a new run the recorded schedule of another. Raises InputError as `finished_schedule` does."""
    rows = finished_schedule(source)
    with replacing(Path(run_dir) / NAME) as temporary:
        temporary.write_bytes(_MAGIC + rows.tobytes())


def _advice(run_dir):
    return (
        f"restore it from a copy, or move it away and give the run a number of steps: "
        f"--resume {run_dir} --steps N"
    )


def _crc(number, fields):
    return zlib.crc32(fields, zlib.crc32(struct.pack("<Q", number)))


def _good(rows, content):
    """How many records, from the first on, are as they were written."""
    for number, crc in enumerate(rows["crc"].tolist()):
        start = number * _DTYPE.itemsize
        if _crc(number, content[start : start + _FIELDS.size]) != crc:
            return number
    return len(rows)


def _is_schedule(rows):
    """Whether fractions go from 0 towards 1, and only the last step may be the last."""
    fractions = rows["fraction"]
    ordered = np.all(np.diff(fractions) >= 0) and fractions[0] >= 0 and fractions[-1] <= 1
    return bool(ordered and (rows["flags"] < 8).all() and not (rows["flags"][:-1] & 4).any())
