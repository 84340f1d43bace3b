"""All parameters in one flat buffer, all gradients in another, with named views under Hugging Face's names.

Zeroing, clipping, Adam, checkpointing and summing gradients over replicas are then one operation each.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from minielectra.backend import to_host
from minielectra.errors import shown


class Parameter(NamedTuple):
    """One parameter: views of its value and of its gradient, of the same shape."""

    value: object
    grad: object


class Parameters:
    """Named arrays laid end to end in `flat` [P], and their gradients in `grad` [P].

    Two parameters that follow each other in `shapes` are neighbours in memory: `joined` uses that to multiply by the query, key
    and value matrices at once.
    """

    def __init__(self, shapes, xp=np, dtype=np.float32, flat=None, grad=None):
        """shapes: {name: shape}, in the order of the buffer. flat, grad [P]: existing buffers to use, else zeros."""
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._span = {}
        size = 0
        for name, shape in self.shapes.items():
            self._span[name] = (size, size + int(np.prod(shape)))
            size = self._span[name][1]
        self.xp = xp
        self.flat = xp.zeros(size, dtype) if flat is None else flat
        self.grad = xp.zeros(size, self.flat.dtype) if grad is None else grad

    def __getitem__(self, name):
        return self._views(*self._span[name], self.shapes[name])

    def __contains__(self, name):
        return name in self.shapes

    def __iter__(self):
        return iter(self.shapes)

    def __len__(self):
        return len(self.shapes)

    @property
    def size(self):
        """The number of scalars, P."""
        return self.flat.size

    def span(self, name):
        """(start, stop) of a parameter in the flat buffer."""
        return self._span[name]

    def joined(self, names):
        """Neighbouring parameters of equal trailing shape as one `Parameter`, stacked along the first axis."""
        spans = [self._span[name] for name in names]
        if any(left[1] != right[0] for left, right in pairwise(spans)):
            raise ValueError(f"not neighbours in the flat buffer: {', '.join(names)}")
        rows = sum(self.shapes[name][0] for name in names)
        return self._views(spans[0][0], spans[-1][1], (rows, *self.shapes[names[0]][1:]))

    def replica(self):
        """The same values (shared memory) with gradients of its own: for one shard of a batch."""
        return Parameters(self.shapes, self.xp, flat=self.flat)

    def zero_grad(self):
        """Set every gradient to 0."""
        self.grad[...] = 0

    def state(self):
        """{name: NumPy array, a view of the host's copy}, for writing to a file."""
        flat = to_host(self.flat)
        return {name: flat[slice(*self._span[name])].reshape(shape) for name, shape in self.shapes.items()}

    def load_state(self, arrays):
        """Copy {name: array} into the buffer. Raises ValueError naming every missing, unexpected or misshapen key."""
        if problems := misfits(self.shapes, {name: array.shape for name, array in arrays.items()}):
            raise ValueError(problems)
        for name, array in arrays.items():
            self[name].value[...] = self.xp.asarray(array, dtype=self.flat.dtype)

    def _views(self, start, stop, shape):
        return Parameter(self.flat[start:stop].reshape(shape), self.grad[start:stop].reshape(shape))


def misfits(expected, found):
    """What is wrong with arrays of the shapes `found` where those of `expected` are wanted, both {name: shape} -> str, or ""."""
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {shown(name)}" for name in found if name not in expected]
    problems += [
        f"{name} has shape {list(shape)}, expected {list(expected[name])}"
        for name, shape in found.items()
        if name in expected and tuple(shape) != tuple(expected[name])
    ]
    more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
    return "; ".join(problems[:4]) + more
