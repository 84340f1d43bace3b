"""Models and tokenizers through directories: written by one library, opened by the other.

B sentences of up to T tokens, V words.
"""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import torch
import transformers

from minielectra.data.text.corpus import corpus_lines
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra import towers as models
from minielectra.pretraining.presets import configure

from . import checks, twins

DATA = Path(os.environ.get("MINIELECTRA_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
VOCABULARY, TEXT = DATA / "bert-vocab" / "vocab.txt", DATA / "corpora" / "masc.txt"


def missing_data():
    """What of the real data is not there, as a message for people; None where all is."""
    missing = [str(path) for path in (VOCABULARY, TEXT) if not path.is_file()]
    return f"no {', '.join(missing)}; set MINIELECTRA_DATA" if missing else None


def sentences(count=8):
    """`count` lines of prose from the corpora."""
    lines = (line for line in corpus_lines(TEXT) if 60 < len(line) < 300)
    return [next(lines) for _ in range(count)]


def encode(tokenizer, texts, length=64):
    """ids [B, T] int32, valid [B, T] bool, segments [B, T] int32 of [CLS] text [SEP], the second half of each in segment 1."""
    rows = [[tokenizer.cls_id, *tokenizer.encode(text)[: length - 2], tokenizer.sep_id] for text in texts]
    lengths = np.array([len(row) for row in rows])
    valid = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(valid.shape, tokenizer.pad_id, np.int32)
    ids[valid] = np.concatenate(rows)
    segments = ((np.arange(lengths.max()) >= lengths[:, None] // 2) & valid).astype(np.int32)
    return ids, valid, segments


def small_config(kind):
    """ELECTRA-small as published: twelve layers, 30 522 words; for ElectraForMaskedLM its generator."""
    config, pretraining = configure("small")
    return config.generator(pretraining.generator_width) if kind == "ElectraForMaskedLM" else config


@torch.no_grad()
def their_logits(module, batch):
    """Logits of transformers' model for (ids, valid, segments), NumPy."""
    ids, valid, segments = (twins.integers(array) for array in batch)
    return module(ids, attention_mask=valid, token_type_ids=segments).logits.numpy()


def open_there(kind, directory):
    """transformers' model in `directory`, in its ordinary way -> module, problems {missing or unexpected keys …}, empty ones left out"""
    module, info = getattr(transformers, kind).from_pretrained(directory, output_loading_info=True)
    return module.eval(), {what: keys for what, keys in info.items() if keys}


def make_there(kind, config, directory, seed=0, **options):
    """A model as transformers initialises it, saved by it in `directory` -> module. options: those of its `save_pretrained`."""
    torch.manual_seed(seed)
    module = getattr(transformers, kind)(transformers.ElectraConfig(**dataclasses.asdict(config))).eval()
    module.save_pretrained(directory, **options)
    return module


def differences(kind, config, batch, directory):
    """One model made by transformers, on `batch` (ids, valid, segments), through two directories.

    -> {"opened here": largest absolute difference of a logit between the model there and the one opened here, "opened there":
    the same between that one and what transformers opens after it was saved here}, seconds it took to open here, problems there
    """
    original = make_there(kind, config, directory / "theirs")
    begin = time.perf_counter()
    ours = getattr(models, kind).from_pretrained(directory / "theirs")
    seconds = time.perf_counter() - begin
    ours.save_pretrained(directory / "ours")
    again, problems = open_there(kind, directory / "ours")
    logits = ours(*batch)
    found = {
        "opened here": float(np.abs(logits - their_logits(original, batch)).max()),
        "opened there": float(np.abs(logits - their_logits(again, batch)).max()),
    }
    return found, seconds, problems


def contents(directory):
    """{file name: bytes} of a directory."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def resaved(kind, source, target):
    """Open the directory `source` here, save it as `target` -> contents of `target`."""
    getattr(models, kind).from_pretrained(source).save_pretrained(
        target, WordPieceTokenizer.from_pretrained(source)
    )
    return contents(target)


def small_model_here(kind, directory, config=checks.CONFIG):
    """A model of ours with non-neutral weights, saved in `directory` with a tokenizer of `config`'s vocabulary -> model, tokenizer"""
    model = getattr(models, kind)(config)
    checks.fill(model.parameters, 3)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = ["the", "river", "##s", "flow", "##ing", "Über", "uber", ",", "."]
    vocabulary = special + pieces + [f"w{i}" for i in range(config.vocab_size - len(special) - len(pieces))]
    tokenizer = WordPieceTokenizer(vocabulary)
    model.save_pretrained(directory, tokenizer)
    return model, tokenizer
