"""Cases of tokenizers, vocabularies and corpora."""

import os
from pathlib import Path

import numpy as np

from .bench import (
    BASE,
    case,
    checkpoint,
    expect,
    read,
)


@case(
    "tokenizer-options-ignored",
    "tests/reference/test_tokenizers.py::test_vocab_txt_with_tokenizer_config",
    "tests/reference/test_tokenizers.py::test_tokenizer_json",
    "tests/test_tokenizer_files.py::test_refused",
)
def tokenizer_options_ignored(bench):
    """A directory's settings are honoured as transformers does, or refused with the name of the file."""
    from minielectra.data.wordpiece import WordPieceTokenizer
    from minielectra.errors import InputError

    wanted = {  # text, and the pieces that transformers makes of it
        "strip_accents_false": ("Ich möchte über", ["i", "##ch", "möchte", "über"]),
        "no_cjk": ("日本語", ["日本語"]),
        "strip_true_cased": ("Über", ["[UNK]"]),
        "both": ("Über Ä", ["Über", "Ä"]),
        "do_lower_case_string": ("Über Ä", ["Über", "Ä"]),
        "japanese": ("日本語", None),  # must be refused
    }
    library = bench.transformers()
    for name, (text, pieces) in wanted.items():
        try:
            ours = WordPieceTokenizer.from_pretrained(bench.folder / name)
        except InputError as error:
            expect(f"{name}{os.sep}" in str(error), f"{name}: refused without the name of the file: {error}")
            continue
        expect(pieces is not None, f"{name}: a class of tokenizers that is not ours is accepted")
        expect(ours.tokenize(text) == pieces, f"{name}: {text!r} is {ours.tokenize(text)}, not {pieces}")
        if library and name != "do_lower_case_string":  # there transformers 5 fails with a TypeError
            theirs = library.AutoTokenizer.from_pretrained(bench.folder / name)
            found, ids = list(ours.encode(text)), theirs.encode(text, add_special_tokens=False)
            expect(found == ids, f"{name}: {text!r} has the ids {found}, in transformers {ids}")


@case(
    "added-tokens-ignored",
    "tests/test_tokenizer_files.py::test_added_tokens_in_text",
    "tests/reference/test_tokenizers.py::test_older_files_of_added_tokens",
    "tests/reference/test_tokenizers.py::test_saved_by_transformers",
)
def added_tokens_ignored(bench):
    """Tokens added later are single ids, in text too."""
    from minielectra import load_discriminator

    text, library = "The [E1] dog covidness <ent> took", bench.transformers()
    for name in ("v4", "v5"):
        model, tokenizer = load_discriminator(bench.folder / name)
        pieces = tokenizer.tokenize(text)
        expect(pieces == ["the", "[e1]", "dog", "covidness", "<ent>", "took"], f"{name}: {pieces}")
        ids = [int(i) for i in tokenizer.encode(text)]
        added = [i for i in ids if i >= 145]
        expect(added == [145, 146, 147], f"{name}: ids {ids}")
        expect(model.config.vocab_size == 148, f"{name}: the model has {model.config.vocab_size} rows")
        if library:
            theirs = library.AutoTokenizer.from_pretrained(bench.folder / name)
            wanted = theirs.encode(text, add_special_tokens=False)
            expect(ids == wanted, f"{name}: ids {ids}, in transformers {wanted}")
        out = bench.run("detect", name, text).out
        expect("covidness" in out, f"{name}: detect shows {out!r:.200}")


