# %% [markdown]
# # 22 · The same code on a GPU, and what it waits for
#
# **You will be able to** write an operation that runs on NumPy and on a GPU unchanged, find the places where the two machines
# wait for each other, and estimate whether a GPU pays for a given model.
#
# **Time** 40 minutes · **needs** 1, 15, 16, 21 · **runs** 2 s
#
# A GPU is a second computer in the box, with its own memory. Four words for the two of them:
#
# - The **host** is the computer that runs Python, with the processor of lesson 21. The device (lesson 1) is here the GPU.
# - A **kernel** is a small program that the GPU runs on all elements of an array at once. Nearly every operation of `xp` starts
#   one. The host only asks for it (a *launch*) and goes on to its next line: what it asked for is done later, in order.
# - A **transfer** copies an array from one memory to the other, over a bus that is slow beside either memory.
# - **Synchronisation**: the host needs a number that the device has yet to compute, and stands still until all that was asked for
#   is done. We call each such moment a *wait*.
#
# You need no GPU here. The lesson looks for one; and `tests/fake_device.py` has a strict stand-in, NumPy arrays that behave as if
# they lived on a device. They refuse what mixes host and device, and count waits and transfers. What they cannot tell is time.

# %%
import numpy as np
from course import begin

from minielectra.backend import array_module, load, to_device, to_host
from minielectra.electra.corruption import mask_batch
from minielectra.electra.initialization import initialize
from minielectra.errors import InputError
from minielectra.objectives.electra import ElectraPretraining
from minielectra.ops.reference.layernorm import layernorm_forward
from minielectra.plots.style import BLUE, FAINT, VERMILION, figure, tidy
from minielectra.pretraining.presets import configure
from minielectra.training.step import Trainee
from tests.fake_device import FakeArray, FakeDevice

lesson = begin("22_gpu")
random = np.random.default_rng(22)
fake = FakeDevice()
devices = {"NumPy": np, "stand-in": fake}
try:
    devices["GPU"] = load("gpu")  # CuPy, NumPy's functions for the GPU; only `load` imports it
except InputError as error:
    print(error)

# %% One code for all of them, and what a device refuses
# `array_module(x)` says which library an array belongs to, and an operation uses only that. This is all there is to it:
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
# It is stricter than CuPy, on purpose. CuPy refuses the second, too. It sends the first to the device by itself, so that one may
# never notice which code belongs where; the third turns float32 into float64; the fourth is among the traps below.

# %% [markdown]
# # Long form
#
# A loss for tasks whose targets are numbers. A squared error lets one bad target outvote all others; this one (Huber's) is square
# for small errors and straight for large ones. With d = prediction − target:
#
#     h(d) = d²/2           where |d| ≤ 1          L = Σ_n h(d[n]) / N
#            |d| − 1/2      elsewhere


# %% Long form: a question for every element
def huber_by_element(d):
    """d [N] -> L, and ∂L/∂d [N]"""
    total, gradient = 0.0, array_module(d).zeros_like(d)
    for n in range(len(d)):
        small = bool(abs(d[n]) <= 1.0)  # the host must know: a wait
        total += float(d[n] * d[n] / 2 if small else abs(d[n]) - 0.5)  # a number for Python: a wait
        gradient[n] = d[n] if small else 1.0 if d[n] > 0.0 else -1.0  # where d is large: another wait
    return total / len(d), gradient / len(d)


# %% [markdown]
# # Collapsed form
#
# No number has to leave the device. Look for a formula without a question. Let c be d, held between −1 and 1 (`xp.clip`):
#
#     |d| ≤ 1      c = d                       c (d − c/2) = d (d − d/2) = d²/2
#     |d| > 1      c = ±1, the sign of d       c (d − c/2) = c d − c²/2  = |d| − 1/2
#
# So h(d) = c (d − c/2) everywhere. Its derivative is d for small errors, 1 or −1 for large ones: that is c itself.


# %% Collapsed form in code
def huber(d):
    """d [N] -> L (0-d, that is one number without an axis, on the device), and ∂L/∂d [N]"""
    c = array_module(d).clip(d, -1.0, 1.0)
    return (c * (d - 0.5 * c)).sum() / len(d), c / len(d)


d = 1.5 * random.standard_normal(200)
for function in (huber_by_element, huber):
    before = fake.waits
    loss, gradient = function(fake.asarray(d))
    print(f"{function.__name__} on the stand-in: {fake.waits - before} waits")
    lesson.same("    its loss and gradient", [float(loss), *to_host(gradient)], [float(huber(d)[0]), *huber(d)[1]])

