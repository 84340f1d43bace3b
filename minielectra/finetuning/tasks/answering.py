"""Question answering (SQuAD): windows over the context, logits → n-best answers in the text's own characters, official scores.

A sequence is [CLS] question [SEP] part of the context [SEP]. A context that does not fit is read in windows, one every `STRIDE`
tokens; an answer may only start where its window shows more context around it than the others do (Devlin et al. 2019, released code).
"""

import numpy as np

from minielectra.errors import InputError
from minielectra.finetuning.metrics.squad_scores import best_threshold, squad_scores
from minielectra.finetuning.readers.squad_json import has_impossible, read_questions
from minielectra.finetuning.sequences import Encoded

STRIDE, QUESTION, ANSWER, BEST = 128, 64, 30, 20  # tokens between windows, of a question, of an answer; answers weighed


class Answering:
    """An answer out of the context for each question, or none. `settings` is all that has to be kept beside the model."""

    head = "answering"
    columns = ()
    labels = ("LABEL_0", "LABEL_1")  # start and end; what Hugging Face calls them
    metrics = ("f1", "exact_match")

    def __init__(self, name, impossible=False, threshold=0.0):
        """impossible: whether a question may have no answer; the answer is then empty where its null score — how much better none
        is than the best — exceeds `threshold`, which `tune` finds."""
        self.name, self.impossible, self.threshold = name, bool(impossible), float(threshold)

    @classmethod
    def from_file(cls, name, path, columns):
        """The task and its examples as the training file `path` has them."""
        questions = read_questions(path)
        return cls(name, has_impossible(questions)), questions

    @property
    def settings(self):
        """What `from_settings` makes this task of again, as JSON holds it."""
        return {"name": self.name, "impossible": self.impossible, "threshold": self.threshold}

    @classmethod
    def from_settings(cls, settings):
        """The task of saved settings."""
        return cls(**settings)

    def read(self, path, labelled=True):
        """The questions of a SQuAD file; answers may be absent from unlabelled ones."""
        return read_questions(path, labelled)

    def encode(self, examples, tokenizer, room, labelled=True):
        """-> list of Encoded, one a window. `weights`: 1 where an answer may be: the window's context, and [CLS] for "not here".
        `more`: "offsets" (first token's place, [(start, end) characters]) and "best" (at which of these the window is the best)."""
        contexts, encoded = {}, []
        for i, question in enumerate(examples):
            query = tokenizer.encode(question.question, allow_special=False)[: min(QUESTION, room // 2)]
            if question.context not in contexts:
                ids, _, offsets = tokenizer.encode_with_offsets(question.context, allow_special=False)
                contexts[question.context] = ids, offsets
            ids, offsets = contexts[question.context]
            if not ids:
                raise InputError(f"question {question.id!r}: its context has no words")
            answer = self._answer_tokens(question, offsets) if labelled and question.answers else None
            begin = len(query) + 2
            spans = list(_windows(len(ids), room - len(query) - 3))
            owners = _best_window(spans, len(ids))
            for w, (start, stop) in enumerate(spans):
                sequence = [tokenizer.cls_id, *query, tokenizer.sep_id, *ids[start:stop], tokenizer.sep_id]
                here = answer is not None and start <= answer[0] and answer[1] < stop
                target = (begin + answer[0] - start, begin + answer[1] - start) if here else (0, 0)
                weights = [1.0] + [0.0] * (begin - 1) + [1.0] * (stop - start) + [0.0]
                more = {"begin": begin, "offsets": offsets[start:stop], "best": owners[start:stop] == w}
                segments = [0] * begin + [1] * (stop - start + 1)
                encoded.append(Encoded(sequence, segments, i, target, weights, more))
        return encoded

    @staticmethod
    def _answer_tokens(question, offsets):
        """(first, last) token that the first gold answer touches; None where it touches none."""
        text, start = question.answers[0]
        touched = [k for k, (a, b) in enumerate(offsets) if a < start + len(text) and b > start]
        return (touched[0], touched[-1]) if touched else None

    def decode(self, logits, encoded, examples):
        """Logits, an array [T, 2] for each window -> predictions: {"answer", "start" (character), "score" (probability among the n
        best), "null_score" (logit of no answer minus that of the best), "best": [{"answer", "start", "score"}]} a question."""
        candidates, nulls = [[] for _ in examples], [np.inf] * len(examples)
        for x, sequence in zip(logits, encoded, strict=True):
            candidates[sequence.owner] += _candidates(x.astype(np.float64), sequence.more)
            nulls[sequence.owner] = min(nulls[sequence.owner], float(x[0].sum(dtype=np.float64)))
        predictions = []
        for question, found, null in zip(examples, candidates, nulls, strict=True):
            best = {}
            for logit, start, stop in sorted(found, reverse=True):
                best.setdefault(question.context[start:stop], (logit, start))  # a text once, at its best place
                if len(best) == BEST:
                    break
            top = next(iter(best.values()))[0]
            weights = [np.exp(logit - top) for logit, _ in best.values()]
            total = sum(weights) + (np.exp(min(null - top, 700.0)) if self.impossible else 0.0)
            n_best = [
                {"answer": text, "start": start, "score": round(float(weight / total), 6)}
                for (text, (_, start)), weight in zip(best.items(), weights, strict=True)
            ]
            predictions.append(self._decide({"null_score": float(null - top), "best": n_best}))
        return predictions

    def _decide(self, prediction):
        first = prediction["best"][0]
        if self.impossible and prediction["null_score"] > self.threshold:
            no_answer = round(1.0 - sum(entry["score"] for entry in prediction["best"]), 6)
            return prediction | {"answer": "", "start": None, "score": max(0.0, no_answer)}
        return prediction | first

    def tune(self, examples, predictions):
        """Set the threshold that gives the best F1 on `examples` -> the predictions under it."""
        if not self.impossible:
            return predictions
        texts = {q.id: p["best"][0]["answer"] for q, p in zip(examples, predictions, strict=True)}
        nulls = {q.id: p["null_score"] for q, p in zip(examples, predictions, strict=True)}
        self.threshold = float(best_threshold(texts, nulls, examples)[0])
        return [self._decide(p) for p in predictions]

    def score(self, examples, predictions):
        """SQuAD's official scores, in per cent: {"f1", "exact_match", …}."""
        scores = squad_scores(self.official(examples, predictions), examples)
        return {name: scores[name] for name in (*self.metrics, *sorted(scores))}

    @staticmethod
    def official(examples, predictions):
        """{question's id: answer}, the form that SQuAD's own script reads."""
        return {question.id: p["answer"] for question, p in zip(examples, predictions, strict=True)}

    def show(self, example, prediction):
        """One line for people."""
        return f"{prediction['answer'] or '(no answer)'}\t{prediction['score']:.3f}\t{example.question}"

    def report(self, example, prediction):
        """One object for `--json`."""
        return {"id": example.id, "question": example.question, **prediction}


def _windows(count, room):
    """(start, stop) of windows of at most `room` over `count` tokens, one every STRIDE; fewer apart where they are short."""
    start = 0
    while True:
        yield start, min(start + room, count)
        if start + room >= count:
            return
        start += min(STRIDE, max(1, room // 2))


def _best_window(spans, count):
    """For every token the window that shows most around it: the smaller of what is left and right of it decides -> [count] int."""
    place = np.arange(count)
    scores = np.stack([
        np.where((place >= start) & (place < stop), np.minimum(place - start, stop - 1 - place) + 0.01 * (stop - start), -1.0)
        for start, stop in spans
    ])  # fmt: skip
    return scores.argmax(axis=0)


def _candidates(logits, more):
    """The best (logit, first character, character after the last) of one window: its BEST starts with its BEST ends."""
    begin, offsets = more["begin"], more["offsets"]
    count = len(offsets)
    start, end = logits[begin : begin + count, 0], logits[begin : begin + count, 1]
    starts = np.argsort(-np.where(more["best"], start, -np.inf), kind="stable")[:BEST]
    ends = np.argsort(-end, kind="stable")[:BEST]
    found = [
        (float(start[a] + end[b]), offsets[a][0], offsets[b][1])
        for a in starts for b in ends if more["best"][a] and a <= b < a + ANSWER
    ]  # fmt: skip
    if not found:  # no end after any start: the best single token
        a = int(np.argmax(start + end))
        found = [(float(start[a] + end[a]), offsets[a][0], offsets[a][1])]
    return found
