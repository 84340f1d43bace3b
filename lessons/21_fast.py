# %% [markdown]
# # 21 · Fast NumPy: it is the memory that takes the time
#
# **You will be able to** tell whether an operation waits for arithmetic or for memory, and make a layer
# several times faster without changing what it computes: in place, in blocks, with reused memory, on two
# threads.
#
# **Time** 40 minutes · **needs** 4, 6 · **runs** 6 s
#
# A processor calculates, and it fetches what to calculate with. How fast is each? NumPy passes matrix
# products to **BLAS**, a library that comes close to the most that a processor can do; it is the one part of
# this course that is not from scratch. Arrays are in the computer's memory, outside the processor. **Memory
# bandwidth** is how many bytes per second can pass between the two, in either direction. On its way a number
# is kept for a while in the **cache of a processor**: a small memory on the chip itself, a megabyte or so for
# each core (a core is a unit that calculates), and many times faster than the large memory. It is not the
# cache that a forward pass leaves for its backward pass, so we always say the *processor's* cache.

# %%
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from course import begin

from minielectra.backend import Workspace, set_blas_threads
from minielectra.ops.reference.layernorm import layernorm_backward, layernorm_forward
from minielectra.ops.reference.softmax import softmax_backward
from minielectra.plots.style import BLUE, figure, tidy
from minielectra.training.step import shard_slices

lesson = begin("21_fast")
random = np.random.default_rng(21)


# %% What this machine can do
def race(contenders):
    """{name: (function, arrays)} -> {name: seconds}: all take turns, and the shortest of nine times counts.

    (Whatever else the machine is doing can only add time.)
    """
    times = {name: [] for name in contenders}
    for name, (function, arrays) in 9 * list(contenders.items()):
        copies = [array.copy() for array in arrays]  # while the clock stands
        start = time.perf_counter()
        function(*copies)
        times[name].append(time.perf_counter() - start)
    return {name: min(several) for name, several in times.items()}


set_blas_threads(1)  # one core; BLAS would take as many as there are
square = random.random((2, 1024, 1024), np.float32)
large = np.ones((2, 1 << 24), np.float32)  # 64 MiB each
limits = race({"product": (np.matmul, square), "copy": (np.copyto, large)})
rate = 2 * 1024**3 / limits["product"]  # operations per second: a multiplication and an addition, 1024³ times
bandwidth = large.nbytes / limits["copy"]  # bytes per second: one of the two arrays comes, the other goes
print(f"one core, in a second: {rate / 1e9:.0f} · 10⁹ operations in a product,", end=" ")
print(f"{bandwidth / 1e9:.0f} · 10⁹ bytes in a copy;")
print(f"so {rate / bandwidth:.0f} operations while one byte passes")

# %% [markdown]
# # Long form
#
# Divide the additions and multiplications of an operation by the bytes that it must move. If the result is
# above the number just printed, the operation waits for arithmetic; if it is below, for memory. In float32 a
# number has four bytes:
#
#     linear layer [N, H] → [N, F]   2 N H F / 4 (N H + H F + N F)   93 at H = 256, F = 1024 and N = 2048;
#                                                                    0.5 at N = 1
#     layer norm [N, H]              7 N H / 4 (N H + N H + N H)     0.6: x comes, x̂ and y go
#
# Nearly everything except large products waits for memory. And plain code moves more than it must: every
# NumPy operation reads its arrays from one end to the other, and writes a new one. Lesson 6's layer norm
# reads 21 arrays [N, H] and writes 12. Only six have to pass: x in, x̂ and y out, and in the backward pass dy
# and x̂ in, dx out.

# %% Long form: how many arrays [N, H] are read and written
ε, row = 1e-12, {"axis": 1, "keepdims": True}


def plain(x, dy, γ, β):
    """Layer norm, forward and backward. x, dy [N, H], γ, β [H] -> y, dx, dγ, dβ, like all versions below."""
    centred = x - x.mean(**row)  # reads 2, writes 1 (the means, [N, 1], are too small to count)
    r = 1 / np.sqrt((centred * centred).mean(**row) + ε)  # 2, 1
    xhat = centred * r  # 1, 1
    y = γ * xhat + β  # 2, 2
    dβ = dy.sum(axis=0)  # 1, 0 (y = γ x̂ + β)
    dγ = (dy * xhat).sum(axis=0)  # 3, 1 (the same line)
    g = dy * γ  # 1, 1 (the same line, seen from x̂)
    dx = r * (g - g.mean(**row) - xhat * (g * xhat).mean(**row))  # 9, 5 (lesson 6)
    return y, dx, dγ, dβ


x, dy = random.standard_normal((2, 8000, 256))
γ, β = 1 + random.standard_normal(256), random.standard_normal(256)
one_array = 1e3 * x.nbytes / bandwidth  # milliseconds at the speed of copying
print(f"33 arrays at the speed of copying: {33 * one_array:.0f} ms; six: {6 * one_array:.0f} ms")

