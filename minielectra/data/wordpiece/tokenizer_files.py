"""The files of a tokenizer in Hugging Face's layout: a directory in, vocabulary and rules out, and back.

    vocab.txt               the pieces, one per line
    tokenizer_config.json   how text is normalized, and tokens that were added later
    tokenizer.json          all of that, as newer versions of transformers write it
    added_tokens.json, special_tokens_map.json     added tokens, as older versions write them

What they mean is what transformers 5 makes of them. If the class is BERT's, the rules are those of
tokenizer_config.json, and tokenizer.json gives the vocabulary. If it is a generic class, tokenizer.json gives
both. Files that contradict each other, and tokenizers other than BERT's, are refused.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path

from minielectra.data.wordpiece.added_tokens import AddedToken
from minielectra.data.wordpiece.rules import Rules, truth
from minielectra.data.wordpiece.tokenizer_json import TokenizerJson
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS, read_vocab_txt, write_vocab_txt
from minielectra.errors import InputError, shown
from minielectra.formats.files import write_json
from minielectra.formats.reading import read_json

CONFIG, BOTH = "tokenizer_config.json", "tokenizer.json"
_ADDED, _SPECIAL_MAP = "added_tokens.json", "special_tokens_map.json"
_BERT = ("BertTokenizer", "ElectraTokenizer", "DistilBertTokenizer", "MobileBertTokenizer")
_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")  # the tokenizer is what tokenizer.json says
_NAMED = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}  # {"pad_token": "[PAD]", …}
_EXTRA = ("additional_special_tokens", "extra_special_tokens")


def find_directory(folder: Path) -> Path:
    """The directory with a tokenizer that a folder means: itself or, if `export` wrote it, a model inside."""
    inside = folder / "discriminator"
    return inside if _has_vocabulary(inside) and not _has_vocabulary(folder) else folder


def _has_vocabulary(directory: Path) -> bool:
    return (directory / "vocab.txt").exists() or (directory / BOTH).exists()


def read_model_directory(directory: str | PathLike) -> tuple[list[str], Rules | None, Path]:
    """(pieces, rules, the file that the pieces are from) of a directory. Raises InputError.

    The pieces are those that WordPiece cuts words into; added tokens with larger ids are only in the rules.
    The rules are None if no file says anything about them.
    """
    directory = Path(directory)
    vocab, both = directory / "vocab.txt", directory / BOTH
    if both.is_file() and not vocab.exists():
        pieces = TokenizerJson(both).pieces()
        return pieces, read_rules(directory, pieces), both
    pieces = read_vocab_txt(vocab)
    return pieces, read_rules(directory, pieces), vocab


def read_rules(directory: Path, pieces: list[str]) -> Rules | None:
    """The rules for a vocabulary in a directory, or None if no file there says any. Raises InputError."""
    config_path, both = directory / CONFIG, directory / BOTH
    config = _read_optional(config_path)
    _check_config(config, config_path)
    generic = _is_generic(config, directory)
    source = TokenizerJson(both) if both.is_file() else None
    if generic and source is None:
        raise InputError(f"{directory}: its tokenizer_class needs a {BOTH}, which is missing; copy it there")
    if source and source.pieces() != pieces:
        raise InputError(
            f"{directory}: {BOTH} holds another vocabulary than vocab.txt; remove the one that is out of date"
        )
    added = _added_tokens(directory, config, source, pieces, generic)
    if not source and not config_path.is_file():
        lowercase = _recorded_lowercase(directory)
        silent = lowercase is None and not added
        return None if silent else Rules(lowercase is not False, added=added)
    if generic:
        rules = source.rules(strict=True)
    else:
        rules = _configured(config, config_path)
        if source:
            _check_agreement(config, rules, source)
    return replace(rules, added=added)


def write_model_directory(
    directory: str | PathLike, pieces: Iterable[str], rules: Rules, model_max_length: int | None = None
) -> None:
    """Write the files of a tokenizer into a directory, and remove those of another one. Raises OSError.

    model_max_length: the longest sequence that its model reads, for other tools.
    """
    directory = Path(directory)
    config = {
        "do_lower_case": rules.lowercase,
        "strip_accents": rules.strip_accents,
        "tokenize_chinese_chars": rules.chinese,
        "tokenizer_class": "ElectraTokenizer",
    }
    if model_max_length is not None:
        config["model_max_length"] = model_max_length
    if rules.added:
        config["added_tokens_decoder"] = {str(token.id): token.to_file() for token in rules.added}
    write_json(directory / CONFIG, config)
    write_vocab_txt(directory / "vocab.txt", pieces)
    for name in (BOTH, _ADDED, _SPECIAL_MAP):  # they would win over what was just written
        (directory / name).unlink(missing_ok=True)


# tokenizer_config.json.


def _check_config(config: dict, path: Path) -> None:
    """Raise InputError for entries that would change what comes out and are not supported."""
    if config.get("split_special_tokens"):
        raise InputError(f"{path}: split_special_tokens is set, which is not supported; remove it")
    if config.get("auto_map"):
        raise InputError(
            f"{path}: auto_map names a tokenizer written in Python, which is never run; use BERT's"
        )


def _is_generic(config: dict, directory: Path) -> bool:
    """Whether the tokenizer is what tokenizer.json says. Raises InputError for a class unlike BERT's."""
    where, name = directory / CONFIG, config.get("tokenizer_class")
    if name is None and (directory / "config.json").is_file():
        where = directory / "config.json"
        with contextlib.suppress(InputError):  # something else, beside a vocabulary that is not a model's
            name = read_json(where, "").get("tokenizer_class")
    if name is None:
        return False
    plain = name.removesuffix("Fast") if isinstance(name, str) else name
    if name not in _GENERIC and plain not in _BERT:
        raise InputError(
            f"{where}: tokenizer_class is {shown(str(name))}; "
            "only BERT's WordPiece is supported (BertTokenizer, ElectraTokenizer)"
        )
    return name in _GENERIC


