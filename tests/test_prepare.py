"""From text to a prepared folder, and from there to memory maps."""

import json
import random
import shutil

import numpy as np
import pytest

from minielectra.data.dataset import prepare as prepare_module
from minielectra.data.dataset.prepare import prepare
from minielectra.data.dataset.prepared import Dataset
from minielectra.data.text.sentences import split_sentences
from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS, WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.formats.checksums import NAME

WORDS = "the cat sat on a mat and saw how dogs ran up hill to see sun go down over old town".split()  # noqa: SIM905


def make_documents(count, paragraphs=6, seed=0):
    rng = random.Random(seed)

    def sentence():
        return " ".join(rng.choices(WORDS, k=rng.randrange(3, 14))).capitalize() + "."

    return [[" ".join(sentence() for _ in range(4)) for _ in range(paragraphs)] for _ in range(count)]


def toy_tokenizer():
    return WordPieceTokenizer([*SPECIAL_TOKENS, *WORDS, "."])


def sentences_of(part, tokenizer):
    ends = np.cumsum(part.sentence_lengths)
    spans = zip(ends - part.sentence_lengths, ends, strict=True)
    return [tokenizer.decode(part.tokens[start:end]) for start, end in spans]


def test_sentences():
    text = 'Mr. J. Smith ran (fast!) home. "He fell." Was it 3.5 ft. or 4? See e.g. Fig. 2. I did. (Yes.)  No'
    assert split_sentences(text) == [
        "Mr. J. Smith ran (fast!) home.",
        '"He fell."',
        "Was it 3.5 ft. or 4?",
        "See e.g. Fig. 2.",
        "I did.",
        "(Yes.)",
        "No",
    ]
    assert split_sentences("") == []


def test_every_sentence_is_in_one_part(tmp_path):
    documents, tokenizer = make_documents(100), toy_tokenizer()
    data = prepare(documents, tmp_path / "data", tokenizer, seed=3)
    train, heldout = (sentences_of(part, tokenizer) for part in (data.train, data.heldout))
    original = [s.lower() for document in documents for line in document for s in split_sentences(line)]
    assert sorted(train + heldout) == sorted(original)
    assert len(data.train.document_starts) + len(data.heldout.document_starts) == 100  # no document is cut
    share = data.heldout.n_tokens / (data.train.n_tokens + data.heldout.n_tokens)
    assert 0.02 < share < 0.1
    assert data.train.tokens.dtype == np.uint16 and isinstance(data.train.tokens, np.memmap)
    assert data.info["words"] == sum(len(line.split()) for document in documents for line in document)
    assert data.info["parts"]["train"] == {
        "tokens": data.train.n_tokens,
        "sentences": len(data.train.sentence_lengths),
        "documents": len(data.train.document_starts),
    }
    examples = data.train.examples(32)
    assert examples[np.array([-1])][0, 2] <= data.train.n_tokens


def test_deterministic_from_files_and_lists(tmp_path, monkeypatch):
    documents = make_documents(30)
    (tmp_path / "text.txt").write_text("\n\n".join("\n".join(document) for document in documents))
    prepare(tmp_path / "text.txt", tmp_path / "a", 120)
    monkeypatch.setattr(prepare_module, "_CHUNK", 7)
    prepare(documents, tmp_path / "b", 120)
    for name in [p.name for p in (tmp_path / "a").iterdir() if p.name not in ("dataset.json", NAME)]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    a, b = (json.loads((tmp_path / x / "dataset.json").read_text()) for x in "ab")
    assert a.pop("sources") == ["text.txt"] and b.pop("sources") == [] and a == b


ONE_LINE = [[" ".join(make_documents(1, 50)[0])]]


@pytest.mark.parametrize("documents", [make_documents(1, 50), make_documents(3, 50), ONE_LINE])
def test_few_or_long_documents_are_cut(tmp_path, documents):
    tokenizer = toy_tokenizer()
    data = prepare(documents, tmp_path / "data", tokenizer)
    share = data.heldout.n_tokens / (data.train.n_tokens + data.heldout.n_tokens)
    assert 0.02 < share < 0.1
    original = [s.lower() for document in documents for line in document for s in split_sentences(line)]
    found = sentences_of(data.train, tokenizer) + sentences_of(data.heldout, tokenizer)
    assert sorted(found) == sorted(original)


def test_uneven_documents(tmp_path):
    documents = [*make_documents(3, 400), *make_documents(40, 6, seed=1)]
    for seed in range(5):
        data = prepare(documents, tmp_path / str(seed), toy_tokenizer(), seed=seed)
        assert 0.02 < data.heldout.n_tokens / (data.train.n_tokens + data.heldout.n_tokens) < 0.1


def test_two_sentences_are_the_least(tmp_path):
    data = prepare([["The cat sat.", "A dog ran."]], tmp_path / "two", toy_tokenizer())
    assert data.train.n_tokens and data.heldout.n_tokens
    with pytest.raises(InputError, match="too short to split"):
        prepare([["The cat sat."]], tmp_path / "one", toy_tokenizer())
    assert [p.name for p in tmp_path.iterdir()] == ["two"]  # nothing half done is left
    with pytest.raises(InputError, match=r"training part has .* tokens, less than one sequence of 128"):
        data.train.examples(128)


