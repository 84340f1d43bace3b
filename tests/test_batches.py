"""Batches: always the same ones, also when made ahead, from an index that is never held in memory."""

import json
import shutil
import threading
import tracemalloc
import zlib
from contextlib import closing

import numpy as np
import pytest
from properties import given, settings, st
from test_prepare import make_documents, toy_tokenizer

from minielectra.data.dataset import packing, prepared
from minielectra.data.dataset.array_files import NpyWriter, open_array
from minielectra.data.dataset.packing import pack
from minielectra.data.dataset.prepare import prepare
from minielectra.data.dataset.prepared import Dataset
from minielectra.errors import InputError
from minielectra.formats.checksums import NAME as CHECKSUMS
from minielectra.formats.checksums import add, recorded, verify
from minielectra.pretraining.batches import Batches, held_out_batch, prefetched
from minielectra.pretraining.presets import configure

FIELDS = ("input_ids", "masked_ids", "segments", "valid", "positions", "weights")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(make_documents(60), tmp_path_factory.mktemp("batches") / "data", toy_tokenizer(), seed=3)


def settings_of(seq_length=32, batch_size=8):
    return configure("tiny", {"seq_length": seq_length, "batch_size": batch_size})[1]


def assert_same(a, b):
    for name in FIELDS:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize(
    ("seq_length", "batch_size", "checksums", "held_out"),
    [
        (32, 8, [0x68CC68FC, 0x9C4F8EFC, 0x31DB123C, 0x91559EDA], 0xF499C08A),
        (24, 16, [0x31E4A3EC, 0x308EC844, 0x7CF0F6A4, 0xAC2DDE07], 0x453726E3),
    ],
)
def test_the_batches_of_a_seed_are_those_they_always_were(
    dataset, tmp_path, seq_length, batch_size, checksums, held_out
):
    """A run that began with an earlier version goes on as it would have. So these numbers must never change.

    Masks are left out, because NumPy's generators may change between its versions.
    """

    def checksum(batch):
        return zlib.crc32(
            b"".join(getattr(batch, name).tobytes() for name in ("input_ids", "segments", "valid"))
        )

    config = settings_of(seq_length, batch_size)
    for folder in (None, tmp_path, tmp_path):  # in memory, made, found
        batches = Batches(dataset, config, 5, folder)
        assert [checksum(batches[step]) for step in (0, 1, 7, 1000)] == checksums
        assert checksum(held_out_batch(dataset, config, 5, 16, folder)) == held_out


