"""All-Tokens MLM: the original word at every position, chosen or not (Clark et al. 2020, section 3.5).

    minimise  w_gen · L_MLM(masked; generator)  +  w_mlm · −mean log p(original word | corrupted; corrector)

The mean is over all tokens. With `copy_gate`, p mixes copying with writing: p = D [same word] + (1 − D)
softmax. The gate 1 − D is a discriminator's head on the same encoder, and so this model also says how likely
a token was replaced. It is a combination of BERT and ELECTRA.
"""

from typing import NamedTuple

from minielectra import ops
from minielectra.backend import array_module
from minielectra.electra.products import TowerPass, head_products, tower_pass
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining, EncodedCache
from minielectra.objectives.base import chosen_rows, hide_non_words
from minielectra.objectives.replacing import Replacing


class AllTokensCache(NamedTuple):
    encoded: EncodedCache
    words: tuple
    gate: tuple | None
    loss: tuple


class AllTokensMLM(Replacing):
    """A generator, and a full-size tower that writes the original text."""

    loss_names = ("gen_loss", "corrector_loss")

    def _make_judges(self):
        judges = {}
        if self.config.copy_gate:
            self.discriminator = judges["discriminator"] = self._make_judge(ElectraForPreTraining)
        self.corrector = judges["corrector"] = self._make_judge(ElectraForMaskedLM)
        return judges

    def word_rows(self, shape):
        """See the base class: all."""
        return shape.tokens

    def _judge_passes(self, shape, progress):
        made = [tower_pass("corrector", self.corrector, shape, shape.tokens)]
        if self.config.copy_gate:
            made.append(TowerPass("discriminator", 0, head_products(self.discriminator, shape.tokens)))
        return made

    def _judge(self, outcome, batch, normalizers, context):
        """The loss, written into `outcome` -> AllTokensCache."""
        seen = outcome.corrupted_ids
        hidden, encoded = self.corrector.encode(seen, batch.valid_or_none, batch.segments, context)
        logits, words = self.corrector.words(hidden, None, context)
        hide_non_words(logits, batch)
        targets, weights = batch.input_ids.reshape(-1), batch.valid.reshape(-1).astype(logits.dtype)
        gate = None
        if self.config.copy_gate:
            outcome.logits, gate = self.discriminator.detect(hidden, context)
            outcome.corrector_loss, _, loss = ops.copy_gate_forward(
                logits, outcome.logits, seen.reshape(-1), targets, weights, normalizers.tokens
            )
        else:
            outcome.corrector_loss, loss = ops.cross_entropy_forward(
                logits, targets, weights, normalizers.tokens
            )
        if not context.backward:
            self._look_at(outcome, loss[0], batch)
        return AllTokensCache(encoded, words, gate, loss)

    def _look_at(self, outcome, softmax, batch):
        """What the corrector says at the chosen positions, written into `outcome`."""
        xp, rows = array_module(softmax), chosen_rows(batch)
        p, every = softmax[rows], xp.arange(len(rows))
        if self.config.copy_gate:
            write = ops.sigmoid(outcome.logits[rows])
            p *= write[:, None]
            p[every, outcome.corrupted_ids.reshape(-1)[rows]] += 1.0 - write
        outcome.word_likelihood = p[every, batch.input_ids.reshape(-1)[rows]]
        outcome.word_guess = p.argmax(axis=1)

    def _judge_backward(self, cache, context):
        if cache.gate is None:
            dlogits = ops.cross_entropy_backward(cache.loss, self.config.mlm_weight)
            dhidden = self.corrector.words_backward(dlogits, cache.words, context)
        else:
            dlogits, dgate = ops.copy_gate_backward(cache.loss, self.config.mlm_weight)
            dhidden = self.corrector.words_backward(dlogits, cache.words, context)
            dhidden += self.discriminator.detect_backward(dgate, cache.gate, context)
        self.corrector.encode_backward(dhidden, cache.encoded, context)


OBJECTIVE = AllTokensMLM
