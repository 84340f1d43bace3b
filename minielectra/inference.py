"""`detect`: every word piece of a text with its probability of having been replaced."""

from pathlib import Path

import numpy as np

from minielectra.backend import to_host
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.models import ElectraForPreTraining
from minielectra.electra.pretraining import ElectraPretraining
from minielectra.electra.towers import save_towers
from minielectra.errors import InputError
from minielectra.functional.losses import sigmoid
from minielectra.training import run_folder
from minielectra.training.checkpoint import list_checkpoints, load_parameters

BATCH_TOKENS = 8192  # in one call of the model, padding included


def load_pretraining(run, checkpoint=None):
    """The joint model of a run at a checkpoint's folder (the last one by default) -> ElectraPretraining, WordPieceTokenizer.

    Raises InputError where there is no run, or no checkpoint in it yet.
    """
    info = run_folder.load(run)
    config, pretraining = run_folder.configs(info, run)
    if checkpoint is None:
        checkpoints = list_checkpoints(run)
        if not checkpoints:
            raise InputError(f"{run}: no checkpoint yet; continue the run with --resume {run}")
        checkpoint = checkpoints[-1][1]
    model = ElectraPretraining(config, pretraining)
    load_parameters(checkpoint, model.parameters)
    return model, WordPieceTokenizer.from_file(Path(run) / "vocab.txt", info.get("lowercase", True))


def load_discriminator(source):
    """A discriminator and its tokenizer from a run's folder or from a directory in Hugging Face's layout.

    Raises InputError where `source` is neither, or a run without a discriminator.
    """
    if (Path(source) / "run.json").exists():
        model, tokenizer = load_pretraining(source)
        if model.discriminator is None:
            raise InputError(f"{source}: was trained with --objective mlm and has no discriminator")
        return model.discriminator, tokenizer
    model, tokenizer = ElectraForPreTraining.from_pretrained(source), WordPieceTokenizer.from_pretrained(source)
    if len(tokenizer) > model.config.vocab_size:
        raise InputError(f"{source}: the vocabulary has {len(tokenizer)} pieces, the model only {model.config.vocab_size}")
    return model, tokenizer


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


def windows(count, room):
    """(start, stop, keep_from, keep_to) of windows of at most `room` over `count` tokens; the kept parts cover each token once."""
    if count <= room:
        if count:
            yield 0, count, 0, count
        return
    stride = max(1, room // 2)
    starts = [*range(0, count - room, stride), count - room]
    kept = 0
    for i, start in enumerate(starts):
        stop = start + room
        end = count if i == len(starts) - 1 else (starts[i + 1] + stop + 1) // 2
        yield start, stop, kept, end
        kept = end


def colored(result):
    """The tokens of `detect` for a terminal: the likelier replaced, the redder, with the probability in per cent from 10 % up."""
    pieces = []
    for token, p in zip(result["tokens"], result["replaced"], strict=True):
        shade = 255 - int(200 * min(1.0, p))
        label = f"{token} {100 * p:.0f}%" if p >= 0.1 else token
        style = "1;38;5;16" if p >= 0.5 else "38;5;16"
        pieces.append(f"\x1b[48;2;255;{shade};{shade}m\x1b[{style}m {label} \x1b[0m")
    return " ".join(pieces)


def plain(result):
    """The tokens of `detect` one a line, probability first."""
    lines = [f"{p:7.3f}  {token}" for token, p in zip(result["tokens"], result["replaced"], strict=True)]
    return "\n".join([*lines, ""])


def score_at_checkpoints(run, sentence):
    """One sentence at every checkpoint of a run -> tokens [n], scores [R, n], steps [R]: the film strip of `plot --sentence`."""
    results, steps = [], []
    for step, folder in list_checkpoints(run):
        model, tokenizer = load_pretraining(run, folder)
        if model.discriminator is None:
            raise InputError(f"{run}: was trained with --objective mlm and has no discriminator")
        results.append(detect(model.discriminator, tokenizer, sentence))
        steps.append(step)
    if not results:
        raise InputError(f"{run}: no checkpoint yet; continue the run with --resume {run}")
    if not results[0]["tokens"]:
        raise InputError("--sentence is empty: give at least one word")
    return results[0]["tokens"], np.array([result["replaced"] for result in results]), steps


def export(run, directory):
    """Write a run's towers as Hugging Face directories: `discriminator` and `generator` under `directory` -> their paths."""
    model, tokenizer = load_pretraining(run)
    return save_towers(model, directory, tokenizer)
