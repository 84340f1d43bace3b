"""SQuAD: the scores, worked by hand on awkward answers, and the reader."""

import json
import math
import os
from pathlib import Path

import pytest
from properties import given, settings, st

from minielectra.errors import InputError
from minielectra.finetuning.metrics.squad_scores import (
    best_threshold,
    exact_match,
    normalise,
    squad_scores,
    token_f1,
)
from minielectra.finetuning.readers.squad_json import Question, has_impossible, read_questions

DATA = Path(os.environ.get("MINIELECTRA_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def question(name, *answers, impossible=False):
    return Question(name, "?", "context", tuple((text, 0) for text in answers), impossible)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The  Cat\tsat\n", "cat sat"),
        ("theatre another an-a", "theatre another ana"),  # articles inside words stay; punctuation goes first
        ("An A the a", ""),
        ("U.S.A.", "usa"),
        ("a-the", "athe"),
        ("don't", "dont"),
        ("$1,000.50", "100050"),
        ("“The” – État", "“ ” – état"),  # only ASCII punctuation is punctuation; é is lowered
        ("STRASSE ẞ", "strasse ß"),
        ("...", ""),
        ("", ""),
    ],
)
def test_normalisation(answer, expected):
    assert normalise(answer) == expected


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "f1"),
    [
        ("the cat", ["Cat!"], 1, 1),
        ("black cat", ["cat"], 0, 2 / 3),  # precision 1/2, recall 1
        ("cat", ["black dog", "a black cat"], 0, 2 / 3),  # the best of several
        ("cat cat cat", ["cat cat dog"], 0, 2 / 3),  # two of three in common, not three
        ("cat", ["cat cat"], 0, 2 / 3),
        ("", ["cat"], 0, 0),
        ("the", ["cat"], 0, 0),  # empty once normalised
        ("", [], 1, 1),  # no answer, and none expected
        ("cat", [], 0, 0),
        ("...", [], 1, 1),
        ("", ["the", "cat"], 0, 0),  # a gold answer that is empty once normalised is left out
        ("", ["the"], 1, 1),
    ],
)
def test_one_answer(prediction, golds, exact, f1):
    assert exact_match(prediction, golds) == exact
    assert token_f1(prediction, golds) == pytest.approx(f1)


def test_where_version_1_differs():
    assert exact_match("", ["the", "cat"], version=1) == 1
    assert token_f1("", ["the"], version=1) == 0
    assert exact_match("a", ["the"], version=1) == 1


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "an", "the", "cat", "Cat.", "dog", "theatre", "-", "é"]), max_size=4).map(
        " ".join
    ),
    st.lists(st.sampled_from(["the cat", "dog", "é cat", "an – a", "theatre"]), min_size=1, max_size=3),
)
def test_the_versions_agree_where_every_gold_answer_says_something(prediction, golds):
    assert exact_match(prediction, golds, 1) == exact_match(prediction, golds, 2)
    assert token_f1(prediction, golds, 1) == token_f1(prediction, golds, 2)


def test_scores_of_version_1():
    questions = [question("1", "a cat"), question("2", "black dog", "dog"), question("3", "mouse")]
    predictions = {"1": "Cat", "2": "white dog", "3": "", "unasked": "x"}
    assert squad_scores(predictions, questions) == {
        "exact_match": pytest.approx(100 / 3),
        "f1": pytest.approx(100 * (1 + 2 / 3) / 3),
    }


def test_scores_of_version_2():
    questions = [
        question("1", "cat"),
        question("2", "black dog"),
        *(question(name, impossible=True) for name in "345"),
    ]
    predictions = {"1": "", "2": "dog", "3": "", "4": "cat", "5": ""}
    assert squad_scores(predictions, questions) == {
        "exact_match": 40.0,
        "f1": pytest.approx(100 * (2 / 3 + 2) / 5),
        "total": 5,
        "HasAns_exact": 0.0,
        "HasAns_f1": pytest.approx(100 / 3),
        "NoAns_exact": pytest.approx(200 / 3),
        "NoAns_f1": pytest.approx(200 / 3),
    }