def _configured(config: dict, path: Path) -> Rules:
    """The rules in a tokenizer_config.json."""
    return Rules(
        truth(config, "do_lower_case", True, path),
        truth(config, "strip_accents", None, path),
        truth(config, "tokenize_chinese_chars", True, path),
    )


def _check_agreement(config: dict, rules: Rules, source: TokenizerJson) -> None:
    """Raise InputError if tokenizer.json says something else than rules that nobody wrote down.

    What tokenizer_config.json spells out goes before tokenizer.json, as in transformers.
    """
    other = source.rules(strict=False)
    for name, ours, theirs in (
        ("do_lower_case", rules.lowercase, other.lowercase),
        ("strip_accents", rules.strips_accents, other.strips_accents),
        ("tokenize_chinese_chars", rules.chinese, other.chinese),
    ):
        if ours != theirs and config.get(name) is None:
            raise InputError(
                f"{source.path}: its normalizer disagrees with {CONFIG}, where {name} is missing; "
                f'write "{name}": {str(theirs).lower()} there'
            )


def _recorded_lowercase(directory: Path) -> bool | None:
    """What the run or prepared folder of an older version says about its vocab.txt; None if it is neither."""
    for name in ("dataset.json", "run.json"):
        if (directory / name).is_file():
            return truth(read_json(directory / name, ""), "lowercase", None, directory / name)
    return None


# Added tokens.


def _added_tokens(
    directory: Path, config: dict, source: TokenizerJson | None, pieces: list[str], generic: bool
) -> tuple[AddedToken, ...]:
    """The added tokens of a directory, with the ids that transformers gives them. Raises InputError."""
    declared: dict[str, AddedToken] = {}
    path = directory / CONFIG
    if generic:
        declared |= source.added()
    if "added_tokens_decoder" in config:
        declared = _decoder(config["added_tokens_decoder"], path) | declared
    else:
        special = _read_optional(directory / _SPECIAL_MAP)
        config = config | {name: value for name, value in special.items() if value}
        declared = _legacy(directory, config) | (source.added() if source else {}) | declared
    known = {piece: i for i, piece in enumerate(pieces)}
    next_id = len(pieces)
    result: dict[str, AddedToken] = {}
    for token in [*sorted(declared.values(), key=lambda token: token.id), *_special(config, path)]:
        if not token.content or token.content in result:
            continue
        number = known.get(token.content)
        if number is None:
            number, next_id = next_id, next_id + 1
        if token.id not in (number, -1):
            raise InputError(
                f"{directory}: added token {shown(token.content)} has id {token.id}, but {number} is next; "
                "number the added tokens after the vocabulary, without gaps"
            )
        result[token.content] = replace(token, id=number)
    return tuple(token for token in result.values() if not _is_default(token))


def _is_default(token: AddedToken) -> bool:
    """Whether this is one of BERT's five special tokens, looked for in the usual way."""
    usual = replace(token, single_word=False, lstrip=False, rstrip=False, normalized=False)
    return token.content in SPECIAL_TOKENS and token == usual


def _decoder(entries, path: Path) -> dict[str, AddedToken]:
    """{content: token} of an `added_tokens_decoder`."""
    if not isinstance(entries, dict):
        raise InputError(f"{path}: added_tokens_decoder is not a dictionary of tokens")
    tokens = []
    for number, flags in entries.items():
        if not isinstance(flags, dict) or not re.fullmatch(r"[0-9]{1,9}", number):
            raise InputError(f"{path}: added_tokens_decoder: {shown(number)} is not the id of a token")
        tokens.append(AddedToken.from_file(path, flags.get("content"), int(number), flags))
    return {token.content: token for token in tokens}


def _legacy(directory: Path, config: dict) -> dict[str, AddedToken]:
    """{content: token} of an added_tokens.json."""
    path = directory / _ADDED
    special = {token.content for token in _special(config, directory / CONFIG)}
    tokens = []
    for content, number in _read_optional(path).items():
        flags = {"special": content in special, "normalized": content not in special}
        tokens.append(AddedToken.from_file(path, content, number, flags))
    return {token.content: token for token in tokens}


def _special(config: dict, path: Path) -> list[AddedToken]:
    """The special tokens that a tokenizer_config.json names, without ids (-1)."""
    found = [(name, config[name]) for name in config if name.endswith("_token") and config[name]]
    for name in _EXTRA:
        values = config.get(name) or []
        if not isinstance(values, (list, dict)):
            raise InputError(f"{path}: {name} is not a list of tokens")
        found += values.items() if isinstance(values, dict) else [(name, value) for value in values]
    tokens = []
    for name, value in found:
        if isinstance(value, bool):  # add_bos_token and the like
            continue
        flags = value if isinstance(value, dict) else {}
        flags = flags | {"special": True, "normalized": flags.get("normalized", False)}
        content = flags.get("content") if isinstance(value, dict) else value
        token = AddedToken.from_file(f"{path}: {name}", content, -1, flags)
        if name in _NAMED and token.content != _NAMED[name]:
            raise InputError(f"{path}: {name} is {shown(token.content)}; only {_NAMED[name]} is supported")
        tokens.append(token)
    return tokens


def _read_optional(path: Path) -> dict:
    return read_json(path, "") if path.is_file() else {}
