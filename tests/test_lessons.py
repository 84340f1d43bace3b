"""The course: lessons run, exercises fail until they are solved, no word is used before it is explained."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, cli

from minielectra import lessons
from minielectra.errors import InputError

FOLDER = ROOT / "lessons"
HEADERS = lessons.headers()
README = (FOLDER / "README.md").read_text(encoding="utf-8")
# Words of the glossary that are also plain English: a lesson may use them as such before a later lesson gives
# them their meaning in this course.
PLAIN = set(
    re.split(
        r",\s+",
        """array, baseline, batch, block, corpus, depth, derivative, evaluation, gradient, head, host,
        id, in place, key, mean, neuron, noise, padding, parameters, position, probability, probe, query,
        replaced, row, run, sample, segment, sequence, shape, signal, target, task, thread, token, training,
        transfer, tying, value, view, weight""",
    )
)
each = pytest.mark.parametrize("lesson", HEADERS, ids=lambda lesson: lesson.name)


def run(lesson, *arguments, **options):
    command = [sys.executable, lesson.path, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900, **options)


def glossary():
    """{word: number of the lesson that introduces it}"""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|[^|]*\|$", README, re.MULTILINE)
    return {word.strip(): int(number) for number, words in rows for word in words.split(",")}


def cells(lesson):
    """[(is text, title, source)]"""
    parts = re.split(r"^# %%", lesson.path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    split = [part.partition("\n") for part in parts]
    return [
        ("[markdown]" in first, first.replace("[markdown]", "").strip(), rest) for first, _, rest in split
    ]


@pytest.mark.slow
@each
def test_it_runs_and_its_exercises_fail_as_given_and_pass_when_solved(lesson, tmp_path):
    done = run(lesson, "--solutions", "--figures", tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert f"0 of {len(lesson.exercises)} exercises solved" in done.stdout
    assert (tmp_path / f"{lesson.name}.png").stat().st_size > 5000


@each
def test_it_has_all_its_parts(lesson):
    text = lesson.path.read_text(encoding="utf-8")
    for part in ("Long form", "Collapsed form", "Check", "See", "Your turn", "What comes next"):
        assert re.search(rf"^# (%% |# ){part}", text, re.MULTILINE), f"no cell is called {part}"
    assert len(lesson.exercises) >= 2
    assert set(lesson.needs) <= set(range(1, lesson.number))
    assert "lesson.figure(" in text
    assert cells(lesson)[-1][2].strip() == "lesson.end()"
    solutions = (FOLDER / "solutions" / lesson.path.name).read_text(encoding="utf-8")
    assert set(re.findall(r"^def (\w+)", solutions, re.MULTILINE)) >= set(lesson.exercises)


@each
def test_files_it_names_exist(lesson):
    """A path in its text, such as `minielectra/nn/encoder.py` or `docs/LOG.md`, leads somewhere."""
    text = lesson.path.read_text(encoding="utf-8")
    paths = re.findall(r"`?\b((?:minielectra|docs|tests|lessons)/[\w./]*[\w/])", text)
    missing = [path for path in paths if not (ROOT / path).exists() and "lessons/figures" not in path]
    assert not missing


def test_the_course_is_whole():
    assert [lesson.number for lesson in HEADERS] == list(range(1, len(HEADERS) + 1))
    names = [name for lesson in HEADERS for name in lesson.exercises]
    assert len(set(names)) == len(names)


def test_the_map_is_that_of_the_lessons():
    assert f"<!-- map -->\n{lessons.markdown_map()}\n<!-- /map -->" in README, (
        "put the output of `python -m minielectra lessons --markdown` into lessons/README.md"
    )


@each
def test_words_are_introduced_before_they_are_used(lesson):
    texts = [source for is_text, _, source in cells(lesson) if is_text]
    prose = "\n".join(text for text in texts if "# # What comes next" not in text)
    prose = re.sub(r"\n# ?", " ", prose)
    own = [word for word, number in glossary().items() if number == lesson.number]
    for word in own:
        bold = re.search(rf"\*\*[^*]*{re.escape(word)}[^*]*\*\*", prose, re.IGNORECASE)
        assert bold, f"{word!r} is not introduced in bold"
    for word in own:  # it may contain a word of a later lesson
        prose = re.sub(re.escape(word), "…", prose, flags=re.IGNORECASE)
    for word, number in glossary().items():
        if number > lesson.number and word not in PLAIN:
            found = re.search(rf".{{30}}\b{re.escape(word)}s?\b.{{30}}", prose, re.IGNORECASE)
            assert not found, f"{word!r} belongs to lesson {number}: …{found[0]}…"


def test_no_lesson_copies_another():
    """No two lessons share five lines of code in a row: one should import them, or find its own way."""
    seen = {}
    for lesson in HEADERS:
        code = "\n".join(source for is_text, _, source in cells(lesson)[2:] if not is_text)
        lines = [line.strip() for line in code.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        for window in {tuple(lines[i : i + 5]) for i in range(len(lines) - 4)}:
            assert window not in seen, f"{seen[window]} and {lesson.name} share\n" + "\n".join(window)
        seen |= {tuple(lines[i : i + 5]): lesson.name for i in range(len(lines) - 4)}


def test_stepping_pauses_shows_tries_and_ends():
    done = run(HEADERS[2], "--step", input="\n\n1 + 1\n1 +\nq\n")
    assert done.returncode == 0, done.stderr
    assert "3 · The linear layer" in done.stdout and "import numpy as np" in done.stdout  # text, then code
    assert "\n2\n" in done.stdout.replace(": 2", ":\n2") and "SyntaxError" in done.stdout
    assert "lesson.end()" not in done.stdout


def test_progress_is_noted_and_listed(tmp_path):
    (tmp_path / "01_arrays.py").write_text(HEADERS[0].path.read_text(encoding="utf-8"), encoding="utf-8")
    first = lessons.headers(tmp_path)[0]
    assert "Next: Arrays" in lessons.overview(tmp_path)
    lessons.record(first.name, first.exercises[:1], tmp_path)
    assert f"exercises 1 of {len(first.exercises)}" in lessons.overview(tmp_path)
    lessons.record(first.name, first.exercises, tmp_path)
    assert "✓  1" in lessons.overview(tmp_path) and "1 of 1 done" in lessons.overview(tmp_path)
    (tmp_path / "02_bad.py").write_text("print()")
    with pytest.raises(InputError, match=r"02_bad\.py: its first cell"):
        lessons.headers(tmp_path)
    with pytest.raises(InputError, match="no lessons here"):
        lessons.headers(tmp_path / "nothing")


def test_a_wrong_answer_is_told_not_raised(tmp_path):
    """The reader's code may raise anything: the lesson says what, with the line, and goes on."""
    shutil.copy(FOLDER / "course.py", tmp_path)
    copy = tmp_path / HEADERS[2].path.name
    text = HEADERS[2].path.read_text(encoding="utf-8")
    text = text.replace('raise NotImplementedError("yours to write")', "return undefined", 1)
    copy.write_text(text, encoding="utf-8")
    command, environment = [sys.executable, copy, "--hints"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert lessons.progress(tmp_path)[HEADERS[2].name]["run"]
    assert (tmp_path / "figures" / f"{HEADERS[2].name}.png").exists()
    assert re.search(r"✗ \w+: not yet \(NameError, line \d+: name 'undefined'", done.stdout)
    assert "hint 1:" in done.stdout


def test_the_command_lists_them():
    shown = cli("lessons").stdout
    assert all(lesson.title in shown for lesson in HEADERS)
