"""Forward passes only, over many sequences, with nothing kept for a backward pass.

BLAS is best at cutting one large matrix product, and we are best at cutting many small ones. So a few tokens
get all of BLAS's threads, and a larger batch is sorted by length and cut into pieces of about `PIECE` tokens,
which go to threads with BLAS limited to one thread each.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minielectra.backend import Workspace, array_module, blas_threads, to_host, usable_cores
from minielectra.nn.layers import PassContext

PIECE = 4096  # tokens: large enough that threads seldom wait for each other, small enough for moderate memory
FEW = 256  # tokens that are not worth cutting
KEPT = 1 << 28  # bytes: a larger workspace is given back to the system
BATCH_TOKENS = 8192  # in one call of a model by `logits_of`, padding included

_spare = []  # workspaces of earlier calls: memory that need not be requested from the system again


def forward_only(function, results, input_ids, valid, segments, skip_padding=False, per_token=True):
    """Fill `results`, zeros, with function(input_ids, valid, segments, context) of some of the sequences at a
    time.

    input_ids, segments [B, T]; valid [B, T] bool, or None if nothing is padding. results [B, T, …] and the
    function's values [b, t, …]; or, if not per_token, [B, …] and [b, …]. skip_padding: what follows a
    sequence's last valid token need not be computed and stays 0. A batch on a device is neither sorted nor
    cut.
    """
    xp = array_module(results)
    if xp is not np or not input_ids.size:
        results += function(input_ids, valid, segments, PassContext(Workspace(xp), backward=False))
        if valid is not None and skip_padding and per_token:
            results *= valid.reshape(*valid.shape, *[1] * (results.ndim - 2))
        return
    lengths = np.full(*input_ids.shape)
    if valid is not None and skip_padding:
        lengths -= np.argmax(valid[:, ::-1], axis=1)
    cores = usable_cores()
    pieces = _cut(lengths, cores)

    def run_piece(rows):
        stop = int(lengths[rows].max())
        inside = None if valid is None or valid[rows, :stop].all() else valid[rows, :stop]
        workspace = _spare.pop() if _spare else Workspace()
        workspace.reset()
        context = PassContext(workspace, backward=False)
        part = function(input_ids[rows, :stop], inside, segments[rows, :stop], context)
        for row, values in zip(rows, part, strict=True):
            if per_token:
                results[row, : lengths[row]] = values[: lengths[row]]
            else:
                results[row] = values
        if workspace.nbytes <= KEPT:
            _spare.append(workspace)

    if len(pieces) == 1:
        with blas_threads(cores):
            run_piece(pieces[0])
    else:
        with blas_threads(1), ThreadPoolExecutor(min(cores, len(pieces))) as pool:
            list(pool.map(run_piece, pieces))


def _cut(lengths, cores):
    """Sequences of `lengths` in pieces of about equal numbers of tokens, at least one per core.

    -> arrays of rows, the longest sequences first.
    """
    order, tokens = np.argsort(-lengths, kind="stable"), int(lengths.sum())
    count = max(1, tokens // PIECE)
    if tokens >= FEW and len(lengths) > 1:
        count = -(-count // cores) * cores
    ends = np.cumsum(lengths[order])
    edges = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count) + 1
    return [rows for rows in np.split(order, edges) if len(rows)]


def logits_of(model, rows, pad_id, segments=None):
    """A model's logits for many sequences of any lengths -> a list of arrays, on the host.

    rows: a list of ids per sequence; segments: the same, or None for all 0. A model that gives one result per
    sequence gives an array [L] here, one that gives a result per token an array [length, …]. Sequences of
    similar length share a batch, so that there is little padding.
    """
    order = sorted(range(len(rows)), key=lambda n: -len(rows[n]))
    results = [None] * len(rows)
    while order:
        longest = len(rows[order[0]])
        count = max(1, BATCH_TOKENS // longest)
        batch, order = order[:count], order[count:]
        lengths = np.array([len(rows[n]) for n in batch])
        ids = np.full((len(batch), longest), pad_id, np.int32)
        kinds = np.zeros((len(batch), longest), np.int32)
        for i, n in enumerate(batch):
            ids[i, : lengths[i]] = rows[n]
            kinds[i, : lengths[i]] = segments[n] if segments else 0
        logits = to_host(model(ids, np.arange(longest) < lengths[:, None], kinds, skip_padding=True))
        for i, n in enumerate(batch):
            results[n] = logits[i, : lengths[i]] if model.per_token else logits[i]
    return results
