# %% [markdown]
# # 15 · The joint step: two networks, one table of words
#
# **You will be able to** run generator and discriminator through one joint step, say where each part of the
# word table's gradient comes from, choose λ with open eyes, and catch two mistakes that a gradient check
# cannot see.
#
# **Time** 45 minutes · **needs** 12, 13, 14 · **runs** 4 s
#
# A **joint step** takes one batch through both networks and back: the generator fills the masked positions,
# the discriminator judges the result, and both losses are minimised together, L = L_MLM + λ · L_RTD. **λ**
# (`disc_weight` in the package) says how much the second loss weighs. The paper uses 50, because L_RTD is
# smaller: it is soon near 0.4, whereas L_MLM starts near log V.
#
# **Tying** means using one array in more than one place. Lesson 12 tied the generator's output matrix to its
# word table. ELECTRA goes further: both networks look words up in the same table (and share positions,
# segments and their layer norm). So the table is used three times in a step, and it receives a **shared
# gradient**: the sum of what the three uses send back.

# %%
from dataclasses import replace  # a copy of a configuration with some fields changed

import numpy as np
import toy
from course import begin

from minielectra import objectives
from minielectra.electra.corruption import mask_batch, replace_tokens, sample_categorical
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.gradcheck import gradient_check
from minielectra.nn.layers import PassContext
from minielectra.nn.parameters import Parameters, replica
from minielectra.ops.reference import losses
from minielectra.plots.style import BLUE, GREEN, VERMILION, figure, legend, line, tidy
from minielectra.pretraining.pretraining_config import PretrainingConfig

lesson = begin("15_joint")
random = np.random.default_rng(15)
context = PassContext()  # no dropout
settings = PretrainingConfig(generator_width=0.5, disc_weight=3.0, seq_length=toy.LENGTH)
config = ElectraConfig(
    vocab_size=len(toy.VOCABULARY),
    max_position_embeddings=toy.LENGTH,
    embedding_size=6,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=10,
)


# The package calls the two networks towers. A parameter that is declared twice under one name is the same
# parameter: both towers declare the tables, and each declares everything else under its own prefix.
def towers(parameters):
    """Generator and discriminator over the same parameters.

    The generator is half as wide as the discriminator, except for the tables, which both use. The paper found
    a quarter to a half best: against a stronger generator the discriminator's task may become too hard.
    """
    generator = ElectraForMaskedLM(config.generator(0.5), parameters, "generator.")
    return generator, ElectraForPreTraining(config, parameters, "discriminator.")


parameters = Parameters(dtype=np.float64)
generator, discriminator = towers(parameters)
loose_generator, loose_discriminator = towers(parameters)  # the same once more, for an experiment below
parameters.flat[...] = 0.5 * random.standard_normal(parameters.size)  # so γ ≠ 1, and biases ≠ 0


def masked_batch(count, random):
    """-> MaskedBatch, as in lesson 12."""
    ids, special = toy.batch(count, random), (toy.PAD, toy.CLS, toy.SEP, toy.MASK)
    valid, segments = ids != toy.PAD, np.zeros_like(ids)
    return mask_batch(ids, valid, segments, special, toy.MASK, config.vocab_size, settings, random)


batch = masked_batch(5, random)


# %% Long form: one network after the other
def forward(generator, discriminator, samples=None, labels=None):
    """All stages -> L_MLM, L_RTD, (samples, corrupted ids, replaced), caches.

    samples, labels: used instead of what would be drawn and what would be right.
    """
    chosen, tokens = batch.normalizers()  # how many positions are chosen, and how many tokens are not padding
    # masked ids -> logits at the chosen positions -> loss
    rows = (np.arange(5)[:, None] * toy.LENGTH + batch.positions).reshape(-1)  # of [B·T]
    mlm_logits, gen_cache = generator.forward(batch.masked_ids, batch.valid, batch.segments, rows, context)
    targets, weights = batch.input_ids.reshape(-1)[rows], batch.weights.reshape(-1).astype(np.float64)
    mlm_loss, mlm_cache = losses.cross_entropy_forward(mlm_logits, targets, weights, chosen)
    # the generator's probabilities -> samples -> corrupted ids and labels
    if samples is None:
        samples = sample_categorical(mlm_cache.p, random.random(len(rows))).reshape(batch.positions.shape)
    corrupted, replaced = replace_tokens(batch.input_ids, batch.positions, batch.weights > 0, samples)
    # corrupted ids -> a logit for every token -> loss
    rtd_logits, disc_cache = discriminator.forward(corrupted, batch.valid, batch.segments, context)
    labels = replaced if labels is None else labels
    flat_labels, flat_valid = 1.0 * labels.reshape(-1), 1.0 * batch.valid.reshape(-1)
    rtd_loss, rtd_cache = losses.binary_cross_entropy_forward(rtd_logits, flat_labels, flat_valid, tokens)
    return mlm_loss, rtd_loss, (samples, corrupted, replaced), (gen_cache, mlm_cache, disc_cache, rtd_cache)


