"""How much of a file may be read into memory, and how a user allows more.

A few megabytes can stand for a hundred gigabytes: compressed zeros, or a header that promises a large array.
So whatever is read whole has a limit, far above what sensible files need. The environment variable
MINIELECTRA_LIMITS multiplies all limits: MINIELECTRA_LIMITS=4 allows four times as much.
"""

import os

from minielectra.errors import InputError, shown

VARIABLE = "MINIELECTRA_LIMITS"

JSON = 32 << 20  # bytes of a JSON file; a tokenizer.json of 250 000 pieces has 17 MB
VOCABULARY = 64 << 20  # bytes of a vocab.txt
RECORDS = 1 << 30  # bytes of detection records, uncompressed
LABELLED = 512 << 20  # bytes of a file for fine-tuning; the largest of SNLI's has 465 MB
LINE = 64 << 20  # bytes of one line of it; SQuAD is one line of 42 MB
RECORD = 16 << 20  # bytes of a line of JSON in a corpus
TEXT = 4 << 20  # bytes of a line of standard input for `detect` and `tokenize`; a novel has 1 MB


def limit(size: int) -> int:
    """One of the limits above, as the user has it. Raises InputError if the variable is no number."""
    given = os.environ.get(VARIABLE, "1")
    try:
        factor = float(given)
        if not 0 < factor < 1e9:
            raise ValueError
    except ValueError:
        raise InputError(f"{VARIABLE} is {shown(given)}; give a number, such as 4") from None
    return int(size * factor)


def too_large(size: int) -> str:
    """What is wrong with something larger than one of the limits above, and what to do."""
    allowed = limit(size) / (1 << 20)
    return f"more than {allowed:,.0f} MiB; {VARIABLE}=4 in the environment allows 4 times as much"
