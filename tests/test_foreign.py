"""Classifiers that transformers wrote: no task.json, labels from config.json, files as options say."""

import json

import numpy as np
import pytest
from conftest import cli_here
from hostile import read_arrays, write_arrays

from minielectra.cli.entry import main
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.errors import InputError
from minielectra.finetuning import heads
from minielectra.finetuning.directory import Finetuned

SIZES = {
    "vocab_size": 12,
    "embedding_size": 6,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "max_position_embeddings": 30,
}
TOKENIZER = WordPieceTokenizer([*SPECIAL_TOKENS, "good", "bad", "film", "the", "is", ".", "why"])


def made(directory, kind, labels, **config):
    """A directory like those of transformers: a model of random weights, no task.json -> the directory."""
    model = kind(heads.HeadConfig(**SIZES, labels=labels))
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.size)
    model.save_pretrained(directory, TOKENIZER)
    edit(directory, **config)
    return directory


def edit(directory, **entries):
    """Change entries of config.json; None removes one."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


@pytest.fixture
def classifier(tmp_path):
    return made(tmp_path / "c", heads.ElectraForSequenceClassification, ("negative", "positive"))


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def scores(capsys, *arguments):
    """What `evaluate` prints as JSON, and what it says on standard error."""
    capsys.readouterr()
    cli_here("evaluate", *arguments, "--json")
    out, err = capsys.readouterr()
    return json.loads(out), err


def refused(capsys, *arguments):
    """The one line with which a command ends."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    return line


TEXTS = ["the film is good .", "bad film", "why .", "good"]


def test_texts_in_any_form_get_the_same_predictions(classifier, tmp_path, capsys):
    model = Finetuned(classifier)
    forms = {
        "plain.txt": "\n".join(TEXTS),
        "table.tsv": "\n".join(["sentence\tlabel", *(f"{text}\tpositive" for text in TEXTS)]),
        "table.csv": "\n".join(["text,label", *(f"{text},negative" for text in TEXTS)]),
        "rows.jsonl": "\n".join(json.dumps({"text": text}) for text in TEXTS),
    }
    found = [
        model.predict(model.task.read(written(tmp_path, name, text + "\n"), labelled=False))
        for name, text in forms.items()
    ]
    assert all(predictions == found[0] for predictions in found) and len(found[0]) == len(TEXTS)
    assert {prediction["label"] for prediction in found[0]} <= {"negative", "positive"}
    cli_here("predict", classifier, tmp_path / "plain.txt")
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        prediction["label"] for prediction in found[0]
    ]


def test_columns_are_chosen_by_options(classifier, tmp_path, capsys):
    rows = "".join(f"{i}\tpositive\t{text}\n" for i, text in enumerate(TEXTS))
    path = written(tmp_path, "rows.tsv", rows)
    by_number = scores(capsys, classifier, path, "--text", "2", "--label", "1")[0]
    header = written(tmp_path, "named.tsv", "nr\tverdict\treview\n" + rows)
    assert scores(capsys, classifier, header, "--text", "review", "--label", "verdict")[0] == by_number
    assert by_number["n"] == 4 and 0 <= by_number["accuracy"] <= 1
    assert "say which column" in refused(capsys, "evaluate", classifier, header)


def test_labels_by_name_and_by_number(classifier, tmp_path, capsys):
    labels = ["negative", "positive"] * 2
    names = "".join(f"{label} {text}\n" for label, text in zip(labels, TEXTS, strict=True))
    by_name, said = scores(capsys, classifier, written(tmp_path, "names.txt", names))
    assert said == ""
    numbers = names.replace("negative", "0").replace("positive", "1")
    by_number, said = scores(capsys, classifier, written(tmp_path, "numbers.txt", numbers))
    assert by_number == by_name and "4 label(s) are numbers" in said and "line 1" in said
    mixed = written(tmp_path, "mixed.txt", names.replace("negative", "0"))
    line = refused(capsys, "evaluate", classifier, mixed)
    assert "mixed.txt:1" in line and "negative, positive" in line
    beyond = written(tmp_path, "beyond.txt", numbers.replace("0", "2"))
    assert "beyond.txt:1" in refused(capsys, "evaluate", classifier, beyond)


def test_numbers_that_are_names_stay_names(tmp_path, capsys):
    """If a label is called "1" and its number is 0, the file means the name."""
    directory = made(tmp_path / "c", heads.ElectraForSequenceClassification, ("1", "0"))
    task = Finetuned(directory).task
    path = written(tmp_path, "x.txt", "1 good\n0 bad\n")
    assert [example.label for example in task.read(path)] == ["1", "0"]
    assert capsys.readouterr().err == ""


