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
    """[CLS] text [SEP] of each text, the second half in segment 1 -> ids, valid, segments.

    ids, segments [B, T] int32, valid [B, T] bool.
    """
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
    """transformers' model in `directory`, opened in its ordinary way -> module, {kind of problem: keys}."""
    module, info = getattr(transformers, kind).from_pretrained(directory, output_loading_info=True)
    return module.eval(), {what: keys for what, keys in info.items() if keys}


def make_there(kind, config, directory, seed=0, **options):
    """A model that transformers initializes and saves in `directory` -> module.

    options: those of its `save_pretrained`.
    """
    torch.manual_seed(seed)
    module = getattr(transformers, kind)(transformers.ElectraConfig(**dataclasses.asdict(config))).eval()
    module.save_pretrained(directory, **options)
    return module


def differences(kind, config, batch, directory):
    """One model made by transformers, through two directories -> figures, seconds to open here, problems.

    batch: ids, valid, segments. Figures are the largest absolute differences of a logit: {"opened here":
    between the original and the model opened here, "opened there": between that one and the model that
    transformers opens after it was saved here}. problems: those of transformers when it opened that
    directory.
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


def with_tokenizer(kind, directory, tokenizer):
    """Save the model in `directory` once more, now with a tokenizer -> contents of `directory`."""
    getattr(models, kind).from_pretrained(directory).save_pretrained(directory, tokenizer)
    return contents(directory)


def resaved(kind, source, target):
    """Open the directory `source` here, save it as `target` -> contents of `target`."""
    getattr(models, kind).from_pretrained(source).save_pretrained(
        target, WordPieceTokenizer.from_pretrained(source)
    )
    return contents(target)


def small_model_here(kind, directory, config=checks.CONFIG):
    """A model of ours with non-neutral weights, saved in `directory` with a tokenizer -> model, tokenizer."""
    model = getattr(models, kind)(config)
    checks.fill(model.parameters, 3)
    special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = ["the", "river", "##s", "flow", "##ing", "Über", "uber", ",", "."]
    others = [f"w{i}" for i in range(config.vocab_size - 1 - len(special) - len(pieces))]
    vocabulary = special + pieces + others
    vocabulary.insert(config.pad_token_id, "[PAD]")
    tokenizer = WordPieceTokenizer(vocabulary)
    model.save_pretrained(directory, tokenizer)
    return model, tokenizer
