"""What every lesson begins with: `lesson = begin("03_linear")`.

As a script, a lesson is run cell by cell from here:

    python lessons/03_linear.py            from top to bottom, checking itself
    python lessons/03_linear.py --step     pauses before every cell, with its text and code
    python lessons/03_linear.py --hints    with hints for the exercises that do not pass yet

In a notebook (VS Code, Jupyter) the same file opens as cells, and the notebook runs them.
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
sys.path.insert(0, str(FOLDER.parent))  # so that the package is found even if it is not installed

import numpy as np

from minielectra import lessons
from minielectra.backend import set_blas_threads
from minielectra.gradcheck import FLOOR, TOLERANCE, compare
from minielectra.plots import style

set_blas_threads(1)  # the lessons' arrays are small: two threads would mostly wait for each other

# For lessons that train on real text: half the width of the preset `tiny`, fewer and shorter word pieces, and
# Adam (lesson 16) instead of Muon, so that it takes a minute and needs nothing that no lesson explains.
LESSON_SETTINGS = {
    "vocab_size": 512,
    "seq_length": 32,
    "embedding_size": 64,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 2,
    "generator_width": 0.5,  # of the discriminator's hidden size …
    "generator_depth": 0.5,  # … and of its layers
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "disc_weight": 3.0,
    "unigram_fraction": 0.0,
    "word_vectors": "random",
}

_current = None  # the lesson that `run` is executing


class Cell(NamedTuple):
    """One cell of a lesson: its title, whether it is text, the number of its first line, and its lines."""

    title: str
    is_text: bool
    start: int
    source: str


def begin(name):
    """The Lesson of this name. If its file is the script that was started, run it cell by cell, and exit."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    path = FOLDER / f"{name}.py"
    if _current is None and script and Path(script).resolve() == path:
        try:
            sys.exit(run(path, sys.argv[1:]))
        except BrokenPipeError:  # whoever reads our output has seen enough
            os._exit(0)
        except KeyboardInterrupt:
            print("\nstopped")
            sys.exit(130)
    return _current or Lesson(name)


class Lesson:
    """What the cells of a lesson call: checks that print a table, figures, exercises."""

    def __init__(self, name, figures=FOLDER / "figures", hints=False, solutions=None):
        """figures: where they are saved; hints: whether to show them.

        solutions: a module whose functions must pass where the lesson's own must fail. This is how the
        exercises themselves are tested; no progress is recorded then.
        """
        self.name, self.figures, self.hints, self.solutions = name, Path(figures), hints, solutions
        self.exercises = {}  # name -> whether it passes

    def check(self, function, inputs, yours, library=None):
        """Compare your gradients with finite differences of `function` and, if given, with the library's.

        function: takes nothing, returns the loss, reads the float64 arrays of `inputs` {name: array}; yours,
        library {name: gradient}. Prints a table. Raises AssertionError if anything differs by more than 1e-7.
        """
        wrong = self._table(function, inputs, yours, library or {})
        if wrong:
            names = ", ".join(wrong)
            raise AssertionError(f"{self.name}: the gradient of {names} is wrong; see the table above")

    def exposes(self, function, inputs, wrong):
        """The same table, for gradients that are wrong on purpose.

        Raises AssertionError if the check does not notice.
        """
        if not self._table(function, inputs, wrong, {}):
            raise AssertionError(f"{self.name}: the check was meant to expose this gradient and did not")

    def _table(self, function, inputs, yours, library):
        """Print the table -> names of the gradients that are wrong."""
        results = compare(function, inputs, yours)
        # A gradient may be zero by algebra, so no error is measured against less than this:
        floor = FLOOR * max(np.abs(gradient).max() for gradient in yours.values())
        width = max(map(len, ["gradient of", *inputs]))
        second_column = "   against the library" if library else ""
        print(f"{'gradient of':{width}}   against finite differences{second_column}")
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
        """Say that two results agree.

        Raises AssertionError if they differ by more than `tolerance`, relative to the largest element.
        """
        error = relative_error(yours, reference)
        if not error <= tolerance:
            raise AssertionError(f"{self.name}: {what}: differs by {error:.1e}, allowed is {tolerance:.0e}")
        print(f"{what}: the same, to {error:.1e}")

    def figure(self, fig, suffix=""):
        """Save a figure under the lesson's name, and show it if this is a notebook."""
        path = style.save(fig, self.figures / f"{self.name}{suffix and '-' + suffix}.png")
        print(f"figure: {short(path)}")
        if hasattr(builtins, "get_ipython"):
            from IPython.display import Image, display

            display(Image(filename=str(path)))

    def exercise(self, function, check, *hints):
        """Try `check` on the reader's function, and say how it went.

        check(function) returns nothing, and raises AssertionError if the function is not right.
        """
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
        indents = {"initial_indent": "    ", "subsequent_indent": "            "}
        for number, hint in enumerate(hints if self.hints else (), 1):
            print(textwrap.fill(f"hint {number}: {hint}", 100, **indents))

    def end(self):
        """Sum up, record what is done, and say what comes next."""
        passed = [name for name, ok in self.exercises.items() if ok]
        print(f"\nRan to the end; {len(passed)} of {len(self.exercises)} exercises solved.")
        if len(passed) < len(self.exercises):
            print("Write the functions under “Your turn” and run it again (--hints helps).")
        if self.solutions is None:
            try:
                lessons.record(self.name, passed, FOLDER)
            except OSError as error:
                print(f"(your progress could not be recorded: {error})")
        following = [path.name for path in sorted(FOLDER.glob("[0-9][0-9]_*.py")) if path.stem > self.name]
        if following:
            print(f"Next in order: python {short(FOLDER / following[0])} --step")


