"""What a pass through a tower costs: the multiply-adds of its matrix products, read off its layers.

B sequences of T tokens (N = B·T rows), H hidden features, M rows that a head reads.

    a linear layer [O, I]        N · I · O
    attention, per block         2 · B · T² · H, for the scores q kᵀ and for the sums p v

The backward pass of a product needs two more of the same size, one for each factor. Padding counts, because
it is computed. Lookups in the tables are no products.
"""

from typing import NamedTuple

from minielectra.nn.layers import Linear

BACKWARD = 2  # products in the backward pass for each one in the forward pass


class BatchShape(NamedTuple):
    """The sizes of a pre-training batch."""

    sequences: int  # B
    length: int  # T, with padding
    chosen: int  # K, slots per sequence for positions to predict, used or not

    @property
    def tokens(self):
        """N = B·T."""
        return self.sequences * self.length


class TowerPass(NamedTuple):
    """One tower, run once in a step."""

    part: str  # what tables call it, such as "generator"
    encoder: int  # multiply-adds of the forward pass
    head: int  # likewise
    backward: bool = True  # whether a backward pass follows


def tower_pass(part, tower, shape, rows, backward=True):
    """The TowerPass of a tower over a batch of the BatchShape `shape`, whose head reads `rows` rows."""
    return TowerPass(part, encoder_products(tower.encoder, shape), head_products(tower, rows), backward)


def linear_products(layer, rows):
    """Multiply-adds of a Linear on `rows` rows."""
    outputs, inputs = layer.weight.shape
    return rows * inputs * outputs


def encoder_products(encoder, shape):
    """Multiply-adds of an Encoder on a batch."""
    total = 0 if encoder.project is None else linear_products(encoder.project, shape.tokens)
    for block in encoder.blocks:
        attention = block.attention.project
        layers = (attention, block.attention_output.dense, block.intermediate, block.output.dense)
        total += sum(linear_products(layer, shape.tokens) for layer in layers)
        total += 2 * shape.tokens * shape.length * attention.weight.shape[1]
    return total


def head_products(tower, rows):
    """Multiply-adds of all linear layers that a tower has beside its encoder, on `rows` rows."""
    return sum(linear_products(layer, rows) for layer in vars(tower).values() if isinstance(layer, Linear))
