"""Mistakes in what is learned: the tied matrix, losses, labels, samples, the step and the optimizer."""

import copy
from dataclasses import replace

import numpy as np

from minielectra import ops
from minielectra.electra.corruption import MaskedNormalizers
from minielectra.nn.layers import TiedLinear
from minielectra.objectives import replacing
from minielectra.optim import buffer_blocks, schedule
from minielectra.optim.adam import Adam
from minielectra.training import engine
from minielectra.training.worker import Worker

from . import chances, checks
from .mutation import Mutants

MUTANTS = Mutants()


# --- the output matrix


@MUTANTS.add("the output matrix adds nothing to the word table's gradient")
def _(mp):
    def backward(self, dy, cache, context):
        unused = np.zeros_like(self.weight.grad)
        return ops.linear_backward(dy, cache, unused, self.bias.grad, workspace=context.workspace)

    mp.setattr(TiedLinear, "backward", backward)


@MUTANTS.add("the output matrix is a copy of the word table", check="training, float64")
def _(mp):
    forward = TiedLinear.forward

    def untied(self, x, context):
        if not hasattr(self, "table"):
            self.table, self.weight = self.weight, copy.copy(self.weight)
            self.weight.value, self.weight.grad = self.table.value.copy(), np.zeros_like(self.table.grad)
        return forward(self, x, context)

    mp.setattr(TiedLinear, "forward", untied)


# --- losses and labels


@MUTANTS.add("the MLM loss is divided by the number of slots", hidden=True)
def _(mp):
    original = ops.cross_entropy_forward
    mp.setattr(ops, "cross_entropy_forward", lambda x, y, w, z: original(x, y, w, len(w)))


@MUTANTS.add("unused slots count in the MLM loss", hidden=True)
def _(mp):
    original = ops.cross_entropy_forward
    mp.setattr(ops, "cross_entropy_forward", lambda x, y, w, z: original(x, y, np.where(w > 0, w, 1.0), z))


@MUTANTS.add("padding counts in the discriminator's loss", hidden=True)
def _(mp):
    original = ops.binary_cross_entropy_forward
    mp.setattr(
        ops, "binary_cross_entropy_forward", lambda x, y, w, z: original(x, y, np.ones_like(w), w.size)
    )


@MUTANTS.add("λ is forgotten")
def _(mp):
    original = ops.binary_cross_entropy_backward
    mp.setattr(ops, "binary_cross_entropy_backward", lambda cache, weight: original(cache))


@MUTANTS.add("the generator's weight is forgotten")
def _(mp):
    original = ops.cross_entropy_backward
    mp.setattr(ops, "cross_entropy_backward", lambda cache, weight: original(cache))


@MUTANTS.add("a right guess is labelled replaced", check="samples of the model", hidden=True)
def _(mp):
    original = replacing.replace_tokens

    def replace_tokens(ids, positions, used, samples):
        corrupted, replaced = original(ids, positions, used, samples)
        np.put_along_axis(replaced, positions, used, axis=1)
        return corrupted, replaced

    mp.setattr(replacing, "replace_tokens", replace_tokens)


@MUTANTS.add("unused slots are corrupted too", hidden=True)
def _(mp):
    original = replacing.replace_tokens
    mp.setattr(
        replacing,
        "replace_tokens",
        lambda ids, at, used, samples: original(ids, at, np.ones_like(used), samples),
    )


# --- chance


@MUTANTS.add("the likeliest word instead of a sample", check="samples of the model", hidden=True)
def _(mp):
    mp.setattr(replacing, "sample_categorical", lambda p, u, temperature: p.argmax(axis=1).astype(np.int32))


@MUTANTS.add("temperature multiplies instead of dividing", check="samples", hidden=True)
def _(mp):
    original = chances.corruption.sample_categorical
    mp.setattr(
        chances.corruption, "sample_categorical", lambda p, u, temperature: original(p, u, 1.0 / temperature)
    )


