"""The cases of a folder: small inputs on which the program once went wrong, each of them run and checked.

    python -m tests.cases [FOLDER]

FOLDER (default: $MINIELECTRA_CASES, or ../shared/cases beside the checkout) holds one folder per case, with
its inputs and a README: the command, what once happened, and what should happen. `_base` is a small model
that several cases use. Each case runs on a copy of all this in a temporary folder.

Prints one line per case: `ok`, `FAILED: why` or `skipped: why`. The exit status is 1 if a case failed. Where
a case should behave like transformers, it is compared with transformers, or the line says that transformers
is not installed. The whole takes two to three minutes.

`@case` names the folder of a case, and the tests of the suite that try the same with inputs of their own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
BASE = "../_base"  # as seen from a case's folder


class Wrong(AssertionError):
    """A case does not behave as it should."""


class Skipped(Exception):
    """A case cannot be tried here."""


def expect(condition, message):
    """Raise Wrong if something does not hold."""
    if not condition:
        raise Wrong(message)


@dataclass(frozen=True)
class Case:
    """How a case is checked: a function of its Bench; and the suite's tests of the same, `file::test`."""

    check: object
    own_tests: tuple


CASES = {}  # {name of the folder: Case}


def case(name, *own_tests):
    """Register a function as the check of a case."""

    def register(check):
        CASES[name] = Case(check, own_tests)
        return check

    return register


class Bench:
    """A copy of a folder of cases, in which one case is run.

    `folder` holds the case's inputs and is the working folder of its commands; `out` is an empty folder
    beside it; `notes` says what could not be compared.
    """

    def __init__(self, cases, name, place):
        """cases: the folder of cases, which may be read-only; place: an empty folder."""
        place = Path(place)
        for path in sorted(Path(cases).rglob("*")):
            copy = place / path.relative_to(cases)
            if path.is_dir():
                copy.mkdir()
            else:
                shutil.copyfile(path, copy)  # without its mode
        self.folder, self.out = place / name, place / "OUT"
        self.notes, self._started = [], []
        self.out.mkdir()

    def start(self, *words, code=None, environment=None, **options):
        """Start `minielectra WORDS`, or Python code with these arguments -> Popen."""
        program = ["-m", "minielectra"] if code is None else ["-c", code]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        kept |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]), "PYTHONIOENCODING": "utf-8"}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        command = [sys.executable, *program, *map(str, words)]
        process = subprocess.Popen(command, cwd=self.folder, env=kept | (environment or {}), **streams)
        self._started.append(process)
        return process

    def finish(self, process, status=0, text=b""):
        """Wait for a process -> its `status` and text (`out`, `err`).

        status: what it must end with, or a tuple of such. Whatever happens, no traceback may be shown, and
        an error is one line.
        """
        out, err = (part.decode("utf-8", "replace") for part in process.communicate(text, timeout=300))
        words = " ".join(process.args[2 if "-m" in process.args[:2] else 3 :])
        last = (err.strip() or out.strip()).splitlines()[-1:] or [""]
        allowed = status if isinstance(status, tuple) else (status,)
        expect("Traceback" not in err, f"`{words:.150}`: a traceback that ends with {last[0]:.200}")
        expect(
            process.returncode in allowed,
            f"`{words:.150}`: exit status {process.returncode}, expected {status}: {last[0]:.300}",
        )
        if process.returncode == 2:
            expect(err.count("\n") == 1, f"`{words:.150}`: an error of several lines: {err:.300}")
        return SimpleNamespace(status=process.returncode, out=out, err=err)

    def run(self, *words, status=0, text=b"", **options):
        """Run `minielectra WORDS` to its end (see `start` and `finish`)."""
        return self.finish(self.start(*words, **options), status, text)

    def finetune(self, task, file, out, *words, model=f"{BASE}/discriminator"):
        """Fine-tune for an epoch -> what `run` returns, and `counts` (training and development examples)."""
        directory = self.out / out
        done = self.run(
            "finetune", task, "--model", model, "--train", file, "--epochs", 1, "--out", directory, *words
        )
        expect((directory / "task.json").is_file(), f"{out}: no model was written")
        found = re.search(r"\((\d+) training examples, (\d+) development examples", done.out)
        expect(found, f"{out}: no table of scores")
        done.counts = tuple(map(int, found.groups()))
        return done

    def predict(self, directory, file, *words, **options):
        """Predict -> a list of dicts, one for each line of output."""
        done = self.run("predict", self.out / directory, file, "--json", *words, **options)
        return [json.loads(line) for line in done.out.splitlines()]

    def close(self):
        """End what was started and goes on, after a failure."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def transformers(self):
        """The module, quiet and offline, or None if it or PyTorch is not installed."""
        if not (find_spec("transformers") and find_spec("torch")):
            self.notes.append("transformers or torch is not installed: not compared with it")
            return None
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        return transformers


def read(path):
    """A JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def rows(path):
    """The rows of a table with tabs, split, without its header -> header, rows."""
    header, *others = (line.split("\t") for line in Path(path).read_text(encoding="utf-8").split("\n"))
    return header, [row for row in others if row != [""]]


