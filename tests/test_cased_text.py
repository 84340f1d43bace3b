"""Capitals and accents, from learning a vocabulary to exporting a model; settings that contradict others."""

import io
import json
import sys

import pytest
from conftest import cli_here, train_here

from minielectra.cli.entry import main
from minielectra.data.dataset.prepared import Dataset
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS
from minielectra.pretraining.load import load_discriminator, load_pretraining

TEXT = "Étienne Über sah die Tür. Nous allons à l'Été. "
WORDS = (
    "Étienne étienne etienne Über über uber sah die Tür tür tur Nous nous allons à a l Été été ete .".split()  # noqa: SIM905
)

CASES = {  # options: (what "Été" becomes, lower-cased?, accents stripped?)
    (): ("ete", True, True),
    ("--cased",): ("Été", False, False),
    ("--keep-accents",): ("été", True, False),
    ("--cased", "--keep-accents"): ("Été", False, False),
}


@pytest.fixture(scope="module")
def accented(tmp_path_factory):
    path = tmp_path_factory.mktemp("accents") / "text.txt"
    path.write_text("\n\n".join("\n".join([TEXT] * 6) for _ in range(40)), encoding="utf-8")
    return path


def vocabulary(folder, **config):
    """A folder with all forms of the words and, if anything is said about them, a tokenizer_config.json."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *WORDS]) + "\n", encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def refused(capsys, *arguments):
    """The one line of an error."""
    assert main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()[-1:]) == 1
    return error.splitlines()[-1]


@pytest.mark.parametrize("options", CASES)
def test_learned_saved_resumed_and_exported(accented, tmp_path, options):
    word, lowercase, stripped = CASES[options]
    run, exported = tmp_path / "run", tmp_path / "exported"
    train_here(run, accented, "--steps", 2, *options)
    cli_here("train", "--resume", run, "--steps", 3)
    cli_here("export", run, exported)
    for tokenizer in (
        load_pretraining(run)[1],
        load_discriminator(exported)[1],
        Dataset.open(run / "data").tokenizer,
        WordPieceTokenizer.from_file(run / "vocab.txt"),
        WordPieceTokenizer.open(run),
        WordPieceTokenizer.open(exported),
    ):
        assert (tokenizer.lowercase, tokenizer.rules.strips_accents) == (lowercase, stripped)
        assert "".join(tokenizer.tokenize("Été")).replace("##", "") == word
    config = json.loads((exported / "discriminator" / "tokenizer_config.json").read_text())
    assert config["do_lower_case"] is lowercase and config["tokenize_chinese_chars"] is True
    assert config["strip_accents"] is (False if "--keep-accents" in options else None)
    assert config["model_max_length"] == 128


@pytest.mark.parametrize("options", CASES)
def test_a_vocabulary_that_says_nothing_follows_the_options(accented, tmp_path, options, capsys):
    word, lowercase, _ = CASES[options]
    vocab = vocabulary(tmp_path / "v")
    cli_here("tokenize", "--vocab", vocab, *options, "Été")
    assert capsys.readouterr().out.strip() == word
    cli_here(
        "prepare", "--corpus", accented, "--vocab", vocab / "vocab.txt", "--out", tmp_path / "d", *options
    )
    told = "pieces have capitals" in capsys.readouterr().err
    assert told is lowercase  # a cased vocabulary that is used without capitals
    tokenizer = Dataset.open(tmp_path / "d").tokenizer
    assert (
        tokenizer.tokenize("Été") == [word]
        and tokenizer.ids[word] in Dataset.open(tmp_path / "d").train.tokens
    )


@pytest.mark.parametrize("name", ["v", "v/vocab.txt"])
@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"do_lower_case": False}, "Été"),
        ({"do_lower_case": "false"}, "Été"),
        ({"strip_accents": False}, "été"),
        ({"do_lower_case": True}, "ete"),
        ({"do_lower_case": False, "strip_accents": True}, "[UNK]"),
    ],
)
def test_what_is_beside_a_vocabulary_holds(accented, tmp_path, name, config, word, capsys):
    vocabulary(tmp_path / "v", **config)
    cli_here("tokenize", "--vocab", tmp_path / name, "Été")
    assert capsys.readouterr().out.strip() == word
    train_here(tmp_path / "run", accented, "--vocab", tmp_path / name, "--steps", 1)
    assert load_pretraining(tmp_path / "run")[1].tokenize("Été") == [word]


def test_options_that_contradict_a_vocabulary_are_refused(accented, tmp_path, capsys):
    lower, cased = (
        vocabulary(tmp_path / "l", do_lower_case=True),
        vocabulary(tmp_path / "c", do_lower_case=False),
    )
    for vocab in (lower, lower / "vocab.txt"):
        assert "leave --cased out" in refused(capsys, "tokenize", "--vocab", vocab, "--cased", "x")
        assert "leave --keep-accents out" in refused(
            capsys, "tokenize", "--vocab", vocab, "--keep-accents", "x"
        )
    cli_here("tokenize", "--vocab", cased, "--cased", "--keep-accents", "Été")
    out = tmp_path / "run"
    arguments = ("train", "--corpus", accented, "--vocab", lower, "--cased", "--steps", 1, "--out", out)
    assert "leave --cased out" in refused(capsys, *arguments)
    assert not out.exists()


def test_prepared_data_and_a_vocabulary_that_disagree_are_refused(accented, tmp_path, capsys):
    lower, cased = (
        vocabulary(tmp_path / "l", do_lower_case=True),
        vocabulary(tmp_path / "c", do_lower_case=False),
    )
    data, out = tmp_path / "d", tmp_path / "run"
    cli_here("prepare", "--corpus", accented, "--vocab", cased, "--out", data)
    start = ("train", "--corpus", data, "--steps", 1, "--out", out, "--set", "seq_length=16")
    error = refused(capsys, *start, "--vocab", lower)
    assert "was prepared cased, with accents, but" in error and "lower-cased" in error
    assert not out.exists()
    for options in ((), ("--vocab", cased), ("--vocab", cased / "vocab.txt", "--cased"), ("--cased",)):
        cli_here(
            *start[:-3], tmp_path / f"run{len(options)}{options[-1:] == ('--cased',)}", *start[-2:], *options
        )
    cli_here("prepare", "--corpus", accented, "--vocab", lower, "--out", tmp_path / "dl")
    start = ("train", "--corpus", tmp_path / "dl", "--steps", 1, "--out", out)
    for option in ("--cased", "--keep-accents"):
        assert "was prepared lower-cased" in refused(capsys, *start, option)


def test_continued_from_weights_of_a_cased_model(accented, tmp_path, capsys):
    train_here(tmp_path / "run", accented, "--steps", 1, "--cased")
    cli_here("export", tmp_path / "run", tmp_path / "x")
    start = ("train", "--corpus", accented, "--init", tmp_path / "x", "--steps", 1, "--set", "seq_length=16")
    cli_here(*start, "--out", tmp_path / "again", "--cased")
    assert load_pretraining(tmp_path / "again")[1].lowercase is False
    lower = vocabulary(tmp_path / "l", do_lower_case=True)
    assert "leave --vocab out" in refused(capsys, *start, "--out", tmp_path / "no", "--vocab", lower)


def test_a_folder_of_an_older_version_keeps_its_case(tmp_path):
    """They said it in run.json or dataset.json only."""
    for name in ("run.json", "dataset.json"):
        folder = vocabulary(tmp_path / name[:3])
        (folder / name).write_text(json.dumps({"lowercase": False}))
        assert WordPieceTokenizer.open(folder).tokenize("Été") == ["Été"]
        assert WordPieceTokenizer.open(folder / "vocab.txt").lowercase is False


def test_tokens_added_later_stay_single_in_a_run(accented, tmp_path):
    vocab = vocabulary(tmp_path / "v", do_lower_case=True)
    (vocab / "added_tokens.json").write_text(json.dumps({"die Tür": len(WORDS) + 5, "<e>": len(WORDS) + 6}))
    train_here(tmp_path / "run", accented, "--vocab", vocab, "--steps", 1)
    data = Dataset.open(tmp_path / "run" / "data")
    assert (
        len(data.tokenizer) == len(WORDS) + 7 == load_pretraining(tmp_path / "run")[0].model_config.vocab_size
    )
    assert (
        data.tokenizer.ids["die Tür"] in data.train.tokens
        and data.tokenizer.ids["die"] not in data.train.tokens
    )
    cli_here("export", tmp_path / "run", tmp_path / "x")
    assert load_discriminator(tmp_path / "x")[1].tokenize("<e>die tur") == ["<e>", "die tur"]


def test_standard_input_that_is_not_utf8(tmp_path, capsys, monkeypatch):
    """A line that is not UTF-8 is read as Latin-1, as `predict` does, whatever the terminal's encoding."""
    vocab = vocabulary(tmp_path / "v", do_lower_case=False)
    raw = "Été\r\n".encode() + "Tür Été\n".encode("latin-1") + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="ascii"))
    cli_here("tokenize", "--vocab", vocab)
    assert capsys.readouterr().out == "Été\nTür Été\n\n"
