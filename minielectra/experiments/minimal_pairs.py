"""Minimal pairs: two sentences that differ in one place, of which only the first is English.

They are made from lists of common words, so that a model of a few million tokens knows each of them. A kind
is a list of templates; `make_pairs` takes the same pairs on every machine. The idea is BLiMP's (Warstadt et
al. 2020), the words and templates are our own.
"""

import itertools
from typing import NamedTuple

import numpy as np

SINGULAR = (
    "man",
    "woman",
    "boy",
    "girl",
    "king",
    "child",
    "friend",
    "house",
    "city",
    "book",
    "ship",
    "horse",
)
PLURAL = (
    "men",
    "women",
    "boys",
    "girls",
    "kings",
    "children",
    "friends",
    "houses",
    "cities",
    "books",
    "ships",
)
PLURAL += ("horses",)
ADJECTIVES = ("old", "young", "great", "small", "good", "poor", "new", "strong")
PREPOSITIONS = ("near", "behind", "with", "from")
HE, SHE = ("man", "boy", "king", "father", "brother"), ("woman", "girl", "queen", "mother", "sister")
REFLEXIVE_VERBS = ("saw", "found", "asked", "left", "knew")
PLACES = ("in the water", "in the house", "at night", "at last", "in the end")
# Base form, past, participle: all three differ.
VERBS = (("go", "went", "gone"), ("see", "saw", "seen"), ("give", "gave", "given"), ("take", "took", "taken"))
VERBS += (("know", "knew", "known"), ("write", "wrote", "written"), ("eat", "ate", "eaten"))
OBJECTS = (("me", "i"), ("him", "he"), ("them", "they"), ("us", "we"))
SUBJECTS = ("he", "she", "they", "we", "the king", "the children")
VOWEL, CONSONANT = ("old", "english", "open", "evil"), ("great", "small", "young", "poor", "strong")


class Pair(NamedTuple):
    """A minimal pair."""

    kind: str
    good: str
    bad: str


def make_pairs(per_kind):
    """At most `per_kind` pairs of each kind, spread over all that its templates give -> list of Pair."""
    found = []
    for number, (kind, make) in enumerate(KINDS.items()):
        pairs = list(dict.fromkeys(make()))
        order = np.random.default_rng(number).permutation(len(pairs))[:per_kind]
        found += [Pair(kind, *(f"{sentence} ." for sentence in pairs[i])) for i in order]
    return found


def _agreement():
    for noun, adjective, (one, many) in itertools.product(
        range(len(SINGULAR)), ADJECTIVES, (("is", "are"), ("was", "were"), ("has been", "have been"))
    ):
        yield f"the {SINGULAR[noun]} {one} {adjective}", f"the {SINGULAR[noun]} {many} {adjective}"
        yield f"the {PLURAL[noun]} {many} {adjective}", f"the {PLURAL[noun]} {one} {adjective}"


def _agreement_across():
    """The nearest noun has the other number."""
    for noun, other, preposition, adjective in itertools.product(
        range(len(SINGULAR)), range(len(SINGULAR)), PREPOSITIONS, ADJECTIVES[:4]
    ):
        if noun != other:
            start = f"the {SINGULAR[noun]} {preposition} the {PLURAL[other]}"
            yield f"{start} was {adjective}", f"{start} were {adjective}"
            start = f"the {PLURAL[noun]} {preposition} the {SINGULAR[other]}"
            yield f"{start} were {adjective}", f"{start} was {adjective}"


def _determiner():
    for subject, verb, noun in itertools.product(SUBJECTS, ("saw", "knew", "found"), range(len(SINGULAR))):
        for one, many in (("this", "these"), ("that", "those"), ("every", "many")):
            yield f"{subject} {verb} {one} {SINGULAR[noun]}", f"{subject} {verb} {one} {PLURAL[noun]}"
            yield f"{subject} {verb} {many} {PLURAL[noun]}", f"{subject} {verb} {many} {SINGULAR[noun]}"


def _reflexive():
    for verb, place, number in itertools.product(REFLEXIVE_VERBS, PLACES, range(len(HE))):
        for nouns, own, other in ((HE, "himself", "herself"), (SHE, "herself", "himself")):
            start = f"the {nouns[number]} {verb}"
            yield f"{start} {own} {place}", f"{start} {other} {place}"


def _word_order():
    for noun, adjective, verb, place in itertools.product(SINGULAR, ADJECTIVES, ("was", "came"), PLACES):
        yield f"the {adjective} {noun} {verb} {place}", f"the {noun} {adjective} {verb} {place}"


def _verb_form():
    for subject, (base, past, participle), end in itertools.product(
        ("he", "she", "the man", "the girl", "the king"), VERBS, ("", " now", " before", " again")
    ):
        yield f"{subject} did not {base}{end}", f"{subject} did not {past}{end}"
        yield f"{subject} could {base}{end}", f"{subject} could {past}{end}"
        yield f"{subject} had {participle}{end}", f"{subject} had {base}{end}"


def _pronoun():
    for subject, (right, wrong), place in itertools.product(SUBJECTS, OBJECTS, PLACES):
        for verb in ("saw", "found", "came with", "looked at"):
            yield f"{subject} {verb} {right} {place}", f"{subject} {verb} {wrong} {place}"


def _article():
    for subject, noun in itertools.product(SUBJECTS, SINGULAR):
        for adjective in VOWEL:
            yield f"{subject} saw an {adjective} {noun}", f"{subject} saw a {adjective} {noun}"
        for adjective in CONSONANT:
            yield f"{subject} saw a {adjective} {noun}", f"{subject} saw an {adjective} {noun}"


KINDS = {
    "agreement": _agreement,
    "agreement across a phrase": _agreement_across,
    "determiner and noun": _determiner,
    "reflexive": _reflexive,
    "word order": _word_order,
    "verb form": _verb_form,
    "pronoun": _pronoun,
    "article": _article,
}
