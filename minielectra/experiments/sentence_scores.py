"""How likely a model finds a sentence, and which sentence of a minimal pair it prefers.

    masked language model    pseudo-log-likelihood: each token is masked in turn, and the log-probabilities of
                             what stood there are added (Salazar et al. 2020)
    corrector                the log-probabilities of the tokens as they stand, added; it never saw [MASK]
    discriminator            the log-probabilities that each token is original, added
    Electric                 minus the energies, added

These are different scores: some ask what could stand here, others whether this could. So a difference between
models that are scored differently says little; differences between models scored alike do.
"""

import numpy as np

from minielectra.backend import Workspace
from minielectra.nn.inference import logits_of
from minielectra.nn.layers import PassContext

LIKELIHOOD, SEEN = "pseudo-log-likelihood", "log-probability of the words seen"
ORIGINAL, ENERGY = "log-probability of original", "minus energy"
_BATCH = 256  # masked sequences at a time
_TIE = 1e-6  # nats: a smaller difference is none


def score_pairs(objective, tokenizer, pairs):
    """The pairs that a pre-trained model gets right -> which score was used, {kind: share of its pairs}.

    objective: a PretrainingObjective, of which the tower that is fine-tuned is scored. A tie counts half: two
    sentences may be the same to a tokenizer.
    """
    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    rows = [[tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id] for text in sentences]
    method, scores = _scores(objective, rows, tokenizer)
    right = {}
    for pair, good, bad in zip(pairs, scores[::2], scores[1::2], strict=True):
        right.setdefault(pair.kind, []).append(0.5 if abs(good - bad) < _TIE else float(good > bad))
    return method, {kind: float(np.mean(own)) for kind, own in right.items()}


def _scores(objective, rows, tokenizer):
    """The score of each row -> its name, [rows]. [CLS] and [SEP] do not count."""
    towers = objective.towers
    if "discriminator" in towers:
        logits = logits_of(towers["discriminator"], rows, tokenizer.pad_id)
        logits = [own[1:-1].astype(np.float64) for own in logits]
        if objective.config.objective == "electric":
            return ENERGY, np.array([-own.sum() for own in logits])
        return ORIGINAL, np.array([-np.logaddexp(0.0, own).sum() for own in logits])
    if "corrector" in towers:
        return SEEN, _likelihoods(towers["corrector"], rows, tokenizer, masked=False)
    return LIKELIHOOD, _likelihoods(towers["generator"], rows, tokenizer, masked=True)


def _likelihoods(tower, rows, tokenizer, masked):
    """The sum over each row of the log-probabilities of its tokens -> [rows]. masked: see the first lines."""
    places = [(n, place) for n, row in enumerate(rows) for place in range(1, len(row) - 1)]
    places.sort(key=lambda found: len(rows[found[0]]))
    scores = np.zeros(len(rows))
    for start in range(0, len(places), _BATCH):
        batch = places[start : start + _BATCH]
        length = len(rows[batch[-1][0]])
        ids = np.full((len(batch), length), tokenizer.pad_id, np.int32)
        valid = np.zeros(ids.shape, bool)
        targets = np.zeros(len(batch), np.int64)
        for i, (n, place) in enumerate(batch):
            ids[i, : len(rows[n])], valid[i, : len(rows[n])] = rows[n], True
            targets[i] = rows[n][place]
            if masked:
                ids[i, place] = tokenizer.mask_id
        chosen = np.arange(len(batch)) * length + np.array([place for _, place in batch])
        context = PassContext(Workspace(), backward=False)
        segments = np.zeros_like(ids)
        logits = tower.forward(ids, valid, segments, chosen, context)[0].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        found = logits[np.arange(len(batch)), targets] - np.log(np.exp(logits).sum(axis=1))
        np.add.at(scores, [n for n, _ in batch], found)
    return scores
