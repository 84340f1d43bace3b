"""What is pre-training worth? A model fine-tuned for five tasks, and the same network from scratch.

    python benchmarks/finetuning_table.py DATA                    # all tasks, three seeds each: over an hour
    python benchmarks/finetuning_table.py DATA --tasks trec --seeds 5 --model runs/books

DATA is a folder with the tasks as they are published: glue/SST-2, glue/CoLA, glue/MRPC, ud-english-ewt, trec.
A part of the training examples chooses the best evaluation of each fine-tuning, as always. The figures are
those of *other* examples: the published development set or, where there is none, every fifth training
example, which is set aside first. Every score is printed as it comes, and kept in the folder --out, so that a
second command goes on where the first was stopped. The last thing printed is a table in Markdown.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Task(NamedTuple):
    """A row of the table."""

    title: str
    words: list  # of `finetune`
    train: str  # in DATA
    test: str | None  # in DATA; None: every fifth line of `train`
    metric: str


TASKS = {
    "sst-2": Task(
        "sentiment, SST-2",
        ["sst-2", "--epochs", "1"],
        "glue/SST-2/train.tsv",
        "glue/SST-2/dev.tsv",
        "accuracy",
    ),
    "trec": Task(
        "question types, TREC",
        ["classification", "--epochs", "5", "--max-length", "48"],
        "trec/TREC.train.all",
        None,
        "accuracy",
    ),
    "pos": Task(
        "parts of speech, UD English EWT",
        ["tagging", "--epochs", "2", "--tag", "1"],
        "ud-english-ewt/train.pos.tsv",
        "ud-english-ewt/dev.pos.tsv",
        "accuracy",
    ),
    "cola": Task("acceptability, CoLA", ["cola", "--epochs", "5"], "glue/CoLA/train.tsv", None, "matthews"),
    "mrpc": Task(
        "paraphrases, MRPC",
        ["mrpc", "--epochs", "5"],
        "glue/MRPC/train.tsv",
        "glue/MRPC/dev.tsv",
        "f1",
    ),
}
EVERY = 5  # where there is no development set, each fifth example is one of its


def split(source, folder):
    """Deal the lines of a file out to `folder`/train and `folder`/test -> the two paths."""
    lines = source.read_bytes().splitlines(keepends=True)
    parts = [folder / f"{name}{source.suffix}" for name in ("train", "test")]
    parts[0].write_bytes(b"".join(line for i, line in enumerate(lines) if i % EVERY))
    parts[1].write_bytes(b"".join(lines[::EVERY]))
    return parts


def score(task, data, model, scratch, seed, out):
    """Fine-tune once, and score examples that chose nothing -> float."""
    folder = out / f"{'scratch' if scratch else 'pre-trained'}-{seed}"
    known = folder / "score.json"
    if known.exists():
        return json.loads(known.read_text())[task.metric]
    folder.mkdir(parents=True, exist_ok=True)
    if task.test:
        train, test = data / task.train, data / task.test
    else:
        train, test = split(data / task.train, folder)
    command = [sys.executable, "-m", "minielectra"]
    words = ["finetune", *task.words, "--model", model, "--train", train, "--seed", seed]
    words += ["--out", folder / "model", *(["--from-scratch"] if scratch else [])]
    subprocess.run([*command, *map(str, words)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    words = ["evaluate", folder / "model", test, "--json"]
    done = subprocess.run([*command, *map(str, words)], cwd=ROOT, check=True, capture_output=True, text=True)
    known.write_text(done.stdout)
    return json.loads(done.stdout)[task.metric]


def main():
    """Run everything that is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="the folder with the tasks")
    parser.add_argument("--model", default="mini", help="what to fine-tune (default: mini)")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3, help="fine-tunings of each kind (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("runs/finetuning-table"), help="where models go")
    options = parser.parse_args()
    rows = []
    for name in options.tasks:
        task, cells = TASKS[name], []
        for scratch in (False, True):
            scores = []
            for seed in range(options.seeds):
                place = options.out.resolve() / name
                scores.append(score(task, options.data.resolve(), options.model, scratch, seed, place))
                kind = "from scratch" if scratch else "pre-trained"
                print(f"{name}, {kind}, seed {seed}: {task.metric} {scores[-1]:.4f}", flush=True)
            spread = f" ± {stdev(scores):.3f}" if len(scores) > 1 else ""
            cells.append(f"{mean(scores):.3f}{spread}")
        rows.append(f"| {task.title} | {task.metric} | {' | '.join(cells)} | {options.seeds} |")
    print("\n| task | metric | pre-trained | from scratch | seeds |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
