"""What is random, against the law it should follow: chosen positions, shown tokens, samples and labels.

The test is chi-square, with fixed seeds. Every figure is a *surprise*, −log₁₀ of the p-value. For right code
it is under 4, except with one seed in ten thousand; for a wrong law it is in the tens or hundreds. V words.
"""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from scipy import stats

from minielectra.backend import RandomStream
from minielectra.electra import corruption
from minielectra.nn.layers import PassContext
from minielectra.pretraining.pretraining_config import PretrainingConfig

from . import checks, twins

LIMIT = 4.0  # a p-value of 1e-4


def surprise(counts, probabilities):
    """counts, probabilities [cells] of a multinomial -> −log₁₀ p. Cells expecting fewer than 5 are pooled."""
    expected = counts.sum() * probabilities / probabilities.sum()
    if counts[expected == 0].any():
        return np.inf
    few = expected < 5
    counts, expected = (np.append(x[~few], x[few].sum()) for x in (counts, expected))
    counts, expected = counts[expected > 0], expected[expected > 0]
    if len(counts) == 1:
        return 0.0  # only one thing could happen, and it did
    with np.errstate(divide="ignore"):
        return float(-np.log10(stats.chisquare(counts, expected).pvalue))


def sampling(words=1000, spread=1.0, temperature=1.0, rows=5000, rounds=12):
    """`sample_categorical` from one distribution over `words` words -> {name: surprise}.

    spread: the standard deviation of the logits.
    """
    logits = spread * np.random.default_rng(0).standard_normal(words)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    table = np.broadcast_to(p.astype(np.float32), (rows, words)).copy()
    counts = np.zeros(words)
    for i in range(rounds):
        u = RandomStream((1, i)).uniform(rows)
        counts += np.bincount(corruption.sample_categorical(table, u, temperature), minlength=words)
    return {
        f"{words} words, spread {spread:g}, temperature {temperature:g}": surprise(
            counts, p ** (1.0 / temperature)
        )
    }


def choices(with_replacement=False, rows=30_000):
    """The *set* of positions that `mask_batch` chooses in a row -> {name: surprise}.

    A row has 13 tokens, of which 9 are candidates and 3 are wanted. Each set is a cell, so numbers, single
    positions and pairs are all tested. With replacement (the released code), 3 draws hit 1, 2 or 3 different
    positions: of the 9³ ways to draw, 1 gives a certain set of 1, and 6 a certain set of 2 or of 3.
    """
    ids = np.full((rows, 13), 10, np.int32)
    ids[:, [0, 6, 11]] = 1  # special tokens
    valid = np.ones_like(ids, bool)
    valid[:, 12] = False
    settings = PretrainingConfig(seq_length=13, mask_fraction=0.25, mask_with_replacement=with_replacement)
    batch = corruption.mask_batch(
        ids, valid, ids * 0, (0, 1, 2, 3, 4), 4, 61, settings, np.random.default_rng(3)
    )
    found = Counter(
        tuple(sorted(row[used])) for row, used in zip(batch.positions, batch.weights > 0, strict=True)
    )
    candidates = np.flatnonzero(ids[0, :12] == 10)
    cells = {c: 6.0 for c in combinations(candidates, 3)}
    if with_replacement:
        cells |= {c: 6.0 for c in combinations(candidates, 2)} | {c: 1.0 for c in combinations(candidates, 1)}
    name = "chosen sets, with replacement" if with_replacement else "chosen sets"
    if found.keys() - cells.keys():
        return {name: np.inf}
    return {name: surprise(np.array([found[c] for c in cells], float), np.array(list(cells.values())))}


def shown(rows=20_000, words=61):
    """What stands at chosen positions, if 20 % are kept and 30 % become random words -> {name: surprise}.

    That is [MASK] (id 4), the original (id 10), or any word.
    """
    ids = np.full((rows, 9), 10, np.int32)
    settings = PretrainingConfig(
        seq_length=9, mask_fraction=0.3, mask_keep_fraction=0.2, mask_random_fraction=0.3
    )
    batch = corruption.mask_batch(
        ids, ids > 0, ids * 0, (0, 1, 2, 3, 4), 4, words, settings, np.random.default_rng(4)
    )
    there = np.take_along_axis(batch.masked_ids, batch.positions, axis=1)[batch.weights > 0]
    law = np.full(words, 0.3 / words)
    law[4] += 0.5
    law[10] += 0.2
    return {"shown tokens": surprise(np.bincount(there, minlength=words).astype(float), law)}


def generator(temperature=1.0, copies=3000):
    """The joint model's samples and labels on copies of one example, against the softmax of the PyTorch twin.

    Originals are the words that the generator finds likeliest, so that right guesses are common. A token is
    labelled replaced as often as the sample differs from it, 1 − p(original). The last slot is unused:
    nothing there may change, whatever is sampled.
    """
    objective = checks.joint_model(
        settings=replace(checks.SETTINGS, sample_temperature=temperature), dtype=np.float32
    )
    batch, _ = checks.make_batch(checks.CONFIG, 5, slots=4)
    batch = batch.shard(slice(1, 2))  # a padded row whose last slot is unused
    with torch.no_grad():
        _, p = twins.Twin(objective, torch.float32).losses(batch, samples=np.zeros_like(batch.positions))
    law = p[0].double().numpy() ** (1.0 / temperature)
    law /= law.sum(axis=1, keepdims=True)
    used = batch.weights[0] > 0
    original = np.where(used, law.argmax(axis=1), batch.input_ids[0, batch.positions[0]])
    batch.input_ids[0, batch.positions[0]] = original  # the generator sees [MASK] there, so its law stays
    many = batch.shard(np.zeros(copies, int))
    uniform = RandomStream((9,)).uniform(many.positions.size)
    outcome, _ = objective.forward(many, many.normalizers(), PassContext(), uniform)
    figures = {}
    for k, position in enumerate(batch.positions[0]):
        figures[f"samples, slot {k}"] = surprise(
            np.bincount(outcome.samples[:, k], minlength=len(law[k])), law[k]
        )
        replaced = outcome.replaced[:, position].sum()
        right = law[k, original[k]] if used[k] else 1.0
        figures[f"labels, slot {k}"] = surprise(
            np.array([copies - replaced, replaced]), np.array([right, 1.0 - right])
        )
    elsewhere = np.delete(outcome.replaced, batch.positions[0], axis=1)
    return figures | {"labels elsewhere": np.inf if elsewhere.any() else 0.0}
