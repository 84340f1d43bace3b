"""The settings of a run: what to train on, for how long, and on which machine. run.json keeps them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from minielectra.errors import InputError
from minielectra.pretrained.shipped import is_shipped
from minielectra.pretraining.presets import DEFAULT_STEPS, PRESETS
from minielectra.settings import Settings, setting

DEFAULT_CORPUS = "English prose from the documentation installed on this machine"
MOST_EVALUATIONS = 30  # in a run, without --eval-every, besides the one before the first step
MOST_CHECKPOINTS = 8  # in a run, without --checkpoint-every
MACHINE = ("threads", "workers")  # settings that change no result, so a resumed run may have others
CHANGEABLE = ("steps", "checkpoint_every", "keep")  # settings that a resumed run may change for good
PATHS = ("corpus", "vocab", "init", "schedule")
CASE = ("cased", "keep_accents")  # settings of how text is normalized
CORPUS = (
    'UTF-8 text with blank lines between documents, or JSON lines with a "text" each: '
    "files (also .gz, .bz2 and .xz), folders, globs, or a pipe"
)


@dataclass(frozen=True)
class RunSettings(Settings):
    """What the user of `train` decides. run.json holds it under "settings"."""

    preset: str = setting("tiny", "sizes of the model and settings of its training", choices=lambda: PRESETS)
    corpus: list[str] | None = setting(
        None,
        f"{CORPUS}; or one folder that `prepare` wrote",
        metavar="PATH",
        shown_default=DEFAULT_CORPUS,
    )
    vocab: str | None = setting(
        None,
        "a WordPiece vocabulary, such as a run's vocab.txt, or a folder with one; what the files beside it "
        "say about capitals and accents holds",
        metavar="FILE|DIR",
        shown_default="learned from the corpus",
    )
    cased: bool = setting(
        False, "keep capitals and accents, instead of lower-casing text and dropping accents"
    )
    keep_accents: bool = setting(False, "keep accents, though text is lower-cased")
    steps: int | None = setting(
        None,
        "number of updates",
        at_least=1,
        shown_default=", ".join(f"{name} {steps:,}" for name, steps in DEFAULT_STEPS.items()),
    )
    minutes: float | None = setting(
        None,
        "instead of steps: how long the whole command may take, pictures included; the learning rate follows "
        "the clock",
        above=0,
    )
    schedule: str | None = setting(
        None,
        "instead of steps: repeat what the clock decided in this finished run of --minutes",
        metavar="RUN",
    )
    eval_every: int | None = setting(
        None,
        "steps between evaluations",
        at_least=1,
        shown_default=f"1/{MOST_EVALUATIONS} of the run, or more if they would cost over 8 %",
    )
    checkpoint_every: int | None = setting(
        None,
        "steps between checkpoints",
        at_least=1,
        shown_default=f"1/{MOST_CHECKPOINTS} of the run",
    )
    keep: int = setting(
        10,
        "checkpoints to keep: the newest two, others spread over the run, and always the best; 0: all",
        at_least=0,
    )
    seed: int = setting(0, "seed of all random numbers", at_least=0)
    threads: int | None = setting(
        None,
        "shards of a batch to compute at the same time; the results are the same",
        at_least=1,
        shown_default="all",
    )
    workers: str | None = setting(
        None,
        "what computes the shards; mpi: the ranks that mpiexec has started. The results are the same",
        choices=("threads", "processes", "plain", "mpi"),
        shown_default="processes if the system can, else threads",
    )
    device: str = setting("cpu", "where to compute", choices=("cpu", "gpu"))
    init: str | None = setting(
        None,
        "start from the weights, sizes and vocabulary in DIR/generator and DIR/discriminator, "
        "as `export` writes them; or mini: those of the model that comes with minielectra",
        metavar="DIR|mini",
    )
    # {configuration field: value}, on top of the preset
    overrides: dict = dataclasses.field(default_factory=dict)

    alternatives = (("steps", "minutes", "schedule"),)

    @classmethod
    def from_dict(cls, values):
        """The settings that run.json holds. Those that an older version did not know have their defaults.

        Raises InputError for a value that cannot be, and for a setting that only another version knows:
        without it, the run would become another one.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise InputError(
                    f"run.json has the setting {name!r:.60}, which this version does not know; "
                    "resume with the version that wrote it"
                )
        return cls(**{"keep": 0} | values)  # versions that did not know it kept all

    def to_dict(self):
        """The settings as run.json holds them."""
        return dataclasses.asdict(self)


def with_absolute_paths(values):
    """{setting: value} with absolute paths, so that a run can be resumed from any folder."""

    def absolute(path):
        resolved = Path(path).resolve()  # of a pipe, that would be a name which only this process knows
        return str(Path(path).absolute() if Path(path).exists() and not resolved.exists() else resolved)

    found = {name: values[name] for name in PATHS if values.get(name)}
    if is_shipped(found.get("init")):  # a name, not a path
        del found["init"]
    return values | {
        name: [absolute(path) for path in value] if isinstance(value, list) else absolute(value)
        for name, value in found.items()
    }
