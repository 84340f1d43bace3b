"""A toy language for the lessons: small enough to be learned in seconds, with one rule to find.

A typical sentence is "these old dogs see a small house near the river ." Determiner, noun and verb agree in
number ("this dog sleeps", "these dogs sleep"), so a token can be wrong because of another token some words
away. Words are their own tokens.
"""

import numpy as np

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
DETERMINERS = (("the", "a", "this", "every"), ("the", "some", "these", "all"))  # for one, for many
NOUNS = (
    ("dog", "cat", "bird", "child", "teacher", "farmer", "house", "river", "tree", "road"),
    ("dogs", "cats", "birds", "children", "teachers", "farmers", "houses", "rivers", "trees", "roads"),
)
ANIMATE = 6  # the number of nouns, the first ones, that can do something
INTRANSITIVE = (("sleeps", "waits", "runs"), ("sleep", "wait", "run"))
TRANSITIVE = (("sees", "likes", "finds"), ("see", "like", "find"))
ADJECTIVES = ("old", "small", "young", "quiet")
PREPOSITIONS = ("near", "behind", "beside")
_WORDS = [
    *DETERMINERS[0],
    *DETERMINERS[1],
    *NOUNS[0],
    *NOUNS[1],
    *INTRANSITIVE[0],
    *INTRANSITIVE[1],
    *TRANSITIVE[0],
    *TRANSITIVE[1],
    *ADJECTIVES,
    *PREPOSITIONS,
    ".",
]
VOCABULARY = (*SPECIAL, *dict.fromkeys(_WORDS))  # each word once: "the" is in two lists
IDS = {word: i for i, word in enumerate(VOCABULARY)}
LONGEST = 12  # words in a sentence
LENGTH = LONGEST + 2  # with [CLS] and [SEP]


def sentence(random):
    """One sentence, a list of words. random: np.random.Generator."""
    many, transitive = random.integers(2), random.random() < 0.5
    words = phrase(random, many, ANIMATE)
    words.append(random.choice((TRANSITIVE if transitive else INTRANSITIVE)[many]))
    if transitive:
        words += phrase(random, random.integers(2), len(NOUNS[0]))
    if random.random() < 0.5:
        words += [random.choice(PREPOSITIONS), *phrase(random, random.integers(2), len(NOUNS[0]))]
    return [*map(str, words), "."]


def phrase(random, many, nouns):
    """A determiner, sometimes an adjective, and one of the first `nouns` nouns -> list of words."""
    adjective = [random.choice(ADJECTIVES)] if random.random() < 0.4 else []
    return [random.choice(DETERMINERS[many]), *adjective, NOUNS[many][random.integers(nouns)]]


def encode(sentences, length=LENGTH):
    """Lists of words -> ids [B, T] int32: [CLS], the words, [SEP], then [PAD] up to T = length."""
    ids = np.full((len(sentences), length), PAD, np.int32)
    for row, words in zip(ids, sentences, strict=True):
        row[: len(words) + 2] = [CLS, *(IDS[word] for word in words), SEP]
    return ids


def batch(count, random, length=LENGTH):
    """ids [count, length] of new sentences."""
    return encode([sentence(random) for _ in range(count)], length)


def words(ids):
    """The words of ids [T], without the padding."""
    return [VOCABULARY[i] for i in ids if i != PAD]
