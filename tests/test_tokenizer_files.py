"""Files of a tokenizer that are refused, damaged or left over. The others are tested against transformers."""

import copy
import json
import tempfile
from pathlib import Path

import pytest
from properties import given, settings, st

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.added_tokens import AddedToken
from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS
from minielectra.errors import InputError

PIECES = [*SPECIAL_TOKENS, "a", "b", "##b", "ä", "A", "!"]
BERT = {
    "added_tokens": [],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {piece: i for i, piece in enumerate(PIECES)},
    },
}


def changed(value, path, new):
    """A copy of a JSON value with the part at the path (keys, with dots) replaced."""
    value = copy.deepcopy(value)
    *most, last = path.split(".")
    part = value
    for name in most:
        part = part[name]
    part[last] = new
    return value


def directory(folder, vocab=True, **files):
    if vocab:
        (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"tokenizer_config": {"tokenizer_class": "BertJapaneseTokenizer"}},
            "tokenizer_class is BertJapanese",
        ),
        ({"tokenizer_config": {"tokenizer_class": "RobertaTokenizerFast"}}, "tokenizer_class is RobertaTok"),
        (
            {"tokenizer_config": {}, "config": {"tokenizer_class": "XTokenizer"}},
            r"config.json: .* XTokenizer",
        ),
        ({"config": {"tokenizer_class": "XTokenizer"}}, r"config.json: .* XTokenizer"),
        ({"tokenizer_config": GENERIC}, "needs a tokenizer.json, which is missing"),
        ({"tokenizer_config": {"do_lower_case": "no"}}, "do_lower_case must be true or false, got 'no'"),
        ({"tokenizer_config": {"strip_accents": 1}}, "strip_accents must be true or false, got 1"),
        (
            {"tokenizer_config": {"tokenize_chinese_chars": []}},
            "tokenize_chinese_chars must be true or false",
        ),
        ({"tokenizer_config": {"split_special_tokens": True}}, "split_special_tokens"),
        ({"tokenizer_config": {"auto_map": {"AutoTokenizer": ["x.Y", None]}}}, "auto_map"),
        ({"tokenizer_config": {"mask_token": "<mask>"}}, r"mask_token is <mask>; only \[MASK\] is supported"),
        ({"tokenizer_config": {"extra_special_tokens": "x"}}, "extra_special_tokens is not a list"),
        ({"tokenizer_config": {"added_tokens_decoder": {"11": {}}}}, "an added token needs a text and an id"),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {}}}}, "x is not the id of a token"),
        ({"added_tokens": {"<x>": 15}}, "added token <x> has id 15, but 11 is next"),
        ({"added_tokens": {"b": 7}}, "added token b has id 7, but 6 is next"),
        ({"added_tokens": {"A": 9, "ä": 8}}, "become the same by normalization"),
        ({"tokenizer": BERT | {"pre_tokenizer": {"type": "Whitespace"}}}, "pre_tokenizer is Whitespace"),
        ({"tokenizer": BERT | {"normalizer": {"type": "NFC"}}}, "normalizer is NFC, not BertNormalizer"),
        ({"tokenizer": BERT | {"normalizer": None}, "tokenizer_config": GENERIC}, "normalizer is None"),
        ({"tokenizer": BERT | {"pre_tokenizer": None}, "tokenizer_config": GENERIC}, "pre_tokenizer is None"),
        ({"tokenizer": changed(BERT, "normalizer.clean_text", False)}, "clean_text is False"),
        ({"tokenizer": changed(BERT, "normalizer.lowercase", False)}, '"do_lower_case": false there'),
        ({"tokenizer": changed(BERT, "normalizer.strip_accents", False)}, '"strip_accents": false there'),
        ({"tokenizer": changed(BERT, "model.type", "BPE")}, "not a WordPiece tokenizer"),
        ({"tokenizer": changed(BERT, "model.unk_token", "<unk>")}, "unk_token is <unk>"),
        ({"tokenizer": changed(BERT, "model.max_input_chars_per_word", 9)}, "max_input_chars_per_word is 9"),
        ({"tokenizer": changed(BERT, "model.vocab.c", 11)}, "another vocabulary than vocab.txt"),
    ],
)
def test_refused(tmp_path, files, message):
    directory(tmp_path, **files)
    for read in (WordPieceTokenizer.from_pretrained, WordPieceTokenizer.open):
        with pytest.raises(InputError, match=message) as caught:
            read(tmp_path)
        assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        WordPieceTokenizer.from_file(tmp_path / "vocab.txt")


