"""Questions about a text in SQuAD's JSON, version 1.1, or version 2.0, where a question may have no answer.

    {"data": [{"paragraphs": [{"context": str, "qas": [{"id": str, "question": str, "is_impossible": bool,
                                                        "answers": [{"text": str, "answer_start": int}]}]}]}]}

`is_impossible` came with version 2.0; a question without it has an answer. Other keys are ignored. Source:
Rajpurkar et al. 2016 and 2018.
"""

import json
from dataclasses import dataclass

from minielectra.errors import InputError
from minielectra.finetuning.readers.lines import quoted, read_lines, shown_path


@dataclass(frozen=True)
class Question:
    """One question. `answers` are (text, its first character in the context); none if it is `impossible`."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    impossible: bool


def has_impossible(questions):
    """Whether any question has no answer, which makes the data SQuAD 2.0's kind."""
    return any(question.impossible for question in questions)


def read_questions(path, labelled=True):
    """The questions of a SQuAD file, in its order -> non-empty list of Question. "-" is standard input.

    labelled=False: answers may be missing, and are then empty; those that are there are checked all the same.
    Raises InputError for a file that is missing, not JSON, not of this structure, or without questions; for
    an id that is used twice; and for an answer that is not where the file says.
    """
    where = shown_path(path)
    try:
        content = json.loads("\n".join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}:{error.lineno}: not JSON ({error.msg}); give a file in SQuAD's format"
        ) from None
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply; give a file in SQuAD's format") from None
    if not isinstance(content, dict):
        raise InputError(f"{where}: not a JSON object with 'data'; give a file in SQuAD's format")
    questions = {}
    for a, article in enumerate(_get(content, "data", list, where)):
        in_article = f"{where}: article {a}"
        for p, paragraph in enumerate(_get(article, "paragraphs", list, in_article)):
            in_paragraph = f"{in_article}, paragraph {p}"
            context = _get(paragraph, "context", str, in_paragraph)
            for q, entry in enumerate(_get(paragraph, "qas", list, in_paragraph)):
                question = _question(entry, context, where, f"{in_paragraph}, question {q}", labelled)
                if question.id in questions:
                    raise InputError(
                        f"{where}: question {question.id!r}: its id is used twice; make the ids unique"
                    )
                questions[question.id] = question
    if not questions:
        raise InputError(f"{where}: no questions in this file; give one that has some")
    return list(questions.values())


def _question(entry, context, where, place, labelled):
    """A Question from its JSON object. place: what error messages call it before its id is known."""
    name = _get(entry, "id", str, place)
    place = f"{where}: question {name!r}"
    text = _get(entry, "question", str, place)
    impossible = _get(entry, "is_impossible", bool, place) if "is_impossible" in entry else False
    answers = ()
    if not impossible and (labelled or "answers" in entry):
        answers = tuple(_answer(answer, context, place) for answer in _get(entry, "answers", list, place))
        if labelled and not answers:
            raise InputError(f"{place}: no answers; add some, or mark it with is_impossible")
    return Question(name, text, context, answers, impossible)


def _answer(entry, context, place):
    """(text, start) from an answer's JSON object."""
    text, start = _get(entry, "text", str, place), _get(entry, "answer_start", int, place)
    if start < 0 or not context.startswith(text, start):
        found = [i for i in range(len(context)) if context.startswith(text, i)]
        nearest = min(found, key=lambda i: abs(i - start), default=None)
        hint = f"the nearest is at {nearest}; correct answer_start"
        if nearest is None:
            hint = "it does not occur in the context; correct its text"
        raise InputError(
            f"{place}: its answer {quoted(text)} is not at character {start} of the context: {hint}"
        )
    return text, start


def _get(entry, key, kind, place):
    """entry[key], of type `kind` and, if a str, not blank. Raises InputError; it begins with `place`."""
    kinds = {list: "a list", str: "a text", int: "a whole number", bool: "true or false"}
    if not isinstance(entry, dict):
        raise InputError(f"{place}: not a JSON object; see SQuAD's format")
    if key not in entry:
        raise InputError(f"{place}: no {key!r}; add it")
    if type(entry[key]) is not kind:
        raise InputError(f"{place}: {key!r} is not {kinds[kind]}; correct it")
    if kind is str and not entry[key].strip():
        raise InputError(f"{place}: {key!r} is empty; fill it in")
    return entry[key]