def test_an_epoch_holds_every_example_once(dataset):
    batches = Batches(dataset, settings_of(), 0)
    count = len(batches.examples)
    order = np.concatenate([batches._order(step) for step in range(3 * count // 8 + 1)])
    for epoch in range(3):
        assert np.array_equal(np.sort(order[epoch * count : (epoch + 1) * count]), np.arange(count))
    assert np.array_equal(batches._order(5), order[40:48])  # and may be asked for in any sequence
    few = Batches(dataset, settings_of(batch_size=700), 0)  # more than one epoch in a step
    assert np.array_equal(
        few._order(1), np.concatenate([few._order(0), few._order(1), few._order(0)])[700:1400]
    )


# Made ahead.


def test_prefetched_batches_are_the_same(dataset):
    batches = Batches(dataset, settings_of(), 5)
    made = list(prefetched(batches, 60, 70))
    assert len(made) == 10
    for step, batch in enumerate(made, 60):
        assert_same(batch, Batches(dataset, settings_of(), 5)[step])
    assert list(prefetched(batches, 3, 3)) == []


def input_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("input")]


class Source:
    """Notes which batches are made; number 3 cannot be."""

    def __init__(self):
        self.made = []

    def __getitem__(self, step):
        if step == 3:
            raise InputError("number 3")
        self.made.append((step, threading.current_thread().name))
        return step


def test_an_error_comes_when_its_batch_is_asked_for():
    seen = []
    with pytest.raises(InputError, match="number 3"):
        for batch in prefetched(Source(), 0, 10):
            seen.append(batch)
    assert seen == [0, 1, 2]
    assert not input_threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_leaving_early_ends_the_thread(error):
    source = Source()
    with pytest.raises(error), closing(prefetched(source, 0, 100)) as batches:
        assert next(batches) == 0
        assert input_threads()
        raise error
    assert not input_threads()
    assert len(source.made) < 10
    assert all(name.startswith("input") for _, name in source.made)


# The index.


def rows_of(examples):
    return examples[np.arange(len(examples))]


def index_file(folder, part="train"):
    (path,) = folder.glob(f"{part}.examples-*.npy")
    return path


def test_the_index_is_what_packing_makes(dataset, tmp_path):
    expected = pack(dataset.train.sentence_lengths, dataset.train.document_starts, 32, 7, 0.2, 0.1)
    before = sorted(path.name for path in dataset.directory.iterdir())
    for folder in (None, tmp_path, tmp_path):
        rows = rows_of(dataset.train.examples(32, 7, 0.2, 0.1, folder=folder))
        assert rows.dtype == np.int64 and np.array_equal(rows, expected)
    assert index_file(tmp_path).stat().st_size < 12 * len(expected) + 200
    assert sorted(path.name for path in dataset.directory.iterdir()) == before  # it may be read-only
    assert isinstance(open_array(index_file(tmp_path)), np.memmap)
    with pytest.raises(IndexError):
        dataset.train.examples(32, 7, 0.2, 0.1)[np.array([len(expected)])]


def test_the_index_is_made_once(dataset, tmp_path, monkeypatch):
    first = rows_of(dataset.train.examples(32, folder=tmp_path))
    monkeypatch.setattr(prepared, "pack_pieces", None)
    monkeypatch.setattr(prepared.DatasetPart, "_check_sentences", None)
    assert np.array_equal(rows_of(dataset.train.examples(32, folder=tmp_path)), first)
    monkeypatch.undo()
    assert not np.array_equal(rows_of(dataset.train.examples(32, 1, folder=tmp_path))[: len(first)], first)
    dataset.heldout.examples(32, folder=tmp_path)
    index_file(tmp_path), index_file(tmp_path, "heldout")  # one each: what other settings left is gone
    assert len(recorded(tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*recorded(tmp_path), CHECKSUMS])


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0xFF
    path.write_bytes(raw)


def zero_rows(path):
    header = open_array(path).offset
    path.write_bytes(path.read_bytes()[:header] + bytes(path.stat().st_size - header))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:60]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-12]),
        lambda path: path.write_bytes(path.read_bytes() + bytes(12)),
        lambda path: np.save(path, np.zeros(5)),
        lambda path: np.save(path, np.array([{}]), allow_pickle=True),
        lambda path: flip(path, 0),
        lambda path: flip(path, 20),
        lambda path: (
            path.with_name(path.name + ".partial").write_bytes(path.read_bytes()[:50]) and path.unlink()
        ),
    ],
)
def test_a_damaged_index_is_made_again(dataset, tmp_path, capsys, damage):
    expected = rows_of(dataset.train.examples(32, folder=tmp_path))
    path = index_file(tmp_path)
    damage(path)
    missing = not path.exists()
    assert np.array_equal(rows_of(dataset.train.examples(32, folder=tmp_path)), expected)
    told = capsys.readouterr().err
    assert told == "" if missing else told.startswith(f"{path}: ") and told.endswith("; made again\n")
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted([CHECKSUMS, path.name])
    assert verify(tmp_path)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_damage_is_repaired(tmp_path_factory, dataset, data):
    folder = tmp_path_factory.mktemp("index")
    expected = rows_of(dataset.train.examples(32, folder=folder))
    path = index_file(folder)
    raw = bytearray(path.read_bytes())
    at = data.draw(st.one_of(st.integers(0, 127), st.integers(0, len(raw))))
    raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path.write_bytes(raw)
    assert np.array_equal(rows_of(dataset.train.examples(32, folder=folder)), expected)
    shutil.rmtree(folder)