# %% Check
# The gradient, computed on each device, against finite differences taken on the host. All in float64.
few = 1.5 * random.standard_normal(9)
for name, xp in devices.items():
    gradient = to_host(huber(to_device(few, xp))[1])
    lesson.check(lambda: huber(few)[0], {f"d on {name}": few}, {f"d on {name}": gradient})

# %% A whole training step
# The preset `tiny`, which has no dropout, on random tokens: what they are does not matter. `shards`: the batch is not cut up.
trainees = []
for xp in (fake, np):
    model = ElectraPretraining(*configure("tiny", {"shards": 1}), xp=xp)
    initialize(model, seed=1)
    trainees.append(Trainee(model))
ids, V = random.integers(5, 512, (32, 32), dtype=np.int32), 512  # 32 sequences of 32, and a vocabulary of 512, as `tiny` has it
batch = mask_batch(ids, np.ones(ids.shape, bool), np.zeros_like(ids), range(5), 4, V, model.pretraining, random)
waits, transfers = fake.waits, fake.transfers
results = [trainee.step(batch, 1e-3, 7, 0) for trainee in trainees]
print(f"one step: {fake.waits - waits} waits, {fake.transfers - transfers} transfers to the device")
losses = ([result.gen_loss, result.disc_loss, result.grad_norm] for result in results)
lesson.same("both losses and the gradient's norm, on the stand-in and NumPy", *losses, tolerance=1e-4)
print(f"{4 * model.parameters.flat.nbytes / 1e6:.0f} MB never move: parameters, gradients, and Adam's m and v")

# %% [markdown]
# # Three waits
#
# They are `float(gen_loss)`, `float(disc_loss)` and the gradient's norm, which decides the clipping (lesson 16; your turn 2 needs
# no wait for it). The transfers are six arrays of the batch, and random numbers to sample with, which a GPU draws itself.
#
# Why does `float(loss)` wait, and `loss / 2` not? A 0-d array on the device is a promise: half of it is another promise. A Python
# number must *be* there. So must whatever Python decides with (`if`, `while`, an index) and whatever has a shape that depends on
# values: `x[x > 0]` has as many elements as are positive, and the host cannot go on before it knows how many.

# %% See: who waits for whom
LAUNCH = 15  # µs from Python's call to the next line: typical for CuPy, not measured here
cases = {"small arrays, one wait": (4, False), "large arrays, one wait": (40, False),
         "large arrays, a wait after each": (40, True)}
fig = figure(
    8.2, 4.6, "Without waits, host and device work at the same time",
    "Eight kernels: blue, the host asks for one; red, it runs; grey, the host waits. Short kernels: Python sets the pace.\n"
    "Long ones: the host is ahead and the device never idles, unless a float(…) after each makes the two take turns.",
)
for ax, (title, (kernel, each)) in zip(fig.subplots(3, 1, sharex=True), cases.items(), strict=True):
    host = device = 0.0  # when each is done with what it has been given so far
    for n in range(8):
        ax.broken_barh([(host, LAUNCH)], (1.1, 0.8), color=BLUE, edgecolor="white")
        host += LAUNCH
        device = max(host, device) + kernel  # it starts when it has been asked for, and the one before is done
        ax.broken_barh([(device - kernel, kernel)], (0.1, 0.8), color=VERMILION, edgecolor="white")
        if each or n == 7:
            ax.broken_barh([(host, device - host)], (1.1, 0.8), color=FAINT)
            host = device
    tidy(ax, f"{title}: {host:.0f} µs", "microseconds" if each else "").set_yticks([0.5, 1.5], ["device", "host"])
lesson.figure(fig)

# %% [markdown]
# # When a GPU pays
#
# The picture as a formula: a step takes max(launches, memory + arithmetic). (Kernels run in order, some wait for memory, others
# for arithmetic, so these two add up.) A transformer block has 4 H² + 2 H F weights (lesson 10), 12 H² with F = 4 H. Each takes
# two operations a token forwards and four backwards: 72 H² in the discriminator, which does most of the work. Kernels we counted
# once, on the stand-in: with a layer in each network, a step takes about 730, and they move 690 numbers a token and feature.

