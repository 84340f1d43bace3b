"""`detect`: every word piece of a text with the probability that it was replaced."""

# The package imports this file first, so that `minielectra.detect` is the function. What computes is imported
# when it runs: `minielectra --help` does not wait for NumPy.


def detect(model, tokenizer, text):
    """Score one text -> {"text", "tokens": [str], "replaced": [probability], "offsets": [[start, end]]}.

    model: ElectraForPreTraining. Each list has one entry per word piece; offsets count characters of `text`.
    A text longer than the model reads is cut into windows that overlap by half. Every piece is scored in the
    window that shows the most context around it.
    """
    return detect_many(model, tokenizer, [text])[0]


def detect_many(model, tokenizer, texts):
    """Score several texts together -> list of what `detect` returns.

    Sequences of similar length share a batch, so little is computed for padding.
    """
    import numpy as np

    from minielectra import ops
    from minielectra.data.windows import windows
    from minielectra.nn.inference import logits_of

    encoded = [tokenizer.encode_with_offsets(text) for text in texts]
    scores = [np.zeros(len(ids)) for ids, _, _ in encoded]
    room = model.config.max_position_embeddings - 2  # for [CLS] and [SEP]
    pieces = [(n, *window) for n, (ids, _, _) in enumerate(encoded) for window in windows(len(ids), room)]
    rows = [
        [tokenizer.cls_id, *encoded[n][0][start:stop], tokenizer.sep_id] for n, start, stop, _, _ in pieces
    ]
    for (n, start, _, keep_from, keep_to), logits in zip(
        pieces, logits_of(model, rows, tokenizer.pad_id), strict=True
    ):
        kept = slice(1 + keep_from - start, 1 + keep_to - start)  # the 1 is for [CLS]
        scores[n][keep_from:keep_to] = ops.sigmoid(logits[kept])
    return [
        {
            "text": text,
            "tokens": list(tokens),
            "replaced": [round(float(p), 6) for p in own],
            "offsets": [[int(start), int(end)] for start, end in offsets],
        }
        for text, (_, tokens, offsets), own in zip(texts, encoded, scores, strict=True)
    ]


def score_at_checkpoints(run, sentence):
    """One sentence, scored at every checkpoint of a run: what the film strip of `plot --sentence` shows.

    -> tokens, n strings; scores [R, n], probabilities of "replaced"; steps [R]. Raises InputError if the run
    has no checkpoint or no discriminator, or if the sentence is empty.
    """
    import numpy as np

    from minielectra.errors import InputError
    from minielectra.pretraining.load import discriminators

    results = {step: detect(model, tokenizer, sentence) for step, model, tokenizer in discriminators(run)}
    steps = list(results)
    tokens = results[steps[0]]["tokens"]
    if not tokens:
        raise InputError("--sentence is empty: give at least one word")
    return tokens, np.array([result["replaced"] for result in results.values()]), steps
