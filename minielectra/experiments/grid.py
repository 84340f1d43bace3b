"""The plan of an experiment: which runs there are, and how many steps each budget pays for.

Equal compute means: a run of a variant with the budget B takes as many steps as B floating-point operations
pay for, by the counter of pretraining/flops.py. Each budget has a run of its own, whose learning rate falls
to zero at its end. Runs of one seed see the same examples in the same order, whatever the variant.
"""

import dataclasses
import functools
import itertools
from dataclasses import dataclass

from minielectra import objectives
from minielectra.errors import InputError
from minielectra.experiments.experiment_file import UNTRAINED
from minielectra.pretraining.flops import run_flops, steps_within
from minielectra.pretraining.presets import configure

FEWEST_STEPS = 10  # of a run: fewer have no warm-up


@dataclass(frozen=True)
class Run:
    """One run: a variant, pre-trained for a budget from a seed, and scored."""

    name: str  # unique; names its files
    variant: str
    budget: float  # FLOPs; 0: not pre-trained
    seed: int
    steps: int  # 0: not pre-trained, or scored from the run `trained_as`
    flops: int  # what they cost
    preset: str
    overrides: dict  # {field: value} on top of the preset
    finetuning: dict  # {field of FinetuningConfig: value}
    trained_as: str | None = None  # the run whose model is scored, if this one trains none of its own
    tuned: dict = dataclasses.field(default_factory=dict)  # the values that [tuning] chose or tries, if any
    selection: bool = False  # whether it tries values: it is scored by the tasks for selection


def report_runs(experiment, chosen):
    """The runs that are reported -> list of Run, those that others use first.

    chosen {variant: {field: value}}: what [tuning] chose, or what a plan supposes. Raises InputError, with
    the place, for a budget that does not pay for a run.
    """
    runs = []
    if experiment.untrained:
        baseline = experiment.variants[experiment.baseline]
        for seed in baseline.seeds:
            runs.append(_run(experiment, baseline, 0.0, seed, {}))
    for variant in sorted(experiment.variants.values(), key=lambda variant: variant.same_as is not None):
        tuned = chosen.get(variant.trained_as, {})
        for budget, seed in itertools.product(experiment.budgets, variant.seeds):
            runs.append(_run(experiment, variant, budget, seed, tuned))
    return runs


def tuning_runs(experiment):
    """The runs that try the values of [tuning] -> list of Run."""
    tuning = experiment.tuning
    if tuning is None:
        return []
    runs = []
    for variant in experiment.variants.values():
        if variant.same_as:
            continue
        for number, values in enumerate(candidates(tuning), 1):
            for seed in tuning.seeds:
                run = _run(experiment, variant, tuning.budget, seed, values)
                name = f"tuning-{variant.name}-{number}-seed{seed}"
                runs.append(dataclasses.replace(run, name=name, selection=True))
    return runs


def candidates(tuning):
    """Each combination of the values of [tuning] -> list of {field: value}."""
    return [
        dict(zip(tuning.grid, values, strict=True)) for values in itertools.product(*tuning.grid.values())
    ]


def objective_of(experiment, variant, fields=None):
    """The pre-training objective of a variant, without memory: for counting."""
    return objectives.make(*experiment.configs(variant, fields))


def plan_flops(runs):
    """What all runs of a list cost together."""
    return sum(run.flops for run in runs)


def _run(experiment, variant, budget, seed, tuned):
    """The Run of a variant. tuned: values of [tuning], on top of the variant's own."""
    fields = experiment.variants[variant.trained_as].fields
    run = Run(
        name=f"{variant.name}-{budget:.3g}-seed{seed}".replace("+", ""),
        variant=variant.name,
        budget=budget,
        seed=seed,
        steps=0,
        flops=0,
        preset=experiment.preset,
        overrides=experiment.model | fields | tuned,
        finetuning=experiment.finetuning | variant.finetuning,
        tuned=tuned,
    )
    if not budget:
        name, own = f"{UNTRAINED}-seed{seed}", experiment.finetuning
        return dataclasses.replace(run, name=name, variant=UNTRAINED, finetuning=own)
    if variant.same_as:
        origin = f"{variant.same_as}-{budget:.3g}-seed{seed}".replace("+", "")
        return dataclasses.replace(run, trained_as=origin)
    try:
        costly = {name: value for name, value in run.overrides.items() if name != "learning_rate"}
        steps, flops, cost = _affordable(run.preset, tuple(sorted(costly.items())), budget)
    except InputError as error:
        raise _too_small(experiment, budget, str(error)) from None
    if steps < FEWEST_STEPS:
        problem = f"{budget:.3g} FLOPs pay for {steps} steps of {variant.name}, at {cost:.3g} each"
        raise _too_small(experiment, budget, f"{problem}; give {FEWEST_STEPS * cost:.2g} or more")
    return dataclasses.replace(run, steps=steps, flops=flops)


@functools.lru_cache(maxsize=4096)
def _affordable(preset, fields, budget):
    """What a budget pays for -> steps, what they cost, what one costs. fields: ((name, value), …)."""
    objective = objectives.make(*configure(preset, dict(fields)))
    steps = steps_within(budget, objective)
    flops = run_flops(objective, steps)
    return steps, flops, flops / steps


def _too_small(experiment, budget, problem):
    tuning = experiment.tuning
    tries = budget not in experiment.budgets and tuning is not None and budget == tuning.budget
    return experiment.file.error(("tuning", "budget") if tries else ("budgets",), problem)
