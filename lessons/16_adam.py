# %% [markdown]
# # 16 · Adam: a step size of its own for every number
#
# **You will be able to** write ELECTRA's training step without a library, say how far Adam moves and why its
# first steps are too long, and catch two versions of it that look right and are not.
#
# **Time** 50 minutes · **needs** 5, 15 · **runs** 10 s
#
# **Momentum** replaces the gradient in gradient descent by a mean of the recent gradients, m: what flips from
# step to step cancels, what stays adds up. **Adam** also keeps a mean of their squares, v, and divides by its
# root: a number moves by how much its gradients *agree*, not by how large they are. Both means start at 0:
#
#     m ← β₁ m + (1 − β₁) g          β₁ = 0.9, about the last 10 gradients
#     v ← β₂ v + (1 − β₂) g²         β₂ = 0.999, about the last 1000
#     p ← p − lr (m / (√v + ε) + decay · p)          ε = 10⁻⁶, so that nothing is divided by 0
#
# The last term is **weight decay**: every weight loses lr · 0.01 of itself, but layer norms and biases lose
# nothing.
#
# A **training step** is all that happens to one batch. It consists of the forward pass, the backward pass,
# **clipping**, which shortens the gradient of all parameters together to length 1 if it is longer, and Adam's
# update, at the learning rate of this step. That rate first grows, which is called the **warm-up**, and
# then falls:
#
#     lr(t) = peak · (1 − t/T) · min(1, t/warm-up)          t = 0, 1, 2, …, T steps in all

# %%
import numpy as np
import toy
from course import begin, relative_error

from minielectra import objectives
from minielectra.backend import Purpose, RandomStream
from minielectra.electra.corruption import mask_batch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.nn.layers import PassContext
from minielectra.nn.parameters import Parameters
from minielectra.optim.adam import Adam
from minielectra.optim.buffer_blocks import decays
from minielectra.optim.clipping import clip_scale
from minielectra.optim.schedule import learning_rate
from minielectra.plots.style import BLUE, GREEN, GREY, VERMILION, figure, legend, line, tidy
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.training.step import training_step

