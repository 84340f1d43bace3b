"""Detection records: what the discriminator saw, whether it was replaced, and how often it noticed.

A record belongs to a fixed held-out set whose masked positions never change; at each evaluation only the generator's samples and
the discriminator's scores are new. This file holds the arithmetic that the trainer (which writes records) and the pictures
(which read them) share, so that both mean the same by "replaced", "caught" and "AUC".

Dimensions: S sequences, L positions in a sequence, K masked positions in a sequence, V vocabulary entries, and any leading `...`
(usually E evaluations).

    replaced  ⇔  masked, valid, and the sample differs from the original token
    original  ⇔  everything else that is not padding (a sample that hits the original is an original)
    flagged   ⇔  score > 0.5, the score being the discriminator's probability that the token is replaced
"""

import numpy as np

THRESHOLD = 0.5


def corrupt(input_ids, positions, position_valid, samples):
    """The tokens the discriminator sees: the originals with the generator's samples written over the masked positions.

    input_ids [S, L] int, positions [S, K] int, position_valid [S, K] bool, samples [..., S, K] int -> [..., S, L], dtype of
    input_ids. Slots that are not valid are ignored, whatever position they name.
    """
    seen = np.broadcast_to(input_ids, (*samples.shape[:-2], *input_ids.shape)).copy()
    rows, slots = np.nonzero(position_valid)
    seen[..., rows, positions[rows, slots]] = samples[..., rows, slots]
    return seen


def labels(input_ids, positions, position_valid, samples):
    """Which tokens are replaced: [..., S, L] bool, arguments as for `corrupt`. A sample equal to the original is not."""
    return corrupt(input_ids, positions, position_valid, samples) != input_ids


def count_detections(input_ids, positions, position_valid, samples, scores, vocab_size, special_ids):
    """Per-token counts of one evaluation.

    input_ids [S, L], positions [S, K], position_valid [S, K] bool, samples [S, K], scores [S, L] in [0, 1]; special_ids: the
    tokens whose positions are left out ([PAD], [CLS], [SEP]: judged by the *original* token at the position).

    Returns a dict of six [vocab_size] int32 arrays:
        original, kept                      tokens left as they were; of these, judged original
        replaced, caught                    replaced tokens, counted under the token *seen*; of these, flagged
        replaced_original, caught_original  the same events, counted under the *original* token that was lost
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


def grouped_auc(scores, labels, groups, n_groups, weights=None):
    """Area under the ROC curve within each group, all groups in one sort.

    AUC is the chance that a replaced token gets a higher score than an original one, a tie counting one half:

        AUC = Σ_{i replaced, j original} w_i w_j ([s_i > s_j] + ½ [s_i = s_j]) / (Σ_i w_i · Σ_j w_j)

    Sorted by (group, score), equal scores form a run, and the originals below a run are a running sum: O(N log N).
    (Mann and Whitney 1947; Fawcett 2006, "An introduction to ROC analysis".)

    scores [N] float, labels [N] bool, groups [N] int in [0, n_groups), weights [N] ≥ 0 or None
    -> [n_groups] float64, NaN where a group lacks replaced or original tokens.
    """
    order = np.lexsort((scores, groups))
    scores, labels, groups = scores[order], labels[order].astype(bool), groups[order]
    weights = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]

    starts = np.ones(len(order), bool)  # where a new run of equal (group, score) begins
    starts[1:] = (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])
    run = np.cumsum(starts) - 1
    run_group = groups[starts]
    n_runs = len(run_group)
    positive = np.bincount(run, weights * labels, minlength=n_runs)
    negative = np.bincount(run, weights * ~labels, minlength=n_runs)

    group_positive = np.bincount(run_group, positive, minlength=n_groups)
    group_negative = np.bincount(run_group, negative, minlength=n_groups)
    before_group = np.cumsum(group_negative) - group_negative
    below = np.cumsum(negative) - negative - before_group[run_group]
    wins = np.bincount(run_group, positive * (below + 0.5 * negative), minlength=n_groups)
    pairs = group_positive * group_negative
    return np.divide(wins, pairs, out=np.full(n_groups, np.nan), where=pairs > 0)


def auc(scores, labels, weights=None):
    """Area under the ROC curve: float in [0, 1], NaN when one class is empty. Arrays of any one shape; ties count one half."""
    scores, labels = np.ravel(scores), np.ravel(labels)
    weights = None if weights is None else np.ravel(weights)
    return float(grouped_auc(scores, labels, np.zeros(len(scores), np.intp), 1, weights)[0])
