"""A vocabulary and its files: `vocab.txt`, or the `tokenizer.json` of newer versions of transformers.

A vocabulary is a list of pieces, and the index of a piece is its id. Pieces that continue a word begin with
`##`. Five special tokens must be among them, at any index.
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from minielectra.errors import InputError
from minielectra.formats.files import read_json, write_json, write_text

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
            raise InputError(f"{source}: line {i + 1} repeats {piece!r} of line {first}; remove one of them")
        ids[piece] = i
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        names = ", ".join(missing)
        raise InputError(f"{source}: special token(s) {names} missing; add them, or use a BERT vocabulary")
    return ids


def read_vocab_txt(path: str | PathLike) -> list[str]:
    """The pieces in a `vocab.txt`: UTF-8, one per line. Raises InputError."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such vocabulary file; give the path of a vocab.txt") from None
    except OSError as error:
        problem = f"cannot read the vocabulary ({error.strerror})"
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


def read_model_directory(directory: str | PathLike) -> tuple[list[str], bool, Path]:
    """(pieces, lowercase, the file they are from) of a model's directory in Hugging Face's layout.

    The pieces are in `vocab.txt`, and `lowercase` in `tokenizer_config.json` (true if it is not there). If
    there is no `vocab.txt`, both are in `tokenizer.json`. Raises InputError.
    """
    directory = Path(directory)
    vocab, both, config = map(directory.joinpath, ("vocab.txt", "tokenizer.json", "tokenizer_config.json"))
    if both.is_file() and not vocab.exists():
        return *_read_tokenizer_json(both), both
    lowercase = read_json(config, "").get("do_lower_case", True) if config.is_file() else True
    return read_vocab_txt(vocab), lowercase, vocab


def write_vocab_txt(path: str | PathLike, pieces: Iterable[str]) -> None:
    """Write a `vocab.txt`. Raises OSError."""
    write_text(path, "".join(piece + "\n" for piece in pieces))


def write_model_directory(directory: str | PathLike, pieces: Iterable[str], lowercase: bool) -> None:
    """Write the two files of a tokenizer into a model's directory. Raises OSError."""
    config = {"do_lower_case": lowercase, "tokenizer_class": "ElectraTokenizer"}
    write_json(Path(directory) / "tokenizer_config.json", config)
    write_vocab_txt(Path(directory) / "vocab.txt", pieces)


def _read_tokenizer_json(path: Path) -> tuple[list[str], bool]:
    """(pieces, lowercase) of a `tokenizer.json`. Raises InputError unless it is a tokenizer like BERT's."""
    content = read_json(path, f"{path}: missing")
    parts = [content.get(name) for name in ("model", "normalizer")]
    model, normalizer = (part if isinstance(part, dict) else {} for part in parts)
    vocab = model.get("vocab")
    wordpiece = isinstance(vocab, dict) and model.get("continuing_subword_prefix") == "##"
    if not wordpiece or normalizer.get("type") != "BertNormalizer":
        raise InputError(f"{path}: not a WordPiece tokenizer like BERT's; give the directory a vocab.txt")
    lowercase = normalizer.get("lowercase", True)
    keeps_accents = normalizer.get("strip_accents") not in (None, lowercase)
    if keeps_accents or not normalizer.get("handle_chinese_chars", True):
        raise InputError(f"{path}: its normalizer treats accents or Chinese characters unlike BERT's")
    pieces = {i: piece for piece, i in vocab.items() if isinstance(i, int)}
    if sorted(pieces) != list(range(len(vocab))):
        last = len(vocab) - 1
        raise InputError(f"{path}: the ids of its {len(vocab)} pieces are not 0 … {last}, each once")
    return [pieces[i] for i in range(len(pieces))], lowercase