def test_lines_without_tokens_and_empty_documents(tmp_path):
    documents = make_documents(40)
    documents[3] = ["\u200b \x01"]
    documents[5].insert(0, "\x02")
    documents.insert(7, [])
    data = prepare(documents, tmp_path / "data", toy_tokenizer())
    for part in (data.train, data.heldout):
        assert (part.sentence_lengths > 0).all()
        assert part.document_starts[0] == 0 and (np.diff(part.document_starts) > 0).all()
    assert len(data.train.document_starts) + len(data.heldout.document_starts) == 39


def test_large_vocabularies_need_four_bytes(tmp_path):
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, *(f"w{i}" for i in range(70_000)), *WORDS, "."])
    data = prepare(make_documents(30), tmp_path / "data", tokenizer)
    assert data.train.tokens.dtype == np.int32 and data.train.tokens.max() >= 70_000


def test_overwriting(tmp_path):
    documents, out = make_documents(30), tmp_path / "data"
    out.mkdir()
    prepare(documents, out, toy_tokenizer())  # an empty folder is fine
    with pytest.raises(InputError, match="already is a dataset"):
        prepare(documents, out, toy_tokenizer())
    before = Dataset.open(out).info
    assert prepare(make_documents(31), out, toy_tokenizer(), overwrite=True).info != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not a dataset"):
        prepare(documents, tmp_path / "mine", toy_tokenizer(), overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "mine"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_full_disk_leaves_nothing_or_the_old_dataset(tmp_path, monkeypatch, overwrite):
    out = tmp_path / "data"
    if overwrite:
        prepare(make_documents(30), out, toy_tokenizer())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare_module, "write_json", full)
    with pytest.raises(InputError, match=r"data: cannot write the dataset \(No space left on device\)"):
        prepare(make_documents(31), out, toy_tokenizer(), overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["data"] * overwrite
    assert not overwrite or len(Dataset.open(out).train.document_starts) < 30


def test_a_corpus_that_is_gone_is_reported(tmp_path):
    (tmp_path / "out").mkdir()
    # what a run keeps of a corpus that was prepared elsewhere
    (tmp_path / "out" / "train.examples-0.npy").write_bytes(b"")
    with pytest.raises(InputError, match="no such file"):
        prepare(tmp_path / "moved away", tmp_path / "out", toy_tokenizer())


def test_bad_arguments(tmp_path):
    with pytest.raises(InputError, match="fraction"):
        prepare(make_documents(3), tmp_path / "x", toy_tokenizer(), held_out_fraction=1.5)
    with pytest.raises(InputError, match="no text"):
        prepare([[], [" "]], tmp_path / "x", toy_tokenizer())
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        prepare(make_documents(30), tmp_path / "file" / "x", toy_tokenizer())


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def _edit(key, value):
    def damage(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return damage


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("dataset.json", lambda p: p.unlink(), "not a prepared dataset"),
        ("dataset.json", lambda p: p.write_text("{"), "cannot be read"),
        ("dataset.json", lambda p: p.write_text("{}"), "not a minielectra dataset"),
        ("dataset.json", _edit("version", 99), "format version 99"),
        ("dataset.json", _edit("parts", {}), "entry 'train'"),
        ("vocab.txt", lambda p: p.unlink(), "no such vocabulary"),
        ("vocab.txt", lambda p: p.write_text(p.read_text() + "extra\n"), "pieces, dataset.json says"),
        ("train.tokens.npy", _truncate, "damaged or cut short"),
        ("train.tokens.npy", lambda p: p.write_bytes(b""), "damaged or cut short"),
        ("heldout.sentences.npy", lambda p: p.unlink(), "missing"),
        ("heldout.documents.npy", lambda p: np.save(p, np.zeros(3)), "not what dataset.json says"),
        ("train.tokens.npy", lambda p: p.write_bytes(p.read_bytes() + b"more"), "damaged or cut short"),
        ("train.sentences.npy", lambda p: np.save(p, np.load(p) + 1), "tokens in all"),
        (
            "train.sentences.npy",
            lambda p: np.save(p, np.append(np.load(p)[:-2], [-1, 1 + np.load(p)[-2:].sum()]).astype("i4")),
            "tokens in all",
        ),
    ],
)
def test_damaged_datasets(tmp_path, name, damage, message):
    out = tmp_path / "data"
    prepare(make_documents(30), out, toy_tokenizer())
    damage(out / name)
    with pytest.raises(InputError, match=message) as caught:
        Dataset.open(out).train.examples(32)  # what grows with the corpus is checked when it is read
    assert str(out) in str(caught.value) and "\n" not in str(caught.value)
    shutil.rmtree(out)
    with pytest.raises(InputError, match="not a prepared dataset"):
        Dataset.open(out)
