"""Questions about a text in SQuAD's JSON, version 1.1, or version 2.0, where a question may have no answer.

    {"data": [{"paragraphs": [{"context": str, "qas": [{"id": str, "question": str, "is_impossible": bool,
                                                        "answers": [{"text": str, "answer_start": int}]}]}]}]}

or, flat, as Hugging Face's tools write it, in a list or one object per line:

    {"id": str, "context": str, "question": str, "answers": {"text": [str], "answer_start": [int]}}

Other keys are ignored. A question has no answer if `is_impossible` says so or if its list of answers is
empty, which is how SQuAD's script and Hugging Face's files tell. Source: Rajpurkar et al. 2016 and 2018.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from minielectra.errors import InputError
from minielectra.finetuning.readers.json_values import json_values, plain_text
from minielectra.finetuning.readers.lines import quoted, read_file

_FORMAT = "give a file in SQuAD's format"
_SPACES = " \t\r\n\u202f"  # what BERT's reader splits a context at
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True)
class Question:
    """One question. `answers` are (text, its first character in the context); none if it is `impossible`.

    The first character is None if the answer is not where the file says; the text is a right answer all the
    same.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int | None], ...]
    impossible: bool

    @property
    def place(self):
        """(first character, character after the last) of the first answer that has a place, or None."""
        return next(((start, start + len(text)) for text, start in self.answers if start is not None), None)


def has_impossible(questions):
    """Whether any question has no answer, which makes the data SQuAD 2.0's kind."""
    return any(question.impossible for question in questions)


def read_questions(path, labelled=True, placed=False):
    """The questions of a SQuAD file, in its order -> non-empty list of Question. "-" is standard input.

    labelled=False: answers are not looked at, and none is given. placed=True, for training: questions whose
    answers are all misplaced are left out with a count, as the original readers do.

    Questions are left out too if all their answers are empty, as in test sets. An id may be any text or
    number, and occur twice. Raises InputError for a file that is missing, not JSON, not of this structure, or
    without questions; and if no question has an answer and none says that it has no answer.
    """
    file = read_file(path)
    questions, known, flagged = [], set(), False
    for entry in _entries(file):
        question = _question(entry, file, labelled)
        named = f"question {quoted(question.id)}"
        if question.id in known:
            file.count("question(s) have an id that an earlier one has", named)
        known.add(question.id)
        flagged = flagged or bool(question.impossible and entry.question.get("is_impossible"))
        if labelled and not (question.answers or question.impossible):
            file.count("question(s) left out: the answer is an empty text", named)
        elif placed and question.answers and question.place is None:
            file.count("question(s) left out: the answer is not where answer_start says", named)
        else:
            questions.append(question)
    if not known:
        raise InputError(f"{file.where}: no questions in this file; give one that has some")
    if not questions or (labelled and not flagged and all(question.impossible for question in questions)):
        raise InputError(f"{file.where}: no question has a usable answer; give a file with answers")
    file.tell()
    return questions


class _Entry(NamedTuple):
    """The JSON object of a question, the context it is about, and what messages call it without its id."""

    question: dict
    context: str
    place: str


def _entries(file):
    """Every question of the file as an _Entry, from the nested structure or the flat one."""
    values = json_values(file)
    if len(values) > 1:
        yield from (_flat(value, f"{file.where}:{line}") for line, value in values)
        return
    content = values[0][1]
    if isinstance(content, dict) and "context" in content:
        content = [content]
    elif isinstance(content, dict):
        content = _get(content, "data", list, file.where)
    elif not isinstance(content, list):
        raise InputError(f"{file.where}: not a JSON object with 'data'; {_FORMAT}")
    for a, article in enumerate(content):
        in_article = f"{file.where}: article {a}"
        if isinstance(article, dict) and "context" in article and "paragraphs" not in article:
            yield _flat(article, f"{file.where}: question {a}")
            continue
        for p, paragraph in enumerate(_get(article, "paragraphs", list, in_article)):
            in_paragraph = f"{in_article}, paragraph {p}"
            entries = _get({"qas": []} | _object(paragraph, in_paragraph), "qas", list, in_paragraph)
            context = _get(paragraph, "context", str, in_paragraph) if entries else ""
            for q, entry in enumerate(entries):
                yield _Entry(entry, context, f"{in_paragraph}, question {q}")


