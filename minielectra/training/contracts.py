"""Contracts: what the engine needs from a model, a batch and an optimizer, and what it offers."""

from typing import Protocol


class Batch(Protocol):
    """Examples for one step, on the host or on a device."""

    input_ids: object  # [B, T]

    def shard(self, part):
        """The examples of the slice `part`, as a batch."""

    def to_device(self, xp):
        """The same batch with every array on the device of `xp`."""

    def normalizers(self):
        """The numbers that the losses are means over, counted on the host.

        Each shard divides by those of the whole batch.
        """


class Objective(Protocol):
    """A model together with what is minimised.

    The two lines that matter are `forward` and `backward`. An objective whose parts do not need each other's
    memory may interleave them in `forward_backward`: the same results to the last bit, in less memory.
    """

    parameters: object  # nn.parameters.Parameters
    config: object  # training.training_config.TrainingConfig, or a class derived from it

    def rate_factor(self, name):
        """What the learning rate of the parameter `name` is multiplied by."""

    def frozen(self, batch):
        """Stretches (start, stop) of the flat buffer that a step with this batch must not update."""

    def forward(self, batch, normalizers, context):
        """-> outcome, cache.

        `outcome.losses`: a tuple of numbers, this batch's shares of the means; the rest is to look at.
        """

    def backward(self, cache, context):
        """Add the gradient of what is minimised to every parameter's."""

    def forward_backward(self, batch, normalizers, context):
        """Both -> the losses."""


class Optimizer(Protocol):
    """Turns gradients into new weights. Made as Kind(parameters, config, moments, rate_factor)."""

    MOMENTS: tuple  # names of the arrays [P] that it remembers from step to step
    # Stretches of the flat buffer, in order, that can be updated independently, with `start`, `stop` and
    # `cost` (in multiply-adds of a matrix product).
    blocks: list

    @classmethod
    def flops(cls, parameters, config, names=None):
        """Operations of one update -> (in matrix products, elementwise). Takes no memory.

        names: of the parameters that are updated; default: all.
        """

    def share(self, index, count):
        """Numbers of the blocks that worker `index` of `count` updates; each block is in one share."""

    def update(self, gradient, rate, scale, step, blocks=None):
        """One update with gradient [P] · scale, of all blocks or some."""

    def reset(self):
        """Forget the past."""

    def state(self):
        """{name: array} for a checkpoint."""

    def load_state(self, arrays):
        """The inverse of `state`. Raises ValueError if the arrays do not fit."""


class Engine(Protocol):
    """Runs steps. All engines give the same bits for the same number of shards."""

    objective: Objective  # over the engine's own memory: its parameters are the trained ones
    optimizer: Optimizer

    def step(self, batch, rate, seed, number):
        """One update with `batch` (on the host) -> training.step.StepResult."""

    def collect(self):
        """Bring all that the optimizer remembers to this process, before it is saved."""

    def spread(self):
        """Hand weights and moments to all workers, after something else than `step` changed them here.

        All moments of this process are handed on, so after a step, `collect` comes first.
        """

    def close(self):
        """End threads and processes. The objective stays usable."""
