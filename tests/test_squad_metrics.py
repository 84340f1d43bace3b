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
from minielectra.finetuning.readers.squad_json import Question, _find, has_impossible, read_questions

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
    assert read_questions(path, placed=True) == questions
    bare = read_questions(path, labelled=False)
    assert [(q.id, q.context) for q in bare] == [(q.id, q.context) for q in questions]
    assert not any(q.answers for q in bare)
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
        ("[]", "no questions"),
        ("7", "not a JSON object with 'data'"),
        ("{}", "no 'data'"),
        ('{"data": []}', "no questions"),
        ('{"data": {}}', "'data' is not a list"),
        ('{"data": [{"title": "x"}]}', "article 0: no 'paragraphs'"),
        ('{"data": [{"paragraphs": [7]}]}', "article 0, paragraph 0: not a JSON object"),
        (squad(GOOD, context=7), "article 0, paragraph 0: 'context' is not a text"),
        (squad({"question": "Who?"}), "article 0, paragraph 0, question 0: no 'id'"),
        (squad(GOOD | {"id": [7]}), "question 0: 'id' is not a text or a number"),
        ('{"data": [{"id": 1' + "0" * 5000 + "}]}", "not JSON (Exceeds the limit"),
        (squad({"id": "q1", "answers": []}), "question 'q1': no 'question'"),
        (squad({"id": "q1", "question": "Who?"}), "no question has a usable answer"),
        (squad(GOOD | {"answers": []}), "no question has a usable answer"),
        (squad(GOOD | {"answers": [], "is_impossible": False}), "no question has a usable answer"),
        (squad(GOOD | {"answers": "cat"}), "question 'q1': 'answers' is not a list"),
        (squad(GOOD | {"is_impossible": "no"}), "question 'q1': 'is_impossible' is not true or false"),
        (squad(GOOD | {"answers": [{"answer_start": 9}]}), "question 'q1': no 'text'"),
        (answer(" ", 9), "no question has a usable answer"),
    ],
)
def test_broken_questions(write, content, words):
    path = write(content)
    with pytest.raises(InputError) as caught:
        read_questions(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and words in message and "\n" not in message and len(message) < 300


# What other readers tolerate.


def read_and_told(write, capsys, content, **options):
    """The questions of a file, and the line on standard error without the file's name."""
    path = write(content)
    questions = read_questions(path, **options)
    told = capsys.readouterr().err
    assert told == "" or (told.startswith(f"{path}: ") and told.count("\n") == 1)
    return questions, told.removeprefix(f"{path}: ").strip()


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        ("cat", 9, ("cat", 9)),
        ("cat", 9.0, ("cat", 9)),
        ("cat", "9", ("cat", 9)),
        ("cat ", 9, ("cat", 9)),  # BERT's reader strips the answer
        ("the  cat", 5, ("the cat", 5)),  # and compares words
        ("at", 9, ("at", 10)),  # and looks for the answer in the words it touches
        ("cat", 17, ("cat", 18)),  # the answer's last character is in the right word
        ("cat", 0, ("cat", None)),
        ("Cat", 9, ("Cat", None)),
        ("not there", 9, ("not there", None)),
        ("dog.", -4, ("dog.", None)),
        ("dog", 10**9, ("dog", None)),
        ("cat", None, ("cat", None)),
        ("cat", "nine", ("cat", None)),
        ("cat", 9.5, ("cat", None)),
        ("cat", float("inf"), ("cat", None)),
    ],
)
def test_where_an_answer_is(write, capsys, text, start, found):
    """A misplaced answer is scored by its text; in training the question is left out."""
    other = GOOD | {"id": "q2"}
    content = squad(other, GOOD | {"answers": [{"text": text, "answer_start": start}]})
    questions, told = read_and_told(write, capsys, content)
    assert questions[1].answers == (found,) and told == ""
    questions, told = read_and_told(write, capsys, content, placed=True)
    if found[1] is None:
        assert [q.id for q in questions] == ["q2"]
        assert (
            told == "1 question(s) left out: the answer is not where answer_start says (first: question 'q1')"
        )
    else:
        assert questions[1].place == (found[1], found[1] + len(found[0])) and told == ""


def test_one_of_several_answers_is_misplaced(write):
    answers = [{"text": "dog", "answer_start": 3}, {"text": "cat", "answer_start": 9}]
    (question,) = read_questions(write(squad(GOOD | {"answers": answers})), placed=True)
    assert question.answers == (("dog", None), ("cat", 9)) and question.place == (9, 12)
    assert squad_scores({"q1": "dog"}, [question])["exact_match"] == 100.0


