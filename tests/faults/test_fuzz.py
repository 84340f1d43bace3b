"""Damaged files of every format, in small numbers: see fuzz.py, which also runs thoroughly."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import sys
from collections import Counter

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the fuzzer limits memory as Linux does", allow_module_level=True)

from minielectra.data.text.corpus import corpus_lines
from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import read_file

from . import fuzz
from .fuzz_formats import FORMATS, Format
from .fuzz_start import make_start

FILES = 41  # of each format; `python -m tests.faults.fuzz --thorough` takes 100 000 in all


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A folder with a sound file of every format."""
    folder, here = tmp_path_factory.mktemp("fuzz") / "start", os.getcwd()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        make_start(folder)
    os.chdir(here)
    return folder


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_damaged_files_are_read_or_refused_in_one_line(start, fmt):
    counts, faults = fuzz.fuzz(fmt, start, FILES)
    assert not faults
    assert counts["read"] + counts["refused"] == FILES


def reading(use):
    """A format that is not damaged, and read by `use`."""
    return Format("test", "table.tsv", lambda raw, random: raw, use)


def refuses(message):
    def use():
        raise InputError(message)

    return use


def hangs():
    while True:
        pass


def takes_memory():
    return len(bytes(2 << 30))


def writes_elsewhere():
    with open("../elsewhere.txt", "w") as file:
        file.write("x")


@pytest.mark.parametrize(
    ("use", "fault"),
    [
        (lambda: [][0], "IndexError"),
        (takes_memory, "MemoryError"),
        (hangs, "more than 1 s"),
        (writes_elsewhere, "open outside the folder"),
        (lambda: os.system("true"), "os.system"),
        (lambda: os._exit(3), "the process died"),
        (lambda: print("\x1b[31m", file=sys.stderr), "message with control characters"),
        (lambda: print("x" * 2000, file=sys.stderr), "message of more than 1000 characters"),
        (refuses("a/b.txt: cannot be read (a/b.txt: damaged)"), "message doubled"),
    ],
)
def test_the_fuzzer_notices(start, monkeypatch, use, fault):
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    counts, faults = fuzz.fuzz(reading(use), start, 2)
    assert counts == Counter(faults=2) and all(fault in found for found in faults), faults


BOMB, LINES = 1 << 29, 1 << 26  # bytes; bytes of many short lines, each of which takes its time


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"\0", b"x", b"\n", b"x\n", b" \r\n", b"{"], ids=repr)
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
@pytest.mark.parametrize("read", [read_file, lambda path: sum(map(len, corpus_lines(path)))])
def test_half_a_gigabyte_of_one_thing_takes_less_than_one(start, monkeypatch, read, compress, content):
    """Compressed, as a single line, or as lines without end: read, or refused, within memory and time."""
    path = start / "bomb"
    size = LINES if len(content) > 1 else BOMB
    piece = compress(content * (size // 64 // len(content)))
    path.write_bytes(piece * 64)  # several compressed files after one another are one
    bomb = reading(lambda: read("../kept/bomb"))
    monkeypatch.setattr(fuzz, "SECONDS", 60)
    try:
        _, faults = fuzz.fuzz(bomb, start, 1)
    finally:
        path.unlink()
    assert not faults
