"""Training losses between two evaluations: their sums are part of a checkpoint."""


class RunningLosses:
    """Sums of the training losses since the last evaluation."""

    def __init__(self, state=None, names=()):
        """state: of a checkpoint; names: of the losses, for a list of earlier versions: steps, sum, sum."""
        if isinstance(state, list):
            state = {name: [total, state[0]] for name, total in zip(names, state[1:], strict=False)}
        self.state = state or {}  # {name: [sum, number of steps]}

    def add(self, losses):
        """Add {name: loss} of a step."""
        for name, loss in losses.items():
            total, steps = self.state.get(name, (0.0, 0))
            self.state[name] = [total + loss, steps + 1]

    def mean(self, name):
        """The mean of a loss, or None if it was not computed."""
        total, steps = self.state.get(name, (0.0, 0))
        return total / steps if steps else None
