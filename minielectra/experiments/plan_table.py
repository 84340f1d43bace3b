"""`--dry-run`: the runs of an experiment, their FLOPs, and about how long they take on this machine.

Nothing is written. A few steps of the baseline are timed on one thread, in time of the processor, so that
other programs do not count; what else there is follows from its FLOPs. Scoring is a guess: fine-tuning and
probes take about so many tokens through the encoder.
"""

import time
from collections import defaultdict

from minielectra.backend import usable_cores
from minielectra.experiments.grid import objective_of, plan_flops, report_runs, tuning_runs
from minielectra.experiments.one_run import result_path
from minielectra.experiments.task_data import read_task
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.pretraining.bench import bench
from minielectra.pretraining.flops import step_flops

STEPS = 6  # that are timed
PIECES = 1.3  # word pieces in a word, about
FORWARD = 1 / 3  # of the time of a training step
PROBE = 3.0  # what fitting the probes of all layers costs, as a multiple of computing their features
OVERHEAD = 6.0  # seconds of a run: starting Python, reading the corpus, evaluations, checkpoints


def plan_text(experiment, out, jobs=None):
    """The plan of an Experiment in the folder `out` -> text. jobs: runs at the same time.

    Raises InputError for task files that cannot be used and for budgets that are too small.
    """
    jobs = jobs or usable_cores()
    tuning, reported = tuning_runs(experiment), report_runs(experiment, _supposed(experiment))
    found = {name: (task, read_task(name, task)) for name, task in experiment.tasks.items()}
    seconds = _seconds_per_flop(experiment)
    lines = [experiment.title, "", *_variants_table(experiment), ""]
    total = 0.0
    for name, runs in (("tuning", tuning), ("runs", reported)):
        if not runs:
            continue
        left = [run for run in runs if not result_path(out, run.name).exists()]
        estimates = [_run_seconds(experiment, run, seconds, found) for run in left]
        spent = sum(estimates) / min(jobs, max(1, len(estimates)))
        total += max([spent, *estimates])
        done = len(runs) - len(left)
        lines.append(
            f"{name + ':':8}{len(runs)} ({done} of them done), {plan_flops(runs):.3g} FLOPs in all, "
            f"{plan_flops(left):.3g} left"
        )
    for name, (task, examples) in found.items():
        use = "chooses settings" if task.selection else "reported"
        sizes = f"{len(examples.train):,} examples, {len(examples.development):,} that choose the evaluation"
        lines.append(f"task {name}: {use}; {sizes}, {len(examples.test):,} that are scored")
    lines.append("")
    lines.append(f"about {_shown(total)} with {jobs} jobs, each with a core of this machine to itself")
    return "\n".join(lines)


def _supposed(experiment):
    """Values in the place of those that [tuning] will choose: the most expensive of each variant."""
    if experiment.tuning is None:
        return {}
    return {
        variant.name: {name: values[0] for name, values in experiment.tuning.grid.items()}
        for variant in experiment.variants.values()
    }


def _variants_table(experiment):
    """A row for each variant: what a step costs, and the steps of each budget."""
    costs = {name: _step_cost(experiment, name) for name in experiment.variants}
    steps = defaultdict(dict)
    for run in report_runs(experiment, _supposed(experiment)):
        steps[run.variant][run.budget] = run.steps
    width = max(8, *map(len, costs))
    budgets = "".join(f"{f'{budget:.3g}':>12}" for budget in experiment.budgets)
    rows = [f"{'':{width}} {'FLOPs/step':>11} {'relative':>9} {'seeds':>6}  steps for{budgets}"]
    base = costs[experiment.baseline]
    for name, variant in experiment.variants.items():
        counts = (steps[name][budget] for budget in experiment.budgets)
        own = "".join(f"{f'({variant.same_as})' if variant.same_as else f'{n:,}':>12}" for n in counts)
        rows.append(
            f"{name:{width}} {costs[name]:>11.4g} {costs[name] / base:>9.3f} {len(variant.seeds):>6} "
            f"          {own}"
        )
    return rows


def _seconds_per_flop(experiment):
    """Seconds that a floating-point operation of the baseline's training takes on one thread, measured."""
    configs = experiment.configs(experiment.variants[experiment.baseline])

    def seconds(steps):
        begin = time.process_time()
        bench(*configs, steps, threads=1, workers="plain")
        return time.process_time() - begin

    few, many = seconds(1), seconds(1 + STEPS)  # both warm up alike
    return max(many - few, 1e-3) / STEPS / _step_cost(experiment, experiment.baseline)


def _step_cost(experiment, name):
    return sum(step_flops(objective_of(experiment, experiment.variants[name])).values())


def _run_seconds(experiment, run, seconds, found):
    """About how long a run takes, scoring included. seconds: per floating-point operation."""
    _, config = experiment.configs(experiment.variants[experiment.baseline])
    per_token = (
        seconds * _step_cost(experiment, experiment.baseline) / (config.batch_size * config.seq_length)
    )
    epochs, tokens = run.finetuning.get("epochs", FinetuningConfig.epochs), 0.0
    for settings, examples in found.values():
        if settings.selection != run.selection:
            continue
        learnt, scored = (PIECES * sum(map(_words, part)) for part in (examples.train, examples.test))
        if settings.finetuned:  # a third of the time goes into evaluations on the way
            tokens += len(experiment.finetuning_seeds) * (1.5 * epochs * learnt + FORWARD * scored)
        if settings.frozen and not run.selection and not run.trained_as:
            tokens += (1 + PROBE) * FORWARD * (learnt + scored)
    return run.flops * seconds + tokens * per_token + OVERHEAD


def _words(example):
    words = getattr(example, "words", None)
    if words is not None:
        return len(words) + 2
    return len(f"{example.text} {example.pair or ''}".split()) + 3


def _shown(seconds):
    """A time for people: 40 seconds, 12 minutes, 2.4 hours."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
