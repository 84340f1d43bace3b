"""Exact match and F1 of extracted answers, as SQuAD's official scripts compute them.

Both scripts (evaluate-v1.1.py and evaluate-v2.0.py) compare a predicted text with each gold answer after
normalisation, and keep the best result. They
only differ for a gold answer that is empty after normalisation (an article, a dash):

    version 1   it is an answer like any other; F1 is 0 without a common token, even if both texts are empty
    version 2   it is ignored; a question without gold answers has the empty one; F1 of two empty texts is 1

Questions are readers.squad_json.Question; predictions are {id: text}, where the empty text means "no answer".
"""

import math
import re
import string
from collections import Counter

from minielectra.errors import InputError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only, as in the scripts: “ and – stay


def normalise(answer):
    """In lower case, then without punctuation, then without a, an and the, then with single spaces."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction, golds, version=2):
    """1.0 if the prediction equals one of the gold answers (texts) after normalisation, else 0.0."""
    return float(normalise(prediction) in _normalised(golds, version))


def token_f1(prediction, golds, version=2):
    """The best F1 between the tokens of the prediction and of a gold answer.

    A token that is repeated counts as often as both have it.
    """
    return max(
        _f1(normalise(prediction).split(), gold.split(), version) for gold in _normalised(golds, version)
    )


def _normalised(golds, version):
    golds = [normalise(gold) for gold in golds]
    return golds if version == 1 else [gold for gold in golds if gold] or [""]


def _f1(prediction, gold, version):
    if version == 2 and not (prediction and gold):
        return float(prediction == gold)
    same = sum((Counter(prediction) & Counter(gold)).values())
    if not same:
        return 0.0
    precision, recall = same / len(prediction), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def squad_scores(predictions, questions):
    """Scores over all questions, in per cent.

    Version 1, if no question is impossible: {"exact_match", "f1"}. Otherwise version 2, which adds "total"
    (the number of questions), the scores over questions that have an answer ("HasAns_exact", "HasAns_f1";
    missing if there are none) and over those that have none ("NoAns_exact", "NoAns_f1"). Predictions for
    other questions are ignored. Raises InputError if a question has no prediction, or has no answers and is
    not marked as impossible.
    """
    exact, f1, version = _raw_scores(predictions, questions)
    scores = {"exact_match": _percent(exact), "f1": _percent(f1)}
    if version == 2:
        scores["total"] = len(questions)
        for name, impossible in (("HasAns", False), ("NoAns", True)):
            chosen = [i for i, question in enumerate(questions) if question.impossible == impossible]
            if chosen:
                scores[f"{name}_exact"] = _percent([exact[i] for i in chosen])
                scores[f"{name}_f1"] = _percent([f1[i] for i in chosen])
    return scores


def best_threshold(predictions, null_scores, questions):
    """The threshold with the best F1, if answers with a greater null score are replaced by the empty one.

    predictions: each question's best answer that is not empty; null_scores {id: float}: how much better no
    answer is, in any unit -> threshold, {"exact_match", "f1"} at that threshold. The threshold is one of the
    null scores, or just below all of them; if several are equally good, the lowest.

    The scripts' find_best_thresh, with three differences: one threshold for both scores; equal null scores
    are treated alike; the search begins with "no answer at all", whatever the range of null scores, while the
    scripts begin at 0. Raises InputError as `squad_scores` does.
    """
    _, f1, version = _raw_scores(predictions, questions)
    _require(null_scores, questions, "null score")
    empty = [token_f1("", _texts(question), version) for question in questions]
    nulls = [float(null_scores[question.id]) for question in questions]
    order = sorted(range(len(questions)), key=nulls.__getitem__)

    total = best = math.fsum(empty)
    threshold = math.nextafter(nulls[order[0]], -math.inf)
    for i, following in zip(order, [*order[1:], None], strict=True):
        total += f1[i] - empty[i]
        if (following is None or nulls[following] != nulls[i]) and total > best:
            best, threshold = total, nulls[i]
    kept = {
        q.id: "" if null > threshold else predictions[q.id] for q, null in zip(questions, nulls, strict=True)
    }
    scores = squad_scores(kept, questions)
    return threshold, {name: scores[name] for name in ("exact_match", "f1")}


def _raw_scores(predictions, questions):
    """-> exact match of each question, F1 of each question, the version of the script that applies."""
    if not questions:
        raise InputError("no questions to score; give at least one")
    _require(predictions, questions, "prediction")
    for question in questions:
        if not question.answers and not question.impossible:
            raise InputError(
                f"question {question.id!r} has no answers to compare with; give a file with answers"
            )
    version = 2 if any(question.impossible for question in questions) else 1
    pairs = [(predictions[question.id], _texts(question)) for question in questions]
    exact, f1 = ([score(text, golds, version) for text, golds in pairs] for score in (exact_match, token_f1))
    return exact, f1, version


def _texts(question):
    return [text for text, _ in question.answers]


def _require(values, questions, what):
    missing = [question.id for question in questions if question.id not in values]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"no {what} for question {missing[0]!r}{more}; give one for each question")


def _percent(scores):
    return 100 * sum(scores) / len(scores)
