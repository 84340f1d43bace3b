"""Text that was not written with English sentence ends or line breaks: where it is cut, and what it costs."""

import random
import re
import tracemalloc

import numpy as np
import pytest
from properties import given, settings, st

from minielectra.data.dataset.prepare import prepare
from minielectra.data.text import corpus as corpus_module
from minielectra.data.text.corpus import corpus_documents, corpus_lines
from minielectra.data.text.sentences import cut_before, sentence_spans, split_sentences

# Sentence ends.


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("今天很冷。你好吗？好！走吧", ["今天很冷。", "你好吗？", "好！", "走吧"]),
        ("他说：「走吧。」我走了。", ["他说：「走吧。」", "我走了。"]),
        ("真的？！不，是的。", ["真的？！", "不，是的。"]),
        ("版本３．１很好．下一版。完", ["版本３．１很好．", "下一版。", "完"]),
        ("你好!我走了.再见", ["你好!", "我走了.", "再见"]),
        ("行く。 帰る。", ["行く。", "帰る。"]),
        ("他说。——我走", ["他说。——我走"]),  # a dash continues the sentence
        ("Он пришёл. Ушёл! «Да?» Нет.", ["Он пришёл.", "Ушёл!", "«Да?»", "Нет."]),
        ("Это А. С. Пушкин. Да.", ["Это А. С. Пушкин.", "Да."]),
        ("Он ушёл в 1990 г. и умер.", ["Он ушёл в 1990 г. и умер."]),
        ("Ήρθε. Έφυγε; Ναι.", ["Ήρθε.", "Έφυγε; Ναι."]),
        ("Él vino. ¿Quién? Ñandú. ¡Sí!", ["Él vino.", "¿Quién?", "Ñandú.", "¡Sí!"]),
        ("वह आया। वह गया॥ अब", ["वह आया।", "वह गया॥", "अब"]),
        ("جاء الرجل. من هو؟ لا أعرف.", ["جاء الرجل.", "من هو؟", "لا أعرف."]),
        ("그는 왔다. 그리고 갔다. 끝", ["그는 왔다.", "그리고 갔다.", "끝"]),
        ("ის მოვიდა. ის წავიდა.", ["ის მოვიდა.", "ის წავიდა."]),
        ("Եկավ։ Գնաց։", ["Եկավ։", "Գնաց։"]),
        ("ሰው መጣ። ሄደ።", ["ሰው መጣ።", "ሄደ።"]),
    ],
)
def test_other_scripts(text, sentences):
    assert split_sentences(text) == sentences


ENGLISH = re.compile(r"""[.!?]['")\]’”]*(\s+)(?=['"(\[‘“]?[A-Z0-9])""")


@given(st.text(alphabet="aAbB1 .!?'\")([“”’…—é", max_size=60))
@settings(max_examples=500, deadline=None)
def test_english_ends_are_those_of_the_english_rule(text):
    """Where the next sentence begins with an ASCII letter or digit, other scripts' rules add nothing."""
    ends = [text[: match.start(1)] for match in ENGLISH.finditer(text)]
    for start, end in sentence_spans(text)[:-1]:
        assert text[:end] in ends, (start, end)


@given(st.text(max_size=80))
@settings(max_examples=500, deadline=None)
def test_nothing_but_white_space_is_lost(text):
    spans = sentence_spans(text)
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    for end, start in zip(ends, starts, strict=True):
        assert end <= start and not text[end:start].strip()
    assert all(end > start for start, end in spans)


# Text without ends.

WORDS = ["river", "house", "a", "teacher", "of", "engine", "garden", "letters"]