def relative_error(a, b, floor=0.0):
    """How far two arrays differ: the largest difference, relative to the largest element of either.

    It is measured against at least `floor`.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise AssertionError(f"shapes differ: {a.shape} and {b.shape}")
    scale = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0), floor)
    return float(np.abs(a - b).max(initial=0.0) / (scale or 1.0))


def attempt(check, function):
    """None if `check` accepts `function`; otherwise what is wrong, in one line."""
    try:
        check(function)
    except (Exception, SystemExit) as error:  # the reader's code may raise anything at all
        frames = traceback.extract_tb(error.__traceback__)
        in_lesson = [frame for frame in frames if FOLDER in Path(frame.filename).parents]
        where = (in_lesson or frames)[-1]  # the last line of the lesson, rather than one of a library
        text = "; ".join(" ".join(line.split()) for line in str(error).splitlines()) or "the check says no"
        text = text.replace(":;", ":")
        if not isinstance(error, AssertionError | NotImplementedError):
            text = f"{type(error).__name__}, line {where.lineno}: {text}"
        return textwrap.shorten(text, 400, placeholder=" …")
    return None


def short(path):
    """A path relative to the reader's folder, if it lies inside it."""
    path = Path(path).resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# Running a lesson.


def run(path, arguments):
    """Run the lesson in the file `path` cell by cell -> exit status."""
    global _current
    a = parse_arguments(path, arguments)
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


def parse_arguments(path, arguments):
    """The options of a lesson's command line -> Namespace."""
    parser = argparse.ArgumentParser(prog=path.name, description=lessons.read_header(path).title)
    parser.add_argument(
        "--step", action="store_true", help="pause before every cell and show its text and code"
    )
    parser.add_argument(
        "--hints", action="store_true", help="show hints for the exercises that do not pass yet"
    )
    parser.add_argument(
        "--figures",
        type=Path,
        default=FOLDER / "figures",
        metavar="DIR",
        help="where to save figures (default: lessons/figures)",
    )
    parser.add_argument(
        "--solutions",
        action="store_true",
        help="test the exercises: the given code must fail, the solutions must pass",
    )
    return parser.parse_args(arguments)


def execute(cell, path, namespace):
    """Run a code cell -> exit status. A traceback begins at the lesson's own line."""
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
    """The cells of a lesson -> list of Cell. What comes before the first `# %%` is not one."""
    lines = path.read_text(encoding="utf-8").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    cells = []
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        is_text = "[markdown]" in lines[start]
        title = lines[start].removeprefix("# %%").replace("[markdown]", "").strip()
        source = "\n".join(lines[start + 1 : stop]).rstrip()
        cells.append(Cell(title, is_text, start + 2, source))
    return cells


def step(cell, namespace):
    """Show a cell and wait -> whether to go on. Enter goes on, q ends, anything else is Python to try."""
    ink, bold, plain = ("\033[36m", "\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
    if cell.title:
        print(f"\n{bold}── {cell.title} {'─' * (96 - len(cell.title))}{plain}")
    if cell.is_text:
        text = re.sub(r"^# ?", "", cell.source, flags=re.MULTILINE)
        text = re.sub(r"\*\*(.+?)\*\*", rf"{bold}\1{plain}", text, flags=re.DOTALL)
        print("\n" + re.sub(r"^# (.*)$", rf"{bold}\1{plain}", text, flags=re.MULTILINE))
    else:
        print("\n" + ink + textwrap.indent(cell.source.strip("\n"), "    ") + plain)
    prompt = f"[Enter] {'go on' if cell.is_text else 'run this'} · q quit · or type Python to try:"
    while True:
        try:
            answer = input(f"\n{bold}{prompt}{plain} ")
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