def test_what_a_question_may_lack(write, capsys):
    for flag in (1, True, "true", "True"):
        (_, question), told = read_and_told(
            write, capsys, squad(GOOD, GOOD | {"id": "q2", "is_impossible": flag})
        )
        assert question.impossible and question.answers == () and told == ""
    for flag in (0, False, None, "false"):
        assert not read_questions(write(squad(GOOD | {"is_impossible": flag})))[0].impossible
    for answers in ([], None, {"text": [], "answer_start": []}):
        (_, question), told = read_and_told(write, capsys, squad(GOOD, {**GOOD, "id": 2, "answers": answers}))
        assert question == Question("2", "Who?", CONTEXT, (), True)
        assert told == "1 question(s) without an answer count as impossible (first: question '2')"
    blank = GOOD | {"id": "q2", "answers": [{"text": " ", "answer_start": -1}]}
    questions, told = read_and_told(write, capsys, squad(GOOD, blank))
    assert [q.id for q in questions] == ["q1"]
    assert told == "1 question(s) left out: the answer is an empty text (first: question 'q2')"
    empty = json.loads(squad(GOOD))
    empty["data"] += [{"paragraphs": []}, {"paragraphs": [{"context": "", "qas": []}, {"qas": []}]}]
    assert len(read_questions(write(json.dumps(empty)))) == 1
    assert read_questions(write(squad(GOOD | {"answers": [{"text": 9, "answer_start": 9}]})))[0].answers


@pytest.mark.parametrize(
    "answers",
    [None, [], "?", [{"text": "", "answer_start": 0}], [{"text": "", "answer_start": -1}], [{"a": 1}], {}, 7],
)
def test_prediction_does_not_look_at_answers(write, capsys, answers):
    content = squad(GOOD | {"answers": answers, "is_impossible": "perhaps"})
    questions, told = read_and_told(write, capsys, content, labelled=False)
    assert questions == [Question("q1", "Who?", CONTEXT, (), False)] and told == ""


def test_flat_files_of_hugging_face(write):
    flat = {
        "id": "q1",
        "title": "t",
        "context": CONTEXT,
        "question": "Who?",
        "answers": {"text": ["cat", "The cat"], "answer_start": [9, 14]},
    }
    none = flat | {"id": "q2", "answers": {"text": [], "answer_start": []}}
    expected = [*read_questions(write(squad(GOOD))), Question("q2", "Who?", CONTEXT, (), True)]
    for content in (
        json.dumps([flat, none]),
        json.dumps({"version": 1, "data": [flat, none]}),
        json.dumps([flat, none], indent=1),
        "\n".join(map(json.dumps, [flat, none])),
    ):
        assert read_questions(write(content)) == expected
    assert read_questions(write(json.dumps(flat))) == expected[:1]
    assert read_questions(write(json.dumps(flat | {"answers": {"text": "cat", "answer_start": 9}})))


def test_lone_surrogates_are_replaced(write):
    (question,) = read_questions(write(squad(GOOD, context=CONTEXT + "\ud800").replace("Who?", "\\udfff?")))
    assert question.context == CONTEXT + "\ufffd" and question.question == "\ufffd?"


def as_bert_reads(context, text, start):
    """Whether BERT's reader (run_squad.py, read_squad_examples) takes an answer for training."""
    words, word_of = [], []
    after_space = True
    for character in context:
        if character in " \t\r\n\u202f":
            after_space = True
        else:
            if after_space:
                words.append(character)
            else:
                words[-1] += character
            after_space = False
        word_of.append(len(words) - 1)
    first, last = word_of[start], word_of[min(start + len(text), len(context)) - 1]
    return " ".join(words[first : last + 1]).find(" ".join(text.strip().split())) >= 0


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["cat", "a", "the", " ", "  ", "\n", "\t", "dog.", "“"]), min_size=2, max_size=12
    ).map("".join),
    st.lists(st.sampled_from(["cat", "a", "the", " ", "  ", "dog"]), min_size=1, max_size=4).map("".join),
    st.integers(0, 30),
)
def test_answers_that_bert_s_reader_takes(context, text, start):
    """Those, at the place where it finds them; and no others."""
    context = "x" + context  # at a space before the first word, BERT's reader takes the last one
    if not text.strip():
        return
    start = min(start, len(context) - 1)
    found = _find(text, start, context)
    exact = context.startswith(text, start)
    assert (found is not None) == (as_bert_reads(context, text, start) or exact)
    if found is not None:
        assert context[slice(*found)].split() == text.split()
