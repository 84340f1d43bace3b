"""From drawn files to scores, beside what SQuAD's own script, scikit-learn and seqeval make of them."""

import collections
import json
import re
import string

import pytest
from properties import given, settings, st

from minielectra.finetuning import tasks
from minielectra.finetuning.readers.lines import TextFile

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def memory_file(text, suffix):
    return TextFile("file", suffix, text.removesuffix("\n").split("\n"))


def close(ours, reference):
    return ours == pytest.approx(float(reference), abs=1e-12)


# SQuAD: evaluate-v2.0.py, in its own words.


def normalize_answer(s):
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def get_tokens(s):
    return normalize_answer(s).split() if s else []


def compute_f1(a_gold, a_pred):
    gold_toks, pred_toks = get_tokens(a_gold), get_tokens(a_pred)
    num_same = sum((collections.Counter(gold_toks) & collections.Counter(pred_toks)).values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = num_same / len(pred_toks), num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def official_scores(dataset, preds):
    """get_raw_scores and make_eval_dict, over all questions, those with answers and those without."""
    rows = []
    for article in dataset:
        for p in article["paragraphs"]:
            for qa in p["qas"]:
                golds = [a["text"] for a in qa["answers"] if normalize_answer(a["text"])] or [""]
                guess = preds[str(qa["id"])]
                exact = max(int(normalize_answer(a) == normalize_answer(guess)) for a in golds)
                rows.append((bool(qa["answers"]), exact, max(compute_f1(a, guess) for a in golds)))
    found = {}
    for prefix, wanted in (("", (True, False)), ("HasAns_", (True,)), ("NoAns_", (False,))):
        chosen = [row for row in rows if row[0] in wanted]
        if chosen:
            found[prefix + ("exact" if prefix else "exact_match")] = (
                100 * sum(r[1] for r in chosen) / len(chosen)
            )
            found[f"{prefix}f1"] = 100 * sum(r[2] for r in chosen) / len(chosen)
    return found


CONTEXT = "The old cat saw a dog, and the dog saw nothing."
TEXTS = st.sampled_from(["cat", "The old cat", "a dog", "the", "dog, and", "nothing.", "not there", "–"])
ANSWERS = st.lists(
    st.builds(
        lambda text, start: {"text": text, "answer_start": start},
        TEXTS,
        st.sampled_from([0, 4, 8, 8.0, 16, 39, -1, 999, None]),
    ),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(ANSWERS, st.sampled_from(["", "cat", "the dog", "a", "–"])), min_size=1, max_size=6),
    st.sampled_from([int, str]),
)
def test_questions_as_squad_s_script(drawn, kind):
    """Answers that are nowhere, or that normalisation empties, integers as ids, no flags."""
    qas = [{"id": kind(i), "question": "?", "answers": answers} for i, (answers, _) in enumerate(drawn)]
    if not any(answers for answers, _ in drawn):
        qas[0]["is_impossible"] = True
    data = [{"paragraphs": [{"context": "", "qas": []}, {"context": CONTEXT, "qas": qas}]}]
    task = tasks.find("squad")("squad", impossible=True)
    examples = task.read(memory_file(json.dumps({"data": data}), ".json"))
    assert [question.id for question in examples] == [str(i) for i in range(len(drawn))]
    scores = task.score(examples, [{"answer": guess} for _, guess in drawn])
    expected = official_scores(data, {str(i): guess for i, (_, guess) in enumerate(drawn)})
    if any(question.impossible for question in examples):  # version 1 knows no questions without answers
        assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_an_id_that_occurs_twice():
    qas = [
        {"id": "a", "question": "?", "answers": [{"text": text, "answer_start": 0}]}
        for text in ("cat", "dog")
    ]
    content = json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": qas}]}]})
    task = tasks.find("squad")("squad")
    examples = task.read(memory_file(content, ".json"))
    assert task.score(examples, [{"answer": "cat"}, {"answer": "dog"}])["exact_match"] == 100.0
    with pytest.raises(ValueError, match="--official: several questions have the id 'a'"):
        task.check_official(examples)