def arrays(directory):
    """The arrays of a model directory -> {name: array}."""
    from safetensors.numpy import load_file

    return load_file(Path(directory) / "model.safetensors")


def same_weights(one, other):
    """Whether two directories hold the same weights to the bit."""
    return (Path(one) / "model.safetensors").read_bytes() == (Path(other) / "model.safetensors").read_bytes()


def checkpoint(run, step):
    """The folder of a run's checkpoint."""
    path = Path(run) / "checkpoints" / f"step-{step:08d}"
    expect((path / "state.json").is_file(), f"{Path(run).name}: no checkpoint of step {step}")
    return path


# --- files of tasks ---------------------------------------------------------------------------------------


@case(
    "qqp-as-released",
    "tests/test_released_files.py::test_rows_that_a_line_feed_has_cut_are_left_out_with_a_count",
    "tests/test_released_files.py::test_rows_of_other_lengths",
    "tests/test_released_files.py::test_an_empty_text_is_a_text",
    "tests/test_prediction_files.py::test_glue_s_submission",
)
def qqp_as_released(bench):
    """Broken rows are left out with a count and the first line number; an empty text is a text."""
    header, broken = rows(bench.folder / "qqp_broken.tsv")
    whole = [len(row) == len(header) for row in broken]
    done = bench.finetune("qqp", "qqp_broken.tsv", "broken")
    expect(sum(done.counts) == sum(whole), f"{done.counts} examples of {sum(whole)} whole rows")
    told = [line for line in done.err.splitlines() if "left out" in line]
    expect(len(told) == 1, f"the rows left out are told in {len(told)} lines")
    expect(f"{whole.count(False)} row(s) left out" in told[0], f"not the number of broken rows: {told[0]}")
    expect(f"line {whole.index(False) + 2})" in told[0], f"not the line of the first broken row: {told[0]}")

    done = bench.finetune("qqp", "qqp_empty.tsv", "empty")
    count = len(rows(bench.folder / "qqp_empty.tsv")[1])
    expect(sum(done.counts) == count, f"qqp_empty: {done.counts} examples of {count} rows")
    expect("left out" not in done.err, "qqp_empty: rows are left out")

    indices = [row[0] for row in rows(bench.folder / "qqp_test_empty.tsv")[1]]
    official = bench.out / "QQP.tsv"
    for directory in ("broken", "empty"):
        found = bench.predict(directory, "qqp_test_empty.tsv", "--official", official)
        expect(len(found) == len(indices), f"{len(found)} predictions for {len(indices)} rows")
        written = rows(official)[1]
        expect([row[0] for row in written] == indices, "the official file has other indices")


