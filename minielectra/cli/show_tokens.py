"""How `detect` shows tokens to people: in color, or in plain lines."""


def colored(result):
    """A result of `detect` for a terminal: the redder a token, the more likely it was replaced.

    From 10 % up, the probability stands beside the token.
    """
    pieces = []
    for token, p in zip(result["tokens"], result["replaced"], strict=True):
        shade = 255 - int(200 * min(1.0, p))
        label = f"{token} {100 * p:.0f}%" if p >= 0.1 else token
        style = "1;38;5;16" if p >= 0.5 else "38;5;16"
        pieces.append(f"\x1b[48;2;255;{shade};{shade}m\x1b[{style}m {label} \x1b[0m")
    return " ".join(pieces)


def plain(result):
    """A result of `detect` in lines: the probability, then the token. A blank line ends the text."""
    lines = [f"{p:7.3f}  {token}" for token, p in zip(result["tokens"], result["replaced"], strict=True)]
    return "\n".join([*lines, ""])