# Tables.

CELLS = st.text("ab \"'.", max_size=5)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["row", "row", "row", "cut", "-"]),
        CELLS,
        CELLS,
        st.sampled_from("enc"),
        st.booleans(),
    ),
    min_size=4,
    max_size=15,
)
NAMES = {"e": "entailment", "n": "neutral", "c": "contradiction"}


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_tables_as_scikit_learn(rows):
    """Only whole rows with a label count, in their order, whatever quotes the texts hold."""
    reference = pytest.importorskip("sklearn.metrics")
    rows = [("row", "a", "b", letter, True) for letter in "ennc"] + rows
    lines, kept, right = ["index\tsentence1\tsentence2\tgold_label"], [], []
    for i, (kind, first, second, letter, agrees) in enumerate(rows):
        if kind == "cut":
            lines += [f"{i}\t{first}", f"{first}\t{second}\t{NAMES[letter]}"]
            continue
        lines.append(f"{i}\t{first}\t{second}\t{'-' if kind == '-' else NAMES[letter]}")
        if kind == "row":
            kept.append(NAMES[letter])
            right.append(agrees)
    file = memory_file("\n".join(lines), ".tsv")
    broken = sum(2 for row in rows if row[0] == "cut")
    if broken > len(rows) - broken // 2:
        with pytest.raises(ValueError, match="correct the line"):
            tasks.find("mnli").from_file("mnli", file, {})
        return
    task, examples = tasks.find("mnli").from_file("mnli", file, {})
    assert [example.label for example in examples] == kept
    found = [label if agrees else "neutral" for label, agrees in zip(kept, right, strict=True)]
    scores = task.score(examples, [{"label": label} for label in found])
    assert close(scores["accuracy"], reference.accuracy_score(kept, found))
    assert close(scores["matthews_correlation"], reference.matthews_corrcoef(kept, found))
    assert task.read(memory_file("\n".join(lines), ".tsv")) == examples


# Columns.

MARKS = ["", "-DOCSTART- -X- O", "#newdoc id = x", "#begin document (x); part 000", "###MEDLINE:1"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(["O", "B X", "I X", "B Y", "I Y", "E X", "S Y"]), min_size=1, max_size=6
            ),
            st.sampled_from(MARKS),
        ),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from([("-", False), ("_", False), ("-", True), ("_", True)]),
    st.sampled_from("\t "),
    st.randoms(use_true_random=False),
)
def test_columns_as_seqeval(drawn, form, separator, random):
    """Entities are the same however tags are written and documents are marked."""
    reference = pytest.importorskip("seqeval.metrics")
    drawn = [(["B X", "I X", "O"], ""), *drawn]
    dash, last = form

    def written(tag):
        letter, _, kind = tag.partition(" ")
        return letter if not kind else f"{kind}{dash}{letter}" if last else f"{letter}{dash}{kind}"

    lines = []
    for tags, mark in drawn:
        lines += [mark, *(f"w{separator}{written(tag)}" for tag in tags), ""]
    task, sentences = tasks.find("tagging").from_file("tagging", memory_file("\n".join(lines), ".txt"), {})
    assert [sentence.tags for sentence in sentences] == [list(map(written, tags)) for tags, _ in drawn]
    gold = [[tag.replace(" ", "-") for tag in tags] for tags, _ in drawn]
    found = [random.sample(tags, len(tags)) for tags, _ in drawn]
    predictions = [{"labels": list(map(written, tags))} for tags in found]
    found = [[tag.replace(" ", "-") for tag in tags] for tags in found]
    scores = task.score(sentences, predictions)
    assert task.metrics[0] == "f1"
    assert close(scores["f1"], reference.f1_score(gold, found))
    assert close(scores["precision"], reference.precision_score(gold, found))
    assert close(scores["recall"], reference.recall_score(gold, found))
    assert close(scores["accuracy"], reference.accuracy_score(gold, found))