@case(
    "squad-strict",
    "tests/test_squad_metrics.py::test_where_an_answer_is",
    "tests/test_squad_metrics.py::test_one_of_several_answers_is_misplaced",
    "tests/test_squad_metrics.py::test_what_a_question_may_lack",
    "tests/test_squad_metrics.py::test_prediction_does_not_look_at_answers",
    "tests/test_squad_metrics.py::test_flat_files_of_hugging_face",
)
def squad_strict(bench):
    """One odd question does not refuse the file; predict looks at no answers."""
    told = {  # what is said about a file on standard error, with the first question
        "badoffset0": "1 question(s) left out: the answer is not where answer_start says",
        "empty_answers_no_flag": "1 question(s) without an answer count as impossible",
    }
    for name in (
        "badoffset0",
        "badoffset",
        "intid",
        "empty_answers_no_flag",
        "empty_paragraph",
        "v2_int",
        "floatstart",
        "hf_flat",
        "dev_second_bad",
    ):
        done = bench.finetune("squad", f"{name}.json", name, "--dev", f"{name}.json")
        # BERT's reader, too, takes an answer that is one character off: badoffset
        expected = (17 if name == "badoffset0" else 18, 18)
        expect(done.counts == expected, f"{name}: {done.counts} examples, expected {expected}")
        if name in told:
            expect(f"{told[name]} (first: question 'q3')" in done.err, f"{name}: not told: {told[name]}")
        else:
            expect("question(s)" not in done.err, f"{name}: {done.err:.200}")
    for name in ("test_placeholder", "test_placeholder2", "test_null", "badoffset", "intid", "hf_flat"):
        found = bench.predict("intid", f"{name}.json")
        ids = [f"{'' if name == 'intid' else 'q'}{number}" for number in range(18)]
        expect([str(answer["id"]) for answer in found] == ids, f"{name}: not one answer for each question")
    contexts = [example["context"] for example in read(bench.folder / "hf_flat.json")["data"]]
    for answer, context in zip(found, contexts, strict=True):
        expect(answer["answer"] in context, f"{answer['id']}: an answer that is not in its context")


