"""All parameters of a model in one flat buffer, all gradients in another, with named views under Hugging
Face's names.

Zeroing, clipping, updating, checkpointing and summing gradients over shards are then one operation each.

A layer *declares* its parameters where it uses them and keeps the handles:

    class Linear:
        def __init__(self, parameters, name, inputs, outputs):
            self.weight = parameters.declare(f"{name}.weight", (outputs, inputs))

Declaring takes no memory. The buffers are made when a value is first used, or handed in (`bind`): a model
that is asked for its shapes only costs nothing, and the same model can be put on other memory, for another
shard, thread or process.
"""

import copy
import math
from itertools import pairwise

import numpy as np

from minielectra.backend import to_host
from minielectra.errors import shown


class Parameter:
    """A handle: `value` and `grad` are views of one parameter in the two buffers, of the same shape."""

    def __init__(self, owner, start, stop, shape):
        self.owner, self.start, self.stop, self.shape = owner, start, stop, shape

    def bind(self, flat, grad):
        """Make `value` and `grad` views of these buffers."""
        self.value = flat[self.start : self.stop].reshape(self.shape)
        self.grad = grad[self.start : self.stop].reshape(self.shape)

    def __getattr__(self, name):
        # Python asks here only for what is not there yet: value and grad before there is memory.
        if name not in ("value", "grad"):
            raise AttributeError(name)
        self.owner.allocate()
        return self.__dict__[name]

    def __getstate__(self):
        return {name: self.__dict__[name] for name in ("owner", "start", "stop", "shape")}

    def __setstate__(self, state):
        self.__dict__.update(state)


class Parameters:
    """Named arrays laid end to end in `flat` [P], and their gradients in `grad` [P], in the order of
    declaration.

    Neighbours in that order are neighbours in memory. `joined` uses this to multiply by the query, key and
    value matrices at once. A pickle or a copy holds the declarations without the numbers (see `replica`).
    """

    def __init__(self, xp=np, dtype=np.float32):
        """xp, dtype: array module and type of the buffers, if nobody hands in others."""
        self.xp, self.dtype = xp, dtype
        self._handles, self._joined = {}, []
        self._flat = self._grad = None

    # --- declaring

    def declare(self, name, shape):
        """The Parameter `name`.

        Declared a second time, with the same shape, it is the same one, shared by both users.
        """
        known = self._handles.get(name)
        if known is not None:
            if known.shape != tuple(shape):
                raise ValueError(f"{name} was declared with shape {known.shape}, now {tuple(shape)}")
            return known
        if self._flat is not None:
            raise ValueError(f"{name} is declared after memory was taken")
        start = self.size
        self._handles[name] = Parameter(self, start, start + math.prod(shape), tuple(shape))
        return self._handles[name]

    def joined(self, names):
        """Neighbouring parameters of equal trailing shape as one Parameter, stacked along the first axis."""
        parts = [self._handles[name] for name in names]
        if any(left.stop != right.start for left, right in pairwise(parts)):
            raise ValueError(f"not neighbours in the flat buffer: {', '.join(names)}")
        rows = sum(part.shape[0] for part in parts)
        handle = Parameter(self, parts[0].start, parts[-1].stop, (rows, *parts[0].shape[1:]))
        self._joined.append(handle)
        if self._flat is not None:
            handle.bind(self._flat, self._grad)
        return handle

    @property
    def shapes(self):
        """{name: shape}, in the order of the buffer."""
        return {name: handle.shape for name, handle in self._handles.items()}

    @property
    def size(self):
        """The number of scalars, P."""
        return next(reversed(self._handles.values())).stop if self._handles else 0

    def span(self, name):
        """(start, stop) of a parameter in the flat buffer."""
        return self._handles[name].start, self._handles[name].stop

    def __getitem__(self, name):
        return self._handles[name]

    def __contains__(self, name):
        return name in self._handles

    def __iter__(self):
        return iter(self._handles)

    def __len__(self):
        return len(self._handles)

    # --- memory

    def allocate(self):
        """Take memory, filled with zeros, unless there is some already."""
        if self._flat is None:
            self.bind(self.xp.zeros(self.size, self.dtype), self.xp.zeros(self.size, self.dtype))

    def bind(self, flat, grad):
        """Use these buffers [P] for values and gradients from now on. They keep what they hold."""
        if flat.shape != (self.size,) or grad.shape != flat.shape:
            raise ValueError(
                f"the buffers have shapes {flat.shape} and {grad.shape}, expected {(self.size,)}"
            )
        self._flat, self._grad = flat, grad
        for handle in (*self._handles.values(), *self._joined):
            handle.bind(flat, grad)

    @property
    def flat(self):
        """All values, [P]."""
        self.allocate()
        return self._flat

    @property
    def grad(self):
        """All gradients, [P]."""
        self.allocate()
        return self._grad

    # `parameters.flat -= x` changes the array and then assigns it: allowed, as long as it is the same one.

    @flat.setter
    def flat(self, array):
        self._must_be_the_same(array, self._flat)

    @grad.setter
    def grad(self, array):
        self._must_be_the_same(array, self._grad)

    @staticmethod
    def _must_be_the_same(array, buffer):
        if array is not buffer:
            raise AttributeError("write into the buffer with [...], or use bind() for another one")

    def zero_grad(self):
        """Set every gradient to 0."""
        self.grad[...] = 0

    def __getstate__(self):
        return {
            "dtype": np.dtype(self.dtype).str,
            "handles": self._handles,
            "joined": self._joined,
        }

    def __setstate__(self, state):
        self.__init__(dtype=np.dtype(state["dtype"]))
        self._handles, self._joined = state["handles"], state["joined"]

    # --- files

    def state(self):
        """{name: NumPy array, a view of the host's copy}, for writing to a file."""
        flat = to_host(self.flat)
        return {
            name: flat[handle.start : handle.stop].reshape(handle.shape)
            for name, handle in self._handles.items()
        }

    def load_state(self, arrays):
        """Copy arrays, {name: array}, into the buffer.

        Raises ValueError that names missing, unexpected and misshapen ones.
        """
        if problems := misfits(self.shapes, {name: array.shape for name, array in arrays.items()}):
            raise ValueError(problems)
        for name, array in arrays.items():
            self[name].value[...] = self.xp.asarray(array, dtype=self.flat.dtype)


def replica(model, xp, flat, grad):
    """`model`, anything that holds a `Parameters` as `parameters`, once more over the buffers `flat` and
    `grad` [P] of xp.

    Only structure is copied: layers, configurations and declarations. The numbers are those in the buffers.
    """
    twin = copy.deepcopy(model)
    twin.parameters.xp = xp
    twin.parameters.bind(flat, grad)
    return twin


def misfits(expected, found):
    """What is wrong with arrays of the shapes `found` if those of `expected` are wanted.

    expected, found: {name: shape} -> str, empty if all is well.
    """
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {shown(name)}" for name in found if name not in expected]
    problems += [
        f"{name} has shape {list(shape)}, expected {list(expected[name])}"
        for name, shape in found.items()
        if name in expected and tuple(shape) != tuple(expected[name])
    ]
    more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
    return "; ".join(problems[:4]) + more
