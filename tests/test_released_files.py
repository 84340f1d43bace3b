"""Files as people have them: broken rows, missing labels, compression, JSON, other separators, pipes."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import threading

import pytest
from properties import given, settings, st

from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.finetuning.readers.conll import Sentence, read_sentences
from minielectra.finetuning.readers.lines import TextFile, read_file
from minielectra.finetuning.readers.rows import find_separator, read_rows
from minielectra.finetuning.readers.table_detection import detect_format, format_like
from minielectra.finetuning.readers.tables import read_examples
from minielectra.formats import limits

QQP = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="file.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def task_of(name, path, **options):
    """A task with the examples of its training file."""
    return tasks.find(name).from_file(name, path, options)


def memory_file(text, suffix=""):
    return TextFile("file", suffix, text.split("\n"))


# Rows.


def test_rows_that_a_line_feed_has_cut_are_left_out_with_a_count(write, capsys):
    """As the original reader of GLUE does, which needs 6 fields of each line."""
    rows = [f"{i}\t{i}\t{i}\tIs it {i}?\tWas it {i}?\t{i % 2}\n" for i in range(6)]
    cut = '7\t7\t7\t"Is it\n\n or not?"\tIt is?\t0\n'
    path = write(QQP + "".join(rows[:2]) + cut + "".join(rows[2:]))
    task, examples = task_of("qqp", path)
    assert [example.line for example in examples] == [2, 3, 7, 8, 9, 10]
    assert task.labels == ("0", "1")
    expected = f"{path}: 2 row(s) left out: too few fields, line 1 has 6 (first: line 4)\n"
    assert capsys.readouterr().err == expected
    assert len(task.read(path)) == len(task.read(path, labelled=False)) == 6
    assert capsys.readouterr().err == 2 * expected


def test_rows_of_other_lengths(write, capsys):
    path = write("sentence\tlabel\na\t0\t\t \nb\t1\nc\td\t0\ne\n")
    assert [(e.text, e.label) for e in read_examples(path, detect_format(path))] == [("a", "0"), ("b", "1")]
    told = capsys.readouterr().err
    assert (
        "1 row(s) left out: too many fields, line 1 has 2 (first: line 4); 1 row(s) left out: too few" in told
    )
    assert told.count("\n") == 1


def test_an_empty_text_is_a_text(write, capsys):
    _, examples = task_of("qqp", write(QQP + "1\t1\t2\tA?\t\t1\n2\t3\t4\t\tB?\t0\n"))
    assert [(e.text, e.pair) for e in examples] == [("A?", ""), ("", "B?")]
    _, examples = task_of("sst-2", write("sentence\tlabel\n \t1\nb\t0\n"))
    assert examples[0].text == "" and capsys.readouterr().err == ""
    _, examples = task_of("classification", write("0 Why ?\n1 Who ?\n1\n", "x.label"))
    assert [(e.text, e.label) for e in examples] == [("Why ?", "0"), ("Who ?", "1"), ("", "1")]


NLI = "gold_label\tsentence1\tsentence2\n"


@pytest.mark.parametrize("name", ["mnli", "classification"])
def test_no_agreement_is_no_label(write, capsys, name):
    path = write(NLI + "neutral\tA\tB\n-\tC\tD\nentailment\tE\tF\n-\tG\tH\ncontradiction\tI\tJ\n")
    task, examples = task_of(name, path)
    assert task.labels == ("contradiction", "entailment", "neutral")
    assert [example.line for example in examples] == [2, 4, 6] == [e.line for e in task.read(path)]
    told = "2 example(s) left out, as the label - means no agreement (first: line 3)\n"
    assert capsys.readouterr().err == 2 * f"{path}: {told}"
    assert len(task.read(path, labelled=False)) == 5


def test_no_agreement_in_hugging_face_s_copies(write, capsys):
    rows = [{"premise": "A", "hypothesis": "B", "label": label} for label in (0, 1, -1, 2)]
    path = write("\n".join(map(json.dumps, rows)), "snli.jsonl")
    task, examples = task_of("classification", path)
    assert task.labels == ("0", "1", "2") and [example.line for example in examples] == [1, 2, 4]
    assert (
        "1 example(s) left out, as the label -1 means no agreement (first: line 3)" in capsys.readouterr().err
    )
    stances = [row | {"label": row["label"] % 3 - 1} for row in rows]  # -1, 0 and 1 are labels
    assert (
        task_of("classification", write("\n".join(map(json.dumps, stances)), "x.jsonl"))[0].labels[0] == "-1"
    )
    single = write("sentence\tlabel\na\t-\nb\t+\n")
    assert task_of("classification", single)[0].labels == ("+", "-")


def test_a_label_that_glue_does_not_have_is_refused(write):
    path = write(QQP + "1\t1\t2\tA?\tB?\t1\n2\t3\t4\tC?\tD?\t0\n3\t5\t6\tE?\tF?\tG?\n4\t5\t6\tE?\tF?\t0\n")
    with pytest.raises(InputError, match=r"tsv:4: the label 'G\?' is one of 3 in this file, but qqp has 2"):
        task_of("qqp", path)


# Bytes.


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed_files(write, suffix, pack):
    plain = write('text,label\na,0\n"b\nc",1\n', "x.csv")
    packed = write(pack.compress(plain.read_bytes()), f"x.csv{suffix}")
    expected = read_examples(plain, detect_format(plain))
    assert read_examples(packed, detect_format(packed)) == expected
    twice = write(pack.compress(b"text,label\n") + pack.compress(b"a,0\n"), f"y.csv{suffix}")
    assert len(read_examples(twice, detect_format(twice))) == 1  # as `cat a.gz b.gz` makes it
    unpacked = write(plain.read_bytes(), f"z.csv{suffix}")
    assert read_examples(unpacked, detect_format(unpacked)) == expected  # unpacked, but not renamed
    broken = write(packed.read_bytes()[:-9], f"broken.csv{suffix}")
    with pytest.raises(InputError, match=r"broken compressed file .*; compress it again") as caught:
        read_file(broken)
    assert "\n" not in str(caught.value)


def test_a_compressed_flood_is_stopped(write, monkeypatch):
    with pytest.raises(InputError, match=r"x\.gz:2: a NUL byte"):
        read_file(write(gzip.compress(b"text\n" + bytes(10**7)), "x.gz"))
    monkeypatch.setattr(limits, "LABELLED", 1 << 20)
    monkeypatch.setattr(limits, "LINE", 1 << 18)
    for path in (write(gzip.compress(b"\n" * 10**6), "x.gz"), write(b"text\n" * 10**6, "x.txt")):
        with pytest.raises(InputError, match=r"more than 1 MiB; MINIELECTRA_LIMITS=4 .*or split it"):
            read_file(path)
    monkeypatch.setenv("MINIELECTRA_LIMITS", "100")
    assert len(read_file(path).lines) == 10**6
    with pytest.raises(InputError, match=r"x\.gz:1: a line of more than 25 MiB"):
        read_file(write(gzip.compress(b"x" * (26 << 20)), "x.gz"))


def test_a_text_may_begin_like_a_compressed_file(write):
    assert read_file(write("BZh, she said.\n")).lines == ["BZh, she said."]


def through_pipe(content):
    """The path of a pipe with this content, as the shell makes it for <(…)."""
    reading, writing = os.pipe()

    def feed():
        with os.fdopen(writing, "wb") as stream:
            stream.write(content)

    threading.Thread(target=feed).start()
    return f"/dev/fd/{reading}", reading


CONTENTS = {
    "cola": "".join(f"gj04\t{i % 2}\t\tSentence {i}.\n" for i in range(20)),
    "classification": "".join(f"{'ab'[i % 2]} text {i}\n" for i in range(20)),
    "tagging": "a X\nb Y\n\n" * 9,
    "squad": json.dumps(
        {"id": "1", "context": "a cat", "question": "?", "answers": {"text": ["cat"], "answer_start": [2]}}
    ),
}


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no /dev/fd on this system")
@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pipes_are_read_once(write, name, pack):
    content = CONTENTS[name].encode()
    expected, examples = task_of(name, write(content, "file.txt"))
    path, descriptor = through_pipe(pack(content))
    try:
        task, found = task_of(name, path)
    finally:
        os.close(descriptor)
    assert found == examples and task.settings == expected.settings
    for labelled in (True, False):
        path, descriptor = through_pipe(pack(content))
        try:
            assert task.read(path, labelled) == task.read(write(content, "file.txt"), labelled)
        finally:
            os.close(descriptor)


# CSV and its relatives.


def test_a_field_of_any_length(write):
    long = "word " * 60_000
    limit = csv.field_size_limit()
    path = write(f'text,label\n"{long}",a\nb,"c{long}"\n', "x.csv")
    assert [len(e.text) for e in read_examples(path, detect_format(path))] == [len(long) - 1, 1]
    assert csv.field_size_limit() == limit  # it belongs to the process


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.text("ab ,;|\t\"\n'", max_size=6), min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from(",;|"),
)
def test_rows_as_written_by_the_csv_module(rows, separator):
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    file = memory_file(stream.getvalue().removesuffix("\n"), ".csv")
    expected = [[field.strip() for field in row] for row in rows]
    assert [fields for _, fields in read_rows(file, separator)] == expected
    counts = {len(row) for row in csv.reader(io.StringIO(stream.getvalue()), delimiter=",")}
    assert find_separator(file) == separator or (separator != "," and len(counts) == 1 and counts != {1})


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("text;label", ";"),
        ("text, short;label", ";"),
        ("text\tlabel", "\t"),
        ("text|label", "|"),
        ("text,label", ","),
        ("text;long,label", ","),
    ],
)
def test_the_separator_of_a_csv_file(header, separator):
    body = "\n".join(f'"a {i}{", " * i}b"{separator}{i}' for i in range(4))
    assert find_separator(memory_file(f"{header}\n{body}", ".csv")) == separator


def test_semicolons(write):
    path = write('Text;Label\n"1,5; or not";yes\nnever, ever;no\n', "x.csv")
    task, examples = task_of("classification", path)
    assert [(e.text, e.label) for e in examples] == [("1,5; or not", "yes"), ("never, ever", "no")]
    other = write('Label,Text\nno,"c, d"\n', "y.csv")
    (example,) = task.read(other)
    assert (example.text, example.label) == ("c, d", "no")
    assert format_like(other, task.table_format).separator == ","
    told, _ = task_of("classification", write("text;label\na;0\nb;1\n", "x.txt"), separator=";")
    assert len(told.read(write("text;label\nc;0\n", "y.txt"))) == 1
    with pytest.raises(InputError, match="--separator ';;': is not one character; give one"):
        task_of("classification", path, separator=";;")


# JSON.


def test_examples_in_json(write):
    rows = [
        {"idx": 7, "sentence": "a\ttab", "label": 1, "spans": [1, 2]},
        {"idx": 8, "sentence": " b\n", "label": 0, "note": None},
        {"label": 1.5, "sentence": None, "idx": 9, "ok": True},
    ]
    contents = ("\n\n".join(map(json.dumps, rows)), json.dumps(rows), json.dumps({"data": rows}, indent=2))
    for content in contents:
        path = write(content, "x.json")
        form = detect_format(path)
        assert (form.text, form.label, form.header) == ("sentence", "label", True)
        examples = read_examples(path, form)
        assert [(e.text, e.label, e.index) for e in examples] == [
            ("a\ttab", "1", "7"),
            ("b", "0", "8"),
            ("", "1.5", "9"),
        ]
    unnamed = write(contents[0], "x")  # as from a pipe: an object in the first line is no prose
    assert read_examples(unnamed, detect_format(unnamed))[0].text == "a\ttab"
    task, _ = task_of("classification", write("sentence\tlabel\na\t1\nb\t0\n"))
    assert [e.label for e in task.read(write(json.dumps(rows[:2]), "y.jsonl"))] == ["1", "0"]
    assert [e.text for e in task.read(write('{"sentence": "x"}\n', "z"), labelled=False)] == ["x"]


def test_sentences_in_json(write):
    rows = [{"tokens": ["a", "b"], "ner_tags": [0, 3]}, {"tokens": ["c"], "ner_tags": [0]}]
    path = write("\n".join(map(json.dumps, rows)), "x.jsonl")
    assert read_sentences(path) == [Sentence(["a", "b"], ["0", "3"], 1), Sentence(["c"], ["0"], 2)]
    task, sentences = task_of("tagging", path)
    assert sentences == task.read(path) == task.read(path, labelled=False)
    mixed = write('{"words": ["a"]}\n{"text": "b c"}\n{"tokens": []}\n', "y.jsonl")
    assert [s.words for s in task.read(mixed, labelled=False)] == [["a"], ["b", "c"], []]
    for content, words in (
        ('{"tokens": ["a", "b"], "tags": ["X"]}', "1: no list of 2 tags; call it"),
        ('{"text": "a b"}', "1: no list of words; call it"),
        ('{"tokens": ["a"], "tags": ["X"]}\n[1]', "2: not a JSON object; give objects, one per line"),
        ('{"tokens": ["a"], "tags": ["X"]}\n{"tok', "2: not JSON"),
    ):
        with pytest.raises(InputError, match=words):
            read_sentences(write(content, "z.jsonl"))


# Columns.


def words_of(path, **options):
    return [(sentence.words, sentence.tags) for sentence in read_sentences(path, **options)]


def test_marks_between_documents(write):
    lines = "#newdoc id = 3\na\tX\n\n# newdoc\n# sent_id = 4\nb\tX\n\n"
    lines += "###MEDLINE:95369245\n\n#tag\tY\n#newpar\nc\tX\n"
    expected = [(["a"], ["X"]), (["b"], ["X"]), (["#tag"], ["Y"]), (["c"], ["X"])]
    assert words_of(write(lines)) == words_of(write(lines.replace("\t", " "))) == expected
    five = "#begin document (a); part 000\na b c d X\n# text = a b c\ne f g h Y\n#end document\n"
    assert words_of(write(five)) == [(["a"], ["X"]), (["e"], ["Y"])]  # five fields, like the columns


def test_columns_that_vary_in_conll_2012(write):
    text = "#begin document (x); part 000\nx 0 0 a X -\nx 0 1 b Y -\n\nx 0 0 c X * -\n\n#end document\n"
    assert words_of(write(text), word=3, tag=4) == [(["a", "b"], ["X", "Y"]), (["c"], ["X"])]
    with pytest.raises(InputError, match="3: 7 column"):
        read_sentences(write(text.replace("b Y -", "b Y * -")), word=3, tag=4)
    for content, options in ((text, {"word": 3}), (text.replace("#begin", "# begin"), {"word": 3, "tag": 4})):
        with pytest.raises(InputError, match="column"):
            read_sentences(write(content), **options)  # the last column is another each time


def test_spans_in_brackets(write):
    text = (
        "#begin document (x); part 000\na (PER*\nb *\nc *)\nd *\n\ne (LOC)\nf (ORG*)\ng *\n\n#end document\n"
    )
    task, sentences = task_of("tagging", write(text, "x.v4_gold_conll"))
    assert [s.tags for s in sentences] == [["B-PER", "I-PER", "I-PER", "O"], ["B-LOC", "B-ORG", "O"]]
    assert task.metrics[0] == "f1" and task.read(write(text), labelled=False) == sentences
    assert words_of(write("a (\nb X\nc *\n"))[0][1] == ["(", "X", "*"]
    assert words_of(write("a (S(NP*\nb *)\nc *)\n"))[0][1] == ["(S(NP*", "*)", "*)"]  # nested: no spans


def test_empty_columns_at_the_end_of_a_row(write):
    assert words_of(write("a\tX\nb\tY\t\nc\tX\t \t\n")) == [(["a", "b", "c"], ["X", "Y", "X"])]
    with pytest.raises(InputError, match="2: 1 column"):
        read_sentences(write("a\tX\n#hashtag\nc\tX\n"))


SETS = {
    "B I O": "A B\nb I\nc O\n\nd O\ne B\n\n",
    "BMES": "A B\nb M\nc E\n\nd S\ne S\n\n",
    "type first": "A PER-B\nb PER-I\nc O\n\nd LOC-B\ne O\n\n",
    "underscore": "A B_PER\nb I_PER\nc O\n\nd B_LOC\ne O\n\n",
}


@pytest.mark.parametrize("name", SETS)
def test_other_ways_to_write_tags_have_entity_scores(write, name):
    task, sentences = task_of("tagging", write(SETS[name], "x.txt"))
    assert task.metrics[0] == "f1"
    gold = [{"labels": sentence.tags} for sentence in sentences]
    assert task.score(sentences, gold)["f1"] == 1.0
    wrong = [{"labels": [sentences[0].tags[0], *sentences[0].tags[:1] * 2]}, gold[1]]
    assert 0 < task.score(sentences, wrong)["f1"] < 1
    report = task.report(sentences[0], gold[0] | {"scores": [1.0] * 3})
    kind, start, stop = report["spans"][0]
    assert (kind, start) == ("_" if len(sentences[0].tags[0]) == 1 else "PER", 0) and stop in (2, 3)
