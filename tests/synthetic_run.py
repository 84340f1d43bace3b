"""A run's folder made without training, so that the truth is known: a small grammar, scores that improve."""

import json

import numpy as np

from minielectra.plots import statistics
from minielectra.runs import detection_counts as detection
from minielectra.runs import run_folder
from minielectra.runs.detection_records import LAYOUT, DetectionRecords

DETERMINERS = ["the", "a", "this", "his", "their", "every", "some"]
NOUNS = ["man", "house", "river", "letter", "king", "day", "war", "ship", "child", "friend"]
NOUNS += ["city", "night", "word", "field", "doctor", "garden", "law", "horse", "bread", "price"]
ADJECTIVES = ["old", "small", "great", "dark", "young", "free", "new", "long", "poor", "quiet"]
VERBS = ["saw", "took", "left", "found", "held", "built", "sold", "kept", "made", "brought"]
PREPOSITIONS = ["in", "of", "on", "under", "with", "from", "to", "by"]
STEMS, SUFFIXES = ["walk", "talk", "jump", "rest", "look"], ["##ed", "##ing", "##s", "##er"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = [*SPECIALS, ".", ",", ";", "$", "1", "1945", "and", "but", "he", "she", "it"]
VOCAB += DETERMINERS + NOUNS + ADJECTIVES + VERBS + PREPOSITIONS + STEMS + SUFFIXES


def sentences(rng, rows, length):
    """[rows, length] strings: [CLS], sentences of a small grammar, Zipf-distributed words, [SEP], [PAD] …"""

    def word(kind):
        share = 1 / np.arange(1, len(kind) + 1)
        return str(rng.choice(kind, p=share / share.sum()))

    def phrase():
        return [word(DETERMINERS), *([word(ADJECTIVES)] if rng.random() < 0.4 else []), word(NOUNS)]

    table = np.full((rows, length), "[PAD]", dtype=object)
    for row in table:
        text = ["[CLS]"]
        while len(text) < length:
            text += phrase() if rng.random() < 0.6 else [word(["he", "she", "it"])]
            text += [word(VERBS)] if rng.random() < 0.6 else [word(STEMS), word(SUFFIXES)]
            text += phrase() if rng.random() < 0.7 else [word(["1945", "1", "$"])]
            text += [word(PREPOSITIONS), *phrase()] if rng.random() < 0.5 else []
            text += [word([".", ",", ";"])]
        used = length if rng.random() < 0.8 else length * 3 // 4
        row[:used] = text[:used]
        row[used - 1] = "[SEP]"
    return table


def synthetic_arrays(tokens, text, evaluations=12, seed=0, sample_right=0.2):
    """The arrays of LAYOUT: frequent tokens are learned early; all scores and the generator improve."""
    rng = np.random.default_rng(seed)
    index = {token: i for i, token in enumerate(tokens)}
    input_ids = np.vectorize(lambda token: index.get(token, 1), otypes=[np.int32])(text)
    length = input_ids.shape[1]
    ordinary = input_ids > 4
    n_masked = max(2, length // 6)
    order = np.argsort(np.where(ordinary, rng.random(input_ids.shape), 2), axis=1)
    positions = np.sort(order[:, :n_masked], axis=1).astype(np.int32)
    position_valid = np.take_along_axis(ordinary, positions, 1)
    counts = np.bincount(input_ids[ordinary], minlength=len(tokens))
    steps = np.linspace(0, 4000, evaluations).astype(np.int64)
    originals = np.take_along_axis(input_ids, positions, 1)
    rank = np.argsort(np.argsort(-counts)) / len(tokens)
    acquired = 600 + 4500 * rank**0.5 * rng.uniform(0.5, 1.3, len(tokens))

    samples, scores, correct = [], [], []
    for step in steps:
        drawn = rng.choice(len(tokens), originals.shape, p=counts / counts.sum()).astype(np.int32)
        hit = rng.random(originals.shape) < sample_right * (1 - np.exp(-step / 1000))
        sample = np.where(hit, originals, drawn).astype(np.int32)
        samples.append(sample)
        seen = detection.corrupt(input_ids, positions, position_valid, sample)
        skill = 1.8 / (1 + np.exp(-(step - acquired) / 200))
        logits = -2 + skill[seen] * np.where(seen != input_ids, 0.9, -0.2) + rng.normal(0, 1, seen.shape)
        scores.append(1 / (1 + np.exp(-logits)))
        correct.append(np.clip(hit * 0.5 + 0.05, 0, 1))
    arrays = {
        "steps": steps,
        "input_ids": input_ids,
        "positions": positions,
        "position_valid": position_valid,
        "samples": np.array(samples),
        "scores": np.array(scores),
        "gen_correct_prob": np.array(correct),
        "train_counts": counts * 300,
    }
    arrays = {name: array.astype(LAYOUT[name].dtype) for name, array in arrays.items()}
    per_step = [
        detection.count_detections(
            input_ids, positions, position_valid, sample, score, len(tokens), (0, 2, 3)
        )
        for sample, score in zip(arrays["samples"], arrays["scores"], strict=True)
    ]
    return arrays | {name: np.stack([counts[name] for counts in per_step]) for name in per_step[0]}


def write_run(folder, tokens, arrays, objective="electra"):
    """A run's folder around the arrays, with the metrics that follow from them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    run_folder.save(folder, {"format": run_folder.FORMAT, "settings": {"preset": "tiny"}})
    if objective == "electra":
        np.savez_compressed(folder / "detection.npz", **arrays)
    records = DetectionRecords(arrays, tokens)
    lines = []
    for e, step in enumerate(arrays["steps"].tolist()):
        scores = arrays["scores"][e][records.valid].astype(float)
        replaced = records.replaced_mask[e][records.valid]
        flagged, progress = scores > 0.5, 1 - np.exp(-step / 1500)
        recall = float(statistics.ratio((flagged & replaced).sum(), replaced.sum()))
        specificity = float((~flagged)[~replaced].mean())
        row = {"step": step, "tokens": step * 2048, "seconds": step * 0.075, "gen_loss": 7.6 - 3.6 * progress}
        row |= {"unigram_entropy": 6.1, "gen_accuracy": 0.3 * progress, "sample_accuracy": 0.2 * progress}
        row |= {"train_gen_loss": 7.5 - 3.6 * progress if e else None, "tokens_per_second": 27e3}
        row |= {"learning_rate": 2e-3 * (1 - step / 5000)}
        if objective == "electra":
            loss = -np.where(replaced, np.log(scores + 1e-4), np.log(1 - scores + 1e-4)).mean()
            precision = float(statistics.ratio((flagged & replaced).sum(), flagged.sum()))
            row |= {"disc_auc": detection.auc(scores, replaced), "disc_loss": loss}
            row |= {"train_disc_loss": loss - 0.01 if e else None}
            row |= {"disc_recall": recall, "disc_precision": precision}
            row |= {"disc_balanced_accuracy": (recall + specificity) / 2}
            row |= {"disc_accuracy": float((flagged == replaced).mean())}
            row |= {"baseline_accuracy": 1 - float(replaced.mean())}
        else:
            row |= {"disc_auc": None, "disc_loss": None}
        lines.append(json.dumps(row))
    half_written = '{"step": 99'  # the run goes on
    (folder / "metrics.jsonl").write_text("\n".join([*lines, half_written]))
    return folder
