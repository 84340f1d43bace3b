"""An encoder that is read as a learned mix of its layers, instead of its last one."""

from typing import NamedTuple

from minielectra import ops
from minielectra.nn.encoder import Encoder, EncoderCache

WEIGHTS, SCALE = "layer_mix.weights", "layer_mix.scale"
START = {WEIGHTS: 0.0, SCALE: 1.0}  # values to start from: the mean of all layers


class MixedEncoderCache(NamedTuple):
    encoder: EncoderCache
    mix: tuple  # of ops.layer_mix_forward


class MixedEncoder(Encoder):
    """The encoder of L blocks and a mix of L + 1 layers: layer 0 is what the first block reads.

    Its own parameters are `layer_mix.weights` [L + 1] and `layer_mix.scale` [1].
    """

    def __init__(self, parameters, prefix, config):
        super().__init__(parameters, prefix, config)
        self.weights = parameters.declare(WEIGHTS, (config.num_hidden_layers + 1,))
        self.scale = parameters.declare(SCALE, (1,))

    def forward(self, x, valid, shape, context):
        """x [N, E]; valid [B, T] bool, or None if nothing is padding; shape (B, T) -> y [N, H]"""
        cache = EncoderCache([], [])
        y, mix = ops.layer_mix_forward(
            self.outputs(x, valid, shape, context, cache),
            self.weights.value,
            self.scale.value,
            workspace=context.workspace,
            backward=context.backward,
        )
        return y, MixedEncoderCache(cache, mix)

    def backward(self, dy, cache, context):
        """dy [N, H] -> dx [N, E]"""
        gradients = (self.weights.grad, self.scale.grad)
        *lower, top = ops.layer_mix_backward(dy, cache.mix, *gradients, workspace=context.workspace)
        return super().backward(top, cache.encoder, context, lower)