def _flat(value, place):
    return _Entry(value, _get(value, "context", str, place), place)


def _question(entry, file, labelled):
    """A Question from an _Entry."""
    name = plain_text(_get(entry.question, "id", (str, int, float), entry.place))
    place = f"{file.where}: question {quoted(name)}"
    text = _get(entry.question, "question", str, place)
    if not labelled:
        return Question(name, text, entry.context, (), False)
    if _truth(entry.question.get("is_impossible"), place):
        return Question(name, text, entry.context, (), True)
    found = _listed(entry.question.get("answers"), place)
    if not found:
        file.count("question(s) without an answer count as impossible", f"question {quoted(name)}")
    answers = tuple(_answer(answer, entry.context, place) for answer in found)
    return Question(name, text, entry.context, tuple(a for a in answers if a[0].strip()), not found)


def _truth(flag, place):
    """Whether `is_impossible` is set: true, 1, "true". Raises InputError for other values than these."""
    if flag is None or isinstance(flag, (bool, int, float)):
        return bool(flag)
    if isinstance(flag, str) and flag.lower() in _TRUTH:
        return _TRUTH[flag.lower()]
    raise InputError(f"{place}: 'is_impossible' is not true or false; correct it")


def _listed(answers, place):
    """The answers of a question as a list of JSON objects, from a list, from one object, or from columns."""
    if answers is None:
        return []
    if isinstance(answers, dict):
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list):
            return [answers]
        starts = starts if isinstance(starts, list) and len(starts) == len(texts) else [None] * len(texts)
        return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(answers, list):
        raise InputError(f"{place}: 'answers' is not a list; correct it")
    return answers


def _answer(entry, context, place):
    """(text, start) of an answer's JSON object. start: None if the answer is not there."""
    text = plain_text(_get(entry, "text", (str, int, float), place))
    start = entry.get("answer_start")
    try:
        start = int(start) if float(start) == int(start) else None
    except (TypeError, ValueError, OverflowError):
        start = None
    found = None if start is None else _find(text, start, context)
    return (text, None) if found is None else (context[slice(*found)], found[0])


def _find(text, start, context):
    """(start, stop) of an answer in its context, or None if it is not where it should be.

    As in BERT's reader, it may be anywhere in the words that it should touch, and white space may differ.
    """
    if not text.strip() or not 0 <= start < len(context):
        return None
    if context.startswith(text, start):
        return start, start + len(text)
    last = min(start + len(text), len(context)) - 1
    while start > 0 and (context[start] in _SPACES or context[start - 1] not in _SPACES):
        start -= 1
    stop = next((i for i in range(last, len(context)) if context[i] in _SPACES), len(context))
    found = re.compile(f"[{_SPACES}]+".join(map(re.escape, text.split()))).search(context, start, stop)
    return found and found.span()


def _object(value, place):
    """`value` if it is a JSON object. Raises InputError otherwise."""
    if not isinstance(value, dict):
        raise InputError(f"{place}: not a JSON object; {_FORMAT}")
    return value


def _get(entry, key, kind, place):
    """entry[key], of the type `kind`; no lone surrogates. Raises InputError, which begins with `place`."""
    kinds = {list: "a list", str: "a text", (str, int, float): "a text or a number"}
    if key not in _object(entry, place):
        raise InputError(f"{place}: no {key!r}; add it")
    if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
        raise InputError(f"{place}: {key!r} is not {kinds[kind]}; correct it")
    return plain_text(entry[key]) if kind is str else entry[key]
