"""Scoring texts: many together as one by one, in pieces as in one, and in windows over long texts."""

import dataclasses
import io
import json

import numpy as np
import pytest

from minielectra.cli import entry as cli
from minielectra.cli import text_commands
from minielectra.data.windows import windows
from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS, WordPieceTokenizer
from minielectra.detect import detect, detect_many
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForMaskedLM, ElectraForPreTraining
from minielectra.formats import limits
from minielectra.nn import inference

CONFIG = ElectraConfig(
    vocab_size=31,
    embedding_size=6,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=10,
    max_position_embeddings=20,
)


def filled(cls, dtype=np.float64):
    model = cls(CONFIG, dtype=dtype)
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.size)
    return model


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer([*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz"])


@pytest.mark.parametrize("cls", [ElectraForPreTraining, ElectraForMaskedLM])
@pytest.mark.parametrize("cores", [1, 2, 3])
def test_pieces_equal_the_whole(cls, cores, monkeypatch):
    model, random = filled(cls), np.random.default_rng(1)
    ids, lengths = random.integers(0, 31, (7, 9)), random.integers(1, 10, 7)
    valid = np.arange(9) < lengths[:, None]
    expected = model(ids, valid, ids % 2)
    monkeypatch.setattr(inference, "PIECE", 12)
    monkeypatch.setattr(inference, "FEW", 1)
    monkeypatch.setattr(inference, "usable_cores", lambda: cores)
    np.testing.assert_allclose(model(ids, valid, ids % 2), expected, rtol=1e-12, atol=1e-13)
    skipped = model(ids, valid, ids % 2, skip_padding=True)
    np.testing.assert_allclose(skipped[valid], expected[valid], rtol=1e-12, atol=1e-13)
    assert (skipped[~valid] == 0).all()


def test_a_block_leaves_nothing_behind(monkeypatch):
    """A forward pass alone needs no more memory for a deep model than for a shallow one."""
    sizes = []
    monkeypatch.setattr(inference, "usable_cores", lambda: 1)
    for layers in (1, 12):
        monkeypatch.setattr(inference, "_spare", [])
        config = dataclasses.replace(CONFIG, num_hidden_layers=layers, max_position_embeddings=512)
        ElectraForPreTraining(config)(np.zeros((4, 400), np.int32))
        sizes.append(inference._spare[0].nbytes)
    assert sizes[0] == sizes[1] > 0


def test_many_equal_one_by_one(tokenizer):
    model, random = filled(ElectraForPreTraining), np.random.default_rng(2)
    texts = [" ".join(random.choice(list("abcdefgh"), n)) for n in (3, 0, 70, 18, 19, 1, 40)]
    for text, found in zip(texts, detect_many(model, tokenizer, texts), strict=True):
        alone = detect(model, tokenizer, text)
        assert {**alone, "replaced": 0} == {**found, "replaced": 0} and found["text"] == text
        np.testing.assert_allclose(found["replaced"], alone["replaced"], atol=2e-6)
        assert len(found["tokens"]) == len(text.split())


@pytest.mark.parametrize(("count", "room"), [(0, 5), (1, 5), (5, 5), (6, 5), (17, 5), (100, 18), (3, 1)])
def test_windows_cover_every_token_once(count, room):
    kept = []
    for start, stop, keep_from, keep_to in windows(count, room):
        assert 0 <= start <= keep_from < keep_to <= stop <= count and stop - start <= room
        kept += range(keep_from, keep_to)
    assert kept == list(range(count))


@pytest.mark.parametrize("command", ["detect", "tokenize"])
def test_lines_of_standard_input_have_a_limit(tokenizer, tmp_path, monkeypatch, capsys, command):
    filled(ElectraForPreTraining, np.float32).save_pretrained(tmp_path, tokenizer)
    words = [command, str(tmp_path)] if command == "detect" else [command, "--vocab", str(tmp_path)]
    monkeypatch.setattr(limits, "TEXT", 6)
    monkeypatch.setattr("sys.stdin", io.StringIO("a b c\na b c d\n"))
    assert cli.main(words) == 2
    assert "standard input: line 2 has more than 0 MiB; MINIELECTRA_LIMITS=4" in capsys.readouterr().err
    monkeypatch.setenv("MINIELECTRA_LIMITS", "4")
    monkeypatch.setattr("sys.stdin", io.StringIO("a b c\na b c d\n"))
    assert cli.main(words) == 0


def test_long_texts_are_scored_in_small_groups(tokenizer, tmp_path, monkeypatch, capsys):
    filled(ElectraForPreTraining, np.float32).save_pretrained(tmp_path, tokenizer)
    texts = ["a b c", *"abcd", "a b c", "d"]
    words = ["detect", str(tmp_path), "--json"]
    outputs = []
    for longest in (1000, 5):
        monkeypatch.setattr(text_commands, "CHARACTERS_AT_ONCE", longest)
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(texts)))
        assert cli.main(words) == 0
        outputs.append([json.loads(line)["tokens"] for line in capsys.readouterr().out.splitlines()])
    assert outputs == [[text.split() for text in texts]] * 2
    groups = list(text_commands._grouped(iter(texts), 3))
    assert groups == [["a b c"], ["a", "b", "c"], ["d", "a b c"], ["d"]]


def test_lines_of_standard_input(tokenizer, tmp_path, monkeypatch, capsys):
    filled(ElectraForPreTraining, np.float32).save_pretrained(tmp_path, tokenizer)
    monkeypatch.setattr("sys.stdin", io.StringIO("a b\n\nc\n"))
    assert cli.main(["detect", str(tmp_path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["tokens"] for line in lines] == [["a", "b"], [], ["c"]]
