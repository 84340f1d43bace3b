"""How `detect` shows a text to people: word by word, in color or in plain lines."""


def words(result):
    """A result of `detect` word by word -> [(word as it stands in the text, probability of "replaced")].

    A piece with ## continues the word before it. A word's probability is the mean of its pieces'.
    """
    found = []
    for token, (start, stop), p in zip(result["tokens"], result["offsets"], result["replaced"], strict=True):
        pieces = []
        if token.startswith("##") and found:
            start, _, pieces = found.pop()
        found.append((start, stop, [*pieces, p]))
    return [(result["text"][start:stop], sum(ps) / len(ps)) for start, stop, ps in found]


def colored(result):
    """A result of `detect` for a terminal: the redder a word, the more likely it was replaced.

    From 10 % up, the probability stands beside the word.
    """
    shown = []
    for word, p in words(result):
        shade = 255 - int(200 * min(1.0, p))
        label = f"{word} {100 * p:.0f}%" if p >= 0.1 else word
        style = "1;38;5;16" if p >= 0.5 else "38;5;16"
        shown.append(f"\x1b[48;2;255;{shade};{shade}m\x1b[{style}m {label} \x1b[0m")
    return " ".join(shown)


def plain(result):
    """A result of `detect` in lines: the probability, then the word. A blank line ends the text."""
    return "\n".join([*(f"{p:7.3f}  {word}" for word, p in words(result)), ""])