@case(
    "cased-vocab-lowercased",
    "tests/test_cased_text.py::test_learned_saved_resumed_and_exported",
    "tests/test_cased_text.py::test_a_vocabulary_that_says_nothing_follows_the_options",
    "tests/test_cased_text.py::test_what_is_beside_a_vocabulary_holds",
    "tests/test_cased_text.py::test_options_that_contradict_a_vocabulary_are_refused",
)
def cased_vocab_lowercased(bench):
    """The settings beside a vocabulary hold, folders are taken everywhere, and --cased learns a cased one."""

    def cased(path):
        return '"lowercase": true' not in Path(path).read_text(encoding="utf-8")

    corpus = f"{BASE}/corpus.txt"
    for number, vocabulary in enumerate(("casedvoc/vocab.txt", "casedvoc")):
        run, data = bench.out / f"run{number}", bench.out / f"data{number}"
        bench.run("train", "--corpus", corpus, "--vocab", vocabulary, "--steps", 3, "--out", run)
        expect(cased(run / "run.json"), f"train --vocab {vocabulary}: run.json says lowercase: true")
        expect(cased(run / "data/dataset.json"), f"train --vocab {vocabulary}: the data is lower-cased")
        expect(
            read(run / "tokenizer_config.json")["do_lower_case"] is False,
            f"train --vocab {vocabulary}: the run's tokenizer_config.json says lower case",
        )
        bench.run("prepare", "--corpus", corpus, "--vocab", vocabulary, "--out", data)
        expect(cased(data / "dataset.json"), f"prepare --vocab {vocabulary}: the data is lower-cased")
        out = bench.run("tokenize", "--vocab", vocabulary, "The dog").out.split()
        expect(out[0].startswith("T"), f"tokenize --vocab {vocabulary}: {out}")
    words = ["--cased", "--steps", 3, "--set", "vocab_size=300", "--out", bench.out / "learned"]
    bench.run("train", "--corpus", corpus, *words)
    pieces = (bench.out / "learned/vocab.txt").read_text(encoding="utf-8").split()
    expect(any(piece[0].isupper() for piece in pieces), "train --cased: the vocabulary has no capital letter")
    bench.run("prepare", "--corpus", corpus, "--cased", "--vocab-size", 300, "--out", bench.out / "prepared")
    expect(cased(bench.out / "prepared/dataset.json"), "prepare --cased: the data is lower-cased")
    out = bench.run("tokenize", "--cased", "--vocab", bench.out / "learned/vocab.txt", "The dog").out
    expect(out.startswith("T"), f"tokenize --cased: {out}")


@case(
    "one-line-corpus",
    "tests/test_long_lines.py::test_such_a_corpus_is_prepared_like_any_other",
    "tests/test_long_lines.py::test_long_lines_become_documents_of_a_bounded_size",
)
def one_line_corpus(bench):
    """Text without line breaks, and without sentence ends, is trained on."""
    for name in ("text8", "zh_oneline", "ru_oneline", "en_lower_oneline"):
        run = bench.out / name
        bench.run("train", "--corpus", f"{name}.txt", "--steps", 3, "--set", "vocab_size=300", "--out", run)
        checkpoint(run, 3)
        parts = read(run / "data/dataset.json")["parts"]
        expect(parts["heldout"]["tokens"] > 100, f"{name}: {parts['heldout']['tokens']} held-out tokens")
        characters = len((bench.folder / f"{name}.txt").read_text(encoding="utf-8"))
        tokens = sum(part["tokens"] for part in parts.values())
        expect(tokens > characters / 8, f"{name}: only {tokens} tokens of {characters} characters")


@case(
    "sentences-not-english",
    "tests/test_long_lines.py::test_other_scripts",
    "tests/test_long_lines.py::test_such_a_corpus_is_prepared_like_any_other",
)
def sentences_not_english(bench):
    """One example in ten has a single segment, in Chinese and Russian as in English."""
    from minielectra.data.dataset import Dataset

    for name, corpus in (("zh", "zh_lines.txt"), ("ru", "ru_lines.txt"), ("en", f"{BASE}/corpus.txt")):
        out = bench.out / name
        bench.run("prepare", "--corpus", corpus, "--vocab-size", 300, "--out", out)
        examples = Dataset.open(out).train.examples(128)
        spans = examples[np.arange(len(examples))]
        share = float((spans[:, 1] == spans[:, 2]).mean())
        expect(0.04 <= share <= 0.16, f"{corpus}: {share:.0%} of {len(spans)} examples have a single segment")
