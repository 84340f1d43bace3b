"""Commands that check and measure: gradcheck, bench, flops, lessons.

They import what they need when they run, so that `--help` answers at once.
"""

from dataclasses import dataclass

from minielectra.cli.command import Given, Options, command
from minielectra.cli.overrides import Overrides
from minielectra.errors import InputError
from minielectra.formats.json_text import is_number, json_text
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
class FlopsOptions(Settings):
    """The options of `flops` that `train` does not have."""

    alternatives = (("steps", "budget"),)

    run: str | None = setting(None, "a run, whose configuration counts", metavar="RUN", positional=True)
    steps: int | None = setting(
        None,
        "updates of the run",
        at_least=1,
        shown_default="those of RUN so far, or as `train` would take",
    )
    budget: float | None = setting(
        None, "FLOPs, such as 1e15: say how many steps they pay for", above=0, metavar="FLOPS"
    )
    json: bool = setting(False, "print one JSON object")


@command(
    Options(FlopsOptions),
    Given(RunSettings, only=("preset",)),
    Overrides(("objective", "batch_size", "seq_length", "vocab_size")),
    examples=(
        "--preset small",
        "--preset mini --objective mlm --budget 1e15",
        "--set generator_width=0.5 --set optimizer=adam --json",
        "runs/books",
    ),
)
def flops(options, given, overrides):
    """Count the floating-point operations of a training step and of a whole run.

    Counts matrix products, forward and backward, and the optimizer; lookups and other elementwise work are
    not counted.
    """
    from minielectra import objectives
    from minielectra.pretraining.flops import count, format_count
    from minielectra.pretraining.presets import DEFAULT_STEPS, configure

    if options.run is None:
        preset = given.get("preset", RunSettings.preset)
        configs, steps = configure(preset, overrides), DEFAULT_STEPS[preset]
    elif given or overrides:
        names = ", ".join([*given, *overrides])
        raise InputError(f"{options.run}: has its own configuration, as every run; leave out {names}")
    else:
        configs, steps, recorded = _run_so_far(options.run)
    counted = count(objectives.make(*configs), options.steps or steps, options.budget)
    if options.run is not None and options.steps is None and options.budget is None and is_number(recorded):
        counted["run"] = recorded
    print(json_text(counted) if options.json else format_count(counted))


def _run_so_far(folder):
    """-> the configurations of a run, its steps so far, and their FLOPs if it recorded them."""
    from minielectra.electra.electra_config import ElectraConfig
    from minielectra.pretraining.pretraining_config import PretrainingConfig
    from minielectra.runs import run_folder
    from minielectra.runs.metrics_log import read_metrics

    configs = run_folder.configs(run_folder.load(folder), ElectraConfig, PretrainingConfig, folder)
    last = (read_metrics(folder) or [{"step": 0}])[-1]
    return configs, last["step"], last.get("flops")


@dataclass(frozen=True)
class LessonsOptions(Settings):
    """The options of `lessons`."""

    markdown: bool = setting(False, "print the table of lessons/README.md instead")


@command(Options(LessonsOptions))
def lessons(options):
    """List the lessons of the course: what you have done, and what comes next."""
    from minielectra.lessons import markdown_map, overview

    print(markdown_map() if options.markdown else overview())
