# %% [markdown]
# # 22 · The same code on a GPU, and what it waits for
#
# **You will be able to** write an operation that runs on NumPy and on a GPU unchanged, find the places where
# the two machines wait for each other, and estimate whether a GPU pays for a given model.
#
# **Time** 40 minutes · **needs** 1, 15, 16, 21 · **runs** 2 s
#
# A GPU is a second computer in the box, with its own memory. Four words for the two of them:
#
# - The **host** is the computer that runs Python, with the processor of lesson 21. The device (lesson 1) here
#   is the GPU.
# - A **kernel** is a small program that the GPU runs on all elements of an array at once. Nearly every
#   operation of `xp` starts one. The host only asks for it (a *launch*) and goes on to its next line; what it
#   asked for is done later, in order.
# - A **transfer** copies an array from one memory to the other, over a bus that is slow compared with either
#   memory.
# - **Synchronisation**: the host needs a number that the device has not computed yet, and stands still until
#   everything it asked for is done. We call each such moment a *wait*.
#
# You need no GPU here. The lesson looks for one, but `tests/fake_device.py` also has a strict stand-in: NumPy
# arrays that behave as if they lived on a device. They refuse to mix host and device, and they count waits
# and transfers. The one thing they cannot measure is time.

# %%
import numpy as np
from course import begin

from minielectra import objectives
from minielectra.backend import array_module, load, to_device, to_host
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.errors import InputError
from minielectra.ops.reference.layernorm import layernorm_forward
from minielectra.plots.style import BLUE, FAINT, VERMILION, figure, tidy
from minielectra.pretraining.presets import configure
from minielectra.training.engine import make_engine
from tests.fake_device import FakeArray, FakeDevice

lesson = begin("22_gpu")
random = np.random.default_rng(22)
fake = FakeDevice()
devices = {"NumPy": np, "stand-in": fake}
try:
    devices["GPU"] = load("gpu")  # CuPy: NumPy's functions for the GPU. Only `load` imports it.
except InputError as error:
    print(error)

# %% One code for all of them, and what a device refuses
# `array_module(x)` says which library an array belongs to, and an operation uses only that. This is all there
# is to it:
x, γ, β = random.standard_normal((6, 5)), 1 + random.standard_normal(5), random.standard_normal(5)
for name, xp in devices.items():
    y, _ = layernorm_forward(*(to_device(array, xp) for array in (x, γ, β)))
    lesson.same(f"layer norm on {name}", to_host(y), layernorm_forward(x, γ, β)[0])
z = fake.asarray(x)
for line in ("np.exp(z)", "z + x", "z * np.float64(2)", "z[fake.asarray([6])]"):
    try:
        eval(line)
    except (TypeError, IndexError) as error:
        print(f"refused: {line:21} {error}")
# The stand-in is stricter than CuPy, on purpose. CuPy refuses the second line, too. It accepts the first and
# runs it on the device, so you may never notice which code belongs where. The third turns float32 into
# float64. The fourth is one of the traps below.

# %% [markdown]
# # Long form
#
# Take a loss for tasks whose targets are numbers. A squared error lets one bad target outvote all others;
# this one (Huber's) is square for small errors and straight for large ones. With d = prediction − target:
#
#     h(d) = d²/2           if |d| ≤ 1          L = Σ_n h(d[n]) / N
#            |d| − 1/2      otherwise


# %% Long form: a question for every element
def huber_by_element(d):
    """d [N] -> L, and ∂L/∂d [N]"""
    total, gradient = 0.0, array_module(d).zeros_like(d)
    for n in range(len(d)):
        small = bool(abs(d[n]) <= 1.0)  # the host must know: a wait
        total += float(d[n] * d[n] / 2 if small else abs(d[n]) - 0.5)  # a number for Python: a wait
        if small:
            gradient[n] = d[n]
        else:
            gradient[n] = 1.0 if d[n] > 0.0 else -1.0  # another wait
    return total / len(d), gradient / len(d)


# %% [markdown]
# # Collapsed form
#
# No number has to leave the device if there is a formula without a question. Let c be d, limited to −1 … 1
# (`xp.clip`):
#
#     |d| ≤ 1      c = d                       c (d − c/2) = d (d − d/2) = d²/2
#     |d| > 1      c = ±1, the sign of d       c (d − c/2) = c d − c²/2  = |d| − 1/2
#
# So h(d) = c (d − c/2) everywhere. Its derivative is d for small errors and 1 or −1 for large ones: it is c
# itself.


# %% Collapsed form in code
def huber(d):
    """d [N] -> L (0-d: one number without an axis, on the device), and ∂L/∂d [N]"""
    c = array_module(d).clip(d, -1.0, 1.0)
    return (c * (d - 0.5 * c)).sum() / len(d), c / len(d)


