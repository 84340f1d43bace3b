"""`detect`: every word piece of a text with its probability of having been replaced."""

import numpy as np

from minielectra.data.windows import windows
from minielectra.nn.inference import logits_of
from minielectra.ops.reference.losses import sigmoid


def detect(model, tokenizer, text):
    """Score one text -> {"text", "tokens": [str], "replaced": [probability], "offsets": [[start, end]]}, one entry a word piece.

    model: ElectraForPreTraining. A text longer than the model is read in windows that overlap by half; every piece is scored
    where it has the most context. Offsets count characters of `text`.
    """
    return detect_many(model, tokenizer, [text])[0]


def detect_many(model, tokenizer, texts):
    """`detect` of several texts at once -> list of its results. Sequences of like length share a batch: little padding."""
    encoded = [tokenizer.encode_with_offsets(text) for text in texts]
    scores = [np.zeros(len(ids)) for ids, _, _ in encoded]
    room = model.config.max_position_embeddings - 2
    pieces = [(n, *window) for n, (ids, _, _) in enumerate(encoded) for window in windows(len(ids), room)]
    rows = [[tokenizer.cls_id, *encoded[n][0][start:stop], tokenizer.sep_id] for n, start, stop, _, _ in pieces]
    for (n, start, _, keep_from, keep_to), logits in zip(pieces, logits_of(model, rows, tokenizer.pad_id), strict=True):
        scores[n][keep_from:keep_to] = sigmoid(logits[1 + keep_from - start : 1 + keep_to - start])
    return [
        {
            "text": text,
            "tokens": list(tokens),
            "replaced": [round(float(p), 6) for p in own],
            "offsets": [[int(a), int(b)] for a, b in offsets],
        }
        for text, (_, tokens, offsets), own in zip(texts, encoded, scores, strict=True)
    ]
