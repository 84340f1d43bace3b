"""BERT's text normalization as a table of all Unicode characters, for code that has none of its own.

    dropped, spaces, apart    [first, last, first, last, …]: code points that become nothing, a space, or a
                              word of their own
    changed                   {character: what it becomes}, for all others that change
    decompose                 whether Korean syllables become their parts, by Unicode's formula

A browser knows another version of Unicode than Python. With the table, both cut every text alike.
"""

import functools
import unicodedata

from minielectra.data.wordpiece.normalization import TextNormalizer
from minielectra.data.wordpiece.rules import Rules

_KOREAN = range(0xAC00, 0xD7A4)
_LAST_IN_USE = 0x30000  # later code points without a category change in no way


@functools.cache
def character_table(rules: Rules) -> dict:
    """The table for a tokenizer's rules -> JSON-able dict."""
    normalizer = TextNormalizer(rules.lowercase, rules.strip_accents, rules.chinese)
    ranges, changed = {"dropped": [], "spaces": [], "apart": []}, {}
    for code in range(0x110000):
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Cn" and code >= _LAST_IN_USE:
            continue
        text = "" if category in ("Co", "Cs") else normalizer.__missing__(code)
        kind = {"": "dropped", " ": "spaces", f" {char} ": "apart"}.get(text)
        if kind is not None:
            _extend(ranges[kind], code)
        elif text != char and code not in _KOREAN:
            changed[char] = text
    return {**ranges, "changed": changed, "decompose": rules.strips_accents}


def _extend(ranges, code):
    """Add a code point, larger than all before, to ranges."""
    if ranges and ranges[-1] == code - 1:
        ranges[-1] = code
    else:
        ranges += [code, code]
