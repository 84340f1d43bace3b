"""Is a hand-written backward pass right? Compare it with finite differences of the forward pass.

For a scalar f and a direction v, the derivative along v is g·v, where g is the gradient. The five-point
central difference is

    f'(0) ≈ [8 (f(h) − f(−h)) − (f(2h) − f(−2h))] / 12h,        f(t) short for f(x + t v)

It errs by h⁴ f⁽⁵⁾/30, because the series is cut off, and by about 1.5 ε |f| / h, because f is rounded (ε =
2e-16). At h = 3e-4 both are near 1e-12 for one operation. (A whole model has larger fifth derivatives.) So
the tolerance of 1e-7 is far above the noise and far below any mistake.

What a check must do to be worth passing. Wrong gradients have been published that pass a check without one of
these:

- It uses float64 and a random upstream gradient of mixed sign. A sum of all-ones hides terms that cancel:
  LayerNorm's and softmax's gradients sum to 0.
- It uses no neutral values: γ ≠ 1, biases ≠ 0, weights of order one, every dimension of a different size.
- It checks every input and every parameter by itself, and compares values, not shapes.
- The gradient arrays hold something beforehand, because gradients are added: the word table is used three
  times.
- Two calls are in flight at once (forward A, forward B, backward A, backward B), so nothing may be kept on a
  shared object.

Example:

    x, w, dy = …                                                          # float64
    y, cache = linear_forward(x, w)
    dw = np.zeros_like(w)
    dx = linear_backward(dy, cache, dw)
    gradient_check(lambda: (dy * linear_forward(x, w)[0]).sum(), {"x": x, "w": w}, {"x": dx, "w": dw})
"""

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-7
STEP = 3e-4
# Some gradients are zero by algebra: a key bias adds the same number to all scores of a row, and softmax does
# not see it. Both sides are then rounding noise, whose ratio means nothing. So no gradient is measured
# against less than FLOOR times the largest one of the same check. This lets errors pass that are below FLOOR
# · TOLERANCE = 1e-11 of the largest gradient.
FLOOR = 1e-4


class Comparison(NamedTuple):
    """One array's gradient, found in both ways."""

    relative_error: float
    probes: list  # elements (index tuples) or numbered random directions
    analytic: np.ndarray  # derivative along each probe, by the backward pass
    numeric: np.ndarray  # and by finite differences


class Row(NamedTuple):
    """One line of the report."""

    operation: str
    parameter: str
    relative_error: float
    ok: bool


def gradient_check(function, inputs, gradients, tolerance=TOLERANCE, **options):
    """Compare gradients with finite differences -> {name: relative error}.

    function: takes nothing and returns a scalar that depends on the arrays in `inputs` {name: float64 array}.
    They are changed in place and restored. gradients: {name: array}, what the backward pass says. options:
    those of `compare`. Raises AssertionError that names each wrong array, where it is off, and both gradients
    there.
    """
    results = compare(function, inputs, gradients, **options)
    wrong = [
        describe(name, result) for name, result in results.items() if not result.relative_error <= tolerance
    ]
    if wrong:
        raise AssertionError(f"gradients differ by more than {tolerance:g}\n" + "\n".join(wrong))
    return {name: result.relative_error for name, result in results.items()}


def compare(function, inputs, gradients, elements=64, directions=6, step=STEP, seed=0):
    """{name: Comparison} of every array in `inputs` with its entry in `gradients`.

    Arrays of up to `elements` elements are checked one element at a time, larger ones along random
    `directions`. The relative error of an array is |analytic − numeric| / max(|analytic|, |numeric|), the
    norms taken over all its probes.
    """
    random = np.random.default_rng(seed)
    probes, vectors, results = {}, {}, {}
    for name, x in inputs.items():
        if x.dtype != np.float64:
            raise TypeError(f"{name} is {x.dtype}: finite differences need float64")
        if gradients[name].shape != x.shape:
            raise AssertionError(f"{name} has shape {x.shape}, its gradient {gradients[name].shape}")
        if x.size <= elements:
            probes[name], vectors[name] = list(np.ndindex(x.shape)), np.eye(x.size).reshape(-1, *x.shape)
        else:
            probes[name] = [f"random direction {i}" for i in range(directions)]
            # between unit length (whose effect is lost in rounding) and unit elements (too long a step)
            vectors[name] = random.standard_normal((directions, *x.shape)) * x.size**-0.25
    analytic = {name: np.array([(gradients[name] * v).sum() for v in vectors[name]]) for name in inputs}
    largest = max((np.linalg.norm(a) for a in analytic.values()), default=0.0)
    for name, x in inputs.items():
        # Where f bends sharply: a right gradient agrees at some step, a wrong one at none
        for h in (
            step,
            step / 5,
            step / 25,
        ):
            numeric = np.array([derivative(function, x, v, h) for v in vectors[name]])
            scale = max(np.linalg.norm(analytic[name]), np.linalg.norm(numeric), FLOOR * largest)
            error = float(np.linalg.norm(analytic[name] - numeric) / (scale or 1.0))
            if name not in results or error < results[name].relative_error:
                results[name] = Comparison(error, probes[name], analytic[name], numeric)
            if error <= TOLERANCE:
                break
    return results