def backward(generator, discriminator, caches):
    """Add the gradient of L_MLM + λ L_RTD to the gradient of every parameter."""
    gen_cache, mlm_cache, disc_cache, rtd_cache = caches
    # L = … + λ · rtd_loss
    drtd_logits = losses.binary_cross_entropy_backward(rtd_cache, settings.disc_weight)
    discriminator.backward(drtd_logits, disc_cache, context)  # rtd_logits = discriminator(corrupted)
    # corrupted = replace_tokens(…, samples): integers. Nothing goes back to the generator here.
    dmlm_logits = losses.cross_entropy_backward(mlm_cache)  # L = mlm_loss + …
    generator.backward(dmlm_logits, gen_cache, context)  # mlm_logits = generator(masked)


_, _, (samples, _, _), _ = forward(generator, discriminator)
# an untrained generator seldom guesses right: help it, once
samples[0, 0] = batch.input_ids[0, batch.positions[0, 0]]
mlm_loss, rtd_loss, (_, corrupted, replaced), caches = forward(generator, discriminator, samples)
backward(generator, discriminator, caches)
joint_gradient = parameters.grad.copy()
for name, ids in (("original", batch.input_ids), ("masked", batch.masked_ids), ("corrupted", corrupted)):
    print(f"{name:10}", " ".join(toy.words(ids[1])))
labels = 1 * replaced[1, batch.valid[1]]
print("labels    ", labels, f"  L = {mlm_loss:.3f} + {settings.disc_weight} · {rtd_loss:.3f}")

# %% [markdown]
# # Why nothing flows through the sample, and why three uses add up
#
# A sample is a choice between integers. Move a parameter of the generator a little, and with the same random
# numbers the same words come out: the derivative is 0, except at the rare point where a choice flips and L
# jumps. So L_RTD has no effect on the generator's own parameters: the generator is not trained to fool
# anybody, only to predict. The finite differences below keep the samples fixed.
#
# Give the table a name for each use: W₁ in the generator's input, W₂ in its output, W₃ in the discriminator's
# input. Move W by a little ΔW, and all three move by it. By the chain rule ΔL = Σ ∂L/∂W₁ ΔW + Σ ∂L/∂W₂ ΔW + Σ
# ∂L/∂W₃ ΔW, and therefore
#
#     ∂L/∂W = ∂L/∂W₁ + ∂L/∂W₂ + ∂L/∂W₃
#
# To see the three parts, we really give each use a copy of its own, with a gradient of its own.

# %% Long form of the shared gradient: a copy for every use
USES = ("generator, input", "generator, output", "discriminator, input")


def untie(generator, discriminator):
    """Let each use of the table read a copy of its own -> the three copies, each with .value and .grad."""
    table = generator.embeddings.word
    own = Parameters(dtype=table.value.dtype)
    copies = [own.declare(use, table.shape) for use in USES]
    for copy in copies:
        copy.value[...] = table.value
    generator.embeddings.word, generator.output.weight, discriminator.embeddings.word = copies
    return copies


copies = untie(loose_generator, loose_discriminator)
loose_loss, _, _, loose_caches = forward(loose_generator, loose_discriminator, samples)
backward(loose_generator, loose_discriminator, loose_caches)
shares = [copy.grad for copy in copies]
# the table is declared first, so it is first in the buffer
table, size = generator.embeddings.word, shares[0].size
for use, share in zip(USES, shares, strict=True):
    used = share.any(axis=1).sum()
    print(f"{use:21} norm {np.linalg.norm(share):.3f}   rows that are not zero: {used} of {len(share)}")
lesson.same("their sum against the table's gradient", sum(shares).reshape(-1), joint_gradient[:size])
# An input's share is zero for words that do not occur. The output's share has no zero row, because every word
# is a candidate.

# %% Collapsed form: the objective
# An *objective* of the package is one or more networks together with what is minimised. `objectives.make`
# gives the one that the settings name; by default that is ELECTRA's, `minielectra/objectives/electra.py`. Its
# two networks are made as ours are, so its parameters stand in the same order.
joint = objectives.make(config, settings, dtype=np.float64)
joint.parameters.flat[...] = parameters.flat
outcome, cache = joint.forward(batch, batch.normalizers(), context, samples=samples)
joint.backward(cache, context)
lesson.same("L_MLM and L_RTD", [mlm_loss, rtd_loss], outcome.losses)