def test_a_generic_class_is_what_tokenizer_json_says(tmp_path):
    directory(
        tmp_path,
        vocab=False,
        tokenizer=changed(BERT, "normalizer.lowercase", False),
        tokenizer_config=GENERIC | {"do_lower_case": True},
    )
    assert WordPieceTokenizer.from_pretrained(tmp_path).tokenize("A ä") == ["A", "ä"]


def test_saving_removes_the_files_of_an_earlier_tokenizer(tmp_path):
    directory(tmp_path, tokenizer=BERT, added_tokens={"<x>": 11}, special_tokens_map={})
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, "z"], lowercase=False)
    tokenizer.save(tmp_path, model_max_length=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer_config.json", "vocab.txt"]
    assert WordPieceTokenizer.from_pretrained(tmp_path).same_as(tokenizer)


def test_added_tokens_in_text():
    added = [
        AddedToken("[E1]", 11),
        AddedToken("b", 6, normalized=False, single_word=True),
        AddedToken("<s>", 12, normalized=False, special=True, lstrip=True, rstrip=True),
    ]
    tokenizer = WordPieceTokenizer(PIECES, added=added)
    assert tokenizer.vocab == [*PIECES, "[E1]", "<s>"] and len(tokenizer) == 13
    text = "Äb [e1]b b <s> A"
    ids, found, offsets = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text) == [5, 7, 11, 6, 6, 12, 5]
    assert found == ["a", "##b", "[e1]", "b", "b", " <s> ", "a"]
    assert [text[start:end] for start, end in offsets] == ["Ä", "b", "[e1]", "b", "b", " <s> ", "A"]
    assert tokenizer.encode_lines([text, "[MASK]"])[0].tolist()[:7] == ids  # in a corpus too
    assert tokenizer.decode(ids) == "ab [E1] b b <s> a"
    with pytest.raises(InputError, match="do not follow those of its pieces"):
        WordPieceTokenizer(PIECES, added=[AddedToken("x", 20)])


# Damage.

VALUES = st.sampled_from(
    [None, True, 0, -1, 10**30, 1.5, "", "\ud800", "a\nb", "[PAD]", [], [[]], {}, {"a": 1}, [1], "x" * 300]
)
COMPLETE = {
    "tokenizer_config": {
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        "pad_token": "[PAD]",
        "mask_token": {"content": "[MASK]", "lstrip": True},
        "extra_special_tokens": ["<x>"],
        "added_tokens_decoder": {"11": {"content": "<y>", "lstrip": False}},
    },
    "tokenizer": BERT | {"added_tokens": [{"id": 0, "content": "[PAD]", "special": True}]},
    "added_tokens": {"<y>": 11},
    "special_tokens_map": {"unk_token": "[UNK]", "additional_special_tokens": ["<x>"]},
    "config": {"tokenizer_class": "ElectraTokenizer"},
}


def damage(value, draw):
    """The value with one part of it replaced or removed."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 5)):
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(list(keys)))
        copied = copy.copy(value)
        if draw(st.integers(0, 6)) == 0:
            del copied[key]
        else:
            copied[key] = damage(value[key], draw)
        return copied
    return draw(VALUES)


@given(st.sets(st.sampled_from(sorted(COMPLETE)), min_size=1), st.booleans(), st.integers(1, 3), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files_are_read_or_refused(names, vocab, count, data):
    files = {name: COMPLETE[name] for name in names}
    for _ in range(count):
        name = data.draw(st.sampled_from(sorted(files)))
        files[name] = damage(files[name], data.draw)
    with tempfile.TemporaryDirectory() as folder:
        folder = directory(Path(folder), vocab, **files)
        (folder / "saved").mkdir()
        try:
            tokenizer = WordPieceTokenizer.open(folder)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
        else:
            tokenizer.save(folder / "saved")
            assert WordPieceTokenizer.open(folder / "saved").same_as(tokenizer)
