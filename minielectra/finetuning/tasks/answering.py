"""Question answering (SQuAD): the answer to a question is a span of a text, its context, or there is none.

A sequence is [CLS] question [SEP] window of the context [SEP]. [CLS] stands for "not in this window".
"""

import dataclasses
import json

import numpy as np

from minielectra.errors import InputError
from minielectra.finetuning.answer_windows import N_BEST, Window, best_answers, best_window, context_windows
from minielectra.finetuning.heads import ElectraForQuestionAnswering
from minielectra.finetuning.metrics.squad_scores import best_threshold, squad_scores
from minielectra.finetuning.readers.lines import quoted
from minielectra.finetuning.readers.squad_json import has_impossible, read_questions
from minielectra.finetuning.sequences import Encoded
from minielectra.finetuning.task_losses import AnsweringLoss
from minielectra.finetuning.tasks.contract import Task
from minielectra.formats.json_text import is_number

LONGEST_QUESTION = 64  # tokens; the rest is cut
MANY_ANSWERS = 10_000  # of one question, from all of its windows: time to forget all but the best


class Answering(Task):
    """From Question to the answer in the context's own characters, with alternatives (see `decode`)."""

    names = ("squad",)
    head = "answering"
    model_class = ElectraForQuestionAnswering
    max_length = 384
    labels = ("LABEL_0", "LABEL_1")  # start and end, as Hugging Face calls them
    metrics = ("f1", "exact_match")
    loss = AnsweringLoss()

    def __init__(self, name, impossible=False, threshold=0.0):
        """impossible: whether a question may have no answer.

        The answer is then empty if its null score (the logit of no answer minus that of the best one) exceeds
        `threshold`, which `tune` finds.
        """
        self.name, self.impossible, self.threshold = name, bool(impossible), float(threshold)

    @classmethod
    def from_file(cls, name, path, options):
        """The task and its questions; whether answers may be missing is read off the file."""
        questions = read_questions(path, placed=True)
        return cls(name, has_impossible(questions)), questions

    @property
    def settings(self):
        return {"name": self.name, "impossible": self.impossible, "threshold": self.threshold}

    @classmethod
    def from_settings(cls, settings):
        if not isinstance(settings["impossible"], bool) or not is_number(settings["threshold"]):
            raise ValueError("impossible is no truth, or threshold no number")
        return cls(**settings)

    def read(self, path, labelled=True, form=None):
        """The questions of a SQuAD file; unlabelled ones have no answers."""
        if form == "lines":
            raise InputError("--form lines: does not apply to squad; give a file in SQuAD's format")
        return read_questions(path, labelled)

    def encode(self, examples, tokenizer, max_length, labelled=True):
        """One Encoded per window. `weights`: 1 at [CLS] and at the context; `more`: its Window."""
        contexts, encoded = {}, []
        for i, question in enumerate(examples):
            query = tokenizer.encode(question.question, allow_special=False)
            query = query[: min(LONGEST_QUESTION, max_length // 2)]
            if question.context not in contexts:
                ids, _, offsets = tokenizer.encode_with_offsets(question.context, allow_special=False)
                contexts[question.context] = ids, offsets
            ids, offsets = contexts[question.context]
            answer = _answer_tokens(question, offsets) if labelled else None
            begin = len(query) + 2
            spans = list(context_windows(len(ids), max_length - len(query) - 3))
            owners = best_window(spans, len(ids))
            for w, (start, stop) in enumerate(spans):
                sequence = [tokenizer.cls_id, *query, tokenizer.sep_id, *ids[start:stop], tokenizer.sep_id]
                segments = [0] * begin + [1] * (stop - start + 1)
                here = answer is not None and start <= answer[0] and answer[1] < stop
                target = (begin + answer[0] - start, begin + answer[1] - start) if here else (0, 0)
                weights = [1.0] + [0.0] * (begin - 1) + [1.0] * (stop - start) + [0.0]
                window = Window(begin, offsets[start:stop], owners[start:stop] == w)
                encoded.append(Encoded(sequence, segments, i, target, weights, window))
        return encoded

    def decode(self, logits, encoded, examples):
        """A prediction: {"answer", "start", "score", "null_score", "best": [{"answer", "start", "score"}]}.

        start: the answer's first character in the context; score: its probability among the n best (and no
        answer, if that is possible); null_score: the logit of no answer minus that of the best.
        """
        answers, nulls = [[] for _ in examples], [np.inf] * len(examples)
        for x, sequence in zip(logits, encoded, strict=True):
            found = answers[sequence.owner]
            found += best_answers(x.astype(np.float64), sequence.more)
            if len(found) > MANY_ANSWERS:
                found[:] = _best_of_each_text(found, examples[sequence.owner].context)
            nulls[sequence.owner] = min(nulls[sequence.owner], float(x[0].sum(dtype=np.float64)))
        triples = zip(examples, answers, nulls, strict=True)
        return [self._decide(self._n_best(question, found, null)) for question, found, null in triples]

    def _n_best(self, question, found, null):
        """The best answers of all windows, each text once; null: logit of none -> {"null_score", "best"}"""
        if not found:  # a context without words
            return {"null_score": 0.0, "best": [{"answer": "", "start": None, "score": 1.0}]}
        best = _best_of_each_text(found, question.context)
        top = best[0][0]
        weights = [np.exp(logit - top) for logit, *_ in best]
        # exp(710) would overflow.
        total = sum(weights) + (np.exp(min(null - top, 700.0)) if self.impossible else 0.0)
        entries = [
            {
                "answer": question.context[start:stop],
                "start": start,
                "score": round(float(weight / total), 6),
            }
            for (_, start, stop), weight in zip(best, weights, strict=True)
        ]
        return {"null_score": float(null - top), "best": entries}

    def _decide(self, prediction):
        """The prediction with its "answer", "start" and "score": the best answer's, or those of no answer."""
        if self.impossible and prediction["null_score"] > self.threshold:
            no_answer = round(1.0 - sum(entry["score"] for entry in prediction["best"]), 6)
            return prediction | {"answer": "", "start": None, "score": max(0.0, no_answer)}
        return prediction | prediction["best"][0]

    def tune(self, examples, predictions):
        """Set the threshold that gives the best F1 on `examples` -> the predictions that it leads to."""
        if not self.impossible:
            return predictions
        texts = {str(i): p["best"][0]["answer"] for i, p in enumerate(predictions)}
        nulls = {str(i): p["null_score"] for i, p in enumerate(predictions)}
        self.threshold = float(best_threshold(texts, nulls, _numbered(examples))[0])
        return [self._decide(p) for p in predictions]

    def score(self, examples, predictions):
        """SQuAD's official scores, in per cent: {"f1", "exact_match", …}."""
        answers = {str(i): p["answer"] for i, p in enumerate(predictions)}
        scores = squad_scores(answers, _numbered(examples))
        return {name: scores[name] for name in (*self.metrics, *sorted(scores))}

    def show(self, example, prediction, gold=False):
        """One line: answer, score, question."""
        return f"{prediction['answer'] or '(no answer)'}\t{prediction['score']:.3f}\t{example.question}"

    def report(self, example, prediction, gold=False):
        """The prediction with the question and its id."""
        return {"id": example.id, "question": example.question, **prediction}

    def check_official(self, examples):
        """SQuAD's own script reads {question's id: answer}, so each question needs an id of its own."""
        seen = set()
        for question in examples:
            if question.id in seen:
                raise InputError(
                    f"--official: several questions have the id {quoted(question.id)}; make the ids unique"
                )
            seen.add(question.id)

    def official_format(self, examples, predictions):
        """JSON for SQuAD's own script: {question's id: answer}."""
        answers = {question.id: p["answer"] for question, p in zip(examples, predictions, strict=True)}
        return json.dumps(answers, ensure_ascii=False) + "\n"


def _numbered(examples):
    """The questions with their numbers as ids: ids of files may occur twice."""
    return [dataclasses.replace(question, id=str(i)) for i, question in enumerate(examples)]


def _best_of_each_text(found, context):
    """The N_BEST best of many (logit, start, stop), each text once, at its best place -> list, best first."""
    best = {}
    for answer in sorted(found, reverse=True):
        best.setdefault(context[answer[1] : answer[2]], answer)
        if len(best) == N_BEST:
            break
    return list(best.values())


def _answer_tokens(question, offsets):
    """(first, last) token that the first gold answer touches; None if there is none."""
    if question.place is None:
        return None
    start, stop = question.place
    touched = [k for k, (a, b) in enumerate(offsets) if a < stop and b > start]
    return (touched[0], touched[-1]) if touched else None
