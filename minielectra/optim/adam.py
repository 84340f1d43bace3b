"""Adam as ELECTRA uses it, over the flat parameter buffer, and the learning-rate schedule.

    m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
    p ← p − lr (m / (√v + ε) + decay · p)

(Kingma & Ba 2015; decoupled weight decay: Loshchilov & Hutter 2019.) BERT's and ELECTRA's code leave out the bias correction of
m and v; here that is the default, and the correction an option.
"""

import numpy as np

from minielectra.backend import array_module

BLOCK = 1 << 16  # elements updated at a time, so that the nine passes over them run in cache


def decays(name):
    """Whether weight decay applies to a parameter: not to LayerNorm, not to biases."""
    return "LayerNorm" not in name and not name.endswith(".bias")


class Adam:
    """Adam's two moments, each one flat array, and the update."""

    def __init__(self, parameters, config, first=None, second=None, rate_factor=None):
        """parameters: Parameters; config: PretrainingConfig (adam_*, weight_decay, bias_correction); first, second [P]: existing
        arrays for the moments, else zeros; rate_factor(name): what a parameter's learning rate is multiplied by (default: 1)."""
        self.parameters, self.config = parameters, config
        self.rate_factor = rate_factor or (lambda name: 1.0)
        self.first = parameters.xp.zeros_like(parameters.flat) if first is None else first
        self.second = parameters.xp.zeros_like(parameters.flat) if second is None else second
        self.blocks = list(self._cut())

    def reset(self):
        """Forget both moments."""
        self.first[...] = 0
        self.second[...] = 0

    def update(self, grad, rate, scale=1.0, step=0, blocks=None):
        """One update with grad [P] · scale, at learning rate `rate`. `step` (from 0) only matters with bias correction.
        `blocks`: some of `self.blocks`, else all; they are independent, so several workers may share them."""
        c = self.config
        first_scale = second_scale = 1.0
        if c.bias_correction:
            first_scale = 1.0 / (1.0 - c.adam_beta1 ** (step + 1))
            second_scale = 1.0 / (1.0 - c.adam_beta2 ** (step + 1))
        for start, stop, decay, factor in self.blocks if blocks is None else blocks:
            part = slice(start, stop)
            self._update_block(
                self.parameters.flat[part], grad[part], self.first[part], self.second[part],
                rate * factor, scale, decay, first_scale, second_scale,
            )  # fmt: skip

    def _update_block(self, p, g, m, v, rate, scale, decay, first_scale, second_scale):
        xp = array_module(p)
        c = self.config
        g = g * scale
        m *= c.adam_beta1
        m += (1.0 - c.adam_beta1) * g
        g *= g
        g *= 1.0 - c.adam_beta2
        v *= c.adam_beta2
        v += g
        xp.multiply(v, second_scale, out=g)
        xp.sqrt(g, out=g)
        g += c.adam_epsilon
        xp.divide(m, g, out=g)
        g *= rate * first_scale
        if decay:
            p *= 1.0 - rate * decay
        p -= g

    def _cut(self):
        """(start, stop, decay, rate factor) of blocks that cover the buffer; a block has one of each."""
        size = BLOCK if self.parameters.xp is np else self.parameters.size
        stretch = None
        for name in self.parameters:
            start, stop = self.parameters.span(name)
            same = (self.config.weight_decay if decays(name) else 0.0, self.rate_factor(name))
            if stretch and stretch[2:] == same:
                stretch = (stretch[0], stop, *same)
            else:
                yield from _blocks(stretch, size)
                stretch = (start, stop, *same)
        yield from _blocks(stretch, size)


def _blocks(stretch, size):
    if stretch:
        start, stop, *same = stretch
        for begin in range(start, stop, size):
            yield begin, min(begin + size, stop), *same
