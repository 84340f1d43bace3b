"""`predict` and `evaluate`: how a file is written, one output for each input, gold labels, official files."""

import json

import numpy as np
import pytest
from conftest import cli_here
from properties import given, settings, st

from minielectra.cli.entry import main
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.finetuning.directory import save_finetuned
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.loop import SeedResult
from minielectra.finetuning.readers.lines import TextFile

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.?"]
SIZES = {"embedding_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 8, "max_position_embeddings": 40, "vocab_size": len(WORDS)}
TRAINING = {
    "tagging": ("train.txt", "a NN O\nb NN B-X\nc VB I-X\n\nd NN O\ne . B-Y\n\n"),
    "pos": ("train.txt", "a NN\nb .\nc VB\n\nd NN\n. .\n\n"),
    "tabs": ("train.txt", "a\tNN\tO\nb\tNN\tB-X\n\nd\t.\tO\n\n"),
    "sst-2": ("train.tsv", "sentence\tlabel\na\t0\nb\t1\n"),
    "rte": (
        "train.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\ta\tb\tnot_entailment\n",
    ),
    "sts-b": ("train.tsv", "index\tsentence1\tsentence2\tscore\n0\ta\tb\t0.5\n1\ta\tb\t4\n"),
    "numbers": ("train.txt", "a\t0\nb\t1\n"),
    "trec": ("train.label", "0 a b ?\n1 c d ?\n"),
    "squad": (
        "train.jsonl",
        '{"id": "1", "context": "a b", "question": "c", "answers": {"text": ["b"], "answer_start": [2]}}\n',
    ),
}
NAMES = {"pos": "tagging", "tabs": "tagging", "numbers": "classification", "trec": "classification"}


@pytest.fixture
def write(tmp_path):
    def write(content, name="file.txt"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return write


@pytest.fixture
def task_of(write):
    """The task of a training file."""

    def make(case):
        name, content = TRAINING[case]
        options = {"text": "0", "label": "1"} if case == "numbers" else {}
        return tasks.find(NAMES.get(case, case)).from_file(
            NAMES.get(case, case), write(content, name), options
        )[0]

    return make


@pytest.fixture
def directory(task_of, tmp_path):
    """The folder of a model with random weights for a task."""

    def make(case):
        task = task_of(case)
        model = task.model_class(HeadConfig(**SIZES, labels=task.labels))
        flat = np.random.default_rng(3).standard_normal(model.parameters.size, np.float32)
        result = SeedResult(0, [], {}, flat, task.settings)
        save_finetuned(tmp_path / case, task, model, result, WordPieceTokenizer(WORDS, source="test"), 16, {})
        return tmp_path / case

    return make


def sentences(task, path, form=None):
    return [sentence.words for sentence in task.read(path, labelled=False, form=form)]


# Sentences or columns.


@pytest.mark.parametrize("case", ["tagging", "pos", "tabs"])
@pytest.mark.parametrize("count", range(1, 6))
def test_lines_of_equal_length_are_sentences(task_of, write, case, count):
    lines = [" ".join(f"word{i}{k}" for k in range(count)) for i in range(4)]
    for end in (" .", ""):  # a full stop is a tag of "pos"
        path = write("".join(f"{line}{end}\n" for line in lines))
        assert sentences(task_of(case), path) == [f"{line}{end}".split() for line in lines]


def test_columns_are_recognised_by_the_training_file_s(task_of, write):
    task = task_of("tagging")
    assert task.columns == 3 and task.settings["columns"] == 3
    words = [["x", "y"], ["z"]]
    for content in (
        "x NN O\ny NN B-X\n\nz VB I-Y\n\n",  # I-Y is new, but a tag
        "-DOCSTART- -X- O\n\nx NN B-LOC\ny NN O\n\nz VB O\n",
        "#begin document (z); part 000\nx NN _\ny NN _\n\nz VB _\n#end document\n",
        "-DOCSTART- -X-\n\nx NN\ny NN\n\nz VB\n",  # the same without tags
    ):
        assert sentences(task, write(content)) == words, content
    tabs = task_of("tabs")
    assert sentences(tabs, write("x y\tNN\tO\nz\t.\tB-X\n\n")) == [["x y", "z"]]
    (sentence,) = tabs.read(write("x\tNN\nz\t.\n"), labelled=False)
    assert sentence.words == ["x", "z"] and sentence.tags is None  # the tags are what is missing
    assert sentences(tabs, write("x\ty\nz\tx y .\n")) == [["x", "y"], ["z", "x", "y", "."]]


def test_lines_of_one_word_are_sentences_and_that_is_told(task_of, write, capsys):
    path = write("Hello\n\nYes\nNo\n")
    assert sentences(task_of("tagging"), path) == [["Hello"], [], ["Yes"], ["No"]]
    told = "3 line(s) of one word read as sentences; columns need --form training (first: line 1)"
    assert capsys.readouterr().err == f"{path}: {told}\n"


def test_tags_that_only_another_file_has_count_as_errors(task_of, write, capsys):
    task = task_of("tagging")
    path = write("a NN O\nb NN O\nc NN B-NEW\n\nd NN B-X\n", "dev.txt")
    found = task.read(path)
    assert capsys.readouterr().err.endswith(
        "1 tag(s) that the training data lacks count as errors (first: line 3)\n"
    )
    scores = task.score(found, [{"labels": ["O", "O", "O"]}, {"labels": ["B-X"]}])
    assert (scores["precision"], scores["recall"], scores["accuracy"]) == (1.0, 0.5, 0.75)
    tokenizer = WordPieceTokenizer(WORDS, source="test")
    assert len(task.encode(found, tokenizer, 16)) == 2
    with pytest.raises(InputError, match="txt:1: tag 'NN' is not one of the 4"):
        tasks.find("tagging")("tagging", task.labels, tag=1).read(path)


def test_a_name_or_an_option_says_whether_it_is_columns(task_of, write):
    task, content = task_of("tagging"), "x y z\nu v w\n"
    assert sentences(task, write(content)) == [["x", "y", "z"], ["u", "v", "w"]]
    assert sentences(task, write(content), "training") == [["x", "u"]]
    assert sentences(task, write(content, "file.CoNLL")) == [["x", "u"]]
    assert sentences(task, write(content, "file.conll"), "lines") == [["x", "y", "z"], ["u", "v", "w"]]
    assert sentences(task, write("x\ny\n\nz\n"), "training") == [["x", "y"], ["z"]]
    with pytest.raises(InputError, match=r"2: 'strange' is no tag .*; say which with --form training or"):
        task_of("pos").read(write("x NN\ny strange\n"), labelled=False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["x", "y", "word", ".", "é", "#"]), max_size=4), min_size=1, max_size=8
    ),
    st.sampled_from(["", " "]),
)
def test_each_line_gives_one_sentence(rows, blank):
    reader = tasks.find("tagging")("tagging", ["B-X", "O"], columns=3)
    file = TextFile("file", ".txt", [" ".join(row) or blank for row in rows])
    assert [sentence.words for sentence in reader.read(file, labelled=False)] == rows


