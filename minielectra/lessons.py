"""The course: which lessons there are, what each needs, and what this reader has done.

A lesson is a file `lessons/NN_name.py` of `# %%` cells. Its first cell gives title, goal, time and what it
needs; `lessons/course.py` runs it. What the reader has done is kept beside the lessons, in `.progress.json`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from minielectra.errors import InputError
from minielectra.formats.files import write_text
from minielectra.formats.reading import read_json

FOLDER = Path(__file__).resolve().parent.parent / "lessons"
HEADER = re.compile(
    r"# # (?P<number>\d+) · (?P<title>.+)\n#\n# \*\*You will be able to\*\* (?P<goal>(?:.+\n)+?)#\n"
    r"# \*\*Time\*\* (?P<minutes>\d+) minutes · \*\*needs\*\* (?P<needs>.+?) · \*\*runs\*\* (?P<runs>.+)\n"
)


@dataclass(frozen=True)
class Header:
    """What the first cell of a lesson says."""

    path: Path
    number: int
    title: str
    goal: str
    minutes: int
    needs: tuple  # numbers of the lessons to do first
    runs: str  # how long the file takes to run
    exercises: tuple  # names of the functions to write

    @property
    def name(self):
        """`03_linear`"""
        return self.path.stem


def headers(folder=FOLDER):
    """The Header of every lesson, in order. Raises InputError if one is malformed or none is there."""
    paths = sorted(folder.glob("[0-9][0-9]_*.py"))
    if not paths:
        raise InputError(
            f"{folder}: no lessons here; they come with the source code, not with the installed package"
        )
    return [read_header(path) for path in paths]


def read_header(path):
    """The Header of one lesson. Raises InputError if its first cell is malformed."""
    text = path.read_text(encoding="utf-8")
    match = HEADER.search(text)
    if match is None:
        raise InputError(f"{path}: its first cell must give title, goal, time and needs, as in 01_arrays.py")
    return Header(
        path=path,
        number=int(match["number"]),
        title=match["title"],
        goal=" ".join(match["goal"].replace("\n# ", " ").split()),
        minutes=int(match["minutes"]),
        needs=tuple(int(number) for number in re.findall(r"\d+", match["needs"])),
        runs=match["runs"],
        exercises=tuple(re.findall(r"^lesson\.exercise\(\s*(\w+)", text, re.MULTILINE)),
    )


def progress(folder=FOLDER):
    """What is done so far: {lesson's name: {"run": bool, "exercises": [names that pass]}}."""
    path = folder / ".progress.json"
    return read_json(path, "") if path.is_file() else {}


def record(name, exercises, folder=FOLDER):
    """Note that a lesson ran to its end, and which of its exercises pass.

    Raises OSError if the folder cannot be written.
    """
    done = progress(folder) | {name: {"run": True, "exercises": sorted(exercises)}}
    write_text(folder / ".progress.json", json.dumps(done, indent=1) + "\n")


def overview(folder=FOLDER):
    """The list for a terminal: what is done, and the next lesson."""
    lessons, done = headers(folder), progress(folder)
    lines, following = [], None
    for lesson in lessons:
        own = done.get(lesson.name, {"run": False, "exercises": []})
        passed = len(set(own["exercises"]) & set(lesson.exercises))
        complete = own["run"] and passed == len(lesson.exercises)
        mark = "✓" if complete else "·" if own["run"] else " "
        exercises = f"exercises {passed} of {len(lesson.exercises)}"
        lines.append(f"{mark} {lesson.number:2}  {lesson.title:58} {lesson.minutes:3} min   {exercises}")
        if following is None and not complete:
            following = lesson
    ended = sum(line.startswith("✓") for line in lines)
    lines += [
        "",
        f"{ended} of {len(lessons)} done; {sum(lesson.minutes for lesson in lessons) / 60:.0f} hours in all.",
    ]
    if following is not None:
        lines += [f"Next: {following.title}", f"  python lessons/{following.path.name} --step"]
    return "\n".join(lines)


def markdown_map(folder=FOLDER):
    """The table of lessons/README.md."""
    rows = ["| | lesson | you will be able to | needs | minutes | runs |", "|---|---|---|---|---|---|"]
    for x in headers(folder):
        needs = ", ".join(map(str, x.needs)) or "–"
        rows.append(
            f"| {x.number} | [{x.title}]({x.path.name}) | {x.goal} | {needs} | {x.minutes} | {x.runs} |"
        )
    return "\n".join(rows)
