"""How the embeddings of one tower relate to those of another: separate, or shared without their gradient.

A tower declares its embeddings through one of these, as it would through `Parameters`. Through `Parameters`
itself, two towers declare the same names and so share the same numbers (`shared`).
"""


class SeparateTables:
    """Embeddings of the tower's own, under its prefix."""

    def __init__(self, parameters, prefix):
        self.parameters, self.prefix = parameters, prefix

    def declare(self, name, shape):
        """The Parameter `name` of this tower."""
        return self.parameters.declare(self.prefix + name, shape)

    def __getitem__(self, name):
        return self.parameters[self.prefix + name]


class DisentangledTables(SeparateTables):
    """Gradient-disentangled embedding sharing (He et al. 2021, "DeBERTaV3", section 3.3).

        table = stop-gradient(shared table) + difference

    The difference belongs to this tower and starts at 0. The shared table is the other tower's: what this one
    learns never moves it, so the two cannot pull it apart, but what the other one learns arrives here, too.
    """

    def __init__(self, parameters, prefix):
        super().__init__(parameters, f"{prefix}difference.")

    def declare(self, name, shape):
        """The sum of the shared parameter `name` and this tower's difference -> Sum."""
        return Sum(self.parameters.declare(name, shape), super().declare(name, shape))

    def __getitem__(self, name):
        return Sum(self.parameters[name], super().__getitem__(name))


class Sum:
    """A handle like Parameter: its value is a sum, its gradient that of the second part alone."""

    def __init__(self, base, difference):
        self.base, self.difference, self.shape = base, difference, difference.shape

    @property
    def value(self):
        """The sum: a new array."""
        return self.base.value + self.difference.value

    @property
    def grad(self):
        """Where the gradient is added."""
        return self.difference.grad

    @grad.setter
    def grad(self, array):  # `handle.grad += x` changes the array in place, and then assigns it
        if array is not self.difference.grad:
            raise AttributeError("write into the gradient with [...] or +=")
