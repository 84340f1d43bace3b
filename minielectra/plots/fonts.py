"""Fonts for every script: matplotlib's own if it has the character, otherwise another one of this machine.

DejaVu Sans, which comes with matplotlib, has Latin, Greek, Cyrillic, Arabic and Hebrew, but no Chinese,
Japanese or Korean. `drawable` looks for what it lacks among all fonts that are installed.
"""

import sys
from functools import cache

from matplotlib import font_manager, ft2font
from matplotlib.text import Text

LACKING = "□"  # drawn for a character that no font has
# Fonts whose characters are not what they say, or are only boxes.
_UNUSABLE = ("lastresort", "last resort", "blank", "cmb10", "cmex", "cmmi", "cmr10", "cmss", "cmsy", "cmtt")
_PREFERRED = ("noto sans", "source han sans", "droid sans fallback", "wenquanyi", "arial unicode", "unifont")

_fallbacks = {}  # {character that DejaVu Sans lacks: the name of a font that has it}
_told = set()  # characters that the user knows are lacking
_lacking = {}  # characters that no font has, in order of appearance


def drawable(character):
    """The character itself if a font has it, else □."""
    if ord(character) in _characters(font_manager.findfont("DejaVu Sans")):
        return character
    family = _family_with(character)
    if family is None:
        _lacking[character] = None
        return LACKING
    _fallbacks[character] = family
    return character


def use_fallbacks(fig):
    """Let the texts of a Figure use the fonts that `drawable` has found, after their own.

    Such a text is neither bold nor italic, because a font's bold and italic files may have fewer characters.
    """
    for text in fig.findobj(Text) if _fallbacks else ():
        families = dict.fromkeys(_fallbacks[c] for c in text.get_text() if c in _fallbacks)
        if families:
            text.set_fontfamily([*text.get_fontfamily(), *families])
            text.set(fontstyle="normal", fontweight="normal")


def tell_lacking():
    """Say on standard error, in one line, which characters no font has, unless that was said already."""
    new = [character for character in _lacking if character not in _told]
    if new:
        _told.update(new)
        more = f" … ({len(new)} in all)" if len(new) > 10 else ""
        print(
            f"pictures: no font on this machine has {' '.join(new[:10])}{more}; {LACKING} is drawn instead. "
            "Install a font that has them, such as Noto Sans CJK, and draw again with `minielectra plot`",
            file=sys.stderr,
        )


@cache
def _family_with(character):
    """The name of an installed font that has the character, or None."""
    for entry in _installed():
        if ord(character) in _characters(entry.fname):
            return entry.name
    return None


@cache
def _installed():
    """The usable fonts of this machine, those first that are made for many scripts."""

    def rank(entry):
        name = entry.name.lower()
        preference = next(
            (i for i, start in enumerate(_PREFERRED) if name.startswith(start)), len(_PREFERRED)
        )
        return preference, entry.style != "normal", str(entry.weight) not in ("400", "normal"), name

    entries = font_manager.fontManager.ttflist
    return sorted((e for e in entries if not e.name.lower().startswith(_UNUSABLE)), key=rank)


@cache
def _characters(path):
    """The characters that a font file can draw; none if it cannot be read or has only pictures (emoji)."""
    try:
        font = ft2font.FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