@case(
    "tagging-equal-lengths",
    "tests/test_prediction_files.py::test_lines_of_equal_length_are_sentences",
    "tests/test_prediction_files.py::test_columns_are_recognised_by_the_training_file_s",
)
def tagging_equal_lengths(bench):
    """Sentences of equal length are sentences, not columns."""
    bench.finetune("tagging", "conll03.txt", "tagger")
    for name in ("three", "two"):
        lines = (bench.folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        found = bench.predict("tagger", f"{name}.txt")
        words = [line.split() for line in lines]
        expect([sentence["words"] for sentence in found] == words, f"{name}.txt: not its sentences")
        expect(
            all(len(sentence["labels"]) == len(sentence["words"]) for sentence in found),
            f"{name}.txt: not one tag for each word",
        )
    found = bench.predict("tagger", "only_doc.txt")
    expect([sentence["words"] for sentence in found] == [["EU"]], "only_doc.txt: not read as columns")
    blocks = (bench.folder / "conll03.txt").read_text(encoding="utf-8").strip().split("\n\n")
    blocks = [block for block in blocks if not block.startswith("-DOCSTART-")]
    words = [[line.split()[0] for line in block.split("\n")] for block in blocks]
    found = bench.predict("tagger", "conll03.txt")
    expect([sentence["words"] for sentence in found] == words, "conll03.txt: not read as columns")


@case("csv-long-field", "tests/test_released_files.py::test_a_field_of_any_length")
def csv_long_field(bench):
    """A field of CSV may be as long as a field of a table with tabs, and trains the same."""
    count = len(rows(bench.folder / "long.tsv")[1])
    for suffix in ("csv", "tsv"):
        done = bench.finetune("classification", f"long.{suffix}", suffix)
        expect(sum(done.counts) == count, f"long.{suffix}: {done.counts} examples of {count} rows")
        expect("left out" not in done.err, f"long.{suffix}: rows are left out")
    expect(same_weights(bench.out / "csv", bench.out / "tsv"), "the same table trains another model")


@case(
    "pipes-read-twice",
    "tests/test_released_files.py::test_pipes_are_read_once",
    "tests/test_corpus.py::test_a_pipe_is_read_once",
    "tests/test_corpus.py::test_standard_input_is_read_once",
)
def pipes_read_twice(bench):
    """What comes through a pipe is read once, with the same results as from a file."""
    if not os.path.exists("/dev/fd"):
        raise Skipped("this system has no /dev/fd")

    def through_a_pipe(path, *words):
        """Run a command in which PIPE stands for a pipe that delivers a file."""
        reader, writer = os.pipe()

        def deliver():
            with suppress(BrokenPipeError), open(writer, "wb") as pipe:  # the command failed, and says so
                pipe.write((bench.folder / path).read_bytes())

        thread = threading.Thread(target=deliver)
        words = [f"/dev/fd/{reader}" if word == "PIPE" else word for word in words]
        process = bench.start(*words, pass_fds=[reader])
        os.close(reader)
        thread.start()
        done = bench.finish(process)
        thread.join()
        return done

    lines = bench.run("predict", "o_cola", "/dev/stdin", text=b"the dog\n").out
    expect(lines == bench.run("predict", "o_cola", "-", text=b"the dog\n").out, "/dev/stdin is not -")
    expect(lines.endswith("\tthe dog\n") and lines.count("\n") == 1, f"/dev/stdin: {lines!r:.200}")

    words = ["--model", f"{BASE}/discriminator", "--epochs", 1, "--out", bench.out / "pipe"]
    through_a_pipe("cola.tsv", "finetune", "cola", "--train", "PIPE", *words)
    bench.finetune("cola", "cola.tsv", "file")
    expect(same_weights(bench.out / "pipe", bench.out / "file"), "a pipe trains another model than its file")
    scores = through_a_pipe("cola.tsv", "evaluate", bench.out / "pipe", "PIPE", "--json").out
    expect(
        json.loads(scores) == json.loads(bench.run("evaluate", bench.out / "file", "cola.tsv", "--json").out),
        "a pipe is scored differently from its file",
    )

    words = ["--steps", 3, "--out"]
    through_a_pipe(f"{BASE}/corpus.txt", "train", "--corpus", "PIPE", *words, bench.out / "run-pipe")
    bench.run("train", "--corpus", f"{BASE}/corpus.txt", *words, bench.out / "run-file")
    expect(
        same_weights(checkpoint(bench.out / "run-pipe", 3), checkpoint(bench.out / "run-file", 3)),
        "a corpus from a pipe trains another model than its file",
    )


# --- tokenizers -------------------------------------------------------------------------------------------


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


# --- text -------------------------------------------------------------------------------------------------


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


# --- models and what others read in them ------------------------------------------------------------------


@case(
    "model-max-length",
    "tests/test_exports.py::test_every_directory_says_where_padding_is_and_how_long_sequences_are",
    "tests/reference/test_exports.py::test_what_is_written_is_read_alike",
)
def model_max_length(bench):
    """What export and finetune write says how long a sequence may be."""
    table = bench.folder / "mnli.tsv"
    labels = ("contradiction", "entailment", "neutral")
    lines = [f"The dog saw the cat {i}.\tThe king took it.\t{labels[i % 3]}\n" for i in range(12)]
    table.write_text("sentence1\tsentence2\tgold_label\n" + "".join(lines), encoding="utf-8")
    bench.finetune("mnli", table, "mnli", model="o_mnli")
    bench.run("export", f"{BASE}/run", bench.out / "pair")
    directories = [bench.out / "mnli", bench.out / "pair/discriminator", bench.out / "pair/generator"]
    library = bench.transformers()
    for directory in directories:
        longest = read(directory / "config.json")["max_position_embeddings"]
        found = read(directory / "tokenizer_config.json").get("model_max_length")
        expect(found == longest, f"{directory.name}: model_max_length {found}, {longest} positions")
        if library:
            ids = library.AutoTokenizer.from_pretrained(directory)("dog " * 2 * longest, truncation=True)
            expect(len(ids["input_ids"]) == longest, f"{directory.name}: transformers does not truncate")
    if library:
        pipeline = library.pipeline("text-classification", model=str(directories[0]), truncation=True)
        expect(pipeline("The dog saw the cat. " * 60)[0]["label"] in labels, "a pipeline gives no label")


@case(
    "pad-token-id",
    "tests/test_exports.py::test_the_padding_row_is_that_of_the_vocabulary",
    "tests/test_exports.py::test_a_run_of_an_older_version_is_exported_with_the_right_one",
    "tests/reference/test_exports.py::test_what_is_written_is_read_alike",
)
def pad_token_id(bench):
    """pad_token_id is where the vocabulary has [PAD]."""
    place = (bench.folder / "vocab_end.txt").read_text(encoding="utf-8").split("\n").index("[PAD]")
    run, out = bench.out / "run", bench.out / "pair"
    words = ["--corpus", f"{BASE}/corpus.txt", "--vocab", "vocab_end.txt", "--steps", 3, "--out", run]
    bench.run("train", *words)
    bench.run("export", run, out)
    library = bench.transformers()
    for tower, name in (("discriminator", "ElectraForPreTraining"), ("generator", "ElectraForMaskedLM")):
        found = read(out / tower / "config.json")["pad_token_id"]
        expect(found == place, f"{tower}: pad_token_id {found}, [PAD] is at {place}")
        if library:
            model = getattr(library, name).from_pretrained(out / tower)
            found = model.get_input_embeddings().padding_idx
            expect(found == place, f"{tower}: padding_idx {found} in transformers")
            found = library.AutoTokenizer.from_pretrained(out / tower).pad_token_id
            expect(found == place, f"{tower}: the tokenizer of transformers pads with {found}")


@case(
    "electramodel-directory",
    "tests/test_exports.py::test_an_encoder_alone_is_fine_tuned",
    "tests/test_exports.py::test_an_encoder_alone_that_does_not_fit",
    "tests/reference/test_exports.py::test_an_encoder_alone",
)
def electramodel_directory(bench):
    """A directory of ElectraModel, whose arrays have no prefix, is fine-tuned from its own weights."""
    bench.finetune("cola", "cola.tsv", "cola", "--learning-rate", "1e-6", model="emodel")
    given, trained = arrays(bench.folder / "emodel"), arrays(bench.out / "cola")
    given = {f"electra.{name}": array for name, array in given.items() if not name.endswith("position_ids")}
    expect(given.keys() <= trained.keys(), f"arrays that are lost: {sorted(given.keys() - trained.keys())}")
    for name, array in given.items():
        far = float(np.abs(array - trained[name]).max())
        expect(far < 1e-3, f"{name} does not begin with the given weights, but {far:.3f} away")


@case(
    "regression-export-scale",
    "tests/test_exports.py::test_the_scale_is_in_the_weights",
    "tests/test_exports.py::test_predictions_are_what_was_trained_times_the_scale",
    "tests/reference/test_exports.py::test_a_regression_predicts_the_same_numbers",
)
def regression_export_scale(bench):
    """transformers' logits are our predictions."""
    bench.finetune("sts-b", "sts.tsv", "sts")
    header, examples = rows(bench.folder / "sts_test.tsv")
    found = bench.predict("sts", "sts_test.tsv")
    expect(len(found) == len(examples), f"{len(found)} predictions for {len(examples)} pairs")
    ours = np.array([prediction["label"] for prediction in found], np.float64)
    library = bench.transformers()
    if not library:
        expect(read(bench.out / "sts/task.json")["scale"] == 1, "the scale is not in the weights")
        return
    import torch

    tokenizer = library.AutoTokenizer.from_pretrained(bench.out / "sts")
    model = library.AutoModelForSequenceClassification.from_pretrained(bench.out / "sts").eval()
    expect(model.config.problem_type == "regression", f"problem_type is {model.config.problem_type}")
    texts = [[row[header.index(name)] for row in examples] for name in ("sentence1", "sentence2")]
    with torch.no_grad():
        logits = model(**tokenizer(*texts, return_tensors="pt", padding=True)).logits[:, 0].numpy()
    far = np.abs(ours - logits).max()
    expect(far < 1e-4, f"transformers is up to {far:.4f} away: {logits[0]:.4f} for {ours[0]:.4f}")


@case(
    "init-padded-vocabulary",
    "tests/test_padded_vocabulary.py::test_pre_training_goes_on",
    "tests/test_padded_vocabulary.py::test_more_rows_change_nothing",
)
def init_padded_vocabulary(bench):
    """Pre-training goes on; rows beyond the vocabulary are never sampled."""
    run = bench.out / "run"
    words = ["--corpus", f"{BASE}/corpus.txt", "--steps", 3, "--seq-length", 32, "--out", run]
    bench.run("train", "--init", "i_pad", *words)
    checkpoint(run, 3)
    pieces = len((run / "vocab.txt").read_text(encoding="utf-8").splitlines())
    expect(pieces == 145, f"the run has {pieces} pieces")
    with np.load(run / "detection.npz") as file:
        expect(file["samples"].max() < pieces, f"row {file['samples'].max()} was sampled")
    bench.run("detect", run, "The dog saw the cat.")
    bench.run("export", run, bench.out / "pair")
    rows_kept = read(bench.out / "pair/discriminator/config.json")["vocab_size"]
    expect(rows_kept == 152, f"exported with {rows_kept} rows")
    bench.run("train", "--init", bench.out / "pair", *words[:-1], bench.out / "again")


@case(
    "type-vocab-size-1",
    "tests/test_exports.py::test_one_kind_of_segment",
    "tests/test_exports.py::test_segments_that_the_model_does_not_have",
    "tests/reference/test_exports.py::test_one_kind_of_segment_in_pairs",
)
def type_vocab_size_1(bench):
    """Both texts of a pair are segment 0, or the model is refused before anything is written."""
    out = bench.out / "rte"
    words = ["--train", "pairs20.tsv", "--dev", "pairs20.tsv", "--epochs", 1, "--out", out]
    done = bench.run("finetune", "rte", "--model", "tv1", *words, status=(0, 2))
    expect(done.status == 0 or not out.exists(), "finetune: a folder is left behind")
    library = bench.transformers() if done.status == 0 else None
    if done.status == 0:
        found = bench.predict("rte", "pairs20.tsv")
        expect(len(found) == len(rows(bench.folder / "pairs20.tsv")[1]), "not a prediction for each pair")
    if library:
        import torch

        header, examples = rows(bench.folder / "pairs20.tsv")
        tokenizer = library.AutoTokenizer.from_pretrained(out)
        model = library.AutoModelForSequenceClassification.from_pretrained(out).eval()
        texts = [[row[header.index(name)] for row in examples] for name in ("sentence1", "sentence2")]
        with torch.no_grad():
            chances = model(**tokenizer(*texts, return_tensors="pt", padding=True)).logits.softmax(-1)
        ours = [max(prediction["scores"].values()) for prediction in found]
        far = np.abs(chances.max(-1).values.numpy() - ours).max()
        expect(far < 1e-4, f"transformers' probabilities are up to {far:.4f} away")
    out = bench.out / "run"
    words = ["--steps", 5, "--set", "type_vocab_size=1", "--out", out]
    done = bench.run("train", "--corpus", f"{BASE}/corpus.txt", *words, status=(0, 2))
    expect(done.status == 0 or not out.exists(), "train: a folder is left behind")
    if done.status == 0:
        checkpoint(out, 5)
        bench.run("detect", out, "The dog saw the cat.")


# --- machines and processes -------------------------------------------------------------------------------

AS_WINDOWS = """
import like_windows, sys
from minielectra.cli import main
sys.exit(main(sys.argv[1:]))
"""


@case(
    "windows-fsync",
    "tests/test_like_windows.py::test_from_text_to_predictions",
    "tests/test_files.py::test_the_file_is_flushed_before_it_is_renamed",
)
def windows_fsync(bench):
    """Checkpoints are written where only files open for writing can be flushed, and no folder opened."""
    if sys.platform.startswith("linux"):
        code = AS_WINDOWS
    elif os.name == "nt":
        code = None  # the real one
    else:
        raise Skipped("plays Windows with Linux's /proc")
    run = bench.out / "run"
    words = ["--corpus", f"{BASE}/corpus.txt", "--steps", 3, "--set", "vocab_size=200", "--out", run]
    bench.run("train", *words, code=code)
    checkpoint(run, 3)
    bench.run("export", run, bench.out / "pair", code=code)
    bench.run("detect", bench.out / "pair", "The dog saw the cat.")


@case(
    "non-utf8-terminal",
    "tests/test_streams.py::test_what_an_encoding_lacks_is_replaced",
    "tests/test_streams.py::test_fine_tuning_ends_well_in_a_narrow_encoding",
    "tests/test_streams.py::test_input_that_is_not_utf_8_is_read_line_by_line",
)
def non_utf8_terminal(bench):
    """Output that an encoding lacks is replaced, and input that is not UTF-8 is read as Latin-1."""
    narrow = {"environment": {"PYTHONIOENCODING": "cp1252"}}
    out = bench.run("tokenize", "--vocab", "vocab.txt", "日本 dog", **narrow).out
    expect(out == "? ? d ##o ##g\n", f"tokenize: {out!r}")
    bench.run("lessons", **narrow)
    expect("usage" in bench.run("plot", "--help", **narrow).out, "plot --help: no help")
    table = bench.folder / "sst.tsv"
    lines = [f"the {word} cat 日本\t{i % 2}\n" for i, word in enumerate(("old", "small") * 10)]
    table.write_text("sentence\tlabel\n" + "".join(lines), encoding="utf-8")
    model = bench.out / "sst"
    words = ["--train", table, "--epochs", 1, "--seeds", 2, "--out", model]
    done = bench.run("finetune", "sst-2", "--model", f"{BASE}/discriminator", *words, **narrow)
    expect(done.out.rstrip().endswith(str(model)), "finetune: the last line is not the folder")
    done = bench.run("predict", model, table, **narrow)
    expect(done.out.count("\n") == 20, f"predict: {done.out.count(chr(10))} lines for 20 texts")

    strict = {"environment": {"PYTHONIOENCODING": "utf-8:strict"}}
    found = bench.run("detect", f"{BASE}/run", text=b"caf\xe9\n", **strict).out
    wanted = bench.run("detect", f"{BASE}/run", text="café\n".encode(), **strict).out
    expect(found == wanted and found.strip(), f"detect: Latin-1 gives {found!r:.100}, UTF-8 {wanted!r:.100}")


@case(
    "same-folder-twice",
    "tests/test_locks.py::test_commands_refuse_a_folder_in_use",
    "tests/test_locks.py::test_two_resumes_of_one_run_write_each_evaluation_once",
    "tests/test_resuming.py::test_out_is_refused_with_resume",
)
def same_folder_twice(bench):
    """One process works in a folder; the other is told so in one line."""

    def killed_early(name):
        run = bench.out / name
        shutil.copytree(bench.folder / BASE / "run", run)
        for step in (20, 30):
            shutil.rmtree(run / f"checkpoints/step-{step:08d}")
        return run

    run, alone = killed_early("run"), killed_early("alone")
    done = bench.run("train", "--resume", run, "--out", bench.out / "x", status=2)
    expect("--out" in done.err, f"--resume with --out: {done.err}")
    expect(not (bench.out / "x").exists(), "--resume with --out: the folder was made")

    both = [bench.start("train", "--resume", run) for _ in range(2)]
    both = [bench.finish(process, status=(0, 2)) for process in both]
    expect(any(done.status == 0 for done in both), "both resumes are refused")
    for done in both:
        expect(done.status == 0 or "in use" in done.err, f"the second resume: {done.err:.300}")
    bench.run("train", "--resume", alone)
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    expect(steps == [0, 10, 20, 30], f"metrics.jsonl has evaluations of steps {steps}")
    undisturbed = same_weights(checkpoint(run, 30), checkpoint(alone, 30))
    expect(undisturbed, "the weights are not those of a single resume")

    model, table = bench.out / "two", "../electramodel-directory/cola.tsv"
    words = ["--model", f"{BASE}/discriminator", "--train", table, "--epochs", 1, "--out", model]
    both = [bench.start("finetune", "cola", *words, "--seed", seed) for seed in (1, 2)]
    both = [bench.finish(process, status=(0, 2)) for process in both]
    winners = [seed for seed, done in zip((1, 2), both, strict=True) if done.status == 0]
    expect(len(winners) == 1, f"{len(winners)} of two fine-tunings in one folder succeed")
    loser = both[2 - winners[0]]
    expect(str(model) in loser.err, f"the second fine-tuning is not told which folder: {loser.err}")
    text = (model / "results.json").read_text(encoding="utf-8")
    expect(re.findall(r'"seed": (\d+)', text)[0] == str(winners[0]), "the model is not the winner's")


# --- growth -----------------------------------------------------------------------------------------------


@case(
    "detection-log-growth",
    "tests/test_runs.py::test_an_evaluation_costs_the_same_however_many_came_before",
)
def detection_log_growth(bench):
    """The 41st evaluation costs what the second does, at 30 522 pieces."""
    from minielectra.runs.detection_records import DetectionLog

    vocab, sequences, length, masked = 30522, 256, 128, 19
    random = np.random.default_rng(0)
    batch = SimpleNamespace(
        input_ids=random.integers(5, vocab, (sequences, length)).astype(np.int32),
        positions=np.sort(random.integers(1, length, (sequences, masked)), 1).astype(np.int32),
        weights=np.ones((sequences, masked), np.float32),
    )
    log, seconds = DetectionLog(bench.out, batch, np.ones(vocab, np.int64), (0, 1, 2, 3, 4)), []
    log.restore(-1)
    for step in range(41):
        record = {
            "samples": random.integers(5, vocab, (sequences, masked)).astype(np.int32),
            "scores": random.random((sequences, length)).astype(np.float16),
            "gen_correct_prob": random.random((sequences, masked)).astype(np.float16),
        }
        start = time.process_time()
        log.append(step, record)
        seconds.append(time.process_time() - start)
    early, late = np.median(seconds[1:8]), np.median(seconds[-7:])
    expect(late < 2 * early + 0.02, f"an evaluation took {early:.2f} s at first, {late:.2f} s at the end")
    log.close()
    with np.load(bench.out / "detection.npz") as file:
        expect(file["steps"].tolist() == list(range(41)), "detection.npz does not hold every evaluation")


PEAK = """
import resource, sys
from minielectra.cli import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@case(
    "long-qa-context",
    "tests/test_finetuning.py::test_long_contexts_take_memory_in_proportion",
    "tests/test_finetuning.py::test_the_best_window_is_the_first_with_the_most_context",
    "tests/test_finetuning.py::test_answers_of_many_windows_are_the_best_of_all",
)
def long_qa_context(bench):
    """A question on a long context takes memory in proportion to it."""
    from minielectra.finetuning.answer_windows import best_window, context_windows

    peaks = []
    for count in (20_000, 100_000):
        tracemalloc.start()
        spans = list(context_windows(count, 320))
        owner = best_window(spans, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        inside = [spans[owner[k]][0] <= k < spans[owner[k]][1] for k in range(0, count, 997)]
        expect(all(inside), f"{count} tokens: a token's best window does not hold it")
    expect(peaks[1] < 7 * peaks[0], f"20 000 tokens take {peaks[0]} bytes, 100 000 take {peaks[1]}")
    expect(peaks[1] < 2e7, f"windows over 100 000 tokens take {peaks[1] / 1e6:.0f} MB")

    if find_spec("resource") is None:
        bench.notes.append("this system does not tell a process's memory: not measured for predict")
        return
    bench.finetune("squad", "../squad-strict/intid.json", "squad")
    used = []
    for number, words in enumerate((1_000, 60_000)):
        question = {"id": "a", "question": "What did the king see?", "answers": []}
        paragraph = {"context": "the dog saw the cat . " * (words // 6), "qas": [question]}
        file = bench.folder / f"long{number}.json"
        file.write_text(json.dumps({"data": [{"title": "", "paragraphs": [paragraph]}]}), encoding="utf-8")
        done = bench.run("predict", bench.out / "squad", file, code=PEAK)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes
        used.append(int(re.search(r"peak (\d+)", done.err)[1]) * unit / 2**20)
    grown = used[1] - used[0]
    expect(grown < 200, f"predict on a context of 60 000 words takes {grown:.0f} MB more than on a short one")


# --- running them -----------------------------------------------------------------------------------------


def default_folder():
    """Where the cases are, unless somebody says otherwise."""
    return Path(os.environ.get("MINIELECTRA_CASES") or ROOT.parent / "shared" / "cases").absolute()


def unknown(folder):
    """Names of folders with a README that no function checks."""
    return sorted(path.parent.name for path in Path(folder).glob("*/README") if path.parent.name not in CASES)


def run_case(folder, name):
    """Check one case in a temporary folder -> notes on what could not be compared. Raises Wrong, Skipped."""
    if not (Path(folder) / name).is_dir():
        raise Skipped(f"{folder} has no such folder")
    with (
        tempfile.TemporaryDirectory(prefix="minielectra-") as place,
        closing(Bench(folder, name, place)) as bench,
    ):
        CASES[name].check(bench)
        return bench.notes


def main(words):
    """Run all cases of a folder -> exit status."""
    if len(words) > 1 or words[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0 if len(words) == 1 else 2
    folder = Path(words[0]).absolute() if words else default_folder()
    if not folder.is_dir():
        absent = f"there is no folder {folder}; give the folder of cases, or set MINIELECTRA_CASES"
        print(absent if words else f"skipped: {absent}")
        return 2 if words else 0
    sys.path.insert(0, str(ROOT))
    failed = unknown(folder)
    for name in failed:
        print(f"{name}: FAILED: {Path(__file__).name} has no check for it")
    for name in sorted(CASES):
        try:
            notes = run_case(folder, name)
            said = "ok" + "".join(f" ({note})" for note in notes)
        except Skipped as reason:
            said = f"skipped: {reason}"
        except Exception as error:  # whatever a check meets is a failure of its case, and the next is run
            said = f"FAILED: {'' if isinstance(error, Wrong) else type(error).__name__ + ': '}{error}"
            failed.append(name)
        print(f"{name}: {' '.join(said.split())}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
