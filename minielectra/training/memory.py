"""The memory of training: one block that all workers share, and the optimizer over it."""

from minielectra import optim


class Memory:
    """Named rows of one block [1 + n + S, P]: P parameters, n moments of the optimizer, S shards."""

    def __init__(self, block, n_moments):
        self.values = block[0]  # [P] the weights
        self.moments = block[1 : 1 + n_moments]  # [n, P] what the optimizer remembers
        self.gradients = [block[i] for i in range(1 + n_moments, len(block))]  # S of [P], one per shard


def memory_shape(objective, n_shards):
    """The shape of the block that training `objective` needs."""
    return 1 + _n_moments(objective) + n_shards, objective.parameters.size


def memory_of(objective, block):
    """The rows of a block of that shape -> Memory."""
    return Memory(block, _n_moments(objective))


def make_optimizer(objective, memory):
    """The optimizer that the objective's configuration names, over `memory`."""
    kind = optim.find(objective.config.optimizer)
    return kind(objective.parameters, objective.config, memory.moments, objective.rate_factor)


def _n_moments(objective):
    return len(optim.find(objective.config.optimizer).MOMENTS)
