"""The tokens of `detect`, for people."""


def colored(result):
    """The tokens of `detect` for a terminal: the likelier replaced, the redder, with the probability in per cent from 10 % up."""
    pieces = []
    for token, p in zip(result["tokens"], result["replaced"], strict=True):
        shade = 255 - int(200 * min(1.0, p))
        label = f"{token} {100 * p:.0f}%" if p >= 0.1 else token
        style = "1;38;5;16" if p >= 0.5 else "38;5;16"
        pieces.append(f"\x1b[48;2;255;{shade};{shade}m\x1b[{style}m {label} \x1b[0m")
    return " ".join(pieces)


def plain(result):
    """The tokens of `detect` one a line, probability first."""
    lines = [f"{p:7.3f}  {token}" for token, p in zip(result["tokens"], result["replaced"], strict=True)]
    return "\n".join([*lines, ""])
