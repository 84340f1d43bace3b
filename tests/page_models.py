"""Models with random weights for tests of pages, and texts that a page must bear."""

import random

import numpy as np
from conftest import sentences
from hostile import CONFIG

from minielectra.devices.opened_source import OpenedSource
from minielectra.finetuning.directory import Finetuned
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.readers.tables import TableFormat
from minielectra.finetuning.tasks.answering import Answering
from minielectra.finetuning.tasks.classification import Classification
from minielectra.finetuning.tasks.tagging import Tagging
from minielectra.formats.int8_weights import quantized, restored

HOSTILE = [
    "",
    " ",
    "\n\n",
    "</script><b>bold</b><!-- <img src=x onerror=alert(1)>",
    "\"'`&amp;&#60;",
    "\u202eright to left\u202c and zero\u200bwidth\u200d\ufeff",
    "שלום world, مرحبا",
    "ÉÈê ﬁn naïve İstanbul ẞ Ǆ ΐ ﷺ",
    "한국어 조선말 각",
    "中文字漢字テスト",
    "豈更車 \U0002f800",
    "👩‍👩‍👧 family 🇩🇪 \U0001f600",
    "a\u0301e\u0308 combining \u0301",
    "[MASK] is [CLS] not [sep] [SEP][PAD]",
    "x" * 101 + " " + "y" * 100,
    "word " * 90,
    "\x00\x01\x7f\x85\xad\ufffd\ue000",
    "don't stop-here (now) 3.14 $5 ^_^ ~",
    "ª²½ Å ſ ˀ ᾳ ᵃ",
]


def texts(count, seed=0):
    """Sentences, hostile texts, and random mixtures of both with any characters at all."""
    chance = random.Random(seed)
    found = [*HOSTILE, *sentences(count // 2, seed)]
    while len(found) < count:
        parts = [
            chance.choice(HOSTILE)[:20],
            chance.choice(["the captain", "ate", "unbelievable", "harbour"]),
            "".join(
                map(chr, (chance.choice([chance.randrange(0xD800), chance.randrange(0xE000, 0x33480)]),))
            ),
            "".join(chr(chance.randrange(32, 0x250)) for _ in range(chance.randrange(8))),
        ]
        chance.shuffle(parts)
        found.append(chance.choice(["", " "]).join(parts))
    return found


# Models with random weights on mini's vocabulary; short, so that long texts need several windows.


def made(kind, config, tokenizer, **fields):
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 40, "num_hidden_layers": 2}
    model = kind(config(**vars(CONFIG) | sizes | fields))
    model.parameters.flat[...] = np.random.default_rng(0).normal(0, 0.5, model.parameters.size)
    for name in model.parameters:  # what the page will compute with
        handle = model.parameters[name]
        if len(handle.shape) == 2:
            handle.value[...] = restored(*quantized(handle.value))
    return model


def finetuned(task, tokenizer, max_length=30, **fields):
    """An OpenedSource of a fine-tuned model, without a directory."""
    opened = object.__new__(Finetuned)
    opened.task, opened.tokenizer, opened.max_length = task, tokenizer, max_length
    opened.model = made(task.model_class, HeadConfig, tokenizer, labels=tuple(task.labels), **fields)
    return OpenedSource({"": opened.model}, tokenizer, opened)


TAGS = ("B-PER", "I-PER", "B-LOC", "I-LOC", "O")
TASKS = {
    "classification": lambda: Classification("classification", TableFormat("lines"), ("a", "b", "c")),
    "pair": lambda: Classification("rte", TableFormat("columns", pair=1), ("no", "yes")),
    "regression": lambda: Classification("regression", TableFormat("lines"), ("score",), scale=5.0),
    "tagging": lambda: Tagging("tagging", TAGS),
    "answering": lambda: Answering("squad"),
    "answering, perhaps": lambda: Answering("squad", impossible=True, threshold=0.3),
}
