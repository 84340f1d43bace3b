"""The arithmetic of detection: which tokens were replaced, which were caught, and the AUC.

The trainer, which writes detection records, and the pictures, which read them, both use it, so both mean the
same by these words:

    replaced  ⇔  chosen for masking, and the generator's sample differs from the original token
    original  ⇔  every other token that is not padding
    flagged   ⇔  score > 0.5; the score is the discriminator's probability that the token is replaced
    caught    ⇔  replaced and flagged
    kept      ⇔  original and not flagged

If the generator guesses the original token, it counts as original. The held-out set and its masked
positions stay fixed; only the samples and the scores are new at each evaluation.

Dimensions: B sequences, T positions of a sequence, K slots for masked positions, V vocabulary entries, N
tokens. A leading `...` stands for any further dimensions, usually E evaluations.
"""

import numpy as np

THRESHOLD = 0.5


def corrupt(input_ids, positions, position_valid, samples):
    """The tokens that the discriminator sees: the text with the generator's samples at the masked positions.

    input_ids [B, T] int; positions [B, K] int; position_valid [B, K] bool, False for a slot that is not used,
    whatever position it names; samples [..., B, K] int -> [..., B, T], of the dtype of input_ids.
    """
    seen = np.broadcast_to(input_ids, (*samples.shape[:-2], *input_ids.shape)).copy()
    rows, slots = np.nonzero(position_valid)
    seen[..., rows, positions[rows, slots]] = samples[..., rows, slots]
    return seen


def is_replaced(input_ids, positions, position_valid, samples):
    """Which tokens are replaced: [..., B, T] bool. Arguments as for `corrupt`."""
    return corrupt(input_ids, positions, position_valid, samples) != input_ids


def count_detections(input_ids, positions, position_valid, samples, scores, vocab_size, special_ids):
    """Per-token counts of one evaluation.

    input_ids [B, T], positions [B, K], position_valid [B, K], samples [B, K]: as for `corrupt`; scores [B, T]
    in [0, 1]; special_ids: [PAD], [CLS] and [SEP]; a position whose *original* token is one of them is not
    counted.

    Returns a dict of six [V] int32 arrays:

        original            original tokens
        kept                those of them that were kept
        replaced            replaced tokens, counted under the token *seen*
        caught              those of them that were caught
        replaced_original   replaced tokens, counted under the *original* token, which is no longer there
        caught_original     those of them that were caught
    """
    seen = corrupt(input_ids, positions, position_valid, samples)
    counted = ~np.isin(input_ids, list(special_ids))
    replaced = (seen != input_ids) & counted
    original = (seen == input_ids) & counted
    flagged = scores > THRESHOLD

    def count(tokens, where):
        return np.bincount(tokens[where], minlength=vocab_size).astype(np.int32)

    return {
        "original": count(seen, original),
        "kept": count(seen, original & ~flagged),
        "replaced": count(seen, replaced),
        "caught": count(seen, replaced & flagged),
        "replaced_original": count(input_ids, replaced),
        "caught_original": count(input_ids, replaced & flagged),
    }


def grouped_auc(scores, replaced, groups, n_groups, weights=None):
    """Area under the ROC curve within each group, for all groups with one sort.

    AUC is the chance that a replaced token i gets a higher score s than an original token j. A tie counts one
    half:

        AUC = Σ_{i replaced, j original} w_i w_j ([s_i > s_j] + ½ [s_i = s_j]) / (Σ_i w_i · Σ_j w_j)

    After sorting by (group, score), tokens of equal score are neighbours, and the originals below them are a
    running sum: O(N log N). (Mann and Whitney 1947; Fawcett 2006, "An introduction to ROC analysis".)

    scores [N] float; replaced [N] bool; groups [N] int in [0, n_groups); weights [N] ≥ 0, or None for all 1
    -> [n_groups] float64, NaN for a group without replaced or without original tokens.
    """
    order = np.lexsort((scores, groups))
    scores, replaced, groups = scores[order], replaced[order].astype(bool), groups[order]
    weights = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]

    # A tie is all tokens of one group with one score; `starts` marks the first token of each.
    starts = np.ones(len(order), bool)
    starts[1:] = (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])
    tie = np.cumsum(starts) - 1
    tie_group = groups[starts]
    n_ties = len(tie_group)
    positive = np.bincount(tie, weights * replaced, minlength=n_ties)
    negative = np.bincount(tie, weights * ~replaced, minlength=n_ties)

    group_positive = np.bincount(tie_group, positive, minlength=n_groups)
    group_negative = np.bincount(tie_group, negative, minlength=n_groups)
    before_group = np.cumsum(group_negative) - group_negative
    below = np.cumsum(negative) - negative - before_group[tie_group]
    wins = np.bincount(tie_group, positive * (below + 0.5 * negative), minlength=n_groups)
    pairs = group_positive * group_negative
    return np.divide(wins, pairs, out=np.full(n_groups, np.nan), where=pairs > 0)


def auc(scores, replaced, weights=None):
    """Area under the ROC curve of all tokens together: a float in [0, 1].

    NaN without replaced or without original tokens.

    scores, replaced, weights: arrays of any one shape, otherwise as for `grouped_auc`.
    """
    scores, replaced = np.ravel(scores), np.ravel(replaced)
    weights = None if weights is None else np.ravel(weights)
    return float(grouped_auc(scores, replaced, np.zeros(len(scores), np.intp), 1, weights)[0])
