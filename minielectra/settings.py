"""Settings: dataclass fields that carry their help, bounds and choices, and that are checked.

    @dataclass(frozen=True)
    class Oven(Settings):
        degrees: int = setting(180, "temperature in °C", at_least=20, at_most=300)
        program: str = setting("bake", "what to do", choices=("bake", "grill"))

    Oven(degrees=500)       # InputError: degrees must be between 20 and 300, got 500

Command-line options and their `--help` are made from the same fields (cli/options.py). So a setting is
written once, and adding one means adding a field.
"""

import dataclasses
import difflib
import math
import types
import typing

from minielectra.errors import InputError, reason, shown

TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
    list: "a list",
    tuple: "a tuple",
    dict: "a dictionary",
}
TRUTH = {"true": True, "1": True, "false": False, "0": False}  # how a user may write a bool
LARGEST = 2**53  # of integers: what JSON carries exactly


class Bounds(typing.NamedTuple):
    """Where a number may lie; None means that there is no bound on that side."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def hold(self, value):
        """Whether a finite number respects all bounds."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self):
        """What an error message says after "must be"."""
        if self.at_least is not None and self.at_most is not None:
            return f"between {plain(self.at_least)} and {plain(self.at_most)}"
        words = {"at_least": "at least", "above": "greater than", "at_most": "at most", "below": "less than"}
        said = [
            f"{words[name]} {plain(bound)}" for name, bound in self._asdict().items() if bound is not None
        ]
        return " and ".join(said)


def setting(
    default=dataclasses.MISSING,
    help="",
    *,
    at_least=None,
    above=None,
    at_most=None,
    below=None,
    choices=None,
    metavar=None,
    positional=False,
    shown_default=None,
):
    """A dataclass field with everything that is known about it.

    default: as in a dataclass; a setting without one is required.
    help: one line for `--help` and for readers of the source. A field without help gets no option.
    at_least, above, at_most, below: bounds of a number.
    choices: the values allowed, or a function that returns them (for a list that another room owns).
    metavar: what `--help` calls the value.
    positional: whether the value is typed without a `--name`.
    shown_default: the default in words, if it depends on something ("runs/PRESET-DATE").
    """
    about = {
        "help": help,
        "bounds": Bounds(at_least, above, at_most, below),
        "choices": choices,
        "metavar": metavar,
        "positional": positional,
        "shown_default": shown_default,
    }
    return dataclasses.field(default=default, metadata=about)


class Settings:
    """Base of dataclasses of settings: every instance is checked when it is made. Raises InputError."""

    alternatives = ()  # groups of fields of which at most one may be given: (("steps", "minutes"), …)

    def __post_init__(self):
        check(self)

    @classmethod
    def from_record(cls, values):
        """From {field: value} as a file has them. Raises InputError, also for a field that is not known."""
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                problem = f"this version does not know the setting {shown(name)}"
                raise InputError(f"{problem}; use the version that wrote it")
        try:
            return cls(**values)
        except TypeError as error:  # one without a default is missing
            raise InputError(f"damaged ({reason(error)})") from None


# Checks.


def check(settings):
    """Raise InputError for the first field with a wrong type, outside its bounds, or not among its choices.

    Values come from files and command lines, so a wrong one is a clear error here, not a strange one later.
    """
    for field in dataclasses.fields(settings):
        check_value(field, getattr(settings, field.name))
    for names in settings.alternatives:
        used = [name for name in names if getattr(settings, name) not in (None, False)]
        if len(used) > 1:
            raise InputError(f"{' and '.join(used)} exclude each other: give only one of them")


def check_value(field, value):
    """Raise InputError unless `value` is of the field's type and within its bounds and choices."""
    if problem := fault(field, value):
        raise InputError(f"{field.name} {problem}")


def fault(field, value):
    """What is wrong with a field's value: a sentence without its subject ("must be …"), or None."""
    if value is None and is_optional(field):
        return None
    kind = base_type(field)
    if not _is_a(value, kind):
        return f"must be {type_name(kind)}, got {_shown(value)}"
    if kind is list:
        for item in value:
            if not _is_a(item, item_type(field)):
                return f"must be a list, each item {type_name(item_type(field))}, got {_shown(item)}"
    if kind in (int, float):
        bounds = field.metadata.get("bounds", Bounds())
        if isinstance(value, float) and not math.isfinite(value):
            return f"must be a finite number, got {value}"
        if not bounds.hold(value):
            return f"must be {bounds}, got {_shown(value)}"
        if kind is int and abs(value) > LARGEST:
            return f"must be between {-LARGEST} and {LARGEST}, got {_shown(value)}"
    allowed = choices_of(field)
    if allowed and value not in allowed:
        return f"{_shown(value)} is not known: choose {_either(allowed)}"
    return None


def parse_value(field, text):
    """The text of a command line as a value of the field's type (of a list's items).

    Raises InputError if the text is none. Bounds and choices are not checked.
    """
    kind = base_type(field)
    kind = item_type(field) if kind is list else kind
    try:
        return TRUTH[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise InputError(f"{field.name} must be {type_name(kind)}, got {_shown(text)}") from None


def find_field(name, *kinds):
    """The field called `name` of the first of the settings classes that has one -> dataclasses.Field.

    Raises InputError if none has one: with the name that was probably meant, and all names that are known.
    """
    fields = {field.name: field for kind in reversed(kinds) for field in dataclasses.fields(kind)}
    if name not in fields:
        guess = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {guess[0]}? " if guess else ""
        raise InputError(f"unknown field {_shown(name)}: {hint}known fields are {', '.join(sorted(fields))}")
    return fields[name]


# What a field says about its values.


def base_type(field):
    """The type of a field without `| None`; `list` for a list of anything."""
    kind = _not_none(field.type)
    return typing.get_origin(kind) or kind


def item_type(field):
    """The type of the items of a field that is a list; `str` if it does not say."""
    return (*typing.get_args(_not_none(field.type)), str)[0]


def is_optional(field):
    """Whether a field may be None, that is, whether its type is written `… | None`."""
    return isinstance(field.type, types.UnionType) and type(None) in typing.get_args(field.type)


def choices_of(field):
    """The values that a field may have, or None if there is no list of them."""
    choices = field.metadata.get("choices")
    return tuple(choices()) if callable(choices) else choices


def _not_none(kind):
    """`X` of the type `X | None`; any other type itself."""
    if isinstance(kind, types.UnionType):
        return next(member for member in typing.get_args(kind) if member is not type(None))
    return kind


def _is_a(value, kind):
    """Whether a value is of a type. An int is a float too, but a bool is no number."""
    wanted = (int, float) if kind is float else kind
    return isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))


# How messages say it.


def type_name(kind):
    """A type in words: "an integer"."""
    return TYPE_NAMES.get(kind, kind.__name__)


def plain(value):
    """A value as people write it; numbers as 0.001, 1e-06, and integers in full."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(value):
    """A value as a message shows it: on one line, and not endless."""
    return repr(value)[:60] if isinstance(value, str) else shown(value, 60)


def _either(names):
    """`a`, `a or b`, `a, b or c`."""
    *most, last = map(str, names)
    return f"{', '.join(most)} or {last}" if most else last
