"""What each task minimises: a class per loss, from the head's logits to one number and back to dlogits.

B sequences of T tokens, L labels. Every loss is a mean over the batch; a shard's losses and gradients add up
to the batch's, because they are divided by the whole batch's `Normalizers`. Derivations:
ops/reference/losses.py.

`forward(logits, batch, normalizers) -> loss, cache`    loss: 0-d array; batch: TaskBatch
`backward(cache) -> dlogits`                            of the logits' shape
"""

from typing import NamedTuple

from minielectra import ops
from minielectra.backend import array_module


class ClassificationLoss:
    """Cross-entropy of each sequence's label. logits [B, L], targets [B] int."""

    def forward(self, logits, batch, normalizers):
        """-> loss, cache (that of cross-entropy)"""
        weights = batch.weights.astype(logits.dtype)
        return ops.small_cross_entropy_forward(logits, batch.targets, weights, normalizers.sequences)

    def backward(self, cache):
        """-> dlogits [B, L]"""
        return ops.small_cross_entropy_backward(cache)


class RegressionLoss:
    """Squared error of each sequence's number. logits [B, 1], targets [B] float."""

    def forward(self, logits, batch, normalizers):
        """-> loss, cache (that of squared error)"""
        weights, targets = batch.weights.astype(logits.dtype), batch.targets.astype(logits.dtype)
        return ops.squared_error_forward(logits[:, 0], targets, weights, normalizers.sequences)

    def backward(self, cache):
        """-> dlogits [B, 1]"""
        return ops.squared_error_backward(cache)[:, None]


class TaggingLoss:
    """Cross-entropy of each word's tag, read at its first piece. logits [B·T, L]; targets, weights [B, T]."""

    def forward(self, logits, batch, normalizers):
        """-> loss, cache (that of cross-entropy)"""
        weights = batch.weights.reshape(-1).astype(logits.dtype)
        return ops.small_cross_entropy_forward(logits, batch.targets.reshape(-1), weights, normalizers.words)

    def backward(self, cache):
        """-> dlogits [B·T, L]"""
        return ops.small_cross_entropy_backward(cache)


class AnsweringCache(NamedTuple):
    """What `AnsweringLoss.forward` leaves for `backward`."""

    cross_entropy: tuple  # of the scores [2·B, T]
    shape: tuple  # (B, T)


class AnsweringLoss:
    """Cross-entropy over tokens: the mean of that of the answer's first token and that of its last.

    logits [B·T, 2], for start and end; targets [B, 2], the two tokens; weights [B, T], 0 where no answer can
    start or end.
    """

    def forward(self, logits, batch, normalizers):
        """-> loss, AnsweringCache"""
        xp = array_module(logits)
        count, length = shape = batch.input_ids.shape
        # All rows of starts, then all rows of ends
        scores = logits.reshape(count, length, 2).transpose(2, 0, 1)
        scores = xp.where(batch.weights > 0, scores, xp.finfo(logits.dtype).min).reshape(2 * count, length)
        targets, ones = batch.targets.T.reshape(-1), xp.ones(2 * count, logits.dtype)
        loss, cross_entropy = ops.small_cross_entropy_forward(
            scores, targets, ones, 2.0 * normalizers.sequences
        )
        return loss, AnsweringCache(cross_entropy, shape)

    def backward(self, cache):
        """-> dlogits [B·T, 2]. Where no answer can be, p and therefore the gradient are exactly 0."""
        count, length = cache.shape
        dscores = ops.small_cross_entropy_backward(cache.cross_entropy)
        return dscores.reshape(2, count, length).transpose(1, 2, 0).reshape(count * length, 2)
