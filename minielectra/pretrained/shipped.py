"""What names a pre-trained model: a folder, or the name of a model that comes with minielectra."""

import os
import sys
from pathlib import Path

from minielectra.errors import InputError

NAMES = ("mini",)
DEFAULT = "mini"
HOME = Path(__file__).parent  # pip unpacks packages, so these are ordinary files


def is_shipped(source):
    """Whether `source` is the name of a shipped model. A pathlib.Path never is."""
    return isinstance(source, str) and source in NAMES


def locate(source):
    """The folder that `source` means -> Path.

    A name in NAMES means the shipped model. If a folder here has the same name, one line on standard error
    says how to write it: `./mini` is always the folder. Raises InputError if there is no such folder.
    """
    if is_shipped(source):
        if os.path.isdir(source):
            print(
                f"{source}: taken for the model that comes with minielectra; "
                f"write ./{source} for the folder of that name",
                file=sys.stderr,
            )
        return HOME / source
    if not os.path.exists(source):
        raise InputError(f"{source}: no such folder; models that come with minielectra: {', '.join(NAMES)}")
    return Path(source)