def test_a_regression(tmp_path, capsys):
    directory = made(tmp_path / "r", heads.ElectraForSequenceClassification, ("LABEL_0",))
    path = written(tmp_path, "x.csv", "text,score\nthe film is good,4.5\nbad film,1\nwhy,2\n")
    found, said = scores(capsys, directory, path)
    assert found["n"] == 3 and "pearson" in found and said == ""
    edit(directory, problem_type=None)
    assert "one label and no problem_type: taken for a regression" in scores(capsys, directory, path)[1]


def test_a_tagger(tmp_path, capsys):
    directory = made(tmp_path / "t", heads.ElectraForTokenClassification, ("O", "B-X", "I-X"))
    columns = written(tmp_path, "x.conll", "the NN O\nfilm NN B-X\n\nbad JJ O\n")
    found, _ = scores(capsys, directory, columns)
    assert found["n"] == 2 and {"f1", "accuracy"} <= found.keys()
    other = written(tmp_path, "y.conll", "O the NN\nB-X film NN\n\nO bad JJ\n")
    assert scores(capsys, directory, other, "--word", "1", "--tag", "0")[0] == found
    lines = written(tmp_path, "x.txt", "the film is good .\nwhy\n")
    cli_here("predict", directory, lines, "--json")
    words = [json.loads(line)["words"] for line in capsys.readouterr().out.splitlines()]
    assert words == [["the", "film", "is", "good", "."], ["why"]]


def squad(tmp_path, impossible):
    question = {"id": "q", "question": "why", "answers": [{"text": "good", "answer_start": 12}]}
    questions = [question]
    if impossible:
        questions.append({"id": "none", "question": "the", "answers": [], "is_impossible": True})
    data = [{"paragraphs": [{"context": "the film is good .", "qas": questions}]}]
    return written(tmp_path, f"squad{impossible}.json", json.dumps({"data": data}))


def test_question_answering(tmp_path, capsys):
    directory = made(tmp_path / "q", heads.ElectraForQuestionAnswering, ("LABEL_0", "LABEL_1"))
    assert Finetuned(directory).max_length == 30
    found, _ = scores(capsys, directory, squad(tmp_path, False))
    assert found["n"] == 1 and "NoAns_f1" not in found
    assert "NoAns_f1" in scores(capsys, directory, squad(tmp_path, True))[0]
    cli_here("predict", directory, squad(tmp_path, True), "--json")
    out, err = capsys.readouterr()
    assert all(json.loads(line)["answer"] for line in out.splitlines())
    assert "each question gets one" in err


def test_without_a_class_in_the_configuration_the_arrays_tell(tmp_path):
    for i, kind in enumerate(
        (
            heads.ElectraForSequenceClassification,
            heads.ElectraForTokenClassification,
            heads.ElectraForQuestionAnswering,
        )
    ):
        directory = made(tmp_path / str(i), kind, ("a", "b"), architectures=None)
        assert Finetuned(directory).task.model_class is kind


def test_the_longest_sequence(classifier):
    assert Finetuned(classifier).max_length == 30
    path = classifier / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for length, expected in ((16, 16), (1e30, 30), (np.inf, 30), (-1, 30), (None, 30), ("many", 30)):
        path.write_text(json.dumps(config | {"model_max_length": length}))
        assert Finetuned(classifier).max_length == expected


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"architectures": ["ElectraForPreTraining"]}, "holds ElectraForPreTraining instead of"),
        ({"architectures": ["ElectraForMultipleChoice"]}, "holds ElectraForMultipleChoice instead of"),
        ({"architectures": ["BertForSequenceClassification"]}, "holds BertForSequenceClassification"),
        ({"architectures": "x"}, "no classifier"),
        ({"architectures": [["x"]]}, "instead of an"),
        ({"problem_type": "multi_label_classification"}, "problem_type is multi_label_classification with 2"),
        ({"problem_type": "regression"}, "problem_type is regression with 2 label"),
        ({"problem_type": 3}, "problem_type is 3"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "expected .3, 8."),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label does not name"),
    ],
)
def test_what_cannot_be_known_is_said(classifier, entries, words):
    edit(classifier, **entries)
    with pytest.raises(InputError, match=words) as caught:
        Finetuned(classifier)
    assert "\n" not in str(caught.value) and str(classifier) in str(caught.value)


def test_an_encoder_is_no_classifier(classifier):
    arrays = read_arrays(classifier)
    kept = {name: entry for name, entry in arrays.items() if name.startswith("electra.")}
    write_arrays(classifier / "model.safetensors", kept)
    edit(classifier, architectures=None)
    with pytest.raises(InputError, match="and holds no classifier"):
        Finetuned(classifier)


def test_options_that_do_not_apply(classifier, tmp_path, capsys):
    path = written(tmp_path, "x.txt", "good\n")
    assert "--word: does not apply" in refused(capsys, "predict", classifier, path, "--word", "1")
    (classifier / "task.json").write_text("{}")
    assert "--text: " in (line := refused(capsys, "predict", classifier, path, "--text", "1"))
    assert "task.json says how files are written" in line
