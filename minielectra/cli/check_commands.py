"""Commands that check and measure: gradcheck, bench, lessons. They import what they need when they run."""

from dataclasses import dataclass

from minielectra.cli.command import Options, command
from minielectra.cli.overrides import Overrides
from minielectra.formats.json_text import json_text
from minielectra.pretraining.run_settings import RunSettings
from minielectra.settings import Settings, setting


@dataclass(frozen=True)
class GradcheckOptions(Settings):
    """The options of `gradcheck`."""

    json: bool = setting(False, "print the table as one JSON list")
    seed: int = setting(0, "seed of the random inputs", at_least=0)


@command(Options(GradcheckOptions), examples=("", "--json"))
def gradcheck(options):
    """Check every gradient against finite differences.

    Exits with status 1 if one is wrong.
    """
    from minielectra.gradcheck.checker import format_table
    from minielectra.gradcheck.suite import check_all

    rows = check_all(seed=options.seed)
    print(json_text([row._asdict() for row in rows]) if options.json else format_table(rows))
    return 0 if all(row.ok for row in rows) else 1


@dataclass(frozen=True)
class BenchOptions(Settings):
    """The options of `bench` that `train` does not have."""

    steps: int = setting(20, "training steps to time", at_least=1)
    dropout: float | None = setting(
        None,
        "probability of dropout, of features and of attention weights",
        at_least=0,
        below=1,
        metavar="P",
        shown_default="the preset's",
    )
    json: bool = setting(False, "print one JSON object")


@command(
    Options(BenchOptions),
    Options(RunSettings, only=("preset", "threads", "workers", "device", "seed")),
    Overrides(("batch_size", "seq_length", "vocab_size")),
    examples=("--preset small --batch-size 16", "--set hidden_size=256 --json"),
)
def bench(options, settings, overrides):
    """Time training steps on random tokens.

    Prints the median of the milliseconds per step, tokens per second, GFLOP/s and the peak memory.
    """
    from minielectra.pretraining.bench import bench
    from minielectra.pretraining.presets import configure

    if options.dropout is not None:
        overrides |= dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), options.dropout)
    result = bench(
        *configure(settings.preset, overrides),
        options.steps,
        settings.threads,
        settings.device,
        settings.seed,
        settings.workers,
    )
    print(
        json_text(result)
        if options.json
        else "\n".join(f"{name:18} {value}" for name, value in result.items())
    )


@dataclass(frozen=True)
class LessonsOptions(Settings):
    """The options of `lessons`."""

    markdown: bool = setting(False, "print the table of lessons/README.md instead")


@command(Options(LessonsOptions))
def lessons(options):
    """List the lessons of the course: what you have done, and what comes next."""
    from minielectra.lessons import markdown_map, overview

    print(markdown_map() if options.markdown else overview())
