"""Arrays as one text for the page: the detection records, small enough and honest about what was left out.

A score becomes the number of thousandths that it lies above (0 to 999), so that "score > t" is exact for
every threshold t of whole thousandths. The bytes of equal weight lie together, which compresses better.
"""

import base64
import gzip

import numpy as np

LEVELS = 1000  # of a score
MOST_BYTES = 5_000_000  # of all runs of a page, before compression


def spread(count, most):
    """Indexes of at most `most` (2 or more) of `count` things, evenly spread, with both ends: [n] int."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def pack_records(records, most_bytes=MOST_BYTES):
    """The detection records that a page needs -> {"evaluations", "arrays", "data"}, a JSON-able dict.

    records: DetectionRecords; most_bytes: before compression. If there are more, evaluations in between are
    left out. "evaluations" are the indexes of those kept; "arrays" says for each array its name, shape, bytes
    per element and place; "data" is base64 of gzip of their bytes.
    """
    valid = records.position_valid
    wide = np.uint16 if len(records.tokens) <= 1 << 16 else np.uint32
    per_evaluation = 2 * records.input_ids.size + np.dtype(wide).itemsize * int(valid.sum())
    kept = spread(len(records.steps), max(2, most_bytes // max(per_evaluation, 1)))
    rows, slots = np.nonzero(valid)
    length = records.input_ids.shape[1]
    arrays = {
        "steps": records.steps[kept].astype(np.uint64),
        "originals": records.input_ids.astype(wide),  # [B, T]
        "places": (rows * length + records.positions[rows, slots]).astype(np.uint32),  # [N]
        "samples": records.samples[kept][:, valid].astype(wide),  # [E, N]
        "scores": score_levels(records.scores[kept]),  # [E, B, T]
        "trainCounts": records.train_counts.astype(np.uint64),  # [V]
    }
    places, pieces, at = [], [], 0
    for name, array in arrays.items():
        raw = _by_weight(array)
        places.append({"name": name, "shape": list(array.shape), "bytes": array.dtype.itemsize, "at": at})
        pieces.append(raw)
        at += len(raw)
    data = gzip.compress(b"".join(pieces), mtime=0)  # the same records give the same page
    return {"evaluations": kept.tolist(), "arrays": places, "data": base64.b64encode(data).decode()}


def score_levels(scores):
    """Scores in [0, 1] -> uint16: the level of one in (k, k + 1] thousandths is k."""
    levels = np.ceil(scores.astype(np.float64) * LEVELS) - 1
    return np.clip(levels, 0, LEVELS - 1).astype(np.uint16)


def _by_weight(array):
    """The bytes of an array: first the lowest byte of every element, then the next one, …"""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1, 1).view(np.uint8).T.tobytes()
