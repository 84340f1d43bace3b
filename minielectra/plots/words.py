"""Kinds of word pieces: closed and open class, punctuation, digits, continuation; frequency bands; which tokens to show."""

import unicodedata

import numpy as np

from minielectra.runs.detection_records import DetectionRecords

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLASSES = ("closed class", "open class", "punctuation", "digits")

# English function words: articles, pronouns, prepositions, conjunctions, auxiliaries, particles. A closed class: no new members.
CLOSED_CLASS = frozenset(
    """
    a an the this that these those each every either neither both all any some no none such another other
    i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we us our ours ourselves
    they them their theirs themselves one who whom whose which what whatever whoever
    about above across after against along among around as at before behind below beneath beside between beyond but by
    despite down during except for from in inside into like near of off on onto out outside over past per since than through
    throughout till to toward towards under until up upon via with within without
    and or nor so yet if because although though while whereas unless whether when where why how once
    am is are was were be been being do does did done doing have has had having
    can could may might must shall should will would ought cannot
    not n t s re ve ll d m there here then too very also only just even
    """.split()  # noqa: SIM905
)


def word_class(token):
    """The class of a word piece: one of CLASSES, or "" for a special token. A continuation piece counts as open class.

    "the" -> "closed class", "##ing" -> "open class", "," -> "punctuation", "1945" -> "digits".
    """
    if token in SPECIALS:
        return ""
    text = token.removeprefix("##")
    if text.isdigit():
        return "digits"
    if text and all(unicodedata.category(character)[0] in "PS" for character in text):
        return "punctuation"
    return "closed class" if text.lower() in CLOSED_CLASS and not token.startswith("##") else "open class"


def class_ids(tokens):
    """[V] int: index into CLASSES of every word piece, −1 for specials."""
    index = {"": -1} | {name: i for i, name in enumerate(CLASSES)}
    return np.array([index[word_class(token)] for token in tokens])


def is_continuation(tokens):
    """[V] bool: pieces that go on a word ("##ing")."""
    return np.array([token.startswith("##") for token in tokens])


def frequency_bands(train_counts, occurrences, n_bands=4):
    """Split the vocabulary by training frequency so that each band covers about the same share of the held-out text.

    train_counts [V], occurrences [V] (how often an entry is seen in the held-out set)
    -> band [V] int (0 the rarest), and for each band the range of training counts (low, high). Equal counts share a band;
    bands that nothing falls into are left out, so there can be fewer than n_bands.
    """
    order = np.argsort(train_counts, kind="stable")
    share_below = np.cumsum(occurrences[order]) - occurrences[order] / 2
    band_sorted = (n_bands * share_below / max(occurrences.sum(), 1)).astype(int).clip(0, n_bands - 1)
    first_of_count = np.searchsorted(train_counts[order], train_counts[order])  # ties go where their first member goes
    band_sorted = band_sorted[first_of_count]
    used = np.unique(band_sorted[occurrences[order] > 0])
    band_sorted = np.searchsorted(used, band_sorted).clip(0, max(len(used) - 1, 0))
    band = np.empty(len(order), int)
    band[order] = band_sorted
    present = occurrences > 0
    ranges = [(train_counts[present & (band == b)].min(), train_counts[present & (band == b)].max()) for b in range(len(used))]
    return band, ranges


def choose_tokens(records: DetectionRecords, n_each=(4, 4, 2, 2)):
    """Ids of tokens worth showing: the most often planted function words, content words, punctuation and continuation pieces.

    n_each: how many of each, in that order; fewer where the record has fewer that were both planted and left alone. When nothing
    at all was replaced, the most frequent.
    """
    evidence = np.minimum(records.replaced.sum(0, dtype=np.int64), records.original.sum(0, dtype=np.int64))
    if not evidence.any():  # nothing replaced: then at least what is there
        evidence = records.original.sum(0, dtype=np.int64)
    classes, pieces = class_ids(records.tokens), is_continuation(records.tokens)
    kinds = (classes == 0, (classes == 1) & ~pieces, classes == 2, pieces)
    chosen = []
    for kind, n in zip(kinds, n_each, strict=True):
        ranked = np.argsort(-np.where(kind, evidence, 0), kind="stable")[:n]
        chosen += [int(i) for i in ranked if kind[i] and evidence[i] > 0]
    return chosen


def well_counted(replaced, original, n, least=5):
    """Ids of up to n tokens with at least `least` planted and `least` genuine occurrences at an evaluation, most evidence first.

    replaced, original [V]: mean counts an evaluation. When fewer than 12 pass, the bar falls to one of each.
    """
    evidence = np.nan_to_num(np.minimum(replaced, original))
    ranked = np.argsort(-evidence, kind="stable")
    enough = ranked[evidence[ranked] >= least]
    return enough[:n] if len(enough) >= 12 else ranked[evidence[ranked] >= 1][:n]
