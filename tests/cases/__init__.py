"""The cases of a folder: small inputs on which the program once went wrong, each of them run and checked.

    python -m tests.cases [FOLDER]

FOLDER (default: $MINIELECTRA_CASES, or ../shared/cases beside the checkout) holds one folder per case, with
its inputs and a README: the command, what once happened, and what should happen. `_base` is a small model
that several cases use. Each case runs on a copy of all this in a temporary folder.

Prints one line per case: `ok`, `FAILED: why` or `skipped: why`. The exit status is 1 if a case failed. Where
a case should behave like transformers, it is compared with transformers, or the line says that transformers
is not installed. The whole takes two to three minutes.

`@case` names the folder of a case, and the tests of the suite that try the same with inputs of their own.
"""

import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from . import machines, models, task_files, texts
from .bench import CASES, ROOT, Bench, Skipped, Wrong

# The modules register their cases when they are imported.
__all__ = ["CASES", "Skipped", "Wrong", "machines", "models", "task_files", "texts"]


def default_folder():
    """Where the cases are, unless somebody says otherwise."""
    return Path(os.environ.get("MINIELECTRA_CASES") or ROOT.parent / "shared" / "cases").absolute()


def unknown(folder):
    """Names of folders with a README that no function checks."""
    return sorted(path.parent.name for path in Path(folder).glob("*/README") if path.parent.name not in CASES)


def run_case(folder, name):
    """Check one case in a temporary folder -> notes on what could not be compared. Raises Wrong, Skipped."""
    if not (Path(folder) / name).is_dir():
        raise Skipped(f"{folder} has no such folder")
    with (
        tempfile.TemporaryDirectory(prefix="minielectra-") as place,
        closing(Bench(folder, name, place)) as bench,
    ):
        CASES[name].check(bench)
        return bench.notes


def main(words):
    """Run all cases of a folder -> exit status."""
    if len(words) > 1 or words[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0 if len(words) == 1 else 2
    folder = Path(words[0]).absolute() if words else default_folder()
    if not folder.is_dir():
        absent = f"there is no folder {folder}; give the folder of cases, or set MINIELECTRA_CASES"
        print(absent if words else f"skipped: {absent}")
        return 2 if words else 0
    sys.path.insert(0, str(ROOT))
    failed = unknown(folder)
    for name in failed:
        print(f"{name}: FAILED: no check for it")
    for name in sorted(CASES):
        try:
            notes = run_case(folder, name)
            said = "ok" + "".join(f" ({note})" for note in notes)
        except Skipped as reason:
            said = f"skipped: {reason}"
        except Exception as error:  # whatever a check meets is a failure of its case, and the next is run
            said = f"FAILED: {'' if isinstance(error, Wrong) else type(error).__name__ + ': '}{error}"
            failed.append(name)
        print(f"{name}: {' '.join(said.split())}", flush=True)
    return 1 if failed else 0