# %% [markdown]
# # Collapsed form: the same mathematics, and five changes
#
# 1. **float32**: half the bytes. Finite differences need float64; training does not.
# 2. **In place**: a result is written over an array that nobody needs any more, with `out=` or `*=`. x
#    becomes centred and then x̂; dy becomes g and then dx. New memory is expensive: the system hands it out
#    in small pages, and first fills each page with zeros.
# 3. A **block** is as many rows as fit in the processor's cache. A row's norm needs no other row, so all
#    operations are done on one block before the next is touched. The large memory sees every array once: six
#    crossings.
# 4. A **workspace** is memory that is requested once and handed out again in every step: `Workspace` in the
#    package. The last argument of lesson 17's `training_step` is one, and a `PassContext` brings it to
#    every layer.
# 5. A **thread** is a second line of execution in the same program, on the same arrays. Python's lock lets
#    only one thread run Python at a time, but NumPy releases it while it works inside an array. Each of two
#    threads takes half of the rows, with its own sums for dγ and dβ, which are added at the end. If both
#    added into the same array, they would overwrite each other's sums.


# %% Collapsed form in code
def in_blocks(x, dy, γ, β, rows=512, workspace=None, over_xhat=False):
    """Overwrites x with x̂ and dy with dx. 512 rows of 256 float32 are half a MiB.

    Without a workspace it uses new memory. over_xhat: a mistake that is tried further down.
    """
    workspace = workspace or Workspace()
    workspace.reset()  # everything it handed out is free again: the y of the last call is lost
    y = workspace.empty(x.shape, x.dtype)
    r = workspace.empty((len(x), 1), x.dtype)
    spare = workspace.empty((rows, x.shape[1]), x.dtype)
    dγ, dβ = np.zeros((2, x.shape[1]), x.dtype)
    parts = [slice(start, start + rows) for start in range(0, len(x), rows)]  # the last one may be shorter
    for part in parts:
        xhat, out = x[part], y[part]
        xhat -= xhat.mean(**row)
        np.multiply(xhat, xhat, out=out)  # y lends its memory to the squares
        np.divide(1, np.sqrt(out.mean(**row) + ε), out=r[part])
        xhat *= r[part]  # only now it is x̂
        out = np.multiply(xhat, γ, out=xhat if over_xhat else out)
        out += β
    for part in parts:  # a second loop: in a network, dy arrives after everything that follows has run
        xhat, g, product = x[part], dy[part], spare[: len(x[part])]
        dβ += g.sum(axis=0)  # y = γ x̂ + β; g is still dy
        dγ += np.multiply(g, xhat, out=product).sum(axis=0)  # y = γ x̂ + β
        g *= γ  # y = γ x̂ + β, seen from x̂
        np.multiply(g, xhat, out=product)
        np.multiply(xhat, product.mean(**row), out=product)  # x̂ mean(g x̂)
        g -= g.mean(**row)
        g -= product
        g *= r[part]  # dx
    return x if over_xhat else y, dy, dγ, dβ


workspaces, pool = [Workspace(), Workspace()], ThreadPoolExecutor(2)  # pool: two threads that wait for work


def two_threads(x, dy, γ, β):
    """y comes in two halves: the same two threads would compute the next layer's halves."""

    def half(part, workspace):
        return in_blocks(x[part], dy[part], γ, β, workspace=workspace)

    halves = shard_slices(len(x), 2)  # the function that cuts a batch into shards: here, rows into halves
    first, second = pool.map(half, halves, workspaces)
    return first[0], second[0], dy, *np.add(first[2:], second[2:])


versions = {
    "in place": lambda x, *others: in_blocks(x, *others, rows=len(x)),  # one block, of all rows
    "blocks": in_blocks,
    "workspace": partial(in_blocks, workspace=workspaces[0]),
    "two threads": two_threads,
}

# %% Check
# First, all versions in float64 against the long form. (Blocks add up dγ and dβ in another order, so the last
# bits differ.) Then finite differences and the library, for the version with all the changes. With 1111 rows
# the last block of each half is not full.
for name, function in versions.items():
    results = function(x.copy(), dy.copy(), γ, β), plain(x, dy, γ, β)
    flat = [np.concatenate([array.ravel() for array in arrays]) for arrays in results]
    lesson.same(f"{name}: y, dx, dγ, dβ", *flat)
few, up = {"x": x[:1111].copy(), "γ": γ, "β": β}, dy[:1111]
yours = dict(zip(few, two_threads(x[:1111].copy(), up.copy(), γ, β)[2:], strict=True))
library = {"γ": np.zeros(256), "β": np.zeros(256)}
_, cache = layernorm_forward(*few.values(), ε)
library["x"] = layernorm_backward(up, cache, *library.values())
lesson.check(lambda: (up * plain(dy=up, **few)[0]).sum(), few, yours, library)

# %% A mistake, and a check that misses it
# One more array could be saved: write y over x̂, as x̂ was written over x. The test of the forward pass is
# satisfied. But the backward pass needs x̂ and finds y in its place; only dβ, which needs neither, comes
# out right.
y, *gradients = in_blocks(few["x"].copy(), up.copy(), γ, β, over_xhat=True)
lesson.same("y over x̂", y, plain(dy=up, **few)[0])
lesson.exposes(lambda: (up * plain(dy=up, **few)[0]).sum(), few, dict(zip(few, gradients, strict=True)))