lesson = begin("16_adam")
random = np.random.default_rng(16)
BETA1, BETA2, EPSILON, DECAY = 0.9, 0.999, 1e-6, 0.01
STEPS, PEAK, WARMUP = 12, 0.1, 4
SHAPES = {"dense.weight": (2, 3), "dense.bias": (2,), "LayerNorm.weight": (3,)}
starts = {name: random.standard_normal(shape) for name, shape in SHAPES.items()}
gradients = [{name: random.standard_normal(shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]

# %% Long form: every step, every parameter, every number
p = {name: value.copy() for name, value in starts.items()}
m = {name: np.zeros(shape) for name, shape in SHAPES.items()}
v = {name: np.zeros(shape) for name, shape in SHAPES.items()}
for t in range(STEPS):
    norm = sum(g**2 for array in gradients[t].values() for g in array.flat) ** 0.5
    scale = 1.0 / norm if norm > 1.0 else 1.0  # clipping
    lr = PEAK * (1.0 - t / STEPS) * min(1.0, t / WARMUP)
    for name, shape in SHAPES.items():
        decay = DECAY if name == "dense.weight" else 0.0
        for i in np.ndindex(shape):  # all index tuples of this shape
            g = gradients[t][name][i] * scale
            m[name][i] = BETA1 * m[name][i] + (1.0 - BETA1) * g
            v[name][i] = BETA2 * v[name][i] + (1.0 - BETA2) * g**2
            direction = m[name][i] / (v[name][i] ** 0.5 + EPSILON)  # ε is added after the root
            p[name][i] -= lr * (direction + decay * p[name][i])
    if t in (0, 1, 11):  # the first step moves nothing: its learning rate is 0
        first_weight = p["dense.weight"][0, 0]
        print(
            f"step {t:2}   norm {norm:.2f} -> {norm * scale:.2f}   "
            f"lr {lr:.4f}   first weight {first_weight:+.4f}"
        )

# %% [markdown]
# # Collapsed form
#
# Apart from the norm, no number depends on another one. So all parameters stand in one flat buffer, and so do
# the gradients, m, v and the decay (0.01 or 0). With d = m/(√v + ε), p − lr (d + decay · p) = p
# (1 − lr · decay) − lr d: every weight first shrinks by a factor, and then moves. The factor has nothing to
# do with the gradients: the decay is *decoupled* from Adam.


# %% Check: flat against long form against the library
def adam(p, gradient, rates, decay=0.0, inside=False, coupled=False):
    """The path [T + 1, P] of p [P] at learning rates [T], with gradient(p, t) [P].

    inside, coupled: two mistakes, which are tried further down.
    """
    path, m, v = [p], 0.0, 0.0
    for t, lr in enumerate(rates):
        g = gradient(p, t) + decay * p if coupled else gradient(p, t)
        m = BETA1 * m + (1.0 - BETA1) * g
        v = BETA2 * v + (1.0 - BETA2) * g**2
        d = m / np.sqrt(v + EPSILON) if inside else m / (np.sqrt(v) + EPSILON)
        p = p - lr * d if coupled else p * (1.0 - lr * decay) - lr * d
        path.append(p)
    return np.array(path)


def flatten(arrays):
    """{name: array} -> all numbers in one array [P], in the order of SHAPES."""
    return np.concatenate([arrays[name].reshape(-1) for name in SHAPES])


clipped = []
for arrays in gradients:
    g = flatten(arrays)
    clipped.append(g * clip_scale(np.linalg.norm(g), 1.0))
decay_flat = np.concatenate([np.full(np.prod(shape), DECAY * decays(name)) for name, shape in SHAPES.items()])
rates = [learning_rate(t, STEPS, PEAK, WARMUP) for t in range(STEPS)]
end = adam(flatten(starts), lambda p, t: clipped[t], rates, decay_flat)[-1]
lesson.same("parameters after 12 steps, number by number against flat", flatten(p), end)

parameters = Parameters(dtype=np.float64)
for name, shape in SHAPES.items():
    parameters.declare(name, shape)
parameters.flat[...] = flatten(starts)
optimizer = Adam(parameters, PretrainingConfig())
for g, lr in zip(clipped, rates, strict=True):
    optimizer.update(g, lr)
lesson.same("parameters against the library", end, parameters.flat)

# %% [markdown]
# # How far does Adam move?
#
# Let the gradient be the same g at every step, and leave out ε and the decay. After the t-th update
#
#     m₁ = (1 − β₁) g,  m₂ = β₁ (1 − β₁) g + (1 − β₁) g = (1 − β₁²) g,  …  m = (1 − β₁ᵗ) g,  v = (1 − β₂ᵗ) g²
#
#     move = lr · m / √v = lr · (1 − β₁ᵗ) / √(1 − β₂ᵗ) · g/|g|
#
# **The size of g is gone.** After many steps the powers are 0 and the move is lr: that is the step of a
# number whose gradients agree.
#
# **The first steps are too long.** At t = 1 the factor is 0.1/√0.001 = 3.16, and it still grows: after ten
# updates m is most of g, but v is only 1 % of g², and its root 10 % of |g|. The inventors of Adam divide m by
# 1 − β₁ᵗ and v by 1 − β₂ᵗ (the bias correction), and then the factor is 1. ELECTRA's released code leaves
# that out; the warm-up hides it.
#
# **What flips is damped.** With +g, −g, +g, … m ends up flipping from −a to +a: a = β₁ (−a) + (1 − β₁) g, and
# therefore a = g (1 − β₁)/(1 + β₁) = g/19, while v = g². The move is lr/19.
#
# **Clipping keeps the direction**: all of g is multiplied by one number c, and c g/|c g| = g/|g|. Clipping
# every number by itself turns the gradient. Since the size of g cancels, Adam needs clipping only for rare
# outliers: a gradient 100 times as long as usual stays in v for more than a thousand steps.

# %% Measured
T, t = 10_000, np.arange(1, 10_001)
factor = (1.0 - BETA1**t) / np.sqrt(1.0 - BETA2**t)
warmup = np.array([learning_rate(step, T, 1.0, 600) for step in range(T)])
cases = {
    "1000": lambda p, t: 1000.0,
    "±1": lambda p, t: (-1.0) ** t,
    "100": lambda p, t: 100.0 if t == 500 else 1.0,  # one outlier
}
moves = {}
for name, gradient in cases.items():
    path = adam(np.zeros(1), gradient, np.ones(T))[:, 0]
    moves[name] = -np.diff(path)  # diff: the differences of neighbours
# The formula leaves ε out.
lesson.same("move / lr, derived and measured, g = 1000", factor, moves["1000"], tolerance=1e-7)
print(f"moves: first {factor[0]:.2f}, longest {factor.max():.2f}, 1000th {factor[999]:.2f}; ", end="")
print(f"with warm-up {max(factor * warmup):.2f} at most")
print(f"±1: {abs(moves['±1'][-1]):.4f}, 1/19 is {1 / 19:.4f}; ", end="")
print(f"500 steps after a 100: {moves['100'][1000]:.2f}, not {factor[1000]:.2f}")
g = np.array([30.0, -4.0, 0.3])
by_norm, by_number = g * clip_scale(np.linalg.norm(g), 1.0), np.clip(g, -1.0, 1.0)
for how, short in (("by the norm", by_norm), ("number by number", by_number)):
    direction, clipped_direction = (vector / np.linalg.norm(vector) for vector in (g, short))
    print(f"direction {direction.round(3)}, clipped {how} {clipped_direction.round(3)}")

# %% Two mistakes, the checks that miss them and the checks that expose them
weights, noise = random.standard_normal(5), random.standard_normal((100, 5))
for mistake, what in (("inside", "ε under the root"), ("coupled", "decay added to the gradient")):
    for size, steps in ((100.0, 3), (1e-5, 100)):
        arguments = weights, lambda p, t, size=size: size * noise[t], np.full(steps, 1e-3), DECAY
        error = relative_error(adam(*arguments)[-1], adam(*arguments, **{mistake: True})[-1])
        assert (error < 1e-4) == (steps == 3), (
            "a check missed what it was meant to expose, or the other way round"
        )
        print(f"{what:27}   {steps:3} steps, gradients about {size:5g}: parameters differ by {error:.0e}")
# A few steps with large gradients miss both. √(v + ε) is never below 0.001, so numbers with smaller gradients
# hardly move. A decay that is part of the gradient is divided by √v too: if there is little other gradient, a
# weight runs to 0 at full speed, however small the decay is.

# %% See: three ways down a narrow valley, and how long Adam's steps are
CURVE, start = np.array([1.0, 40.0]), np.array([-4.0, 1.0])  # L = (a² + 40 b²)/2 has the gradient (a, 40 b)
paths = {}
for name, beta in (("gradient descent", 0.0), ("momentum", 0.9)):
    path, m = [start], 0.0
    for _ in range(60):
        m = beta * m + (1.0 - beta) * CURVE * path[-1]
        path.append(path[-1] - 0.045 * m)
    paths[name] = np.array(path)
paths["Adam"] = adam(start, lambda p, t: CURVE * p, [learning_rate(step, 60, 0.04, 5) for step in range(60)])
fig = figure(
    10,
    6,
    "Descent zigzags, momentum averages, Adam forgets which way is steep",
    "Three times 60 steps from (−4, 1) down L = (a² + 40 b²)/2. Grey: places of equal loss, which is\n"
    "lowest at (0, 0). Last: how far Adam moves a number whose gradient is constant, in units of the\n"
    "peak learning rate.",
)
*valleys, last = fig.subplots(2, 2).flat
a, b = np.meshgrid(np.linspace(-4.5, 1.2, 150), np.linspace(-1.2, 1.2, 150))  # all pairs of both
for ax, (name, path), colour in zip(valleys, paths.items(), (BLUE, GREEN, VERMILION), strict=True):
    tidy(ax, f"{name}: L = {(CURVE * path[-1] ** 2).sum() / 2:.3f} at the end", "a", "b").grid(False)
    ax.contour(a, b, (a**2 + 40 * b**2) / 2, levels=[0.1, 0.5, 2, 5, 10, 20], colors=GREY, linewidths=0.5)
    ax.plot(*path.T, color=colour, marker=".", markersize=4, linewidth=1)
tidy(last, "Adam's moves", "update", "move / peak").set(xscale="log")
line(last, t, factor, color=GREY, label="constant learning rate")
line(last, t, factor * warmup, color=VERMILION, label="600 of 10 000 steps warm-up")
line(last, t, warmup, color=BLUE, label="that learning rate", linestyle="--")
legend(last)
lesson.figure(fig)

# %% [markdown]
# # The training step
#
# All parts are there, so a whole step fits into one function: zero the gradients, forward, backward, clip,
# update. Random numbers, for the samples and for dropout, come from a stream whose key names the seed and the
# step (lesson 8), and also says what the numbers are for. The package has an enumeration for that, `Purpose`.


# %% The training step in code
def step(objective, optimizer, batch, rate, seed, number):
    """Step `number` of a training -> L_MLM, L_RTD."""
    parameters = objective.parameters
    parameters.zero_grad()
    context = PassContext(random=RandomStream((seed, Purpose.STEP, number, 0)))  # 0: see lesson 17
    outcome, cache = objective.forward(batch, batch.normalizers(), context)
    objective.backward(cache, context)
    norm = np.sqrt((parameters.grad**2).sum())
    optimizer.update(parameters.grad, rate, clip_scale(norm, objective.config.clip_norm), number)
    return outcome.losses


settings = PretrainingConfig(generator_width=0.5, disc_weight=50.0, seq_length=toy.LENGTH)
config = ElectraConfig(
    vocab_size=len(toy.VOCABULARY),
    max_position_embeddings=toy.LENGTH,
    embedding_size=32,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=64,
)


def masked_batch(count, random):
    """New sentences -> MaskedBatch."""
    ids = toy.batch(count, random)
    valid, segments, special = ids != toy.PAD, np.zeros_like(ids), range(len(toy.SPECIAL))
    return mask_batch(ids, valid, segments, special, toy.MASK, config.vocab_size, settings, random)


def fill(parameters, random):
    """Random matrices, γ = 1, biases 0."""
    for name, shape in parameters.shapes.items():
        if len(shape) > 1:
            parameters[name].value[...] = random.standard_normal(shape) / shape[-1] ** 0.5
        else:
            parameters[name].value[...] = 1.0 if "LayerNorm.weight" in name else 0.0


# The package's step is `training_step`, in minielectra/training/step.py; lesson 17 reads it line by line. Two
# objectives with the same weights take three steps, one with our step and one with the package's. The package
# may use several copies of an objective; here it gets one.
random = np.random.default_rng(16)
ours, theirs = (objectives.make(config, settings, dtype=np.float64) for _ in range(2))
fill(ours.parameters, random)
theirs.parameters.flat[...] = ours.parameters.flat
our_adam, their_adam = Adam(ours.parameters, settings), Adam(theirs.parameters, settings)
for number in range(3):
    batch, rate = masked_batch(16, random), 0.001 * (number + 1)
    losses = step(ours, our_adam, batch, rate, 7, number)
    result = training_step([theirs], their_adam, batch, rate, 7, number)
    lesson.same(f"step {number}: both losses, ours against the package's", losses, result.losses)
lesson.same("all parameters after three steps", ours.parameters.flat, theirs.parameters.flat)


# %% Train with it: lesson 15's joint loss with the paper's λ = 50, three ways, same sentences
def one_batch(model, count, random):
    """Forward and backward over new sentences, without dropout -> L_MLM."""
    batch, context = masked_batch(count, random), PassContext()
    uniform = random.random(batch.positions.size)
    outcome, cache = model.forward(batch, batch.normalizers(), context, uniform=uniform)
    model.backward(cache, context)
    return outcome.gen_loss


def train(way, peak):
    """Prints the loss on held-out text -> parameters, optimizer."""
    random, model = np.random.default_rng(0), objectives.make(config, settings)
    p, optimizer = model.parameters, Adam(model.parameters, settings)
    fill(p, random)
    for step in range(201):
        if step in (40, 100, 200):
            held_out_loss = one_batch(model, 300, np.random.default_rng(1))
            print(f"{way:25} step {step:3}   L_MLM {held_out_loss:.2f}")
        p.zero_grad()
        one_batch(model, 32, random)
        scale = clip_scale(float(np.linalg.norm(p.grad)), 1.0) if "clipped" in way else 1.0
        rate = learning_rate(step, 201, peak, 20)
        if "Adam" in way:
            optimizer.update(p.grad, rate, scale)
        else:
            p.flat[...] -= np.float32(rate * scale) * p.grad
    return p, optimizer


# Each peak was tried against half, one and a half times and twice as much.
for way, peak in (("gradient descent", 0.05), ("gradient descent, clipped", 1.5), ("Adam, clipped", 0.003)):
    p, optimizer = train(way, peak)
chosen = (
    "discriminator.discriminator_predictions.dense_prediction.weight",
    "generator.electra.encoder.layer.0.output.dense.weight",
)
for name in chosen:
    m, v = (moment[slice(*p.span(name))] for moment in (optimizer.first, optimizer.second))
    d = m / (np.sqrt(v) + EPSILON)
    network, sizes = name.split(".")[0], (v.mean() ** 0.5, (d**2).mean() ** 0.5)
    print("{:13}   root of the mean of v {:.5f}, of d² {:.2f}".format(network, *sizes))
# Clipping gains the most: the first gradients are more than a hundred long. With five seeds Adam ended
# between 0.14 below clipped descent and 0.08 above it, which is no difference to build on. But gradients that
# differ by a factor of 50 became moves of the same size: lr means the same for all numbers.

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/16_adam.py --hints`.


# %% Your turn 1: Adam as its inventors wrote it
def corrected_adam(p, gradients, lr):
    """p [P], gradients [T, P] -> p after T updates of Adam with bias correction.

    No decay, no clipping; ε = 1e-6.
    """
    raise NotImplementedError("yours to write")


def check_corrected_adam(function):
    several = random.standard_normal((7, 4)) * [1.0, 1e-3, 50.0, 1.0]
    place = Parameters(dtype=np.float64)
    place.declare("place.bias", (4,))  # a bias, so there is no decay
    library = Adam(place, PretrainingConfig(bias_correction=True))
    first = np.abs(function(np.zeros(4), several[:1], 0.1))
    for step, g in enumerate(several):
        library.update(g, 0.1, step=step)
    assert np.abs(first - 0.1).max() < 1e-3, (
        f"the first step is as long as lr = 0.1 for every number, not {first}"
    )
    error = relative_error(function(np.zeros(4), several, 0.1), place.flat)
    assert error < 1e-9, "the first step is right, later ones are not"


lesson.exercise(
    corrected_adam,
    check_corrected_adam,
    "Keep m and v as they are, and use divided copies of both "
    "in the update. Which t belongs to the first update?",
    "The first update has t = 1: m / (1 − β₁ᵗ) and v / (1 − β₂ᵗ), then the division by √… + ε.",
)


# %% Your turn 2: how long a warm-up?
def shortest_warmup(beta1, beta2, limit, steps):
    """The smallest number w ≥ 1 of warm-up steps for which no move is longer than limit · peak.

    The gradient is constant. Updates t = 1 … steps have the learning rates peak · min(1, (t − 1)/w); the
    falling line is left out.
    """
    raise NotImplementedError("yours to write")


def check_shortest_warmup(function):
    for beta2, limit, expected in ((0.999, 1.5, 587), (0.999, 3.0, 117), (0.98, 1.5, 22)):
        got = function(0.9, beta2, limit, 5000)
        assert got == expected, f"β₂ = {beta2}, limit {limit}: {expected} steps, not {got}"


lesson.exercise(
    shortest_warmup,
    check_shortest_warmup,
    "You have a formula for the move without warm-up. Multiply it by "
    "min(1, (t − 1)/w), take the largest, and try w = 1, 2, 3, …",
    "With t = np.arange(1, steps + 1): move = (1 − β₁ᵗ)/√(1 − β₂ᵗ), and np.minimum(1, (t − 1)/w).",
)

# %% [markdown]
# # What comes next
#
# All parts of training are there. Lesson 17 runs the step 1500 times, on real text, and watches which words
# the discriminator sees through, and when.
#
# The real thing: `minielectra/optim/adam.py`, and `training_step` in `minielectra/training/step.py`.

# %%
lesson.end()
