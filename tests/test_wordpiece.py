"""The tokenizer agrees with the `tokenizers` library, on every character and on real text."""

import json
import os
import random
import unicodedata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from properties import given, settings, st

from minielectra.data.text.corpus import corpus_lines
from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS, WordPieceTokenizer
from minielectra.data.wordpiece.vocabulary_training import train_vocabulary
from minielectra.errors import InputError

DATA = Path(os.environ.get("MINIELECTRA_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
TOY = [*SPECIAL_TOKENS, "un", "##aff", "##able", "cafe", "don", "'", "t", "!", ".", "中", "a", "##b"]
TOY += ["#", "b", "[", "]", "mask"]


@pytest.fixture(scope="module")
def corpus():
    if not (DATA / "corpora").is_dir():
        pytest.skip(f"no corpora in {DATA}; set MINIELECTRA_DATA")
    return [line for line in corpus_lines(DATA / "corpora") if line]


def pair(lowercase=True):
    """(ours, the reference) with BERT's vocabulary."""
    tokenizers = pytest.importorskip("tokenizers")
    path = DATA / "bert-vocab" / "vocab.txt"
    if not path.is_file():
        pytest.skip(f"no vocabulary at {path}; set MINIELECTRA_DATA")
    reference = tokenizers.BertWordPieceTokenizer(str(path), lowercase=lowercase)
    return WordPieceTokenizer.from_file(path, lowercase), reference


# Agreement with the reference.


def test_every_file_of_the_corpora_agrees(corpus):
    ours, reference = pair()
    ids, lengths = ours.encode_lines(corpus)
    expected = reference.encode_batch(corpus, add_special_tokens=False)
    assert ids.tolist() == [i for encoding in expected for i in encoding.ids]
    assert lengths.tolist() == [len(encoding.ids) for encoding in expected]
    for line, encoding in islice(zip(corpus, expected, strict=True), 0, None, 100):
        assert ours.encode_with_offsets(line) == (encoding.ids, encoding.tokens, encoding.offsets)


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_character_agrees(lowercase):
    """All of Unicode, except for characters that this Python is too old to know."""
    ours, reference = pair(lowercase)
    every = map(chr, range(0x110000))
    known = [char for char in every if unicodedata.category(char) not in ("Cn", "Cs", "Co")]
    texts = [f"a{char}b {char}" for char in known]
    for text, expected in zip(texts, reference.encode_batch(texts, add_special_tokens=False), strict=True):
        assert ours._encode_uncached(text) == expected.ids, ascii(text)


@pytest.mark.parametrize("lowercase", [True, False])
def test_random_texts_agree(lowercase):
    ours, reference = pair(lowercase)
    rng = random.Random(0)
    pools = [
        [chr(c) for c in range(32, 127)],
        [chr(c) for c in range(0x250)],
        [chr(c) for c in range(0x3000) if unicodedata.category(chr(c)) != "Cn"],
        [chr(c) for c in range(0x3000, 0xD800, 7)],
        list("ÉßΣςİıǅﬁ\u0301\u0323\u200b\u00ad\ufeff\x85\u2028\x1c\x0b \t\r\n"),
        ["[MASK]", "[CLS]", "[mask]", "##", "a", " "],
    ]
    for _ in range(10_000):
        text = "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(16)))
        encoding = reference.encode(text, add_special_tokens=False)
        expected = encoding.ids, encoding.tokens, encoding.offsets
        assert ours.encode(text) == encoding.ids, ascii(text)
        assert ours.encode_with_offsets(text) == expected, ascii(text)


def test_training_is_as_good_as_the_reference(corpus):
    tokenizers = pytest.importorskip("tokenizers")
    lines, held_out = corpus[::12], corpus[5::100]
    ours = WordPieceTokenizer.train(lines, 2000)
    reference = tokenizers.BertWordPieceTokenizer()
    reference.train_from_iterator(lines, vocab_size=2000, show_progress=False)
    expected = sum(len(e.ids) for e in reference.encode_batch(held_out, add_special_tokens=False))
    assert len(ours) == 2000
    assert len(ours.encode_lines(held_out)[0]) <= 1.01 * expected


# Without the reference.


def test_pieces_and_unknown_words():
    toy = WordPieceTokenizer(TOY)
    assert toy.tokenize("Unaffable! Don't") == ["un", "##aff", "##able", "!", "don", "'", "t"]
    assert toy.tokenize("CAFÉ中a") == ["cafe", "中", "a"]
    assert toy.tokenize("unx " + "a" * 101) == ["[UNK]", "[UNK]"]
    assert toy.tokenize("") == toy.tokenize(" \t\u200b\x00") == []
    assert len(toy) == len(TOY)
    assert (toy.pad_id, toy.unk_id, toy.cls_id, toy.sep_id, toy.mask_id) == toy.special_ids == (0, 1, 2, 3, 4)


def test_special_tokens_in_text():
    toy = WordPieceTokenizer(TOY)
    assert toy.tokenize("a[MASK]b") == ["a", "[MASK]", "b"]
    assert toy.tokenize("[MASK]", allow_special=False) == ["[", "mask", "]"]
    assert toy.encode_lines(["[MASK]"])[0].tolist() == toy.encode("[mask]")


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_offsets_lead_back_to_the_text(text):
    first, following = "cdefghijklmnopqrsuvwxyz0123456789", "acdefghijklmnopqrstuvwxyz0123456789"
    toy = WordPieceTokenizer([*TOY, *first, *("##" + char for char in following)])
    ids, pieces, offsets = toy.encode_with_offsets(text)
    assert ids == toy.encode(text) and len(pieces) == len(offsets)
    assert offsets == sorted(offsets)
    for piece, (start, end) in zip(pieces, offsets, strict=True):
        assert 0 <= start < end <= len(text)
        if piece not in SPECIAL_TOKENS:
            again = "".join(toy._normalizer.words(text[start:end]))
            assert piece.removeprefix("##") in again or piece == "##"


def test_batches_and_the_full_cache(monkeypatch):
    toy = WordPieceTokenizer(TOY)
    lines = ["a b a", "", "unaffable b!", "a" * 200]
    expected = [toy.encode(line) for line in lines]
    monkeypatch.setattr("minielectra.data.wordpiece.tokenizer._CACHE_LIMIT", 2)
    ids, lengths = WordPieceTokenizer(TOY).encode_lines(lines)
    assert ids.dtype == np.int32 and lengths.dtype == np.int64
    assert ids.tolist() == [i for line in expected for i in line]
    assert lengths.tolist() == list(map(len, expected))


def test_decode():
    toy = WordPieceTokenizer(TOY)
    assert toy.decode(toy.encode("Don't. unaffable!")) == "don't. unaffable!"
    assert toy.decode([2, 5, 6, 3], skip_special=True) == "unaff"
    with pytest.raises(InputError, match="id 99"):
        toy.decode([99])


def test_save_and_read_again(tmp_path):
    toy = WordPieceTokenizer(TOY, lowercase=False)
    toy.save(tmp_path)
    again = WordPieceTokenizer.from_pretrained(tmp_path)
    assert again.vocab == TOY and again.lowercase is False
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["do_lower_case"] is False
    (tmp_path / "crlf.txt").write_bytes("\ufeff".encode() + "\r\n".join(TOY).encode())
    assert WordPieceTokenizer.from_file(tmp_path / "crlf.txt").vocab == TOY


@pytest.mark.parametrize("lowercase", [True, False])
def test_tokenizer_json_in_place_of_vocab_txt(tmp_path, lowercase):
    """What transformers 5 saves; the pieces stand in any order."""
    vocab = {piece: i for i, piece in reversed(list(enumerate(TOY)))}
    normalizer = {"type": "BertNormalizer", "lowercase": lowercase}
    normalizer |= {"strip_accents": None, "handle_chinese_chars": True}
    model = {"type": "WordPiece", "continuing_subword_prefix": "##", "vocab": vocab}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model, "normalizer": normalizer}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    tokenizer = WordPieceTokenizer.from_pretrained(tmp_path)
    assert tokenizer.vocab == TOY and tokenizer.lowercase is lowercase


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "vocab.txt: the vocabulary is empty"),
        (b"[PAD]\n[UNK]\n[CLS]\na\n", r"vocab.txt: special token\(s\) \[SEP\], \[MASK\] missing"),
        (b"[PAD]\na\nb\na\n", "vocab.txt: line 4 repeats 'a' of line 2"),
        (b"[PAD]\n\nb\n", "vocab.txt: line 2 is empty"),
        (b"[PAD]\nb\n\xff\xfe\n", "vocab.txt: line 3, byte 8 is not UTF-8"),
        (None, "vocab.txt: no such vocabulary"),
    ],
)
def test_bad_vocabularies(tmp_path, content, message):
    if content is not None:
        (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        WordPieceTokenizer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_bad_tokenizer_config(tmp_path):
    WordPieceTokenizer(TOY).save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[1")
    with pytest.raises(InputError, match=r"tokenizer_config.json"):
        WordPieceTokenizer.from_pretrained(tmp_path)


# Training.


def test_merges_by_frequency_and_ties_by_text():
    vocab = train_vocabulary(["low low low lower lower newest newest newest newest widest"], 100)
    assert vocab[:5] == list(SPECIAL_TOKENS)
    letters = [piece for piece in vocab[5:] if len(piece.removeprefix("##")) == 1]
    assert vocab[5 : 5 + len(letters)] == sorted(letters)  # the alphabet comes first
    assert "newest" in vocab and "low" in vocab and "widest" not in vocab  # seen once only
    assert vocab == train_vocabulary(["newest widest low low lower newest newest", "newest low lower"], 100)


def test_small_vocabulary_keeps_the_most_frequent_characters():
    lines = [" ".join(chr(0x4E00 + i) for i in range(300)) + " the the the"]
    vocab = train_vocabulary(lines, 100)
    assert len(vocab) == len(set(vocab)) == 100 and {"t", "##h", "##e"} <= set(vocab)


def test_training_errors():
    with pytest.raises(InputError, match="at least 100"):
        train_vocabulary(["text"], 99)
    with pytest.raises(InputError, match="no words"):
        train_vocabulary(["", " \x00"], 200)
