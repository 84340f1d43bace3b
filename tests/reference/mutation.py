"""What a mutant is, and the checks that mutants are held against.

A mutant is a subtle mistake: a function that patches minielectra in place, through pytest's MonkeyPatch. Most
wrap what they find there, so that they outlive a rewrite of it. The mutants are in `mutants_of_layers.py` and
`mutants_of_training.py`.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import chances, checks

TANH = replace(checks.CONFIG, hidden_act="gelu_new")
EXACT, SINGLE = checks.TOLERANCE[np.float64], checks.TOLERANCE[np.float32]

# name: (what is measured -> {figure's name: figure}, the limit of every figure)
CHECKS = {
    "joint, float64": (checks.joint_errors, EXACT),
    "generator, float32": (
        lambda: checks.tower_errors("ElectraForMaskedLM", checks.CONFIG, np.float32),
        SINGLE,
    ),
    "generator, tanh GELU": (lambda: checks.tower_errors("ElectraForMaskedLM", TANH, np.float64), EXACT),
    "discriminator, tanh GELU": (
        lambda: checks.tower_errors("ElectraForPreTraining", TANH, np.float64),
        EXACT,
    ),
    # On threads, because another process would not have the mistake.
    "training, float64": (lambda: checks.training_trajectory(steps=8, workers="threads").errors, EXACT),
    "samples": (lambda: chances.sampling(temperature=2.0, rounds=4), chances.LIMIT),
    "samples of the model": (lambda: chances.generator(copies=800), chances.LIMIT),
    "chosen sets": (lambda: chances.choices(rows=10_000), chances.LIMIT),
}


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    patch: function of a MonkeyPatch. check: the entry of CHECKS that must catch it. hidden: whether it is
    consistent, because its backward pass is the derivative of its forward pass or no derivative is involved.
    Then no gradient check can see it. Such a mutant correctly computes something other than ELECTRA; this
    suite exists because of them.
    """

    name: str
    patch: object
    check: str
    hidden: bool

    def __str__(self):
        return self.name.replace(" ", "-")


class Mutants(list):
    """Mutants in order. The decorator `add` appends the patch below it."""

    def add(self, name, check="joint, float64", hidden=False):
        """Arguments as `Mutant`'s."""
        return lambda patch: self.append(Mutant(name, patch, check, hidden))