# %% Check
def loss(labels=None):
    mlm_loss, rtd_loss, _, _ = forward(generator, discriminator, samples, labels)
    return mlm_loss + settings.disc_weight * rtd_loss


lesson.check(loss, {"all": parameters.flat}, {"all": joint_gradient}, {"all": joint.parameters.grad})

# %% The common mistake: a right guess is labelled replaced
# "We chose these positions, so they are fake." But if the generator guesses the original word, nothing is
# replaced.
wrong_labels = np.zeros_like(batch.valid)
wrong_labels[np.arange(5)[:, None], batch.positions] = batch.weights > 0
share = wrong_labels[batch.valid].mean()
print(f"checks that miss it: a share of {share:.2f} labelled 1, near 15 %; and the gradients agree")
parameters.zero_grad()
_, _, _, wrong_caches = forward(generator, discriminator, samples, wrong_labels)
backward(generator, discriminator, wrong_caches)
# To a gradient, labels are constants.
lesson.check(lambda: loss(wrong_labels), {"all": parameters.flat}, {"all": parameters.grad})
print("checks that expose it: the labels where ids are equal, and the loss of two perfect networks")
print("(nothing is replaced, and all logits are −20)")
for name, labels, perfect in (("right", replaced, 0 * wrong_labels), ("wrong", wrong_labels, wrong_labels)):
    terms = np.full(labels.shape, -20.0), 1.0 * perfect, 1.0 * batch.valid, batch.valid.sum()
    best, _ = losses.binary_cross_entropy_forward(*terms)
    lies = (labels & (corrupted == batch.input_ids)).sum()
    print(f"{name} labels: {lies} of equal ids are 1; perfect L_RTD {best:.3f}")

# %% Another mistake: after loading or copying, the output holds a copy of the table
print("checks that miss it: the loss right afterwards, and a gradient check of the untied model itself")
lesson.same("L_MLM, tied and untied", mlm_loss, loose_loss)


def untied_loss():
    return forward(loose_generator, loose_discriminator, samples)[0]


lesson.check(untied_loss, {"copy": copies[1].value}, {"copy": shares[1]})
print("checks that expose it: the tied loss, and a look at the memory")
lesson.exposes(loss, {"word table": table.value}, {"word table": shares[0] + shares[2]})
outputs = generator.output.weight.value, loose_generator.output.weight.value
shared = [np.shares_memory(output, table.value) for output in outputs]
print("one memory for output and table, tied and untied:", shared)

# %% See: the three shares as λ grows, in a larger pair of networks
random = np.random.default_rng(0)
larger = replace(config, embedding_size=32, hidden_size=32, num_attention_heads=4, intermediate_size=64)
model = objectives.make(larger, replace(settings, disc_weight=1.0))
for name, shape in model.parameters.shapes.items():  # matrices at random, γ = 1, biases 0
    matrix = random.standard_normal(shape) * shape[-1] ** -0.5
    model.parameters[name].value[...] = matrix if len(shape) == 2 else name.endswith("LayerNorm.weight")


def joint_pass(model, batch, random):
    """Forward and backward; the gradient is added to model.parameters.grad."""
    uniform = random.random(batch.positions.size)  # what the samples are drawn with
    _, cache = model.forward(batch, batch.normalizers(), context, uniform=uniform)
    model.backward(cache, context)


fig = figure(
    9.5,
    4,
    "The larger λ, the more the word table belongs to the discriminator",
    "Norm of what each use adds to the table's gradient. Dotted: the λ at which the generator's two shares\n"
    "together are as strong as the discriminator's. Left: random weights; right: after 100 joint steps\n"
    "with λ = 1.",
)
lambdas = np.geomspace(0.1, 100, 31)  # from 0.1 to 100, each larger than the one before by the same factor
for ax, steps in zip(fig.subplots(1, 2, sharey=True), (0, 100), strict=True):
    for _ in range(steps):
        model.parameters.zero_grad()
        joint_pass(model, masked_batch(32, random), random)
        model.parameters.flat[...] -= np.float32(0.3) * model.parameters.grad
    # `replica`: the same model once more, over any memory; here over the same weights, with other gradients
    apart = replica(model, np, model.parameters.flat, np.zeros_like(model.parameters.grad))
    grads = [copy.grad for copy in untie(apart.generator, apart.discriminator)]
    joint_pass(apart, masked_batch(300, np.random.default_rng(1)), np.random.default_rng(2))
    equal = np.linalg.norm(grads[0] + grads[1]) / np.linalg.norm(grads[2])
    tidy(ax, f"after {steps} steps", "λ", "norm of the share").set(xscale="log", yscale="log")
    for grad, power, use, colour in zip(grads, (0, 0, 1), USES, (BLUE, GREEN, VERMILION), strict=True):
        line(ax, lambdas, np.linalg.norm(grad) * lambdas**power, color=colour, label=use)
    ax.axvline(equal, color="black", linestyle=":")
    print(f"{steps} steps: equal at λ = {equal:.1f};", end=" ")
    print(f"at 50 the discriminator's share is {50 / equal:.1f} times as large")
