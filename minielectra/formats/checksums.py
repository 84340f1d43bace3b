"""Checksums: a folder's files with what was written into them, so that damage is noticed and named.

    checksums.json      {"format": …, "files": {name: {"bytes": size, "crc32": eight hexadecimal digits}}}

CRC-32 finds every flipped bit and every damaged stretch of up to 32 bits, and misses one in four thousand
million of all others. It guards against disks and copies that go wrong, and not against people: who can
change a file can change its checksum. It is in Python's standard library, and twice as fast as SHA-256.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path

from tqdm import tqdm

from minielectra.errors import InputError
from minielectra.formats.files import finish_file, replacing_folder, write_text
from minielectra.formats.reading import read_json

NAME, FORMAT = "checksums.json", "minielectra-checksums-1"
_PIECE = 1 << 18  # bytes that are read at a time


class Damaged(InputError):
    """A file is not what was written into it."""


@contextmanager
def replacing_checked_folder(path: str | PathLike, overwrite: bool = False) -> Iterator[Path]:
    """As `files.replacing_folder`, for a folder of files; their checksums are written beside them."""
    flushed = set()
    with replacing_folder(path, overwrite, flushed) as folder:
        yield folder
        files = [found for found in sorted(folder.iterdir()) if found.is_file()]
        with ThreadPoolExecutor(2, "checksum") as pool:  # while the disk writes
            checksums = pool.map(checksum, files)
            for file in files:
                finish_file(file, folder)
                flushed.add(file.name)
            found = {file.name: value for file, value in zip(files, checksums, strict=True)}
        (folder / NAME).write_text(_text(found), encoding="utf-8", newline="\n")


def checksum(path: str | PathLike, bar: tqdm | None = None) -> dict:
    """{"bytes", "crc32"} of a file. bar: is told the number of bytes as they are read. Raises OSError."""
    size, value = 0, 0
    piece = memoryview(bytearray(_PIECE))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(piece):
            value = zlib.crc32(piece[:count], value)
            size += count
            if bar is not None:
                bar.update(count)
    return {"bytes": size, "crc32": f"{value:08x}"}


def add(folder: str | PathLike, name: str) -> None:
    """Record a file that was written into a folder later. Raises OSError."""
    folder = Path(folder)
    try:
        known = recorded(folder) or {}
    except InputError:  # damaged, and its other files cannot be vouched for
        known = {}
    known = {other: value for other, value in known.items() if (folder / other).exists()}
    write_text(folder / NAME, _text(known | {name: checksum(folder / name)}))


def recorded(folder: str | PathLike) -> dict | None:
    """{name: {"bytes", "crc32"}} of a folder, or None if it has no checksums: earlier versions wrote none.

    Raises Damaged if they cannot be read.
    """
    path = Path(folder) / NAME
    if not path.exists():
        return None
    try:
        content = read_json(path, f"{path}: missing")
    except InputError as error:
        raise Damaged(str(error)) from None
    files = content.get("files")
    if content.get("format") != FORMAT or not isinstance(files, dict):
        raise Damaged(f"{path}: damaged, or written by another version")
    return files


def verify(folder: str | PathLike, names: Iterable[str] | None = None, progress: bool = False) -> bool:
    """Compare files of a folder with their checksums -> False if it has none.

    names: of the files; by default, all that are recorded. progress: show a bar if it takes long. Raises
    Damaged, which names the first file that is damaged or missing, or that has no checksum.
    """
    folder, known = Path(folder), recorded(folder)
    if known is None:
        return False
    names = list(known if names is None else names)
    with _bar([folder / name for name in names]) if progress else nullcontext() as bar:
        for name in names:
            if fault := _fault(folder / name, known.get(name), bar):
                raise Damaged(f"{folder / name}: {fault}")
    return True


def _bar(paths: list[Path]) -> tqdm:
    """A progress bar over the bytes of some files, which shows only after two seconds."""
    total = sum(path.stat().st_size for path in paths if path.is_file())
    return tqdm(total=total, desc="checking", unit="B", unit_scale=True, delay=2, leave=False)


def _fault(path: Path, written, bar: tqdm | None) -> str:
    """What is wrong with a file, or ""; written: its {"bytes", "crc32"}."""
    if not isinstance(written, dict):
        return f"damaged ({NAME} does not know it)"
    if path.exists() and not path.is_file():
        return "not an ordinary file"
    try:
        found = checksum(path, bar)
    except FileNotFoundError:
        return "missing"
    except PermissionError:
        raise
    except OSError as error:
        return f"damaged (cannot be read: {error.strerror})"
    if found["bytes"] != written.get("bytes"):
        return f"damaged ({found['bytes']:,} bytes long, {written.get('bytes')} were written)"
    if found["crc32"] != written.get("crc32"):
        return f"damaged (checksum {found['crc32']}, that of what was written is {written.get('crc32')})"
    return ""


def _text(files: dict) -> str:
    return json.dumps({"format": FORMAT, "files": files}, indent=2) + "\n"