# Texts.


def texts(task, path, form=None):
    return [(e.text, e.pair) for e in task.read(path, labelled=False, form=form)]


def test_each_line_gives_one_text(task_of, write):
    lines = write("a b\n\n 0\tc \n\n")
    expected = [("a b", None), ("", None), ("0\tc", None), ("", None)]
    for case in ("sst-2", "trec", "numbers"):
        assert texts(task_of(case), lines) == expected, case
    assert texts(task_of("rte"), write("a\tb\n\nc\n\td\n")) == [
        ("a", "b"),
        ("", None),
        ("c", None),
        ("", "d"),
    ]


def test_labels_before_texts(task_of, write, capsys):
    task = task_of("trec")
    path = write("0 degrees ?\n1 more ?\n")
    assert texts(task, path) == [("degrees ?", None), ("more ?", None)]
    told = "2 line(s) begin with a label; to read it as text, say --form lines (first: line 1)"
    assert capsys.readouterr().err == f"{path}: {told}\n"
    assert texts(task, path, "lines") == [("0 degrees ?", None), ("1 more ?", None)]
    assert texts(task, write("0 degrees ?\n2 more ?\n"))[0] == ("0 degrees ?", None)
    assert capsys.readouterr().err == ""


def test_tables_and_lines(task_of, write):
    sst = task_of("sst-2")
    assert texts(sst, write("index\tsentence\n0\ta\n")) == [("a", None)]
    assert texts(sst, write("index\tsentence\n0\ta\n"), "lines") == [
        ("index\tsentence", None),
        ("0\ta", None),
    ]
    assert texts(sst, write("sentence\na\n"), "training") == [("a", None)]
    with pytest.raises(InputError, match="no header with the training file's columns; or say"):
        sst.read(write("index\tphrase\n0\ta\n"), labelled=False, form="training")
    assert texts(task_of("numbers"), write("a\t0\nb\t1\n")) == [("a", None), ("b", None)]
    commas = write("Hello, world\nYes, sir\n")
    task, _ = tasks.find("classification").from_file(
        "classification", write("0,a\n1,b\n", "x.csv"), {"text": "1", "label": "0"}
    )
    assert texts(task, commas) == [("Hello, world", None), ("Yes, sir", None)]
    assert texts(task, commas, "training") == [("world", None), ("sir", None)]
    task, _ = tasks.find("classification").from_file(
        "classification", write("text;label\na;0\nb;1\n", "y.txt"), {"separator": ";"}
    )
    assert texts(task, write("label;text\n0;a, b\n")) == [("a, b", None)]
    with pytest.raises(InputError, match="--form lines: does not apply to squad"):
        task_of("squad").read(write("a b\n"), labelled=False, form="lines")