d = 1.5 * random.standard_normal(200)
for function in (huber_by_element, huber):
    before = fake.waits
    loss, gradient = function(fake.asarray(d))
    print(f"{function.__name__} on the stand-in: {fake.waits - before} waits")
    lesson.same(
        "    its loss and gradient", [float(loss), *to_host(gradient)], [float(huber(d)[0]), *huber(d)[1]]
    )

# %% Check
# The gradient, computed on each device, against finite differences taken on the host. All in float64.
few = 1.5 * random.standard_normal(9)
for name, xp in devices.items():
    gradient = to_host(huber(to_device(few, xp))[1])
    lesson.check(lambda: huber(few)[0], {f"d on {name}": few}, {f"d on {name}": gradient})

# %% A whole training step
# Lesson 17's plain step, with the sizes of `tiny` and without dropout. The tokens are random; what they
# are does not matter.
engines, V = [], 512
own = {"vocab_size": V, "optimizer": "adam", "shards": 1}  # 1: the batch is not cut up
for xp in (fake, np):
    objective = objectives.make(*configure("tiny", own), xp=xp)
    initialize(objective, seed=1)
    engines.append(make_engine(objective, workers="plain"))
ids = random.integers(5, V, (32, 32), dtype=np.int32)  # 32 sequences of 32 tokens
valid, segments, special, mask_id = np.ones(ids.shape, bool), np.zeros_like(ids), range(5), 4
batch = mask_batch(ids, valid, segments, special, mask_id, V, objective.config, random)
waits, transfers = fake.waits, fake.transfers
results = [engine.step(batch, 1e-3, 7, 0) for engine in engines]
print(f"one step: {fake.waits - waits} waits, {fake.transfers - transfers} transfers to the device")
figures = [[*result.losses, result.grad_norm] for result in results]
lesson.same("both losses and the gradient's norm, on the stand-in and NumPy", *figures, tolerance=1e-4)
megabytes = 4 * objective.parameters.flat.nbytes / 1e6
print(f"{megabytes:.0f} MB never move: parameters, gradients, and Adam's m and v")

# %% [markdown]
# # Three waits
#
# In `training_step` they are the two `float(loss)` and the norm of the gradient, which decides the clipping
# (lesson 16; in your turn 2 it needs no wait). The transfers are the six arrays of the batch, by `to_device`,
# and the random numbers for the samples, which a real GPU draws itself.
#
# Why does `float(loss)` wait, and `loss / 2` not? A 0-d array on the device is a promise: half of it is
# another promise. A Python number has to *be* there. So does everything that Python decides with (`if`,
# `while`, an index), and everything whose shape depends on values: `x[x > 0]` has as many elements as are
# positive, and the host cannot go on before it knows how many.

# %% See: who waits for whom
LAUNCH = 15  # µs from Python's call to the next line: typical for CuPy, not measured here
cases = {  # µs that a kernel takes, and whether the host waits after each
    "small arrays, one wait": (4, False),
    "large arrays, one wait": (40, False),
    "large arrays, a wait after each": (40, True),
}
fig = figure(
    8.2,
    4.6,
    "Without waits, host and device work at the same time",
    "Eight kernels. Blue: the host asks for one; red: it runs; grey: the host waits. If kernels are short,\n"
    "Python sets the pace. If they are long, the host is ahead and the device never idles, unless a\n"
    "float(…) after each makes the two take turns.",
)
for ax, (title, (kernel, each)) in zip(fig.subplots(3, 1, sharex=True), cases.items(), strict=True):
    host = device = 0.0  # when each is done with what it has been given so far
    for n in range(8):
        ax.broken_barh([(host, LAUNCH)], (1.1, 0.8), color=BLUE, edgecolor="white")
        host += LAUNCH
        device = max(host, device) + kernel  # it starts once it has been asked for and the one before is done
        ax.broken_barh([(device - kernel, kernel)], (0.1, 0.8), color=VERMILION, edgecolor="white")
        if each or n == 7:
            ax.broken_barh([(host, device - host)], (1.1, 0.8), color=FAINT)
            host = device
    tidy(ax, f"{title}: {host:.0f} µs", "microseconds" if each else "").set_yticks(
        [0.5, 1.5], ["device", "host"]
    )
lesson.figure(fig)

# %% [markdown]
# # When a GPU pays
#
# As a formula, the picture says that a step takes max(launches, memory + arithmetic). (Kernels run in order;
# some wait for memory, others for arithmetic, so these two times add up.) A transformer block has 4 H² + 2 H
# F weights (lesson 10), or 12 H² with F = 4 H. Each weight takes two operations per token in the forward pass
# and four in the backward pass: 72 H² in the discriminator, which does most of the work. We counted kernels
# once, on the stand-in: per layer, in each of the two networks, a step takes about 730, and they move 690
# numbers per token and feature.