legend(ax, loc="upper left")
lesson.figure(fig)
# Over eight seeds it was 4 to 11 at first, and 15 to 41 later: the discriminator finds its baseline and pulls
# less. The lessons that train on real text have λ = 3.

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/15_joint.py --hints`.


# %% Your turn 1: judge the chosen positions only
def chosen_only(logits, labels, positions, used):
    """The paper's "ELECTRA 15 %": binary cross-entropy as the mean over the used positions alone.

    logits, labels [B, T], positions, used [B, K]; labels and used are bool -> loss, dlogits [B, T]
    """
    raise NotImplementedError("yours to write")


def check_chosen_only(function):
    logits, labels = np.random.default_rng(4).standard_normal((2, 6)), np.arange(12).reshape(2, 6) % 3 == 1
    positions, used = np.array([[4, 1, 0], [2, 5, 2]]), np.array([[True, True, False], [True, True, False]])
    loss, dlogits = function(logits, labels, positions, used)
    expected = np.log1p(np.exp(np.where(labels, -logits, logits)))[[0, 0, 1, 1], [4, 1, 2, 5]].mean()
    message = f"the mean over the four used positions is {expected:.4f}, not {loss:.4f}"
    assert abs(loss - expected) < 1e-12, message

    def first():
        return function(logits, labels, positions, used)[0]

    gradient_check(first, {"logits": logits}, {"logits": dlogits})


lesson.exercise(
    chosen_only,
    check_chosen_only,
    "It is the same loss with other weights. Which tokens have weight 1, and what is the normalizer?",
    "Weights [B, T] start at 0 and become 1 at used positions; an unused slot may name any position, "
    "even a used one. Then call binary_cross_entropy_forward and _backward, with the labels as floats.",
)


# %% Your turn 2: a table that only the generator writes
def one_way_backward(generator, discriminator, dmlm_logits, gen_cache, drtd_logits, disc_cache):
    """Both backward passes, as usual, but the word table receives only the generator's two shares.

    Returns nothing.
    """
    raise NotImplementedError("yours to write")


def check_one_way_backward(function):
    _, _, _, (gen_cache, mlm_cache, disc_cache, rtd_cache) = forward(generator, discriminator, samples)
    before, wanted = np.random.default_rng(8).standard_normal(parameters.size), joint_gradient.copy()
    parameters.grad[...], wanted[:size] = before, (shares[0] + shares[1]).reshape(-1)
    dmlm = losses.cross_entropy_backward(mlm_cache)
    drtd = losses.binary_cross_entropy_backward(rtd_cache, settings.disc_weight)
    function(generator, discriminator, dmlm, gen_cache, drtd, disc_cache)
    added = parameters.grad - before
    difference = np.abs(added - wanted)
    unchanged = np.abs(added - joint_gradient)[:size].max() < 1e-6
    assert not unchanged, "the discriminator's share is still in the table's gradient"
    assert difference[:size].max() < 1e-12, (
        "the table must get the generator's shares, added to what was there"
    )
    assert difference[size:].max() < 1e-12, "all other gradients must be as in the joint step"


lesson.exercise(
    one_way_backward,
    check_one_way_backward,
    "generator.embeddings.word.grad is the table's gradient, for "
    "the discriminator too. What can be kept, and put back?",
    "Copy the table's gradient, run discriminator.backward(drtd_logits, disc_cache, "
    "PassContext()), and put the copy back with [...] = …; then run the generator's.",
)

# %% [markdown]
# # What comes next
#
# Plain gradient descent moves every parameter by the same multiple of the joint gradient; lesson 16 gives
# every number a step size of its own.
#
# The real thing: `minielectra/objectives/replacing.py`, `Replacing.forward` and `backward`, with the
# discriminator's part in `electra.py` beside it. In training it is `forward_backward` that runs: it takes the
# generator there and back before the discriminator begins, so that the two can use the same memory. The
# gradients only meet in the table, where they add up, so the order does not matter.

# %%
lesson.end()