@MUTANTS.add("samples lie one word too low", check="training, float64", hidden=True)
def _(mp):
    original = replacing.sample_categorical
    mp.setattr(replacing, "sample_categorical", lambda p, u, t: np.maximum(original(p, u, t) - 1, 0))


@MUTANTS.add("positions are drawn with replacement", check="chosen sets", hidden=True)
def _(mp):
    original = chances.corruption.choose_positions
    mp.setattr(chances.corruption, "choose_positions", lambda *arguments: original(*arguments[:-1], True))


# --- the step and the optimizer


@MUTANTS.add("weight decay on biases", check="training, float64", hidden=True)
def _(mp):
    mp.setattr(buffer_blocks, "decays", lambda name: "LayerNorm" not in name)


@MUTANTS.add("weight decay on LayerNorm's weights", check="training, float64", hidden=True)
def _(mp):
    mp.setattr(buffer_blocks, "decays", lambda name: not name.endswith(".bias"))


@MUTANTS.add("weight decay goes through the moments (L2)", check="training, float64", hidden=True)
def _(mp):
    original = Adam._update_block

    def update_block(self, p, g, m, v, rate, scale, decay, *rest):
        original(self, p, g * scale + decay * p, m, v, rate, 1.0, 0.0, *rest)

    mp.setattr(Adam, "_update_block", update_block)


@MUTANTS.add("ε is added under the square root", check="training, float64", hidden=True)
def _(mp):
    def update_block(self, p, g, m, v, rate, scale, decay, *_):
        c, g = self.config, g * scale
        m[...] = c.adam_beta1 * m + (1 - c.adam_beta1) * g
        v[...] = c.adam_beta2 * v + (1 - c.adam_beta2) * g * g
        p -= rate * (m / np.sqrt(v + c.adam_epsilon) + decay * p)

    mp.setattr(Adam, "_update_block", update_block)


@MUTANTS.add("the moments' bias is corrected", check="training, float64", hidden=True)
def _(mp):
    init = Adam.__init__

    def corrected(self, parameters, config, *rest):
        init(self, parameters, replace(config, bias_correction=True), *rest)

    mp.setattr(Adam, "__init__", corrected)


@MUTANTS.add("the schedule is one step ahead", check="training, float64", hidden=True)
def _(mp):
    original = schedule.learning_rate
    mp.setattr(schedule, "learning_rate", lambda step, *rest: original(step + 1, *rest))


@MUTANTS.add("the learning rate falls only after the warm-up", check="training, float64", hidden=True)
def _(mp):
    def linear(step, steps, peak, warmup):
        return peak * min(step / warmup, (steps - step) / (steps - warmup))

    mp.setattr(schedule, "learning_rate", linear)


@MUTANTS.add("no clipping", check="training, float64", hidden=True)
def _(mp):
    mp.setattr(engine, "clip_scale", lambda norm, limit: 1.0)


def _after_each_shard(mp, change):
    """Have `change(gradient [P], PretrainingConfig)` scale every shard's gradient."""
    original = Worker._run_shard

    def run_shard(self, i, *rest):
        losses = original(self, i, *rest)
        objective = self.replicas[i]
        objective.parameters.grad[...] *= change(objective.parameters.grad, objective.config)
        return losses

    mp.setattr(Worker, "_run_shard", run_shard)


@MUTANTS.add("each shard is clipped on its own", check="training, float64", hidden=True)
def _(mp):
    _after_each_shard(mp, lambda grad, settings: min(1.0, settings.clip_norm / np.linalg.norm(grad)))


@MUTANTS.add("gradients of the shards are averaged, not summed", check="training, float64", hidden=True)
def _(mp):
    _after_each_shard(mp, lambda grad, settings: 1.0 / settings.shards)


@MUTANTS.add("each shard is averaged over its own tokens", check="training, float64", hidden=True)
def _(mp):
    original = Worker._run_shard

    def run_shard(self, i, part, normalizers, *rest):
        own = MaskedNormalizers(*(checks.SETTINGS.shards * count for count in part.normalizers()))
        return original(self, i, part, own, *rest)

    mp.setattr(Worker, "_run_shard", run_shard)
