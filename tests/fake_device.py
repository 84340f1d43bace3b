"""A strict stand-in for CuPy: NumPy arrays behind a wrapper that refuses what CuPy refuses.

`FakeDevice()` is used as an array module (`xp`). Its arrays

- are no NumPy arrays and never turn into them by themselves: NumPy functions on them raise, and so do NumPy
  arrays beside them;
- leave the device by `.get()` only, except through `float()`, `int()`, `bool()` and `.item()`. Each of these
  *waits* for the device and is counted in `waits`, and so are indexing with a boolean mask, `nonzero`, and
  `where` with one argument;
- come out of reductions as 0-d arrays, not as scalars;
- refuse integer indices out of range, which CuPy wraps silently;
- refuse NumPy float64 scalars, which silently turn float32 arrays into float64.
"""

import operator

import numpy as np

from minielectra import backend

FUNCTIONS = """
    abs all any arange argmax argmin argsort clip concatenate cos cumsum divide dot empty empty_like exp full
    full_like isfinite isnan log log1p logaddexp logical_not matmul max maximum mean min minimum multiply
    negative nextafter ones ones_like reshape searchsorted sign sin sqrt square stack subtract sum swapaxes
    take_along_axis tanh transpose zeros zeros_like
"""
WAITING = "allclose argwhere array_equal count_nonzero flatnonzero nonzero unique"
METHODS = """
    all any argmax argsort astype copy cumsum dot fill max mean min ravel reshape sum swapaxes take transpose
"""
SAME = "bool_ finfo float16 float32 float64 iinfo inf int32 int64 nan newaxis pi uint16 uint8"


class FakeArray:
    """An array on the fake device."""

    __slots__ = ("_device", "_host")
    __hash__ = None

    def __init__(self, host, device):
        self._host, self._device = np.asarray(host), device

    # --- what may be asked without waiting
    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    T = property(lambda self: self._wrap(self._host.T))

    def __len__(self):
        return len(self._host)

    def __repr__(self):
        return f"FakeArray(shape={self.shape}, dtype={self.dtype})"

    # --- what waits
    def get(self):
        self._device.waits += 1
        return self._host.copy()

    def item(self):
        self._device.waits += 1
        return self._host.item()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        return bool(self.item())

    # --- what is refused
    def _refuse(self, what):
        raise TypeError(f"implicit conversion of a device array ({what}): use to_host")

    def __array__(self, *args, **kwargs):
        self._refuse("numpy.asarray")

    def __array_ufunc__(self, ufunc, *args, **kwargs):
        self._refuse(f"numpy.{ufunc.__name__}")

    def __array_function__(self, function, *args, **kwargs):
        self._refuse(f"numpy.{function.__name__}")

    def __iter__(self):
        self._refuse("iteration")

    def __index__(self):
        self._refuse("as an index")

    # --- indexing
    def __getitem__(self, key):
        return self._wrap(self._host[self._key(key)])

    def __setitem__(self, key, value):
        self._host[self._key(key)] = self._device.unwrap(value)

    def _key(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        axis = 0
        result = []
        for part in parts:
            if isinstance(part, FakeArray):
                part = part._host
                if part.dtype == bool:
                    self._device.waits += 1
                    axis += part.ndim
                elif part.dtype.kind in "iu":
                    _check_range(part, self.shape[axis])
                    axis += 1
                else:
                    raise IndexError(f"index of dtype {part.dtype}")
            elif part is Ellipsis:
                axis = self.ndim - (len(parts) - len(result) - 1)
            elif isinstance(part, np.ndarray | list):
                raise TypeError("a host array or list as an index of a device array")
            elif part is not None:
                axis += 1
            result.append(part)
        return tuple(result)

    def view(self, dtype):
        return self._wrap(self._host.view(dtype))

    def _wrap(self, host):
        return FakeArray(host, self._device)


def _check_range(ids, size):
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        raise IndexError(
            f"ids from {ids.min()} to {ids.max()} in an axis of {size}: CuPy would wrap them silently"
        )


def _add_operators():
    def unary(function):
        return lambda self: self._wrap(function(self._host))

    def binary(function):
        return lambda self, other: self._wrap(function(self._host, self._device.unwrap(other)))

    def reflected(function):
        return lambda self, other: self._wrap(function(self._device.unwrap(other), self._host))

    def in_place(ufunc):
        def method(self, other):
            ufunc(self._host, self._device.unwrap(other), out=self._host, casting="same_kind")
            return self

        return method

    arithmetic = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "truediv": np.true_divide,
        "pow": np.power,
        "floordiv": np.floor_divide,
        "mod": np.remainder,
        "matmul": np.matmul,
        "and": np.logical_and,
        "or": np.logical_or,
    }
    for name, ufunc in arithmetic.items():
        function = getattr(operator, f"__{name}__")
        setattr(FakeArray, f"__{name}__", binary(function))
        setattr(FakeArray, f"__r{name}__", reflected(function))
        if name not in ("matmul", "and", "or"):
            setattr(FakeArray, f"__i{name}__", in_place(ufunc))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(FakeArray, f"__{name}__", binary(getattr(operator, name)))
    for name in ("neg", "invert", "abs"):
        setattr(FakeArray, f"__{name}__", unary(getattr(operator, f"__{name}__")))
    for name in METHODS.split():
        setattr(FakeArray, name, _method(name))


