"""What objectives of pre-training are built from: towers over one set of parameters, the generator's loss."""

from typing import NamedTuple

import numpy as np

from minielectra import ops
from minielectra.backend import array_module
from minielectra.electra.electra_config import NETWORK, UNIFORM, UNIGRAM
from minielectra.electra.noise import Noise
from minielectra.electra.products import tower_pass
from minielectra.electra.towers import ElectraForMaskedLM
from minielectra.nn.parameters import Parameters


class PretrainingObjective:
    """Towers over one set of parameters. Subclasses make the towers and say what is minimised."""

    loss_names = ("gen_loss",)  # of the numbers in `outcome.losses`, as metrics.jsonl calls them

    def __init__(self, model_config, config, xp=np, dtype=np.float32):
        """model_config: ElectraConfig of the full-size tower; config: PretrainingConfig."""
        self.model_config, self.config = model_config, config
        self.parameters = Parameters(xp, dtype)
        self.towers = {}  # by name: "generator", "discriminator", "corrector"; full-size ones last
        self._noise = None

    def set_noise(self, counts, special_ids):
        """Say how frequent words are, before the first pass. counts [V]: in the training text."""
        config, xp = self.config, self.parameters.xp
        if config.sampler != NETWORK:
            self._noise = Noise(config.sampler, counts, special_ids, config.sample_temperature, xp)
        elif config.unigram_fraction:
            self._noise = Noise(UNIGRAM, counts, special_ids, xp=xp)

    @property
    def noise(self):
        """What samples are drawn from without a network. Until `set_noise` says more, all ids are alike."""
        if self._noise is None:
            self._noise = Noise(UNIFORM, np.ones(self.model_config.vocab_size), (), xp=self.parameters.xp)
        return self._noise

    @property
    def encoder_tower(self):
        """The tower that is worth fine-tuning.

        That is the discriminator or, if there is none, the corrector or the full-size generator.
        """
        names = ("discriminator", "corrector", "generator")
        return next(self.towers[name] for name in names if name in self.towers)

    def computed(self, progress):
        """Those of `loss_names` that a step computes, after this share of the run. The others are 0."""
        return self.loss_names

    @property
    def loss_weights(self):
        """What each of `loss_names` is multiplied by in what is minimised, at the end of the run."""
        c = self.config
        weights = {"gen_loss": c.gen_weight, "disc_loss": c.disc_weight, "corrector_loss": c.mlm_weight}
        return tuple(weights[name] for name in self.loss_names)

    def begin_second_stage(self):
        """Change the weights after the share `two_stage` of the run, if the objective does so then."""

    def frozen(self, batch):
        """Stretches (start, stop) of the flat buffer that a step with this batch must not update."""
        return ()

    def spans(self, chosen):
        """The stretches (start, stop) of the flat buffer whose names chosen(name) is true for."""
        found = []
        for name in filter(chosen, self.parameters):
            start, stop = self.parameters.span(name)
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, stop))
        return tuple(found)

    def rate_factor(self, name):
        """All parameters learn at one rate."""
        return 1.0

    def passes(self, shape, progress=0.0):
        """What one step runs, from which its FLOPs are counted (pretraining/flops.py) -> list of TowerPass.

        shape: BatchShape; progress: the share of the run that is done, from 0 to 1, for objectives that
        change on the way. Here each tower runs once, forward and backward; the head of a masked language
        model reads the chosen positions, any other every token. An objective that does something else says
        so by overriding this.
        """
        chosen = shape.sequences * shape.chosen
        return [
            tower_pass(name, tower, shape, chosen if isinstance(tower, ElectraForMaskedLM) else shape.tokens)
            for name, tower in self.towers.items()
        ]

    def word_rows(self, shape):
        """For how many positions of a batch a head predicts words at the same time: BatchShape -> int."""
        return shape.sequences * shape.chosen

    def forward_backward(self, batch, normalizers, context):
        """Forward and backward in one -> losses."""
        outcome, cache = self.forward(batch, normalizers, context)
        self.backward(cache, context)
        return outcome.losses


class GeneratorCache(NamedTuple):
    tower: tuple
    loss: tuple  # of ops.cross_entropy_forward; its p [M, V] are the generator's probabilities


def generator_forward(tower, batch, normalizer, context):
    """The masked-language-modelling loss of a generator: the mean over the chosen positions -> loss (0-d),
    GeneratorCache.

    batch: MaskedBatch, on the device; normalizer: the number of chosen positions of the *whole* batch, of
    which this may be a shard. If the model has more rows than the vocabulary has words, the others get the
    probability 0: they are never sampled, and have no gradient.
    """
    rows = chosen_rows(batch)
    logits, cache = tower.forward(batch.masked_ids, batch.valid_or_none, batch.segments, rows, context)
    loss, loss_cache = words_loss(logits, batch, normalizer)
    return loss, GeneratorCache(cache, loss_cache)


def chosen_rows(batch):
    """The chosen positions as flat indices b·T + t -> [M]."""
    xp = array_module(batch.input_ids)
    n_sequences, length = batch.input_ids.shape
    return (xp.arange(n_sequences)[:, None] * length + batch.positions).reshape(-1)


def words_loss(logits, batch, normalizer):
    """The cross-entropy of the original words at the chosen positions -> loss (0-d), cache. logits [M, V]"""
    hide_non_words(logits, batch)
    targets = batch.input_ids.reshape(-1)[chosen_rows(batch)]
    weights = batch.weights.reshape(-1).astype(logits.dtype)
    return ops.cross_entropy_forward(logits, targets, weights, normalizer)


def hide_non_words(logits, batch):
    """Give rows of the model that are no words of the vocabulary the probability 0. logits [M, V]"""
    if batch.vocab_size is not None and batch.vocab_size < logits.shape[1]:
        logits[:, batch.vocab_size :] = -array_module(logits).inf


def generator_backward(tower, cache, weight, context):
    """Add the gradient of `weight` times that loss. The probabilities in the cache are overwritten."""
    tower.backward(ops.cross_entropy_backward(cache.loss, weight), cache.tower, context)
