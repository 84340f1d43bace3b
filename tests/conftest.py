"""What several tests need: a text like English, made here, and a way to call the command line."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from minielectra.cli.entry import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Tests keep the default corpus in a cache of their own."""
    os.environ["MINIELECTRA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def sentences(count, seed=0):
    """`count` sentences of a small grammar: enough structure to learn from in a few steps."""
    random = np.random.default_rng(seed)
    words = {
        "the": ["the", "a", "every", "this"],
        "adj": ["old", "small", "green", "quiet", "happy", "broken"],
        "noun": ["cat", "river", "house", "teacher", "engine", "garden", "letter", "window"],
        "verb": ["sees", "likes", "carries", "finds", "breaks", "follows"],
        "end": ["today", "again", "slowly", "in the morning"],
    }
    pattern = ("the", "adj", "noun", "verb", "the", "noun", "end")
    chosen = ([str(random.choice(words[part])) for part in pattern] for _ in range(count))
    return [" ".join(sentence).capitalize() + "." for sentence in chosen]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A text file of forty documents."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    lines = sentences(1200)
    documents = ["\n".join(lines[i : i + 30]) for i in range(0, len(lines), 30)]
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium. Tests that use it are marked `needs_browser`."""
    from browser import Browser  # not on Windows

    with Browser() as running:
        yield running


SIZES = {
    "vocab_size": 150,
    "embedding_size": 16,
    "hidden_size": 24,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "generator_width": 0.5,
    "batch_size": 8,
    "seq_length": 24,
}
TINY = [word for name, value in SIZES.items() for word in ("--set", f"{name}={value}")]  # trained in no time


def cli(*arguments, check=0, **options):
    """Run the command line in a process of its own -> CompletedProcess; asserts its exit status."""
    command = [sys.executable, "-m", "minielectra", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, **options)
    assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def train(out, corpus, *arguments, **options):
    """Train a tiny model into the folder `out` -> CompletedProcess."""
    return cli("train", "--out", out, "--corpus", corpus, *TINY, *arguments, **options)


def cli_here(*arguments):
    """Run the command line in this process and without pictures, which saves most of the time."""
    with mock.patch("minielectra.cli.pretraining_commands._draw"):
        assert main([*map(str, arguments)]) == 0


def train_here(out, corpus, *arguments):
    """Train a tiny model into the folder `out`, in this process and without pictures."""
    cli_here("train", "--out", out, "--corpus", corpus, *TINY, *arguments)


@pytest.fixture
def directory(tmp_path):
    """A tiny model in Hugging Face's layout, to be damaged."""
    from hostile import save

    return save(tmp_path)
