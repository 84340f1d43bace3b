"""Settings: dataclass fields that carry their help, bounds and choices. Checks and command-line options are made from them.

    @dataclass(frozen=True)
    class Oven(Settings):
        degrees: int = setting(180, "temperature in °C", at_least=20, at_most=300)
        program: str = setting("bake", "what to do", choices=("bake", "grill"))

    Oven(degrees=500)                    # InputError: degrees must be between 20 and 300, got 500
    add_options(parser, Oven)            # --degrees N, --program {bake,grill}, with help and default
    Oven(**given(arguments, Oven))       # what the user typed, on top of the defaults

So a setting is written once: adding one means adding a field.
"""

import argparse
import dataclasses
import math
import types
import typing

from minielectra.errors import InputError


class Bounds(typing.NamedTuple):
    """Where a number may lie; None means no bound on that side."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def hold(self, value):
        """Whether a number respects all bounds. NaN respects none, and infinity is no setting."""
        return math.isfinite(value) and (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self):
        """What the error message says after "must be"."""
        if self.at_least is not None and self.at_most is not None:
            return f"between {self.at_least:g} and {self.at_most:g}"
        words = {"at_least": "at least", "above": "greater than", "at_most": "at most", "below": "less than"}
        said = [f"{words[name]} {bound:g}" for name, bound in self._asdict().items() if bound is not None]
        return " and ".join(said) if said else "a finite number"


def setting(default=dataclasses.MISSING, help="", *, at_least=None, above=None, at_most=None, below=None, choices=None,
            metavar=None, positional=False, convert=None):  # fmt: skip
    """A dataclass field with everything that is known about it.

    default: as in a dataclass; help: one line for `--help` and for readers of the source; at_least, above, at_most, below: bounds of
    a number; choices: the values allowed, or a function that returns them (for a list that another room owns); metavar: what `--help`
    calls the value; positional: an argument without dashes; convert: makes a value of the text typed, instead of the field's type.
    """
    bounds = Bounds(at_least, above, at_most, below)
    about = {"help": help, "bounds": bounds, "choices": choices, "metavar": metavar, "positional": positional, "convert": convert}
    return dataclasses.field(default=default, metadata=about)


class Settings:
    """Base of dataclasses of settings: every instance is checked as it is made."""

    def __post_init__(self):
        check(self)


def check(settings):
    """Raise InputError for the first field of a wrong type or outside its bounds or choices.

    Values come from files and command lines, so a wrong one is a clear error here instead of a strange one later.
    """
    for field in dataclasses.fields(settings):
        check_value(field, getattr(settings, field.name))


def check_value(field, value):
    """Raise InputError unless `value` is of the field's type and within its bounds and choices."""
    name, kind = field.name, base_type(field)
    if value is None and is_optional(field):
        return
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name} must be of type {kind.__name__}, got {value!r:.60}")
    bounds = field.metadata.get("bounds", Bounds())
    if kind in (int, float) and not bounds.hold(value):
        raise InputError(f"{name} must be {bounds}, got {value}")
    allowed = choices_of(field)
    if allowed and value not in allowed:
        raise InputError(f"{name} {value!r} is not known: choose {_either(allowed)}")


def parse_value(field, text):
    """The text of a command line as a value of the field's type. Raises ValueError if it is not one."""
    kind = base_type(field)
    if kind is bool:
        try:
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        except KeyError:
            raise ValueError(text) from None
    return kind(text)


def add_options(parser, kind, only=None, **defaults):
    """Give an argparse parser an option for every field of the settings class `kind` that has a help text.

    only: names of the fields wanted, in that order (default: all); defaults: texts to show as a default, by field, where the
    default depends on something. An option that is not given is None, so that `given` can tell.
    """
    fields = {field.name: field for field in dataclasses.fields(kind) if field.metadata.get("help")}
    for name in fields if only is None else only:
        _add_option(parser, fields[name], defaults.get(name))


def given(arguments, kind):
    """{name: value} of the fields of `kind` that the user gave, from the parsed arguments."""
    values = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if value is not None}


def base_type(field):
    """The type of a field without `| None`; `list` and `tuple` for those of anything."""
    kinds = [kind for kind in typing.get_args(field.type) if kind is not type(None)] if is_optional(field) else [field.type]
    return typing.get_origin(kinds[0]) or kinds[0]


def is_optional(field):
    """Whether a field may be None."""
    return isinstance(field.type, types.UnionType) and type(None) in typing.get_args(field.type)


def choices_of(field):
    """The values that a field may have, or None if there is no list of them."""
    choices = field.metadata.get("choices")
    return tuple(choices()) if callable(choices) else choices


def _add_option(parser, field, shown_default):
    about, kind = field.metadata, base_type(field)
    flag = "--" + field.name.replace("_", "-")
    default = field.default if shown_default is None else shown_default
    text = about["help"]
    if kind is bool:
        parser.add_argument(flag, action="store_true", default=None, help=text)
        return
    if shown_default is not None or (default is not None and default is not dataclasses.MISSING):
        text += f" (default: {default})"
    options = {"help": text.replace("%", "%%"), "type": about["convert"] or _converter(field), "metavar": about["metavar"]}
    if allowed := choices_of(field):
        options |= {"choices": allowed, "type": str}
    elif options["metavar"] is None:
        options["metavar"] = "N" if kind in (int, float) else field.name.upper()
    if kind is list:
        options |= {"nargs": "+", "type": str}
    if about["positional"]:
        parser.add_argument(field.name, **options)
        return
    parser.add_argument(flag, default=None, required=field.default is dataclasses.MISSING, **options)


def _converter(field):
    """A function from the text of an option to its value, which argparse reports by the names of its errors."""
    kind = base_type(field)

    def convert(text):
        value = kind(text)
        if kind in (int, float) and not field.metadata["bounds"].hold(value):
            raise argparse.ArgumentTypeError(f"must be {field.metadata['bounds']}, got {text}")
        return value

    convert.__name__ = {int: "whole number", float: "number"}.get(kind, kind.__name__)
    return convert


def _either(names):
    """`a`, `a or b`, `a, b or c`."""
    *most, last = map(str, names)
    return f"{', '.join(most)} or {last}" if most else last
