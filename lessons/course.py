"""What every lesson begins with: `lesson = begin("03_linear")`.

As a script, a lesson is run cell by cell from here:

    python lessons/03_linear.py            from top to bottom, checking itself
    python lessons/03_linear.py --step     a pause before every cell, with its text and code
    python lessons/03_linear.py --hints    with the hints of exercises that do not pass yet

In a notebook (VS Code, Jupyter) the same file is opened as cells and nothing is taken over.
"""

import argparse
import builtins
import importlib.util
import os
import re
import sys
import textwrap
import traceback
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))  # the package, also where it is not installed

import numpy as np

from minielectra import lessons
from minielectra.backend import set_blas_threads
from minielectra.gradcheck.checker import FLOOR, TOLERANCE, compare
from minielectra.plots import style

set_blas_threads(1)  # lessons' arrays are small: two threads would mostly wait for each other

_current = None  # the lesson that `run` is executing


class Cell(NamedTuple):
    """One cell of a lesson: its title, whether it is text, its first line's number, and its lines."""

    title: str
    is_text: bool
    start: int
    source: str


def begin(name):
    """The Lesson of this name; where its file is the script that was started, run it, cell by cell, and exit."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    path = FOLDER / f"{name}.py"
    if _current is None and script and Path(script).resolve() == path:
        try:
            sys.exit(run(path, sys.argv[1:]))
        except BrokenPipeError:  # the reader of our output has seen enough
            os._exit(0)
        except KeyboardInterrupt:
            print("\nstopped")
            sys.exit(130)
    return _current or Lesson(name)


class Lesson:
    """What a lesson's cells call: checks that print a table, figures, exercises."""

    def __init__(self, name, figures=FOLDER / "figures", hints=False, solutions=None):
        """figures: where they are saved; hints: show them; solutions: a module whose functions have to pass where the
        lesson's own have to fail (how the exercises themselves are tested), instead of recording progress."""
        self.name, self.figures, self.hints, self.solutions = name, Path(figures), hints, solutions
        self.exercises = {}  # name -> whether it passes

    def check(self, function, inputs, yours, library=None):
        """Hold hand-written gradients against finite differences of `function` and, where given, against the library's.

        function: takes nothing, returns the loss, reads the float64 arrays of `inputs` {name: array}; yours, library {name:
        gradient}. Prints a table; raises AssertionError where anything differs by more than 1e-7.
        """
        wrong = self._table(function, inputs, yours, library or {})
        if wrong:
            raise AssertionError(f"{self.name}: the gradient of {', '.join(wrong)} is wrong; see the table above")

    def exposes(self, function, inputs, wrong):
        """The same table for gradients that are wrong on purpose: raises AssertionError if the check does not notice."""
        if not self._table(function, inputs, wrong, {}):
            raise AssertionError(f"{self.name}: the check was meant to expose this gradient and did not")

    def _table(self, function, inputs, yours, library):
        results = compare(function, inputs, yours)
        floor = FLOOR * max(np.abs(gradient).max() for gradient in yours.values())  # of a gradient that is zero by algebra
        width = max(map(len, ["gradient of", *inputs]))
        print(f"{'gradient of':{width}}   against finite differences{'   against the library' if library else ''}")
        wrong = []
        for name, result in results.items():
            errors = [result.relative_error]
            line = f"{name:{width}}   {errors[0]:26.1e}"
            if name in library:
                errors.append(relative_error(yours[name], library[name], floor))
                line += f"   {errors[1]:19.1e}"
            ok = all(error <= TOLERANCE for error in errors)
            print(f"{line}   {'ok' if ok else 'WRONG'}")
            if not ok:
                wrong.append(name)
        return wrong

    def same(self, what, yours, reference, tolerance=1e-12):
        """Say that two results agree; raises AssertionError where they differ by more than `tolerance`, relative to the largest."""
        error = relative_error(yours, reference)
        if not error <= tolerance:
            raise AssertionError(f"{self.name}: {what}: differs by {error:.1e}, allowed is {tolerance:.0e}")
        print(f"{what}: the same, to {error:.1e}")

    def figure(self, fig, suffix=""):
        """Save a figure under the lesson's name, and show it where there is a notebook to show it in."""
        path = style.save(fig, self.figures / f"{self.name}{suffix and '-' + suffix}.png")
        print(f"figure: {short(path)}")
        if hasattr(builtins, "get_ipython"):
            from IPython.display import Image, display

            display(Image(filename=str(path)))

    def exercise(self, function, check, *hints):
        """Try `check` (function -> nothing; raises AssertionError where it is not right) on the reader's function and say how it went."""
        name = function.__name__
        problem = attempt(check, function)
        self.exercises[name] = problem is None
        if self.solutions is not None:
            if problem is None:
                raise AssertionError(f"{self.name}: exercise {name} passes before it is solved")
            check(getattr(self.solutions, name))
        if problem is None:
            print(f"✓ {name}: solved")
            return
        print(f"✗ {name}: not yet ({problem})")
        for number, hint in enumerate(hints if self.hints else (), 1):
            print(textwrap.fill(f"hint {number}: {hint}", 100, initial_indent="    ", subsequent_indent="            "))

    def end(self):
        """Sum up, note what is done, and say what is next."""
        passed = [name for name, ok in self.exercises.items() if ok]
        print(f"\nRan to the end; {len(passed)} of {len(self.exercises)} exercises solved.")
        if len(passed) < len(self.exercises):
            print("Write the functions under “Your turn” and run it again (--hints helps).")
        if self.solutions is None:
            try:
                lessons.record(self.name, passed, FOLDER)
            except OSError as error:
                print(f"(not noted as done: {error})")
        following = [path.name for path in sorted(FOLDER.glob("[0-9][0-9]_*.py")) if path.stem > self.name]
        if following:
            print(f"Next in order: python {short(FOLDER / following[0])} --step")


