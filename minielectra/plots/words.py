"""Kinds of word pieces: word class, continuation, frequency band; and which tokens are worth showing."""

import unicodedata

import numpy as np

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLASSES = ("closed class", "open class", "punctuation", "digits")

# English function words: articles, pronouns, prepositions, conjunctions, auxiliaries, particles.
# The class is closed: it gets no new members.
CLOSED_CLASS = frozenset(
    """
    a an the this that these those each every either neither both all any some no none such another other
    i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we
    us our ours ourselves they them their theirs themselves one who whom whose which what whatever whoever
    about above across after against along among around as at before behind below beneath beside between
    beyond but by despite down during except for from in inside into like near of off on onto out outside
    over past per since than through throughout till to toward towards under until up upon via with within
    without
    and or nor so yet if because although though while whereas unless whether when where why how once
    am is are was were be been being do does did done doing have has had having
    can could may might must shall should will would ought cannot
    not n t s re ve ll d m there here then too very also only just even
    """.split()  # noqa: SIM905
)


def word_class(token):
    """The class of a word piece: one of CLASSES, "" for a special token. A continuation piece is open class.

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
    """The class of every word piece: [V] int, an index into CLASSES, −1 for special tokens."""
    index = {"": -1} | {name: i for i, name in enumerate(CLASSES)}
    return np.array([index[word_class(token)] for token in tokens])


def is_continuation(tokens):
    """[V] bool: pieces that continue a word ("##ing")."""
    return np.array([token.startswith("##") for token in tokens])


def frequency_bands(train_counts, occurrences, n_bands=4):
    """Split the vocabulary by training frequency into bands of about the same share of the held-out text.

    train_counts [V]: occurrences in the training text; occurrences [V]: in the held-out text
    -> band [V] int (0 is the rarest), and a list of the lowest and highest training count of each band.
    Entries of equal count share a band. There can be fewer than n_bands, because bands into which no text
    falls are left out.
    """
    order = np.argsort(train_counts, kind="stable")
    share_below = np.cumsum(occurrences[order]) - occurrences[order] / 2
    band_sorted = (n_bands * share_below / max(occurrences.sum(), 1)).astype(int).clip(0, n_bands - 1)
    counts = train_counts[order]
    band_sorted = band_sorted[np.searchsorted(counts, counts)]  # equal counts go where the first of them goes
    used = np.unique(band_sorted[occurrences[order] > 0])
    band_sorted = np.searchsorted(used, band_sorted).clip(0, max(len(used) - 1, 0))
    band = np.empty(len(order), int)
    band[order] = band_sorted
    of_band = [train_counts[(occurrences > 0) & (band == b)] for b in range(len(used))]
    return band, [(counts.min(), counts.max()) for counts in of_band]


def choose_tokens(records, n_each=(4, 4, 2, 2)):
    """Ids of tokens worth showing: those with the most evidence in each of four kinds.

    Evidence is the smaller of two numbers: how often a token was replaced and how often it was original. If
    nothing was replaced at all, it is how often the token was original.

    records: DetectionRecords; n_each: how many function words, content words, punctuation marks and
    continuation pieces. A kind with fewer tokens that have any evidence contributes fewer.
    """
    replaced, original = (counts.sum(0, dtype=np.int64) for counts in (records.replaced, records.original))
    evidence = np.minimum(replaced, original)
    if not evidence.any():
        evidence = original
    classes, pieces = class_ids(records.tokens), is_continuation(records.tokens)
    kinds = (classes == 0, (classes == 1) & ~pieces, classes == 2, pieces)
    chosen = []
    for kind, n in zip(kinds, n_each, strict=True):
        ranked = np.argsort(-np.where(kind, evidence, 0), kind="stable")[:n]
        chosen += [int(i) for i in ranked if kind[i] and evidence[i] > 0]
    return chosen


def well_counted(n_replaced, n_original, n, least=5):
    """Ids of up to n tokens with `least` replaced and `least` original occurrences, most evidence first.

    n_replaced, n_original [V]: mean counts per evaluation. If fewer than 12 tokens pass, once each is enough.
    """
    evidence = np.nan_to_num(np.minimum(n_replaced, n_original))
    ranked = np.argsort(-evidence, kind="stable")
    enough = ranked[evidence[ranked] >= least]
    return enough[:n] if len(enough) >= 12 else ranked[evidence[ranked] >= 1][:n]