# %% An estimate
# Typical numbers, not measured here: operations per second of a GPU and of two cores of a host, bytes per
# second of a GPU. Put in your own.
GPU, HOST, BANDWIDTH = 20e12, 0.1e12, 1e12
print("milliseconds per step   launches   memory   arithmetic   on the GPU   on the host")
for layers, H, tokens in ((2, 128, 1024), (12, 256, 2048), (12, 256, 16384), (12, 768, 8192)):
    launches = layers * 730 * LAUNCH / 1e3
    memory = 1e3 * layers * 690 * 4 * tokens * H / BANDWIDTH
    arithmetic, on_host = (1e3 * layers * 72 * H * H * tokens / machine for machine in (GPU, HOST))
    on_gpu = max(launches, memory + arithmetic)
    print(
        f"{layers:2} layers, H {H}, {tokens:5} tokens {launches:7.0f} {memory:8.1f} {arithmetic:12.1f}",
        end="",
    )
    print(f"{on_gpu:13.0f} {on_host:13.0f}")

# %% [markdown]
# The rows are `tiny`, `small` with few tokens and with many, and `base`. In the first two the GPU spends its
# time waiting for Python: many launches, with little to do for each. Many features and many tokens are what a
# GPU is for. What helps: no waits within a step, larger batches, and kernels that do several operations at
# once, which this package does not have yet.
#
# # Three traps
#
# 1. CuPy takes an id that is out of range modulo the table's length, without complaint. So ids are checked on
#    the host, before they go.
# 2. `scatter_add` on a GPU adds with many threads at once, in whatever order they arrive: the last bits
#    differ from run to run.
# 3. The GPU draws other random numbers from the same seed. To compare devices, draw on the host and move the
#    numbers.


# %% Your turn 1: the mean of what is not padding
def mean_of_valid(x, valid):
    """The mean of those rows of x [N, H] for which valid [N] (bool) is True -> [H].

    The result has x's dtype and is on x's device. There must be no wait: repair it.
    """
    kept = x[valid]
    return np.sum(kept, axis=0) / len(kept)


def check_mean_of_valid(function):
    x, valid = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32), np.arange(7) < 4
    on_device, mask, waits = fake.asarray(x), fake.asarray(valid), fake.waits
    result = function(on_device, mask)
    assert isinstance(result, FakeArray), "the result must stay on the device"
    assert fake.waits == waits, "it waits: the shape of x[valid] depends on values, and a float() needs one"
    message = f"it is {result.dtype}: a count is an integer, and float32 with int64 makes float64"
    assert result.dtype == np.float32, message
    expected = x[:4].mean(axis=0)
    for values in (to_host(result), function(x, valid)):
        assert values.shape == (3,) and np.allclose(values, expected, rtol=1e-5), "the values are wrong"


lesson.exercise(
    mean_of_valid,
    check_mean_of_valid,
    "Rows that do not count can be multiplied by 0 instead of being left out.",
    "weights = valid.astype(x.dtype) is 1 for rows that count. "
    "weights @ x adds them up, and weights.sum() is their number.",
)


# %% Your turn 2: clipping without a question
def clip_gradient(gradient, limit):
    """Scale `gradient` [P], in place, so that its norm is at most `limit` > 0.

    If it is smaller, it stays as it is. There must be no wait: repair it.
    """
    norm = array_module(gradient).sqrt((gradient * gradient).sum())
    if norm > limit:
        gradient *= limit / norm


def check_clip_gradient(function):
    for norm, wanted in ((5.0, 2.0), (0.1, 0.1), (0.0, 0.0)):
        gradient, waits = fake.asarray(norm * np.array([0.6, -0.8])), fake.waits
        function(gradient, 2.0)
        assert fake.waits == waits, "it waits: `if` needs a number on the host"
        found = to_host(gradient)
        right = np.allclose(found, [0.6 * wanted, -0.8 * wanted])
        assert right, f"norm {norm} has to become {wanted}; the gradient is {found}"


lesson.exercise(
    clip_gradient,
    check_clip_gradient,
    "Always multiply; the factor must come out as 1 if the norm is small enough.",
    "limit / norm is right if the norm is too large. Divide by "
    "xp.maximum of two things instead, and it is always right.",
)

# %% [markdown]
# # What comes next
#
# This was the last lesson. Every layer between a line of text and a trained ELECTRA has passed through your
# hands. Now train one of your own: `python -m minielectra train`, then lesson 20 on a task that you care
# about. Or improve the package: `CONTRIBUTING.md` says where to begin, and `docs/LOG.md` what was tried and
# what did not work. The gradient check, the stand-in and the stopwatch judge every change.
#
# The real thing: `minielectra/backend/arrays.py`, with `load`, `array_module`, `to_device` and `to_host`;
# `tests/test_fake_device.py`.

# %%
lesson.end()