def relative_error(a, b, floor=0.0):
    """The largest difference of two arrays, relative to the largest element of either, or to `floor` where that is larger."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise AssertionError(f"shapes differ: {a.shape} and {b.shape}")
    scale = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0), floor)
    return float(np.abs(a - b).max(initial=0.0) / (scale or 1.0))


def attempt(check, function):
    """None where `check` accepts `function`, else what is wrong, in one line."""
    try:
        check(function)
    except (Exception, SystemExit) as error:  # the reader's code may raise anything at all
        frames = traceback.extract_tb(error.__traceback__)
        where = ([frame for frame in frames if FOLDER in Path(frame.filename).parents] or frames)[-1]  # rather than in a library
        text = "; ".join(" ".join(line.split()) for line in str(error).splitlines()) or "the check says no"
        kind = "" if isinstance(error, AssertionError | NotImplementedError) else f"{type(error).__name__}, line {where.lineno}: "
        return textwrap.shorten(kind + text, 400, placeholder=" …")
    return None


def short(path):
    """A path relative to where the reader is, where it lies below."""
    path = Path(path).resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# Running a lesson.


def run(path, arguments):
    """Run the lesson in the file `path` cell by cell -> exit status."""
    global _current
    parser = argparse.ArgumentParser(prog=path.name, description=lessons.read_header(path).title)
    parser.add_argument("--step", action="store_true", help="pause before every cell, with its text and code")
    parser.add_argument("--hints", action="store_true", help="show the hints of exercises that do not pass yet")
    parser.add_argument("--figures", type=Path, default=FOLDER / "figures", metavar="DIR", help="where figures are saved")
    parser.add_argument(
        "--solutions", action="store_true", help="test the exercises: the given code must fail, the solutions pass"
    )
    a = parser.parse_args(arguments)
    solutions = load_solutions(path.stem) if a.solutions else None
    _current = Lesson(path.stem, a.figures, a.hints, solutions)
    namespace = {"__name__": "__main__", "__file__": str(path)}
    for cell in read_cells(path):
        if a.step:
            if not step(cell, namespace):
                return 0
        elif cell.title:
            print(f"\n{cell.title}\n{'─' * len(cell.title)}")
        if not cell.is_text and (status := execute(cell, path, namespace)):
            return status
    return 0


def execute(cell, path, namespace):
    """Run a code cell -> exit status. What it raises is shown from the lesson's own line on."""
    from minielectra.pretraining.trainer import Interrupted

    try:
        exec(compile("\n" * (cell.start - 1) + cell.source, str(path), "exec"), namespace)
    except (KeyboardInterrupt, Interrupted):
        print("\nstopped")
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:  # the reader may have changed anything in a lesson
        traceback.print_exception(error.with_traceback(error.__traceback__.tb_next))
        return 1
    return 0


def load_solutions(name):
    """The module lessons/solutions/<name>.py."""
    spec = importlib.util.spec_from_file_location(f"solutions_{name}", FOLDER / "solutions" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_cells(path):
    """The cells of a lesson; what stands before the first `# %%` is not one."""
    cells, lines = [], path.read_text(encoding="utf-8").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        title = lines[start].removeprefix("# %%").replace("[markdown]", "").strip()
        cells.append(Cell(title, "[markdown]" in lines[start], start + 2, "\n".join(lines[start + 1 : stop]).rstrip()))
    return cells


def step(cell, namespace):
    """Show a cell and wait: Enter goes on, q ends, anything else is Python to try out -> whether to go on."""
    ink, bold, plain = ("\033[36m", "\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
    if cell.title:
        print(f"\n{bold}── {cell.title} {'─' * (96 - len(cell.title))}{plain}")
    if cell.is_text:
        text = re.sub(r"^# ?", "", cell.source, flags=re.MULTILINE).replace("**", "")
        print("\n" + re.sub(r"^# (.*)$", rf"{bold}\1{plain}", text, flags=re.MULTILINE))
    else:
        print("\n" + ink + textwrap.indent(cell.source.strip("\n"), "    ") + plain)
    while True:
        try:
            answer = input(f"\n{bold}[Enter] {'go on' if cell.is_text else 'run this'} · q quit · or type Python to try:{plain} ")
        except EOFError:
            return False
        if not answer.strip():
            return True
        if answer.strip() == "q":
            return False
        try:
            try:
                value = eval(answer, namespace)
            except SyntaxError:
                value = exec(answer, namespace)
            if value is not None:
                print(value)
        except Exception as error:  # the reader's line may raise anything; the lesson goes on
            print(f"{type(error).__name__}: {error}")
