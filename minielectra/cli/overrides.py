"""Options that change a preset's configuration: some have names, the others go by `--set FIELD=VALUE`."""

from dataclasses import dataclass, fields

from minielectra.cli.options import add_options, given
from minielectra.electra.electra_config import ElectraConfig
from minielectra.pretraining.presets import PRESETS, parse_field
from minielectra.pretraining.pretraining_config import PretrainingConfig

KINDS = (ElectraConfig, PretrainingConfig)


@dataclass(frozen=True)
class Overrides:
    """Fields of ElectraConfig and PretrainingConfig; the function gets {field: value}, as far as given."""

    names: tuple[str, ...]  # of the fields that have an option of their own
    title: str = "model and training"

    def add_to(self, parser):
        """Declare the options."""
        group = parser.add_argument_group(self.title)
        preset_fields = {name for parts in PRESETS.values() for fields in parts for name in fields}
        shown_defaults = dict.fromkeys(preset_fields, "the preset's")
        for kind in KINDS:
            add_options(group, kind, self._names_in(kind), **shown_defaults)
        group.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            dest="fields",
            help="change any field of the configuration, such as hidden_size=256; may be repeated",
        )

    def read(self, arguments):
        """{field: value} of what the user gave. An option of a field's own goes before --set."""
        overrides = dict(parse_field(text) for text in arguments.fields)
        for kind in KINDS:
            overrides |= given(arguments, kind, self._names_in(kind))
        return overrides

    def _names_in(self, kind):
        known = {field.name for field in fields(kind)}
        return [name for name in self.names if name in known]
