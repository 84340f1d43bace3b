"""A vocabulary and its file, `vocab.txt`.

A vocabulary is a list of pieces, and the index of a piece is its id. Pieces that continue a word begin with
`##`. Five special tokens must be among them, at any index.
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from minielectra.errors import InputError, reason
from minielectra.formats import limits
from minielectra.formats.files import write_text
from minielectra.formats.reading import check_ordinary, read_bytes

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def index_pieces(pieces: Iterable[str], source: str | PathLike) -> dict[str, int]:
    """{piece: id} of a vocabulary.

    Raises InputError, which names `source`, for an empty piece, a repeated one, or a missing special token.
    """
    ids: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        if not piece:
            raise InputError(f"{source}: line {i + 1} is empty; a vocabulary has one piece per line")
        if piece in ids:
            first = ids[piece] + 1
            problem = f"line {i + 1} repeats {piece!r:.100} of line {first}"
            raise InputError(f"{source}: {problem}; remove one of them")
        ids[piece] = i
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        names = ", ".join(missing)
        raise InputError(f"{source}: special token(s) {names} missing; add them, or use a BERT vocabulary")
    return ids


def read_vocab_txt(path: str | PathLike) -> list[str]:
    """The pieces in a `vocab.txt`: UTF-8, one per line. Raises InputError."""
    path = Path(path)
    check_ordinary(path)
    try:
        raw = read_bytes(path, limits.VOCABULARY)
    except FileNotFoundError:
        raise InputError(f"{path}: no such vocabulary file; give the path of a vocab.txt") from None
    except OSError as error:
        problem = f"cannot read the vocabulary ({reason(error)})"
        raise InputError(f"{path}: {problem}; check the path and its permissions") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        where = f"line {line}, byte {error.start}"
        raise InputError(f"{path}: {where} is not UTF-8; convert the file, for example with iconv") from None
    # not splitlines(): a piece may itself be one of Unicode's exotic line separators
    pieces = [line.rstrip("\r") for line in text.rstrip("\r\n").split("\n")]
    if pieces == [""]:
        raise InputError(f"{path}: the vocabulary is empty; a vocab.txt has one piece per line")
    return pieces


def write_vocab_txt(path: str | PathLike, pieces: Iterable[str]) -> None:
    """Write a `vocab.txt`. Raises OSError."""
    write_text(path, "".join(piece + "\n" for piece in pieces))
