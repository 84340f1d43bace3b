"""Which text is held out for evaluation: whole documents if they fit, else the end of the longest one."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from minielectra.data.text.sentences import sentence_spans


@dataclass(frozen=True)
class Split:
    """What is held out: whole documents, by number, or everything in one document from a character on."""

    documents: frozenset[int]
    cut_document: int = -1  # none
    cut_at: int = 0


def choose_held_out(sizes: np.ndarray, fraction: float, seed: int) -> Split:
    """What to hold out: about `fraction` of all characters. sizes: [documents] int, the characters in each.

    Documents are tried in the order of a hash of (seed, number), and taken as long as they fit. If whole
    documents miss the aim by far, the longest one is cut.
    """
    aim = fraction * sizes.sum()
    hashes = (hashlib.blake2b(f"{seed} {i}".encode(), digest_size=8).digest() for i in range(len(sizes)))
    keys = np.fromiter((int.from_bytes(h, "big") for h in hashes), np.uint64, len(sizes))
    chosen, taken = [], 0
    for i in keys.argsort(kind="stable"):
        if taken >= 0.9 * aim:
            break
        if sizes[i] and taken + sizes[i] <= 1.5 * aim:
            chosen.append(int(i))
            taken += sizes[i]
    if taken >= 0.5 * aim and len(chosen) < np.count_nonzero(sizes):
        return Split(frozenset(chosen))
    longest = int(sizes.argmax())
    return Split(frozenset(), longest, int(max(sizes[longest] - aim, sizes[longest] / 2)))


def sentences_by_part(
    lines: Iterable[str], sizes: np.ndarray, split: Split
) -> Iterator[tuple[str, int, str]]:
    """(part, document's number, sentence) for every sentence, in the order of the text.

    part: "train" or "heldout"; lines: as `corpus_lines` yields them; sizes: as for `choose_held_out`.
    """
    document, position = 0, 0  # position: characters of the document before the current sentence
    whole = "heldout" if 0 in split.documents else "train"
    for line in lines:
        if not line:
            document, position = document + 1, 0
            whole = "heldout" if document in split.documents else "train"
            continue
        spans = sentence_spans(line)
        end = position + len(line) + 1
        for k, (first, stop) in enumerate(spans):
            # training gets at least the first sentence of a document that is cut, and evaluation the last
            last = end == sizes[document] and k == len(spans) - 1
            cut = document == split.cut_document and position > 0 and (position >= split.cut_at or last)
            yield ("heldout" if cut else whole), document, line[first:stop]
            gap = k + 1 < len(spans) and spans[k + 1][0] > stop
            position += stop - first + gap
        position = end
