"""The FLOP counter: what a step of pre-training costs, and a run; and how many steps a budget pays for.

Counted are

- the matrix products of every pass, forward and backward, at 2 operations per multiply-add: linear layers,
  attention, heads, and the word table where it is the generator's output matrix. Each objective says which
  passes it makes (`PretrainingObjective.passes`), and the layers say what a pass costs (electra/products.py).
  Padding counts, because it is computed.
- the optimizer (its `flops`): Muon's products, and the elementwise operations of every update.

Not counted are lookups in tables, which multiply nothing; sums, also those that are computed as a product
with ones; other elementwise work (LayerNorm, GELU, softmax, dropout, biases, losses), which is a few
operations per number where a product has hundreds; sampling; adding up and clipping gradients; evaluations.

A step of the preset `small` by hand, with N = 128 · 128 = 16,384 tokens of which 128 · 19 = 2,432 are chosen:

    a row of the discriminator's encoder    128·256 + 12 · (4·256² + 2·256·1024 + 2·128·256) = 10,256,384
    a row of its head                       256·256 + 256                                    =     65,792
    a row of the generator's encoder        128·64 + 12 · (4·64² + 2·64·256 + 2·128·64)      =    794,624
    a row of its head                       64·128 + 128·30,522                              =  3,915,008
    N · (10,256,384 + 65,792 + 794,624) + 2,432 · 3,915,008                            = 191,658,950,656
    2 operations each, and 2 products backward for each one forward: · 6             = 1,149,953,703,936
    Adam: 14 for each of 14,196,219 parameters, 1 more for the 14,114,560 that decay       = 212,861,626
    together                                                                         = 1,150,166,565,562
"""

from itertools import pairwise
from typing import NamedTuple

from minielectra import objectives, optim
from minielectra.electra.products import BACKWARD, BatchShape
from minielectra.errors import InputError

POINTS = 1000  # at which it is looked up what a step costs, if that changes during the run
ELEMENTWISE = "optimizer, elementwise"  # the one part that is no matrix product


def step_flops(objective, progress=0.0):
    """What one step costs -> {part: floating-point operations}.

    objective: a PretrainingObjective, which needs no memory for it; progress: the share of the run that is
    done, from 0 to 1.
    """
    config, found = objective.config, {}
    shape = BatchShape(config.batch_size, config.seq_length, config.masked_per_example)
    for made in objective.passes(shape, progress):
        factor = 2 * (1 + BACKWARD * made.backward)
        for name, products in (("encoder", made.encoder), ("head", made.head)):
            part = f"{made.part}, {name}"
            if products:
                found[part] = found.get(part, 0) + factor * products
    learning = _learning(objective, progress)
    products, elementwise = optim.find(config.optimizer).flops(objective.parameters, config, learning)
    if products:
        found["optimizer, products"] = products
    return found | {ELEMENTWISE: elementwise}


class _Moment(NamedTuple):
    """What `frozen` asks of a batch."""

    progress: float


def _learning(objective, progress):
    """Names of the parameters that a step updates."""
    frozen, parameters = objective.frozen(_Moment(progress)), objective.parameters
    starts = {name: parameters.span(name)[0] for name in parameters}
    return [name for name, at in starts.items() if not any(start <= at < stop for start, stop in frozen)]


def product_flops(objective):
    """What the matrix products of one step cost, at the beginning of a run -> floating-point operations."""
    return sum(flops for part, flops in step_flops(objective).items() if part != ELEMENTWISE)


def relative_to_bert(objective):
    """What a step costs, in the mean over a run, as a multiple of a step of `--objective mlm`."""
    bert = objectives.make(objective.model_config, objective.config.as_mlm())
    return sum(_costs(objective)) / sum(_costs(bert))


def run_flops(objective, steps):
    """What a run of `steps` costs -> floating-point operations.

    If the objective changes during the run, the moment is known to a thousandth of the run.
    """
    return _sum(_costs(objective), steps)


def steps_within(budget, objective):
    """The longest run that costs at most `budget` floating-point operations -> steps.

    Raises InputError if the budget does not even pay for one.
    """
    costs = _costs(objective)
    low, high = 0, int(budget // min(costs)) + 1  # so many steps it pays for; so many it does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _sum(costs, middle) <= budget else (low, middle)
    if not low:
        raise InputError(f"{budget:.3g} FLOPs do not pay for one step, which costs {costs[0]:.3g}")
    return low


def count(objective, steps, budget=None):
    """What `minielectra flops` says -> a dict for JSON.

    steps: of the run; with a budget of floating-point operations, the most that it pays for. If steps cost
    different amounts, "parts" and "step" are means over the run.
    """
    if budget is not None:
        steps = steps_within(budget, objective)
    config, parts = objective.config, _mean_flops(objective)
    step = sum(parts.values())
    return {
        "objective": config.objective,
        "parts": parts,
        "step": step,
        "token": step / (config.batch_size * config.seq_length),
        "relative_to_bert": relative_to_bert(objective),
        "steps": steps,
        "run": run_flops(objective, steps),
    }


def _mean_flops(objective):
    """`step_flops`, in the mean over a run; whole numbers, if all steps cost the same."""
    found, totals = [step_flops(objective, i / POINTS) for i in range(POINTS)], {}
    for parts in found:
        for part, flops in parts.items():
            totals[part] = totals.get(part, 0) + flops
    names = sorted(totals, key=lambda part: part.startswith("optimizer"))
    return {
        name: totals[name] / POINTS if totals[name] % POINTS else totals[name] // POINTS for name in names
    }


def format_count(counted):
    """What `count` returns, as a table for a terminal -> str."""
    rows = [*counted["parts"].items(), ("a step", counted["step"]), ("a token", counted["token"])]
    lines = [f"{name:24} {flops:12.4g} {flops / counted['step']:8.1%}" for name, flops in rows[:-1]]
    lines.append(f"{rows[-1][0]:24} {rows[-1][1]:12.4g}")
    lines.append(f"{counted['steps']:,} steps".ljust(24) + f" {counted['run']:12.4g}")
    ratio = f"{counted['relative_to_bert']:.3f}"
    return "\n".join(["FLOPs", *lines, f"a step costs {ratio} times one of BERT's (--objective mlm)"])


def _costs(objective):
    """What a step costs after each thousandth of the run -> [POINTS] integers."""
    return [sum(step_flops(objective, i / POINTS).values()) for i in range(POINTS)]


def _sum(costs, steps):
    """The costs of all steps of a run together."""
    edges = [-(-i * steps // POINTS) for i in range(POINTS + 1)]  # the first step of each thousandth
    return sum(cost * (stop - start) for cost, (start, stop) in zip(costs, pairwise(edges), strict=True))