def _method(name):
    def method(self, *args, **kwargs):
        return self._device.call(getattr(self._host, name), args, kwargs)

    return method


_add_operators()


class FakeDevice:
    """The array module. `waits` counts host-device waits, `transfers` arrays sent from host to device."""

    ndarray = FakeArray

    def __init__(self):
        self.waits = self.transfers = 0
        for name in SAME.split():
            setattr(self, name, getattr(np, name))
        for name in (*FUNCTIONS.split(), *WAITING.split()):
            setattr(self, name, self._function(name))
        self.add = _Add(self)
        backend.register_array_type(FakeArray, self)

    def asarray(self, x, dtype=None):
        """The explicit way from host to device."""
        if isinstance(x, FakeArray):
            return x if dtype is None or x.dtype == dtype else x.astype(dtype)
        self.transfers += 1
        return FakeArray(np.array(x, dtype=dtype), self)

    array = asarray

    def where(self, condition, *branches):
        if not branches:
            self.waits += 1
        return self.call(np.where, (condition, *branches), {})

    def take(self, a, indices, axis=None, out=None):
        _check_range(self.unwrap(indices), a.shape[axis] if axis is not None else a.size)
        result = self.call(np.take, (a, indices), {"axis": axis})
        if out is None:
            return result
        out[...] = result
        return out

    def unwrap(self, x):
        """What NumPy gets for x. Raises TypeError for what lives on the host and is no Python number."""
        if isinstance(x, FakeArray):
            if x._device is not self:
                raise TypeError("array of another device")
            return x._host
        if isinstance(x, np.ndarray):
            raise TypeError("a NumPy array in a device computation: use to_device")
        if isinstance(x, np.float64):
            raise TypeError(
                "a NumPy float64 scalar in a device computation makes float32 float64: use a Python float"
            )
        if isinstance(x, tuple | list):
            return type(x)(self.unwrap(part) for part in x)
        return x

    def call(self, function, args, kwargs):
        out = kwargs.get("out")
        if out is not None and not isinstance(out, FakeArray):
            raise TypeError(f"out= must be a device array, got {type(out).__name__}")
        result = function(
            *(self.unwrap(x) for x in args), **{key: self.unwrap(x) for key, x in kwargs.items()}
        )
        if out is not None:
            return out
        if isinstance(result, tuple):
            return tuple(FakeArray(part, self) for part in result)
        return None if result is None else FakeArray(result, self)

    def _function(self, name):
        def function(*args, **kwargs):
            if name in WAITING.split():
                self.waits += 1
            return self.call(getattr(np, name), args, kwargs)

        return function


class _Add:
    """`xp.add`, with the two ufunc methods that the code uses."""

    def __init__(self, device):
        self._device = device

    def __call__(self, *args, **kwargs):
        return self._device.call(np.add, args, kwargs)

    def at(self, table, index, rows):
        _check_range(self._device.unwrap(index), table.shape[0])
        np.add.at(self._device.unwrap(table), self._device.unwrap(index), self._device.unwrap(rows))

    def reduceat(self, x, indices, axis=0):
        return self._device.call(np.add.reduceat, (x, indices), {"axis": axis})