def derivative(function, x, direction, step=STEP):
    """The derivative of function() along `direction` [shape of x] at x, which is changed in place and put
    back.
    """
    original = x.copy()
    values = []
    for t in (1, -1, 2, -2):
        x[...] = original + (t * step) * direction
        values.append(float(function()))
    x[...] = original
    near, far = values[0] - values[1], values[2] - values[3]
    return (8.0 * near - far) / (12.0 * step)


def describe(name, result):
    """What is wrong with one array's gradient, for people: the worst probes and both gradients there."""
    worst = np.argsort(-np.nan_to_num(np.abs(result.analytic - result.numeric), nan=np.inf))[:3]
    sides = [(result.probes[i], result.analytic[i], result.numeric[i]) for i in worst]
    lines = [f"    {probe}: backward says {a:.10g}, finite differences {n:.10g}" for probe, a, n in sides]
    return "\n".join(
        [f"{name}: relative error {result.relative_error:.2g}; worst of {len(result.probes)} probes:", *lines]
    )


def check_pair(
    name, forward, backward, inputs, parameters=None, gradients=None, random=None, upstream=None, **options
):
    """Rows of one forward-backward pair, by the whole protocol above.

    inputs {name: array [2, …]}: an entry for each of two interleaved calls. Arrays that are not float64 (ids,
    masks) have no gradient. forward(*inputs of a call) -> y, cache. backward(dy, cache) -> gradients of the
    float64 inputs, in order. It adds to `gradients` {name: array} those of `parameters` {name: array}.
    upstream: dy, if it cannot be chosen (1 for a loss).
    """
    random = random or np.random.default_rng(0)
    parameters, gradients = parameters or {}, gradients or {}

    def call(i):
        return forward(*(x[i] for x in inputs.values()))

    (y_a, cache_a), (y_b, cache_b) = call(0), call(1)
    dys = [random.standard_normal(y.shape) if upstream is None else upstream for y in (y_a, y_b)]
    before = {key: random.standard_normal(g.shape) for key, g in gradients.items()}
    for key, g in gradients.items():
        g[...] = before[key]
    dx_a, dx_b = backward(dys[0], cache_a), backward(dys[1], cache_b)
    variables = {key: x for key, x in inputs.items() if x.dtype == np.float64}
    if len(variables) == 1:
        dx_a, dx_b = (dx_a,), (dx_b,)
    found = {key: np.stack([dx_a[n], dx_b[n]]) for n, key in enumerate(variables)}
    found |= {key: gradients[key] - before[key] for key in parameters}

    def loss():
        return sum((dy * call(i)[0]).sum() for i, dy in enumerate(dys))

    results = compare(loss, variables | parameters, found, **options)
    return [
        Row(name, key, r.relative_error, bool(r.relative_error <= TOLERANCE)) for key, r in results.items()
    ]


def format_table(rows):
    """Rows as a table: operation, parameter, relative error, verdict; and a line that sums up."""
    left = max([len("operation"), *(len(row.operation) for row in rows)])
    right = max([len("parameter"), *(len(row.parameter) for row in rows)])
    lines = [f"{'operation':{left}}  {'parameter':{right}}  rel. error  verdict"]
    for operation, parameter, error, ok in rows:
        lines.append(f"{operation:{left}}  {parameter:{right}}  {error:10.1e}  {'ok' if ok else 'WRONG'}")
    wrong = sum(not row.ok for row in rows)
    worst = max((row.relative_error for row in rows), default=0.0)
    verdict = f"{wrong} of {len(rows)} are wrong" if wrong else f"all {len(rows)} agree"
    return "\n".join([*lines, f"{verdict} to {TOLERANCE:g}; the largest relative error is {worst:.1e}"])