# The commands.


def printed(capsys, *arguments):
    cli_here(*arguments)
    return capsys.readouterr().out


def test_output_of_a_tagger(directory, write, capsys):
    folder = directory("tagging")
    capsys.readouterr()
    labelled = write("a NN O\nb NN B-X\n\nc VB I-X\n\n", "dev.conll")
    plain = [line.split("\t") for line in printed(capsys, "predict", folder, labelled).split("\n")]
    gold = [line.split("\t") for line in printed(capsys, "predict", folder, labelled, "--gold").split("\n")]
    assert [len(line) for line in plain] == [2, 2, 1, 2, 1, 1]
    assert [[line[0], line[-1]] for line in gold] == [[line[0], line[-1]] for line in plain]
    assert [line[1] for line in gold if len(line) > 1] == ["O", "B-X", "I-X"]
    reports = printed(capsys, "predict", folder, labelled, "--json", "--gold").splitlines()
    assert [json.loads(line)["gold"] for line in reports] == [["O", "B-X"], ["I-X"]]
    official = labelled.with_name("official.txt")
    printed(capsys, "predict", folder, labelled, "--official", official)
    assert official.read_text() == "".join(" ".join(line) + "\n" for line in gold[:-1])
    lines = write("a b\n\nc\n")
    assert printed(capsys, "predict", folder, lines, "--gold").split("\n")[2:4] == ["", ""]
    words = [
        json.loads(line)["words"] for line in printed(capsys, "predict", folder, lines, "--json").splitlines()
    ]
    assert words == [["a", "b"], [], ["c"]]
    assert json.loads(printed(capsys, "predict", folder, write("\n", "b.txt"), "--json"))["labels"] == []
    assert main(["predict", str(folder), str(lines), "--official", str(official)]) == 2
    assert "the sentence of line 1 has no tags for conlleval" in capsys.readouterr().err