def words(count, seed=0):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def test_lower_case_text_is_cut_at_its_own_ends():
    text = "the river saw the house. the garden was old! a letter came? " * 200
    sentences = split_sentences(text.strip())
    assert set(sentences) == {"the river saw the house.", "the garden was old!", "a letter came?"}
    assert len(split_sentences("the river saw. the house was old. " * 5)) == 1  # short: English as ever


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        (words(5000), 120),
        ("动也对面是地和年会" * 600, 30),
        ("動 " * 5000, 120),
        ("ACGT" * 5000, 30),
        ("สวัสดีครับ" * 500, 40),
        ("река дом " * 1000, 120),
        ("word, " * 2000, 120),
    ],
)
def test_text_without_ends_is_cut_between_words_or_characters(text, longest):
    sentences = split_sentences(text.strip())
    assert max(map(len, sentences)) <= longest
    assert sum(map(len, sentences)) > 0.9 * len(text.replace(" ", ""))
    assert "".join(sentences).replace(" ", "") == text.replace(" ", "")
    if " " in text:
        assert all(set(sentence.split()) <= set(text.split()) for sentence in sentences)
    assert np.mean([len(s) for s in sentences]) > 0.4 * longest


def test_a_mark_stays_with_its_character():
    for sentence in split_sentences("e\u0301" * 5000):
        assert sentence.startswith("e") and sentence.endswith("\u0301")


def test_a_long_but_possible_sentence_is_left_whole():
    text = words(900) + "."
    assert 5000 < len(text) < 8192 and split_sentences(text.capitalize()) == [text.capitalize()]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("One end. Two ends. Three", "Three"),
        ("one word two", "two"),
        ("动也对面是地。和年会", "和年会"),
    ],
)
def test_long_lines_are_cut_before(text, where):
    cut = cut_before(text, len(text) - 1)
    assert text[cut:] == where or text[cut:].strip() == where
    assert cut_before("x" * 50, 40) == 40
    assert cut_before("x\u0301" * 50, 41) == 40


def test_long_lines_become_documents_of_a_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "LONGEST_LINE", 1000)
    monkeypatch.setattr(corpus_module, "_READ", 64)
    text = "Die Tür — ging auf. 门开了。" * 400
    (tmp_path / "a.txt").write_text(f"Before.\n{text}\nAfter.\n\nLast.\n", encoding="utf-8")
    documents = list(corpus_documents(tmp_path / "a.txt"))
    assert max(len(line) for document in documents for line in document) <= 1000
    assert documents[0][0] == "Before." and documents[-1] == ["Last."] and documents[-2][-1] == "After."
    assert len(documents) == 2 + len(text) // 1000
    together = "".join(line for document in documents for line in document)
    assert together.replace(" ", "") == f"Before.{text}After.Last.".replace(" ", "")


@pytest.mark.parametrize("text", ["e" * 300_000, "река " * 60_000, "的" * 100_000, " " * 300_000 + "x"])
def test_memory_does_not_grow_with_the_line(tmp_path, monkeypatch, text):
    monkeypatch.setattr(corpus_module, "LONGEST_LINE", 4096)
    monkeypatch.setattr(corpus_module, "_READ", 4096)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    tracemalloc.start()
    characters = sum(map(len, corpus_lines(tmp_path / "a.txt")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000 and characters >= len(text.replace(" ", ""))


CHINESE = [chr(code) for code in range(0x4E00, 0x4E00 + 40)]


def chinese(sentences, end="。", seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices(CHINESE, k=rng.randrange(8, 25))) + end for _ in range(sentences)]


@pytest.mark.parametrize(
    "text",
    [
        words(20_000),
        "".join(chinese(600)),
        "".join(chinese(600, end="")),
        " ".join(f"{line[:-1].lower()} ушёл." for line in chinese(600)),
        "\n".join("".join(chinese(20, seed=i)) for i in range(30)),
    ],
)
def test_such_a_corpus_is_prepared_like_any_other(tmp_path, text):
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "data", 120)
    share = dataset.heldout.n_tokens / (dataset.train.n_tokens + dataset.heldout.n_tokens)
    assert 0.03 < share < 0.08
    examples = dataset.train.examples(64)
    rows = examples[np.arange(len(examples))]
    assert np.mean(rows[:, 1] == rows[:, 2]) < 0.2  # single segments: a tenth, and what ends a document
