"""The command on experiments: experiment.

It imports what it needs when it runs, so that `--help` answers at once.
"""

from dataclasses import dataclass
from pathlib import Path

from minielectra.cli.command import Options, command
from minielectra.settings import Settings, setting


@dataclass(frozen=True)
class ExperimentOptions(Settings):
    """The options of `experiment`."""

    file: str = setting(help="what to compare: see docs/experiments.md", metavar="FILE.toml", positional=True)
    out: str | None = setting(
        None, "folder for runs, scores, table and pictures", metavar="DIR", shown_default="runs/FILE"
    )
    data: str | None = setting(
        None,
        "the folder that paths in FILE are relative to",
        metavar="DIR",
        shown_default="the environment variable MINIELECTRA_DATA, or else the folder of FILE",
    )
    jobs: int | None = setting(
        None, "runs at the same time, each on one core", at_least=1, at_most=1024, shown_default="all cores"
    )
    dry_run: bool = setting(False, "print the plan, its FLOPs and about how long it takes, and run nothing")


@command(
    Options(ExperimentOptions),
    examples=(
        "experiments/ladder.toml --dry-run",
        "experiments/ladder.toml --data ../data --jobs 2",
        "my-question.toml --out runs/my-question",
    ),
)
def experiment(options):
    """Compare variants of pre-training at equal compute, over several seeds.

    Pre-trains and scores each variant for each budget and seed, then prints a table of paired differences.
    The last line of output is the folder. A command that was stopped or killed goes on where it was if it is
    given again; what is finished is not repeated.
    """
    from minielectra.experiments.experiment_file import read_experiment
    from minielectra.experiments.grid_runner import run_experiment_file
    from minielectra.experiments.plan_table import plan_text
    from minielectra.training.interruptions import Interrupted

    found = read_experiment(options.file, options.data)
    out = options.out or str(Path("runs") / Path(options.file).stem)
    if options.dry_run:
        print(plan_text(found, out, options.jobs))
        return 0
    try:
        table = run_experiment_file(found, out, options.jobs)
    except Interrupted as stop:
        print(f"stopped with {stop.step} runs finished; the same command goes on from here")
        return 130
    print(table)
    print(out)
    return 0
