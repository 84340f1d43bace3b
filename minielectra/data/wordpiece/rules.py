"""How text is normalized before it is cut into pieces, and the tokens that are not cut at all."""

from dataclasses import dataclass
from pathlib import Path

from minielectra.data.wordpiece.added_tokens import AddedToken
from minielectra.errors import InputError, shown


@dataclass(frozen=True)
class Rules:
    """How text is normalized before it is cut into pieces, and the tokens that are not cut at all.

    lowercase: lower-case it; strip_accents: drop accents (None: if `lowercase`); chinese: every Chinese
    character is a word; added: AddedTokens beyond BERT's five, or instead of them.
    """

    lowercase: bool = True
    strip_accents: bool | None = None
    chinese: bool = True
    added: tuple[AddedToken, ...] = ()

    @property
    def strips_accents(self) -> bool:
        """`strip_accents`, decided."""
        return self.lowercase if self.strip_accents is None else self.strip_accents

    def __eq__(self, other) -> bool:
        """Whether the same text becomes the same pieces."""
        return isinstance(other, Rules) and self._effect() == other._effect()

    def __hash__(self) -> int:
        return hash(self._effect())

    def _effect(self):
        return self.lowercase, self.strips_accents, self.chinese, frozenset(self.added)

    def __str__(self) -> str:
        """What error messages say: "cased, keeps accents"."""
        words = ["lower-cased" if self.lowercase else "cased"]
        words.append("without accents" if self.strips_accents else "with accents")
        words += [] if self.chinese else ["Chinese characters not set apart"]
        words += [f"{len(self.added)} added tokens"] if self.added else []
        return ", ".join(words)


def truth(entries: dict, name: str, default: bool | None, path: Path) -> bool | None:
    """A true-or-false entry of a file; "true" and "false" in quotes are understood. Raises InputError."""
    value = entries.get(name, default)
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if value is None:
        value = default
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{path}: {name} must be true or false, got {shown(repr(value))}")
    return value
