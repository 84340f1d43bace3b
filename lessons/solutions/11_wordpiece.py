"""Solutions to lesson 11."""

import string
import unicodedata


def fewest(word, vocabulary):
    best = [[]]  # best[n]: the fewest pieces for the first n letters, None if it cannot be done
    for n in range(1, len(word) + 1):
        ways = []
        for m in range(n):
            piece = ("##" if m else "") + word[m:n]
            if best[m] is not None and piece in vocabulary:
                ways.append([*best[m], piece])
        best.append(min(ways, key=len, default=None))
    return best[-1] or ["[UNK]"]


def to_words(text):
    spread = ""
    for character in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(character)
        if character.isspace():
            spread += " "
        elif character in string.punctuation or kind[0] == "P":
            spread += f" {character} "
        elif kind not in ("Mn", "Cc", "Cf"):
            spread += character.lower()
    return spread.split()
