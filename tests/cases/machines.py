"""Cases of terminals, other systems, two processes, and growth."""

import json
import os
import re
import shutil
import sys
import time
import tracemalloc
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np

from .bench import (
    BASE,
    Skipped,
    case,
    checkpoint,
    expect,
    same_weights,
)

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