def test_glue_s_submission(directory, write, capsys):
    folder = directory("rte")
    out = folder.with_name("RTE.tsv")
    rows = ["index\tsentence1\tsentence2", "0\ta\tb", "1\t\tc", "2\tc d\t", "3\te\tf"]
    test = write("\n".join(rows) + "\n", "test.tsv")
    found = [
        json.loads(line)
        for line in printed(capsys, "predict", folder, test, "--json", "--official", out).splitlines()
    ]
    assert {line["label"] for line in found} <= {"entailment", "not_entailment"}
    expected = [f"{i}\t{line['label']}" for i, line in enumerate(found)]
    assert out.read_text() == "\n".join(["index\tprediction", *expected]) + "\n"
    out.unlink()
    cut = write("\n".join([*rows[:2], "1\tx", *rows[3:]]) + "\n", "cut.tsv")
    assert main(["predict", str(folder), str(cut), "--official", str(out)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "1 row(s) left out" in told[0] and "line 4 has the index 2, not 1; GLUE takes" in told[1]
    assert not out.exists()
    bare = write("a\tb\nc\td\n")
    printed(capsys, "predict", folder, bare, "--official", out)
    assert [line.split("\t")[0] for line in out.read_text().splitlines()] == ["index", "0", "1"]


def test_submissions_of_scores_and_of_numbered_labels(task_of, write):
    task = task_of("sts-b")
    examples = task.read(
        write("index\tsentence1\tsentence2\n3\ta\tb\n4\ta\tc\n5\ta\tc\n", "t.tsv"), labelled=False
    )
    task.check_official(examples)
    text = task.official_format(examples, [{"label": -0.25}, {"label": 2.5}, {"label": 5.75}])
    assert text == "index\tprediction\n3\t0.000\n4\t2.500\n5\t5.000\n"
    kind = type(task)
    for name, labels, official in (
        ("mnli", ["0", "1", "2"], "entailment neutral contradiction"),
        ("rte", ["0", "1"], "entailment not_entailment"),
        ("qqp", ["0", "1"], "0 1"),
        ("mnli", ["contradiction", "entailment", "neutral"], "contradiction entailment neutral"),
    ):
        task = kind(name, task.table_format, labels)
        task.check_official(examples[: len(labels)])
        text = task.official_format(examples[: len(labels)], [{"label": label} for label in labels])
        assert [line.split("\t")[1] for line in text.splitlines()[1:]] == official.split()
    with pytest.raises(InputError, match="--official: 'no' is no label of qqp, which has 0, 1"):
        kind("qqp", task.table_format, ["no", "yes"]).check_official(examples)
    with pytest.raises(InputError, match="--official: classification has no official file"):
        task_of("trec").check_official([])


def test_gold_labels_of_a_classifier(directory, write, capsys):
    folder = directory("sst-2")
    capsys.readouterr()
    path = write("sentence\tlabel\na\t1\nb\t\n", "dev.tsv")
    first, second = printed(capsys, "predict", folder, path, "--gold").splitlines()
    assert len(first.split("\t")) == 4 and first.startswith("1\t") and len(second.split("\t")) == 3
    reports = printed(capsys, "predict", folder, path, "--gold", "--json").splitlines()
    assert [json.loads(line)["gold"] for line in reports] == ["1", None]
    assert "gold" not in json.loads(printed(capsys, "predict", folder, path, "--json").splitlines()[0])


def test_scores_that_are_not_defined_are_null(directory, write, capsys):
    folder = directory("sts-b")
    path = write("sentence1\tsentence2\tscore\na\tb\t1\na\tc\t1\n", "dev.tsv")
    capsys.readouterr()
    scores = json.loads(printed(capsys, "evaluate", folder, path, "--json"))
    assert scores == {"pearson": None, "spearmanr": None, "n": 2}


def test_answers_to_questions_on_anything(directory, write, capsys):
    folder = directory("squad")
    capsys.readouterr()
    paragraphs = [
        {"context": " ", "qas": [{"id": 1, "question": "a ?", "answers": None}]},
        {
            "context": "a b. " * 40,
            "qas": [{"id": 2, "question": "", "answers": [{"text": "", "answer_start": -1}]}],
        },
    ]
    path = write(json.dumps({"data": [{"paragraphs": paragraphs}]}), "test.json")
    official = path.with_name("answers.json")
    out = printed(capsys, "predict", folder, path, "--json", "--official", official)
    nothing, something = map(json.loads, out.splitlines())
    assert (nothing["answer"], nothing["start"], nothing["score"]) == ("", None, 1.0)
    assert something["answer"] and something["id"] == "2"
    assert json.loads(official.read_text()) == {"1": "", "2": something["answer"]}
