"""Adversarial ELECTRA: the generator learns to fool the discriminator, by REINFORCE (Clark et al. 2020,
appendix F).

No gradient flows through a sample, so the generator is told how well each one did. Its reward is the
discriminator's loss at that position, R = −log(probability of the right label). With π for the distribution
that samples x̂ are drawn from,

    minimise  λ · L_RTD  +  w_gen · mean over chosen positions of [ −(R − b) log π(x̂)  +  CE(exp(−R), σ(u)) ]

R and b are constants in the first term. b = −log σ(u) is what is expected of any sample there; u is a linear
function of the generator's last layer, of which only its own weights learn. Subtracting b changes no
gradient's mean, and makes its noise smaller.

The generator's `gen_loss` is reported, but not minimised.
"""

from typing import NamedTuple

import numpy as np

from minielectra import ops
from minielectra.backend import array_module
from minielectra.electra.products import TowerPass, linear_products
from minielectra.nn.layers import Linear
from minielectra.objectives.base import GeneratorCache, PretrainingObjective, chosen_rows
from minielectra.objectives.electra import DiscriminatorCache, Electra


class AdversarialCache(NamedTuple):
    generator: GeneratorCache
    judge: DiscriminatorCache
    policy: tuple  # of ops.cross_entropy_forward: π, the samples, and how much each is encouraged
    baseline: tuple
    baseline_loss: tuple  # of ops.binary_cross_entropy_forward


class Adversarial(Electra):
    """ELECTRA whose generator is rewarded for what the discriminator gets wrong."""

    loss_names = ("gen_loss", "disc_loss", "adversarial_loss")

    def __init__(self, model_config, config, xp=np, dtype=np.float32):
        super().__init__(model_config, config, xp, dtype)
        self.baseline = Linear(self.parameters, "generator.baseline", self.generator.config.hidden_size, 1)

    @property
    def loss_weights(self):
        """See the base class."""
        return 0.0, self.config.disc_weight, self.config.gen_weight

    def passes(self, shape, progress=0.0):
        """See the base class."""
        rows = shape.sequences * shape.chosen
        return [
            *super().passes(shape, progress),
            TowerPass("baseline", 0, linear_products(self.baseline, rows)),
        ]

    def forward(self, batch, normalizers, context, uniform=None, samples=None):
        """See `Replacing.forward` -> ReplacingOutcome, AdversarialCache."""
        outcome, generator = self._generate(batch, normalizers, context, uniform, samples)
        judge = self._judge(outcome, batch, normalizers, context)
        policy = self._policy(generator.loss)._replace(targets=outcome.samples.reshape(-1))
        u, baseline = self.baseline.forward(self._hidden(outcome, generator), context)
        advantage, expected = self._advantage(outcome, u[:, 0], batch)
        weights, xp = generator.loss.weights, array_module(advantage)
        policy = policy._replace(weights=weights * advantage / self.config.sample_temperature)
        likelihood = policy.p[xp.arange(len(weights)), policy.targets]
        log_likelihood = xp.log(xp.maximum(likelihood, xp.finfo(likelihood.dtype).tiny))
        outcome.adversarial_loss = -(weights * advantage * log_likelihood).sum() / normalizers.chosen
        loss, baseline_loss = ops.binary_cross_entropy_forward(u[:, 0], expected, weights, normalizers.chosen)
        outcome.adversarial_loss += loss
        return outcome, AdversarialCache(generator, judge, policy, baseline, baseline_loss)

    def backward(self, cache, context):
        """Add the gradient of what is minimised to every parameter's."""
        weight = self.config.gen_weight
        du = ops.binary_cross_entropy_backward(cache.baseline_loss, weight)
        self.baseline.backward(du[:, None], cache.baseline, context)  # and no further
        dlogits = ops.cross_entropy_backward(cache.policy, weight)
        self.generator.backward(dlogits, cache.generator.tower, context)
        self._judge_backward(cache.judge, context)

    # One after the other: the generator waits for its reward
    forward_backward = PretrainingObjective.forward_backward

    def _policy(self, cache):
        """What samples are drawn from: a CrossEntropyCache whose p is at `sample_temperature`."""
        temperature = self.config.sample_temperature
        if temperature == 1.0:
            return cache
        p = (cache.p / cache.p.max(axis=1, keepdims=True)) ** (1.0 / temperature)
        return cache._replace(p=p / p.sum(axis=1, keepdims=True))

    def _hidden(self, outcome, generator):
        """The generator's last layer at the chosen positions, [M, H]: a constant."""
        return generator.tower.head.dense.x

    def _advantage(self, outcome, u, batch):
        """R − b and exp(−R), both [M]: constants. u [M]: the baseline's"""
        rows = chosen_rows(batch)
        x, xp = outcome.logits[rows], array_module(outcome.logits)
        right = xp.where(outcome.replaced.reshape(-1)[rows], x, -x)  # the logit of the right label
        reward = xp.maximum(-right, 0.0) + xp.log1p(xp.exp(-xp.abs(right)))
        expected = xp.maximum(-u, 0.0) + xp.log1p(xp.exp(-xp.abs(u)))
        return reward - expected, xp.exp(-reward)


OBJECTIVE = Adversarial
