"""Forward passes only, over many sequences: cut into pieces that run side by side, nothing kept for a backward pass.

One large matrix product is best cut by BLAS, many small ones by us: a few tokens get all of BLAS's threads; a batch is sorted by
length and cut into pieces of about `PIECE` tokens, which go to threads with BLAS limited to one each.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minielectra.backend import Workspace, array_module, blas_threads, to_host, usable_cores
from minielectra.nn.layers import Run

PIECE = 4096  # tokens: large enough that threads seldom wait for each other, small enough for moderate memory
FEW = 256  # tokens that are not worth cutting
KEPT = 1 << 28  # bytes: a larger workspace is given back to the system

_spare = []  # workspaces of earlier calls: memory that need not be asked of the system again


def forward_only(function, results, ids, valid, segments, skip_padding=False):
    """Fill results [B, T, …], zeros, with function(ids, valid, segments, run) -> array [b, t, …] of some of the sequences at a time.

    ids, segments [B, T]; valid [B, T] bool, or None where nothing is padding. skip_padding: what lies behind a sequence's last valid
    token need not be computed and stays 0. A batch on a device is neither sorted nor cut.
    """
    xp = array_module(results)
    if xp is not np or not ids.size:
        results += function(ids, valid, segments, Run(Workspace(xp), backward=False))
        if valid is not None and skip_padding:
            results *= valid.reshape(*valid.shape, *[1] * (results.ndim - 2))
        return
    lengths = np.full(*ids.shape)
    if valid is not None and skip_padding:
        lengths -= np.argmax(valid[:, ::-1], axis=1)
    cores = usable_cores()
    pieces = _cut(lengths, cores)

    def run_piece(rows):
        stop = int(lengths[rows].max())
        inside = None if valid is None or valid[rows, :stop].all() else valid[rows, :stop]
        ws = _spare.pop() if _spare else Workspace()
        ws.reset()
        part = function(ids[rows, :stop], inside, segments[rows, :stop], Run(ws, backward=False))
        for row, values in zip(rows, part, strict=True):
            results[row, : lengths[row]] = values[: lengths[row]]
        if ws.nbytes <= KEPT:
            _spare.append(ws)

    if len(pieces) == 1:
        with blas_threads(cores):
            run_piece(pieces[0])
    else:
        with blas_threads(1), ThreadPoolExecutor(min(cores, len(pieces))) as pool:
            list(pool.map(run_piece, pieces))


def _cut(lengths, cores):
    """Sequences of `lengths` as pieces: arrays of rows, longest first, of about equal numbers of tokens, at least one a core."""
    order, tokens = np.argsort(-lengths, kind="stable"), int(lengths.sum())
    count = max(1, tokens // PIECE)
    if tokens >= FEW and len(lengths) > 1:
        count = -(-count // cores) * cores
    ends = np.cumsum(lengths[order])
    edges = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count) + 1
    return [rows for rows in np.split(order, edges) if len(rows)]


BATCH_TOKENS = 8192  # in one call of the model, padding included


def logits_of(model, rows, pad_id, segments=None):
    """What a model says of many sequences: lists of ids (and of segments, where given) -> a list of logits, on the host.

    Sequences of like length share a batch: little padding. A model that gives one result a sequence gets one a sequence here, one
    that gives a result a token gets an array [len(ids), …].
    """
    order = sorted(range(len(rows)), key=lambda n: -len(rows[n]))
    results = [None] * len(rows)
    while order:
        longest = len(rows[order[0]])
        count = max(1, BATCH_TOKENS // longest)
        batch, order = order[:count], order[count:]
        ids, types = np.full((len(batch), longest), pad_id, np.int32), np.zeros((len(batch), longest), np.int32)
        lengths = np.array([len(rows[n]) for n in batch])
        for i, n in enumerate(batch):
            ids[i, : lengths[i]] = rows[n]
            types[i, : lengths[i]] = segments[n] if segments else 0
        logits = to_host(model(ids, np.arange(longest) < lengths[:, None], types, skip_padding=True))
        for i, n in enumerate(batch):
            results[n] = logits[i, : lengths[i]] if model.per_token else logits[i]
    return results
