"""Adam as ELECTRA uses it, over the flat parameter buffer.

    m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
    p ← p − lr (m / (√v + ε) + decay · p)

(Kingma & Ba 2015; decoupled weight decay: Loshchilov & Hutter 2019.) BERT's and ELECTRA's code leaves out the
correction of the moments' bias. That is the default here too, and the correction is an option.
"""

from minielectra.backend import array_module, to_host
from minielectra.optim.buffer_blocks import cut_blocks, decays

OPERATIONS = 14  # of an update, per number: one for each line of `_update_block`, without weight decay


class Adam:
    """Adam's two moments, each one flat array, and the update."""

    MOMENTS = ("first_moment", "second_moment")

    def __init__(self, parameters, config, moments=None, rate_factor=None):
        """parameters: Parameters; config: TrainingConfig.

        moments [2, P]: memory for the moments, which is used as it is; default: zeros. rate_factor(name):
        what a parameter's learning rate is multiplied by; default: 1.
        """
        self.parameters, self.config = parameters, config
        if moments is None:
            moments = parameters.xp.zeros((len(self.MOMENTS), parameters.size), parameters.flat.dtype)
        self.moments = moments
        self.first, self.second = moments[0], moments[1]
        self.blocks = cut_blocks(parameters, config.weight_decay, rate_factor)

    @classmethod
    def flops(cls, parameters, config, names=None):
        """Operations of one update -> (in matrix products, elementwise).

        names: of the parameters that are updated; default: all.
        """
        total = 0
        for name in parameters if names is None else names:
            start, stop = parameters.span(name)
            total += (OPERATIONS + bool(config.weight_decay and decays(name))) * (stop - start)
        return 0, total

    def share(self, index, count):
        """Numbers of the blocks that worker `index` of `count` updates: every `count`-th."""
        return range(len(self.blocks))[index::count]

    def reset(self):
        """Forget both moments."""
        self.moments[...] = 0

    def state(self):
        """{name: NumPy array [P]} of what a checkpoint has to hold."""
        return dict(zip(self.MOMENTS, to_host(self.moments), strict=True))

    def load_state(self, arrays):
        """Take the moments of a checkpoint. Raises ValueError if they are not of this optimizer and size."""
        expected = dict.fromkeys(self.MOMENTS, (self.parameters.size,))
        if {name: array.shape for name, array in arrays.items()} != expected:
            names = ", ".join(self.MOMENTS)
            raise ValueError(
                f"holds {', '.join(sorted(arrays))}, expected {names} of {self.parameters.size:,}"
            )
        for i, name in enumerate(self.MOMENTS):
            self.moments[i] = self.parameters.xp.asarray(arrays[name])

    def update(self, gradient, rate, scale=1.0, step=0, blocks=None):
        """One update with gradient [P] · scale, at learning rate `rate`.

        step: number of the update, from 0; it matters only with bias correction. blocks: some of
        `self.blocks`; default: all. Blocks are independent of each other, so several workers may share them.
        """
        c = self.config
        first_scale = second_scale = 1.0
        if c.bias_correction:
            first_scale = 1.0 / (1.0 - c.adam_beta1 ** (step + 1))
            second_scale = 1.0 / (1.0 - c.adam_beta2 ** (step + 1))
        for block in self.blocks if blocks is None else blocks:
            part = slice(block.start, block.stop)
            self._update_block(
                self.parameters.flat[part],
                gradient[part],
                self.first[part],
                self.second[part],
                rate * block.rate_factor,
                scale,
                block.decay,
                first_scale,
                second_scale,
            )

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


OPTIMIZER = Adam
