"""Readers of tasks: every format as it comes, the real files, and error messages for broken ones."""

import io
import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from minielectra.errors import InputError
from minielectra.finetuning.metrics.spans import find_scheme
from minielectra.finetuning.readers.conll import Sentence, read_plain_sentences, read_sentences
from minielectra.finetuning.readers.lines import read_file
from minielectra.finetuning.readers.table_detection import detect_format
from minielectra.finetuning.readers.tables import Example, TableFormat, numeric_labels, read_examples

DATA = Path(os.environ.get("MINIELECTRA_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def real(name):
    if not (DATA / name).is_file():
        pytest.skip(f"no {name} in {DATA}; set MINIELECTRA_DATA")
    return DATA / name


@pytest.fixture
def write(tmp_path):
    def write(content, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(call, path, line=None):
    """The message of the InputError: one line, which begins with file and line, and says what to do."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert (
        message.startswith(f"{path}:{line}: " if line else f"{path}: ")
        and "; " in message
        and "\n" not in message
    ), message
    return message


def read(path, labelled=True, **told):
    """(text, pair, label) of each example, in the format that is detected."""
    examples = read_examples(path, detect_format(path, **told, labelled=labelled), labelled)
    return [(example.text, example.pair, example.label) for example in examples]


# GLUE: one row of each file, with the columns it has.

GLUE = {
    "cola": ("", "gj04\t0\t*\tA b.", ("A b.", None, "0")),
    "cola, test": ("index\tsentence", "0\tA b.", ("A b.", None, None)),
    "sst-2": ("sentence\tlabel", "a b \t1", ("a b", None, "1")),
    "sst-2, test": ("index\tsentence", "0\ta b", ("a b", None, None)),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '1\t7\t8\t" A b\tC "d',
        ('" A b', 'C "d', "1"),
    ),
    "mrpc, test": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String", "0\t7\t8\tA\tB", ("A", "B", None)),
    "sts-b": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain\tMSR\t2012\t1\tnone\tnone\tA\tB\t5.000",
        ("A", "B", "5.000"),
    ),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "1\t2\t3\tA?\tB?\t0", ("A?", "B?", "0")),
    "qqp, test": ("id\tquestion1\tquestion2", "0\tA?\tB?", ("A?", "B?", None)),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_parse\tsentence2_parse\t"
        "sentence1\tsentence2\tlabel1\tlabel2\tgold_label",
        "0\t1\t1n\tslate\t( A )\t( B )\tA\tB\tneutral\tneutral\tentailment",
        ("A", "B", "entailment"),
    ),
    "qnli": ("index\tquestion\tsentence\tlabel", "0\tA?\tB.\tentailment", ("A?", "B.", "entailment")),
    "rte": ("index\tsentence1\tsentence2\tlabel", "0\tA\tB\tnot_entailment", ("A", "B", "not_entailment")),
    "wnli": ("index\tsentence1\tsentence2\tlabel", "0\tA\tB\t1", ("A", "B", "1")),
}


@pytest.mark.parametrize("name", GLUE)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_glue(write, name, end):
    header, row, expected = GLUE[name]
    path = write((header + end if header else "") + row + end + end, "file.tsv")
    task, _, test = name.partition(", ")
    for told in ({}, {"task": task}, {"task": task.replace("-", "").upper()}):
        assert read(path, labelled=not test, **told) == [expected]
        assert detect_format(path, **told).name in (task, None)
    assert detect_format(path, task=task).name == task


def test_names_that_a_header_tells(write):
    files = {name: f"{header}\n{row}\n".lstrip() for name, (header, row, _) in GLUE.items()}
    found = {name: detect_format(write(content, "x.tsv")).name for name, content in files.items()}
    assert {name for name in found if found[name] == name} == {"cola", "mrpc", "sts-b", "qqp", "mnli", "qnli"}


@pytest.mark.parametrize(
    ("name", "count", "label"),
    [
        ("CoLA/train", 8551, ("1", 6023)),
        ("SST-2/train", 67349, ("1", 37569)),
        ("SST-2/dev", 872, ("1", 444)),
        ("MRPC/train", 3668, ("1", 2474)),
        ("MRPC/dev", 408, ("1", 279)),
        ("RTE/train", 2490, ("entailment", 1249)),
        ("RTE/dev", 277, ("entailment", 146)),
    ],
)
def test_real_glue(name, count, label):
    path = real(f"glue/{name}.tsv")
    form = detect_format(path)
    assert form.separator == "\t" and form == TableFormat.from_dict(json.loads(json.dumps(form.to_dict())))
    examples = read_examples(path, form)
    assert len(examples) == count and Counter(e.label for e in examples).most_common(1) == [label]
    assert {e.pair is None for e in examples} == {name[0] in "CS"}
    assert [e.line for e in examples] == list(range(1 + form.header, count + 1 + form.header))


# Other tables.


def test_csv(write):
    path = write(
        'Text,id,label\n"He said ""hi"",\nand left",1,a\n\n plain , 2,  b \n"x ""y""", 3,"c, d"\n', "x.csv"
    )
    assert read_examples(path, detect_format(path)) == [
        Example('He said "hi",\nand left', None, "a", 2, "1"),
        Example("plain", None, "b", 5, "2"),
        Example('x "y"', None, "c, d", 6, "3"),
    ]


def test_columns_that_the_user_names(write):
    path = write("title\tbody\tkind\tlabel\n\nA\tB\tk\t1\n")
    assert read(path, text="title", label="kind") == [("A", None, "k")]
    assert read(path, text="title", pair="body") == [("A", "B", "1")]
    assert read(path, text="title", pair="body", label="2") == [("A", "B", "k")]
    assert read(path, labelled=False, text="body") == [("B", None, "1")]
    path = write("1,A,B\n0,C,D\n", "x.csv")
    assert read(path, text=1, pair="-1", label=0) == [("A", "B", "1"), ("C", "D", "0")]
    assert detect_format(path, text="1", label="0") == TableFormat("columns", 1, None, 0, ",", False)


def test_labels_that_may_be_absent(write):
    form = TableFormat("columns", "text", None, "label")
    assert read_examples(write("text\tid\nA\t1\n"), form, labelled=False) == [
        Example("A", None, None, 2, "1")
    ]
    examples = read_examples(write("text\tlabel\nA\t\nB\tx\n"), form, labelled=False)
    assert examples == [Example("A", None, None, 2), Example("B", None, "x", 3)]
    numbers = TableFormat("columns", 0, None, 1, header=False)
    assert read_examples(write("A\nB\n"), numbers, labelled=False)[1] == Example("B", None, None, 2)


def test_label_text(write):
    path = write("DESC:manner How did  it ? \n\n0 Why ?\n1\u00a0x \x85y\n")
    assert detect_format(path).kind == "label-text"
    assert read(path) == [
        ("How did  it ?", None, "DESC:manner"),
        ("Why ?", None, "0"),
        ("x \x85y", None, "1"),
    ]
    assert detect_format(path, labelled=False).kind == "lines"
    assert read(path, labelled=False)[0] == ("DESC:manner How did  it ?", None, None)
    assert read_examples(path, TableFormat("label-text"), labelled=False)[1] == Example("Why ?", None, "0", 3)


def test_real_trec():
    path = real("trec/TREC.train.all")
    examples = read_examples(path, detect_format(path))
    assert len(examples) == 5452 and sorted({e.label for e in examples}) == list("012345")
    assert "sister\xf0city" in examples[65].text  # the one line in Latin-1


def test_one_line_in_latin_1_leaves_the_others_alone(write):
    assert read_file(write("\ufeffgrün\r\n".encode() + b"caf\xe9\n")).lines == ["grün", "café"]


def test_lines_and_standard_input(write, monkeypatch):
    path = write("One text\n\nA\tB \n")
    form = detect_format(path, labelled=False)
    assert form == TableFormat("lines", pair=1)
    expected = [
        Example("One text", None, None, 1),
        Example("", None, None, 2),
        Example("A", "B", None, 3),
    ]
    assert read_examples(path, form, labelled=False) == expected
    single = read_examples(path, TableFormat("lines"), labelled=False)
    assert [example.text for example in single] == ["One text", "", "A\tB"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    assert read_examples("-", form, labelled=False) == expected
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a\tb\nx\t1\ny\tz\n")))
    file = read_file("-")
    form = detect_format(file, text="a", label="b")
    assert [example.label for example in read_examples(file, form)] == ["1", "z"]


@pytest.mark.parametrize(
    ("content", "name", "line", "words"),
    [
        (None, "x.tsv", None, "no such file"),
        (b"", "x.tsv", None, "empty"),
        (b"\xef\xbb\xbf \n\n", "x.txt", None, "empty"),
        ("sentence\tlabel\n".encode("utf-16"), "x.tsv", 1, "NUL"),
        ("sentence\tlabel\n\n", "x.tsv", None, "a header and nothing else"),
        ("sentence\tlabel\na\t1\n\nb\t1\tc\nd\n", "x.tsv", 4, "3 field(s), but line 1 has 2, and 2 of 3"),
        ("sentence\tlabel\na 1\n", "x.tsv", 2, "1 field(s), but line 1 has 2; is the separator right?"),
        ("sentence\tlabel\na\t1\nb\t \n", "x.tsv", 3, "no label"),
        ("index\tsentence\n0\ta\n", "x.tsv", 1, "'index', 'sentence', none of which is called the label"),
        ("Utterance\tKind\na\t1\n", "x.tsv", 1, "'Utterance', 'Kind', none of which is known as the text"),
        ("x\t2\t\ta b\n", "x.tsv", 1, "none of which is known as the text"),
        ('text,label\n"a\nb",1\n"c,1\n', "x.csv", 4, "not CSV"),
        ('text,label\n"a"b,1\n', "x.csv", 2, "not CSV"),
        ("0 Why ?\nDESC:manner \n", "x.txt", 2, "'DESC:manner' and no text"),
    ],
)
def test_broken_tables(write, tmp_path, content, name, line, words):
    path = write(content, name) if content is not None else tmp_path / name
    assert words in refusal(lambda: read(path), path, line)


def test_columns_that_are_not_there(write):
    path = write("title\tbody\tkind\n\nA\tB\t1\n")
    assert "no column 'label': the columns are 'title', 'body', 'kind'" in refusal(
        lambda: detect_format(path, text="title", label="label"), path, 1
    )
    assert "no column 3: " in refusal(lambda: detect_format(path, text=3), path, 1)
    assert "the text of sst-2" in refusal(lambda: detect_format(path, task="sst-2"), path, 1)
    other = write("text\tlabel\nA\t1\n", "other.tsv")
    assert "no column 'title'" in refusal(
        lambda: read_examples(other, TableFormat("columns", "title")), other, 1
    )
    # A pair is wanted
    assert "the text of rte" in refusal(lambda: detect_format(other, task="RTE"), other, 1)
    assert "cola, sst-2, mrpc" in refusal(lambda: detect_format(path, task="chess"), "'chess'")


def test_lines_that_are_wrong(write):
    path = write("A\nB\tC\tD\n")
    assert "2 TABs" in refusal(
        lambda: read_examples(path, TableFormat("lines", pair=1), labelled=False), path, 2
    )
    assert "no labels" in refusal(lambda: read_examples(path, TableFormat("lines")), path)
    for values in ({"kind": "rows"}, {"kind": "lines", "colour": 1}, {}, {"kind": []}):
        with pytest.raises(InputError, match="not the format of a table"):
            TableFormat.from_dict(values)


def test_numeric_labels():
    examples = [Example("a", None, label, line) for line, label in enumerate(["5.000", "-1", "3e0"], 1)]
    assert numeric_labels(examples, "x.tsv") == [5.0, -1.0, 3.0]
    for label in ("good", "nan", "inf", None, ""):
        bad = [*examples, Example("a", None, label, 7)]
        assert f"the label {label!r} is not a number" in refusal(
            lambda bad=bad: numeric_labels(bad, "x.tsv"), "x.tsv", 7
        )


# CoNLL's columns.


@pytest.mark.parametrize(
    ("name", "options", "sentences", "words", "spans"),
    [
        ("conll2000/train.txt", {}, 8936, 211727, True),
        ("wnut17/wnut17train.conll", {}, 3394, 62730, True),
        ("wnut17/emerging.dev.conll", {}, 1009, 15733, True),
        ("ud-english-ewt/dev.pos.tsv", {"tag": 1}, 2001, 25147, False),
    ],
)
def test_real_columns(name, options, sentences, words, spans):
    path = real(name)
    found = read_sentences(path, **options)
    assert len(found) == sentences and sum(len(s.words) for s in found) == words
    assert all(len(s.words) == len(s.tags) for s in found)
    assert (find_scheme({tag for s in found for tag in s.tags}) is not None) == spans
    if len(found) < 3000:  # the large ones take a second each
        assert read_sentences(path, labelled=False, **options) == found


def test_columns(write):
    conll = (
        "-DOCSTART- -X- O O\n\nEU NNP  B-NP B-ORG\n# # B-NP O\n \t\r\n".replace(" \t", "  ")
        + "it\u00a0s PRP B-NP O"
    )
    path = write(conll)
    assert read_sentences(path) == [
        Sentence(["EU", "#"], ["B-ORG", "O"], 3),
        Sentence(["it\u00a0s"], ["O"], 6),
    ]
    assert read_sentences(path, tag=-3)[0].tags == read_sentences(path, tag=1)[0].tags == ["NNP", "#"]
    path = write("# text = no columns\n10 000\tNUM\n#\tSYM\n\t\n")
    assert read_sentences(path) == [Sentence(["10 000", "#"], ["NUM", "SYM"], 2)]
    assert read_sentences(write("# a comment of words\na|X\n# b|X\n"), separator="|")[0].words == ["a", "# b"]


def test_conll_u(write):
    lines = [
        "# text = Don't",
        "1-2\tDon't" + "\t_" * 8,
        "1\tDo\tdo\tAUX" + "\t_" * 6,
        "2\tn't\tnot\tPART" + "\t_" * 6,
    ]
    path = write("\n".join([*lines, "2.1\tx" + "\t_" * 8, "", ""]))
    assert read_sentences(path, word=1, tag=3) == [Sentence(["Do", "n't"], ["AUX", "PART"], 3)]


def test_columns_without_tags(write):
    assert read_sentences(write("One\ntwo\n\nthree\n"), labelled=False) == [
        Sentence(["One", "two"], None, 1),
        Sentence(["three"], None, 4),
    ]
    path = write("One X\ntwo Y\n")
    for separator in (None, " "):
        assert read_sentences(path, labelled=False, separator=separator) == read_sentences(path)
    assert read_sentences(path, labelled=False, columns=3)[0].tags is None  # the last column is another
    assert read_sentences(write("a b\tX\n"), labelled=False, tag=2)[0] == Sentence(["a b"], None, 1)
    assert read_sentences(write("a\tX\nb\t\n"), labelled=False)[0].tags is None


def test_plain_sentences(write):
    assert read_plain_sentences(write("One two .\n\n# 3\tfour .\n-DOCSTART- x\n\n")) == [
        Sentence(["One", "two", "."], None, 1),
        Sentence([], None, 2),
        Sentence(["#", "3", "four", "."], None, 3),
        Sentence(["-DOCSTART-", "x"], None, 4),
        Sentence([], None, 5),
    ]


@pytest.mark.parametrize(
    ("content", "options", "line", "words"),
    [
        ("", {}, None, "empty"),
        ("\n-DOCSTART-\n\n", {}, None, "no words"),
        ("a\tX\n\nb\tY\tZ\n", {}, 3, "3 column(s), but line 1 has 2"),
        ("a X\nb\n", {}, 2, "1 column(s), but line 1 has 2"),
        ("\na\nb\n", {}, 2, "no column -1 for the tags beside the words: there are 1"),
        ("a\tX\n", {"tag": 2}, 1, "no column 2 for the tags"),
        ("a\tX\n", {"tag": 0}, 1, "no column 0 for the tags"),
        ("a\tX\n", {"word": 5}, 1, "no column 5 for the words"),
        ("a\tX\n \tX\n", {}, 2, "the word is empty"),
        ("a\tX\nb\t\n", {}, 2, "no tag for the word 'b'"),
        ("a\tX\nb\0\tX\n", {}, 2, "NUL"),
    ],
)
def test_broken_columns(write, content, options, line, words):
    path = write(content)
    assert words in refusal(lambda: read_sentences(path, **options), path, line)
    if "\t" in content and "tag" not in words:
        assert words in refusal(lambda: read_sentences(path, labelled=False, **options), path, line)
