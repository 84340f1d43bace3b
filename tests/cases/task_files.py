"""Cases of files to fine-tune on and to predict for."""

import json
import os
import threading
from contextlib import suppress

from .bench import (
    BASE,
    Skipped,
    case,
    checkpoint,
    expect,
    read,
    rows,
    same_weights,
)


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
