"""Options of the command line, made from the fields of settings classes (minielectra/settings.py)."""

import argparse
import dataclasses

from minielectra.errors import InputError
from minielectra.settings import base_type, choices_of, fault, parse_value, plain


def add_options(parser, kind, only=None, *, all_optional=False, **shown_defaults):
    """Give a parser, or a group of one, an option for every field of the class `kind` that has a help text.

    only: names of the fields wanted, in that order (by default all); all_optional: whether the parser accepts
    that those without a default are left out; shown_defaults {field: the default in words}, if it depends on
    something that only the caller knows.
    """
    fields = {field.name: field for field in dataclasses.fields(kind) if field.metadata.get("help")}
    groups = {}
    for name in fields if only is None else only:
        alternatives = next((names for names in kind.alternatives if name in names), None)
        if alternatives is not None and alternatives not in groups:
            groups[alternatives] = parser.add_mutually_exclusive_group()
        required = fields[name].default is dataclasses.MISSING and not all_optional
        _add_option(groups.get(alternatives, parser), fields[name], required, shown_defaults.get(name))


def missing(values, kind):
    """What an error message calls the fields of `kind` that need a value and are not in `values`."""
    names = [field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    return [
        _metavar(field) if field.metadata["positional"] else _flag(field)
        for field in names
        if field.name not in values
    ]


def given(arguments, kind, only=None):
    """{name: value} of what the user gave, among the fields of `kind` or only those named."""
    names = [field.name for field in dataclasses.fields(kind)] if only is None else only
    values = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _add_option(parser, field, required, shown_default):
    """One option. If it is not typed, it is None, so that `given` can tell."""
    about, kind = field.metadata, base_type(field)
    options = {"help": _help(field, shown_default), "default": None}
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction if field.default is True else "store_true"
    else:
        options |= {"type": _converter(field), "metavar": _metavar(field)}
    if about["positional"]:
        several, one = ("+", None) if required else ("*", "?")
        options["nargs"] = several if kind is list else one
        parser.add_argument(field.name, **options)
        return
    if kind is list:
        options["nargs"] = "+"
    parser.add_argument(_flag(field), required=required, **options)


def _flag(field):
    return "--" + field.name.replace("_", "-")


def _help(field, shown_default):
    """The help of an option, with its default if there is one worth showing."""
    default = shown_default or field.metadata["shown_default"]
    nothing_to_show = isinstance(field.default, bool) or field.default in (None, dataclasses.MISSING)
    if default is None and not nothing_to_show:
        default = plain(field.default)
    text = field.metadata["help"] + (f" (default: {default})" if default else "")
    return text.replace("%", "%%")  # argparse would read it as a format


def _metavar(field):
    """What `--help` calls an option's value."""
    if field.metadata["metavar"]:
        return field.metadata["metavar"]
    if allowed := choices_of(field):
        return f"{{{','.join(map(str, allowed))}}}"
    return "N" if base_type(field) in (int, float) else field.name.upper()


def _converter(field):
    """A function from the text of an option to its value. argparse adds the option's name to its errors."""

    def convert(text):
        try:
            value = parse_value(field, text)
            problem = None if base_type(field) is list else fault(field, value)
        except InputError as error:
            problem = str(error).removeprefix(f"{field.name} ")
        if problem:
            raise argparse.ArgumentTypeError(problem)
        return value

    return convert