# %% An estimate
# Typical, not measured here: operations a second of a GPU and of two cores of a host, bytes a second of a GPU. Put in your own.
GPU, HOST, BANDWIDTH = 20e12, 0.1e12, 1e12
print("milliseconds a step     launches   memory   arithmetic   on the GPU   on the host")
for layers, H, tokens in ((2, 128, 1024), (12, 256, 2048), (12, 256, 16384), (12, 768, 8192)):
    launches, memory = layers * 730 * LAUNCH / 1e3, 1e3 * layers * 690 * 4 * tokens * H / BANDWIDTH
    arithmetic, host = (1e3 * layers * 72 * H * H * tokens / machine for machine in (GPU, HOST))
    print(f"{layers:2} layers, H {H}, {tokens:5} tokens {launches:7.0f} {memory:8.1f} {arithmetic:12.1f}", end="")
    print(f"{max(launches, memory + arithmetic):13.0f} {host:13.0f}")

# %% [markdown]
# The rows are `tiny`, `small` with few tokens and with many, `base`. In the first two the GPU's time goes to Python: many
# launches, with little to do for each. Many features and many tokens are what a GPU is for. What helps: no waits within a step,
# larger batches, and kernels that do several operations at once, which this package has not got yet.
#
# # Three traps
#
# 1. CuPy takes an id out of range modulo the table's length, without a word. So ids are checked on the host, before they go.
# 2. `scatter_add` on a GPU adds with many threads at once, in whatever order they arrive: the last bits differ from run to run.
# 3. The GPU draws other random numbers from the same seed. To compare devices, draw on the host and move the numbers.


# %% Your turn 1: the mean of what is not padding
def mean_of_valid(x, valid):
    """The mean of the rows of x [N, H] where valid [N] (bool) is True -> [H], of x's dtype, on x's device. No wait. Repair it."""
    kept = x[valid]
    return np.sum(kept, axis=0) / len(kept)


def check_mean_of_valid(function):
    x, valid = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32), np.arange(7) < 4
    on_device, mask, waits = fake.asarray(x), fake.asarray(valid), fake.waits
    result = function(on_device, mask)
    assert isinstance(result, FakeArray), "the result must stay on the device"
    assert fake.waits == waits, "it waits: the shape of x[valid] depends on values, and a float() needs one"
    assert result.dtype == np.float32, f"it is {result.dtype}: a count is an integer, and float32 with int64 makes float64"
    for values in (to_host(result), function(x, valid)):
        assert values.shape == (3,) and np.allclose(values, x[:4].mean(axis=0), rtol=1e-5), "the values are wrong"


lesson.exercise(
    mean_of_valid, check_mean_of_valid,
    "Rows that do not count can be multiplied by 0 instead of being left out.",
    "weights = valid.astype(x.dtype) is 1 for rows that count. weights @ x adds them up, and weights.sum() is their number.",
)


# %% Your turn 2: clipping without a question
def clip_gradient(gradient, limit):
    """Scale `gradient` [P], in place, so that its norm is at most `limit` > 0; leave it as it is where it is smaller. No wait."""
    norm = array_module(gradient).sqrt((gradient * gradient).sum())
    if norm > limit:
        gradient *= limit / norm


def check_clip_gradient(function):
    for norm, wanted in ((5.0, 2.0), (0.1, 0.1), (0.0, 0.0)):
        gradient, waits = fake.asarray(norm * np.array([0.6, -0.8])), fake.waits
        function(gradient, 2.0)
        assert fake.waits == waits, "it waits: `if` needs a number on the host"
        found = to_host(gradient)
        assert np.allclose(found, [0.6 * wanted, -0.8 * wanted]), f"norm {norm} has to become {wanted}; the gradient is {found}"


lesson.exercise(
    clip_gradient, check_clip_gradient,
    "Always multiply; the factor must come out as 1 where the norm is small enough.",
    "limit / norm is right where the norm is too large. Divide by xp.maximum of two things instead, and it is right everywhere.",
)

# %% [markdown]
# # What comes next
#
# This was the last lesson. Every layer between a line of text and a trained ELECTRA has passed through your hands. Now train one
# of your own: `python -m minielectra train`, then lesson 20 on a task that you care about. Or make the package better:
# `docs/LOG.md` says what was tried and what did not work; gradient check, stand-in and stopwatch are what a change is judged by.
#
# The real thing: `minielectra/backend/__init__.py`, `load`, `array_module`, `to_device`, `to_host`; `tests/test_fake_device.py`.

# %%
lesson.end()
