"""What several tests need: an English-like text made here, and a way to call the command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """The default corpus is cached in a place of the tests' own."""
    os.environ["MINIELECTRA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def sentences(count, seed=0):
    """`count` sentences of a small grammar: enough structure to learn from in a few steps."""
    random = np.random.default_rng(seed)
    words = {
        "the": ["the", "a", "every", "this"], "adj": ["old", "small", "green", "quiet", "happy", "broken"],
        "noun": ["cat", "river", "house", "teacher", "engine", "garden", "letter", "window"],
        "verb": ["sees", "likes", "carries", "finds", "breaks", "follows"], "end": ["today", "again", "slowly", "in the morning"],
    }  # fmt: skip
    pattern = ("the", "adj", "noun", "verb", "the", "noun", "end")
    return [" ".join(str(random.choice(words[part])) for part in pattern).capitalize() + "." for _ in range(count)]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A text file of forty documents."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    lines = sentences(1200)
    path.write_text("\n\n".join("\n".join(lines[i : i + 30]) for i in range(0, len(lines), 30)) + "\n", encoding="utf-8")
    return path


TINY = [
    "--set", "vocab_size=150", "--set", "hidden_size=24", "--set", "embedding_size=16", "--set", "num_attention_heads=2",
    "--set", "intermediate_size=40", "--batch-size", "8", "--seq-length", "24", "--set", "generator_width=0.5",
]  # fmt: skip


def cli(*arguments, check=0, **options):
    """Run the command line in a process of its own -> CompletedProcess; asserts on its exit status."""
    command = [sys.executable, "-m", "minielectra", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, **options)
    assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def train(out, corpus, *arguments, **options):
    return cli("train", "--out", out, "--corpus", corpus, *TINY, *arguments, **options)


@pytest.fixture
def directory(tmp_path):
    """A tiny model in Hugging Face's layout, to be damaged."""
    from hostile import save

    return save(tmp_path)