def test_damaged_checksums_and_missing_ones(dataset, tmp_path, capsys):
    expected = rows_of(dataset.train.examples(32, folder=tmp_path))
    for damage in (lambda path: flip(path, 5), lambda path: path.unlink()):
        zero_rows(index_file(tmp_path))
        damage(tmp_path / CHECKSUMS)
        assert np.array_equal(rows_of(dataset.train.examples(32, folder=tmp_path)), expected)
        assert verify(tmp_path)
    assert capsys.readouterr().err.count("made again") == 1


def test_rows_that_were_written_wrong_are_reported(dataset, tmp_path):
    dataset.train.examples(32, folder=tmp_path)
    path = index_file(tmp_path)
    zero_rows(path)
    add(tmp_path, path.name)  # so that the checksum does not tell
    with pytest.raises(InputError, match=r"train\.examples-.*damaged; remove it"):
        Batches(dataset, settings_of(), 0, tmp_path)[0]
    path.unlink()
    assert_same(Batches(dataset, settings_of(), 0, tmp_path)[0], Batches(dataset, settings_of(), 0)[0])


def test_too_long_sequences(dataset):
    with pytest.raises(InputError, match="too long"):
        dataset.heldout.examples(70_000)


def test_token_counts(dataset, tmp_path, monkeypatch):
    expected = np.bincount(dataset.train.tokens, minlength=len(dataset.tokenizer))
    monkeypatch.setattr(prepared, "_PIECE", 100)
    for folder in (None, tmp_path, tmp_path):
        counts = dataset.train.token_counts(len(dataset.tokenizer), folder)
        assert counts.dtype == np.int64 and np.array_equal(counts, expected)
    with pytest.raises(InputError, match=r"train\.tokens\.npy: holds tokens that are not in the vocabulary"):
        dataset.train.token_counts(10)


# Memory.


def synthetic(folder, n_tokens, sentence=20, documents=100):
    """A dataset of random tokens; its first half is one document."""
    folder.mkdir()
    random = np.random.default_rng(0)
    tokenizer = toy_tokenizer()
    tokenizer.save(folder / "vocab.txt")
    parts = {}
    for part in ("train", "heldout"):
        starts = np.append(
            0, np.linspace(n_tokens // sentence // 2, n_tokens // sentence, documents, endpoint=False)
        )
        arrays = {
            "tokens": random.integers(5, len(tokenizer), n_tokens, np.uint16),
            "sentences": np.full(n_tokens // sentence, sentence, np.int32),
            "documents": starts.astype(np.int64),
        }
        for kind, values in arrays.items():
            writer = NpyWriter(folder / f"{part}.{kind}.npy", values.dtype)
            writer.append(values)
            writer.close()
        parts[part] = {kind: len(values) for kind, values in arrays.items()}
    info = {
        "format": "minielectra-dataset",
        "version": 1,
        "vocab_size": len(tokenizer),
        "lowercase": True,
        "parts": parts,
    }
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_PIECE", 1000)
    monkeypatch.setattr(prepared, "_PIECE", 1000)

    def peak(n_tokens):
        data = synthetic(tmp_path / str(n_tokens), n_tokens)
        tracemalloc.start()
        try:
            opened = Dataset.open(data)
            batches = Batches(opened, settings_of(), 0, data / "index")
            held_out_batch(opened, settings_of(), 0, 16, data / "index")
            opened.train.token_counts(len(opened.tokenizer), data / "index")
            for _ in prefetched(batches, 0, 70):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100_000)  # what is imported and cached once
    small, large = peak(120_000), peak(1_200_000)
    assert large - small < 100_000, f"{small:,} bytes for 120 000 tokens, {large:,} for ten times as many"
