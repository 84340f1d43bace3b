"""How `detect` shows texts to people."""

import re

from minielectra.cli.show_tokens import colored, plain, words

RESULT = {
    "text": "Café ate, he",
    "tokens": ["ca", "##fe", "at", "##e", ",", "he"],
    "replaced": [0.2, 0.4, 0.9, 0.5, 0.04, 0.1],
    "offsets": [[0, 2], [2, 4], [5, 7], [7, 8], [8, 9], [10, 12]],
}


def test_pieces_are_joined_to_the_words_of_the_text():
    shown = [(word, round(p, 6)) for word, p in words(RESULT)]
    assert shown == [("Café", 0.3), ("ate", 0.7), (",", 0.04), ("he", 0.1)]
    assert plain(RESULT) == "  0.300  Café\n  0.700  ate\n  0.040  ,\n  0.100  he\n"
    text = re.sub(r"\x1b\[[\d;]*m", "", colored(RESULT))
    assert text.split() == ["Café", "30%", "ate", "70%", ",", "he", "10%"]


def test_a_text_that_begins_inside_a_word_and_an_empty_one():
    inside = {"text": "xy", "tokens": ["##x", "##y"], "replaced": [0.2, 0.6], "offsets": [[0, 1], [1, 2]]}
    assert words(inside) == [("xy", 0.4)]
    empty = {"text": "", "tokens": [], "replaced": [], "offsets": []}
    assert words(empty) == [] and plain(empty) == ""
