"""What error messages are made of: one line, printable, not endless, nothing said twice."""

import io
import json
import shutil

import numpy as np
import pytest
from conftest import train_here
from hostile import save
from test_bad_input import complaint

from minielectra.errors import InputError, printable, reason, shown
from minielectra.formats.json_text import is_integer, is_number, is_texts, parse_json


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a.txt: is empty", "a.txt: is empty"),
        ("two\nlines\r\n\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a \ud800 half", r"a \ud800 half"),
        ("right \u202e left", r"right \u202e left"),
        ("Δ 今天 é", "Δ 今天 é"),
        ("", ""),
    ],
)
def test_every_message_is_one_printable_line(message, line):
    assert str(InputError(message)) == line and line.isprintable()


@pytest.mark.parametrize("text", ["x" * 10**6, "\x00" * 10**6, "a\n" * 10**6, "\ud800" * 5000])
def test_a_long_message_keeps_its_beginning_and_its_end(text):
    line = str(InputError(f"file.json: {text}; correct it"))
    assert line.isprintable() and len(line) <= 1000 and line.startswith("file.json: ")
    assert text[0] != "x" or line.endswith("x; correct it")
    assert len(printable(text, 50)) <= 50


def test_reasons_do_not_repeat_the_path():
    assert reason(PermissionError(13, "Permission denied", "/a/b")) == "Permission denied"
    assert reason(ValueError("one\ntwo")) == "one" and reason(KeyError()) == "KeyError"
    assert len(reason(ValueError("x" * 10**6))) <= 200


def test_values_from_files_are_shown_in_short():
    nested = []
    for _ in range(10**5):
        nested = [nested]
    values = [
        "name",
        "two words",
        "\x1b",
        "x" * 10**6,
        None,
        ["a\n"],
        10**3000,
        10**5000,
        {"a": float("nan")},
        nested,
    ]
    for value in values:
        assert shown(value).isprintable() and len(shown(value)) <= 110, value
    assert shown("name") == "name" and shown("two words") == "'two words'" and shown(["a\n"]) == r"['a\n']"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("[" * 10**5, "nested too deeply"),
        ("9" * 5000, "an integer has too many digits"),
        (b"\xff", "not UTF-8 at byte 0"),
        ('{"a": 1} x', "Extra data: line 1 column 10"),
    ],
)
def test_json_that_is_none_says_why(text, why):
    with pytest.raises(ValueError, match=why) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200


def test_kinds_of_values():
    assert is_integer(0) and is_integer(2**53) and is_integer(-1, at_least=-1)
    assert not any(map(is_integer, (True, 1.0, -1, 2**53 + 1, "1", None, [])))
    assert is_number(1.5) and is_number(-3)
    assert not any(map(is_number, (True, float("nan"), float("inf"), 10**400, "1", None)))
    assert is_texts([]) and is_texts(["a"]) and not is_texts(["a", 1]) and not is_texts("a")


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    out = tmp_path_factory.mktemp("messages") / "run"
    train_here(out, corpus, "--steps", "4")
    return out


FILES = [
    "run.json",
    "metrics.jsonl",
    "detection.npz",
    "vocab.txt",
    "data/dataset.json",
    "data/train.tokens.npy",
]


@pytest.mark.parametrize("file", [*FILES, "tokenizer_config.json"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(run, monkeypatch, file):
    refuse(monkeypatch, run / file)
    line = complaint("train", "--resume", run)
    assert str(run / file) in line and "Permission denied" in line
    assert "damaged" not in line and "remove" not in line and (run / file).exists()


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "vocab.txt"])
def test_a_model_that_may_not_be_read(tmp_path, monkeypatch, file):
    save(tmp_path)
    refuse(monkeypatch, tmp_path / file)
    line = complaint("detect", tmp_path, "a")
    assert f"{tmp_path / file}: " in line and "Permission denied" in line and "truncated" not in line


def refuse(monkeypatch, path):
    """Let the system refuse to open a file, as it does for anybody but root."""
    usual = io.open

    def opened(name, *arguments, **options):
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return usual(name, *arguments, **options)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr("builtins.open", opened)


@pytest.mark.parametrize("file", ["metrics.jsonl", "detection.npz"])
def test_damaged_data_of_pictures_does_not_stop_a_resumed_run(run, tmp_path, capsys, file):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / file).write_bytes(b"nonsense\n" * 3)
    assert file in complaint("plot", copy)
    from conftest import cli_here

    capsys.readouterr()
    cli_here("train", "--resume", copy)
    said = capsys.readouterr().err
    assert said.count("set aside as") == 1 and f"{file}.damaged" in said
    assert (copy / f"{file}.damaged").read_bytes() == b"nonsense\n" * 3
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 4
    with np.load(copy / "detection.npz") as records:
        assert records["steps"][-1] == 4