def test_no_question_has_an_answer():
    questions = [question(name, impossible=True) for name in "12"]
    scores = squad_scores({"1": "", "2": "x"}, questions)
    assert scores == {"exact_match": 50.0, "f1": 50.0, "total": 2, "NoAns_exact": 50.0, "NoAns_f1": 50.0}
    threshold, best = best_threshold({"1": "y", "2": "x"}, {"1": -3.0, "2": 4.0}, questions)
    assert threshold < -3.0 and math.isfinite(threshold) and best == {"exact_match": 100.0, "f1": 100.0}


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (
            lambda: squad_scores({"1": "x"}, [question("1", "x"), question("2", "y")]),
            "no prediction for question '2'; give",
        ),
        (lambda: squad_scores({}, [question("1", "x"), question("2", "y")]), "question '1' and 1 more"),
        (lambda: squad_scores({"1": "x"}, [question("1")]), "question '1' has no answers"),
        (lambda: squad_scores({}, []), "no questions"),
        (lambda: best_threshold({"1": "x"}, {}, [question("1", "x")]), "no null score for question '1'"),
    ],
)
def test_what_is_missing(score, words):
    with pytest.raises(InputError) as caught:
        score()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_threshold_by_hand():
    questions = [
        question("1", "cat"),
        question("2", impossible=True),
        question("3", "dog"),
        question("4", impossible=True),
    ]
    predictions = {"1": "cat", "2": "x", "3": "dog", "4": "y"}
    nulls = {"1": -5.0, "2": -1.0, "3": 0.5, "4": 2.0}
    # answered so far: none 2 right, {1} 3, {1, 2} 2, {1, 2, 3} 3, all 2: the first of the two best
    assert best_threshold(predictions, nulls, questions) == (-5.0, {"exact_match": 75.0, "f1": 75.0})
    # the answer of 1 cannot be kept without that of 2 whose null score is the same
    assert best_threshold(predictions, nulls | {"2": -5.0}, questions) == (
        0.5,
        {"exact_match": 75.0, "f1": 75.0},
    )
    # all have answers: nothing is emptied
    assert (
        best_threshold(predictions, nulls, [question(name, predictions[name]) for name in "1234"])[0] == 2.0
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cat", "black cat", "the", "dog"]),
            st.sampled_from(["cat", "the", None]),
            st.integers(-2, 2),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_threshold_against_all_thresholds(drawn):
    questions = [
        question(str(i), *([gold] if gold else []), impossible=not gold)
        for i, (_, gold, _) in enumerate(drawn)
    ]
    predictions = {str(i): text for i, (text, _, _) in enumerate(drawn)}
    nulls = {str(i): null for i, (_, _, null) in enumerate(drawn)}

    def at(threshold):
        kept = {name: "" if nulls[name] > threshold else text for name, text in predictions.items()}
        return squad_scores(kept, questions)

    threshold, scores = best_threshold(predictions, nulls, questions)
    assert scores["f1"] == pytest.approx(max(at(t)["f1"] for t in range(-3, 3)))
    assert scores == {name: at(threshold)[name] for name in scores}


# Reading.

CONTEXT = "It’s the cat. The cat, not a dog."
GOOD = {
    "id": "q1",
    "question": "Who?",
    "answers": [{"text": "cat", "answer_start": 9}, {"text": "The cat", "answer_start": 14}],
}


def squad(*entries, **changes):
    return json.dumps(
        {"version": "x", "data": [{"paragraphs": [{"context": CONTEXT, "qas": list(entries)} | changes]}]}
    )


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "questions.json"
        path.write_text(content, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(("name", "count"), [("train", 3807), ("dev", 563)])
def test_real_questions(name, count):
    path = DATA / "squad" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no {path}; set MINIELECTRA_DATA")
    questions = read_questions(path)
    assert len(questions) == count and not has_impossible(questions)
    assert read_questions(path, labelled=False) == questions
    golds = {q.id: q.answers[-1][0] for q in questions}
    assert squad_scores(golds, questions) == {"exact_match": 100.0, "f1": 100.0}


def test_questions(write):
    none = {
        "id": "q2",
        "question": " Why? ",
        "is_impossible": True,
        "answers": [],
        "plausible_answers": [{"text": "x"}],
    }
    read = read_questions(write("\ufeff" + squad(GOOD | {"is_impossible": False}, none)))
    assert read == [
        Question("q1", "Who?", CONTEXT, (("cat", 9), ("The cat", 14)), False),
        Question("q2", " Why? ", CONTEXT, (), True),
    ]
    assert has_impossible(read) and not has_impossible(read[:1])
    bare = write(squad({"id": "q1", "question": "Who?"}, GOOD | {"id": "q2", "answers": []}))
    assert [q.answers for q in read_questions(bare, labelled=False)] == [(), ()]


def answer(text, start):
    return squad(GOOD | {"answers": [{"text": text, "answer_start": start}]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ('{"data":\n oops}', ":2: not JSON (Expecting value)"),
        ("[" * 100000, "nested too deeply"),
        ("[]", "not a JSON object with 'data'"),
        ("{}", "no 'data'"),
        ('{"data": []}', "no questions"),
        ('{"data": {}}', "'data' is not a list"),
        ('{"data": [{"title": "x"}]}', "article 0: no 'paragraphs'"),
        ('{"data": [{"paragraphs": [7]}]}', "article 0, paragraph 0: not a JSON object"),
        (squad(GOOD, context=" "), "article 0, paragraph 0: 'context' is empty"),
        (squad({"question": "Who?"}), "article 0, paragraph 0, question 0: no 'id'"),
        (squad(GOOD | {"id": 7}), "question 0: 'id' is not a text"),
        (squad({"id": "q1", "answers": []}), "question 'q1': no 'question'"),
        (squad({"id": "q1", "question": "Who?"}), "question 'q1': no 'answers'"),
        (squad(GOOD | {"answers": []}), "question 'q1': no answers; add some, or mark it with is_impossible"),
        (squad(GOOD | {"is_impossible": "no"}), "question 'q1': 'is_impossible' is not true or false"),
        (squad(GOOD | {"answers": [{"text": "cat"}]}), "question 'q1': no 'answer_start'"),
        (squad(GOOD, GOOD), "question 'q1': its id is used twice"),
        (answer("", 9), "question 'q1': 'text' is empty"),
        (answer("cat", "9"), "'answer_start' is not a whole number"),
        (
            answer("cat", 17),
            "'cat' is not at character 17 of the context: the nearest is at 18; correct answer_start",
        ),
        (answer("cat ", 9), "'cat ' is not at character 9 of the context: it does not occur"),
        (answer("Cat", 9), "it does not occur in the context"),
        (answer("dog.", -4), "the nearest is at 29"),
    ],
)
def test_broken_questions(write, content, words):
    path = write(content)
    with pytest.raises(InputError) as caught:
        read_questions(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and words in message and "\n" not in message and len(message) < 300