# %% Measure
def new_memory(function, *arguments):
    """-> the result, and the most bytes held at any moment of the call."""
    # tracemalloc sees all the memory that NumPy requests
    tracemalloc.stop()
    tracemalloc.start()
    return function(*arguments), tracemalloc.get_traced_memory()[1]


as32 = [array.astype(np.float32) for array in (x, dy, γ, β)]
contenders = {"plain, float64": (plain, (x, dy, γ, β)), "float32": (plain, as32)}
contenders |= {name: (function, as32) for name, function in versions.items()}
times = race(contenders)
print("each line keeps the changes of the lines above\n                   ms   relative   new memory, MB")
for name, (function, arrays) in contenders.items():
    megabytes = new_memory(function, *arrays)[1] / 1e6
    print(
        f"{name:15} {1e3 * times[name]:5.1f} {times[name] / times['plain, float64']:10.2f} {megabytes:16.1f}"
    )

# %% [markdown]
# Times differ between machines, and from minute to minute. The plain version takes longer than 33 crossings;
# the rest is new memory, and sums. With blocks, six arrays cross, and the 33 passes go through the
# processor's cache. (If that is large, "in place" may do as well.) The workspace saves little time, but after
# the first step no memory is requested, so nothing can grow. Two threads are up to twice as fast on two free
# cores, and no faster if one of the cores is busy.

# %% See: where the time went
fig = figure(
    7,
    3.3,
    f"The same layer norm in {100 * min(times.values()) / max(times.values()):.0f} % of the time",
    "Forward and backward of [8000, 256]. Each bar keeps the changes of those above it.",
)
ax = tidy(fig.subplots(), xlabel="milliseconds")
ax.bar_label(
    ax.barh(list(times), [1e3 * s for s in times.values()], color=BLUE), fmt="%.0f", padding=3, fontsize=9
)
ax.invert_yaxis()
lesson.figure(fig)


# %% Your turn 1: how fast can it be?
def least_seconds(N, I, O, rate, bandwidth):
    """The least time, in seconds, for y = x Wᵀ in float32, with x [N, I] and W [O, I].

    The machine does `rate` operations per second and moves `bandwidth` bytes per second, both at once.
    """
    raise NotImplementedError("yours to write")


def check_least_seconds(function):
    large, one_row = function(2048, 256, 1024, 5e10, 1e10), function(1, 256, 1024, 5e10, 1e10)
    message = f"2048 rows, 256 → 1024: {1e3 * large:.3f} ms, but the arithmetic takes 21.475 ms"
    assert abs(large - 0.02147) < 1e-5, message
    message = f"one row, 256 → 1024: {1e6 * one_row:.1f} µs, but moving all of W takes 105 µs"
    assert abs(one_row - 1.0537e-4) < 1e-8, message


lesson.exercise(
    least_seconds,
    check_least_seconds,
    "Find the time for the arithmetic alone and the time for the "
    "memory alone. If both go on at once, when is the layer done?",
    "The longer of 2 N I O / rate and the bytes of x, W and y / bandwidth.",
)


# %% Your turn 2: softmax's backward pass, block by block
def softmax_backward_blocks(dp, p, rows):
    """dx = p (dp − Σ dp p), with the sum along each row (lesson 4). dp [N, K] is overwritten with dx -> dp.

    p [N, K] stays as it is. `rows` rows at a time; N need not be a multiple of that. New memory: about one
    block at most.
    """
    raise NotImplementedError("yours to write")


def check_softmax_backward_blocks(function):
    p, dp = np.random.default_rng(2).standard_normal((2, 1000, 300))
    right, before = softmax_backward(dp, p), p.copy()
    result, peak = new_memory(function, dp, p, 64)
    assert np.array_equal(p, before), "p was changed"
    assert np.shares_memory(result, dp) and np.allclose(dp[:64], right[:64]), (
        "the first block of dp is not dx"
    )
    assert np.allclose(dp, right), "the first block is right; is the last one, which is shorter?"
    block = 64 * 300 * 8  # bytes
    assert peak < 1.5 * block, f"new memory for {peak / block:.1f} blocks; one is enough"


lesson.exercise(
    softmax_backward_blocks,
    check_softmax_backward_blocks,
    "A slice of rows is a view: what you do to it in place is done to dp. `in_blocks` has the loop.",
    "For each block, the sums come first: (d * q).sum(axis=1, "
    "keepdims=True) is the only new array. Then use -= and *=.",
)

# %% [markdown]
# # What comes next
#
# A GPU has more of both, arithmetic and memory bandwidth. Lesson 22 moves the code there, and finds a third
# thing to wait for.
#
# The real thing: `minielectra/ops/fast/layernorm.py` and `blocks.py` (their sums are products with a vector
# of ones, because BLAS is faster than `sum`); `minielectra/backend/workspace.py`; and, for whole shards on
# threads and in processes, `minielectra/training/threads.py` and `processes.py`. What each change gained, and
# which gained nothing: `docs/speed.md`.

# %%
lesson.end()
