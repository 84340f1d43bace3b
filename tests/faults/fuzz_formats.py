"""Every format that the product reads: a sound file, how to damage it, and everything that reads it.

All paths are relative to the folder that `fuzz_start.make_start` fills.
"""

import json
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import numpy as np

from minielectra.cli.entry import main
from minielectra.data.dataset.prepared import Dataset
from minielectra.data.text.corpus import corpus_lines
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.finetuning import experiment, tasks, unfinished
from minielectra.finetuning.directory import Finetuned, read_results
from minielectra.formats.checksums import verify
from minielectra.plots.statistics import token_auc
from minielectra.pretraining.load import load_discriminator
from minielectra.runs import checkpoints
from minielectra.runs.detection_records import DetectionLog, DetectionRecords
from minielectra.runs.metrics_log import MetricsLog, metric_columns
from minielectra.runs.schedule_record import ScheduleRecord

from . import fuzz_mutations as damage
from . import scenarios
from .fuzz_start import STEP


class Format(NamedTuple):
    """One format. `use` reads the damaged file; `command` is a whole command for some of the files."""

    name: str
    path: str
    damage: object  # function(bytes, random) -> bytes
    use: object  # function()
    command: object = None  # words, or function() -> words
    never_blocks: bool = False  # whether `command` must succeed
    sound: str | None = None  # the sound file, if it is not at `path`


# What reads each.


def _read_detection():
    with np.load("../kept/run/detection.npz") as sound:
        held_out = {
            name: sound[name] for name in ("input_ids", "positions", "position_valid", "train_counts")
        }
        record = {name: sound[name][-1] for name in ("samples", "scores", "gen_correct_prob")}
    try:
        records = DetectionRecords.load("run")
        token_auc(records)
        _ = records.seen, records.replaced_mask, records.valid, records.counted
    finally:  # a training goes on
        batch = SimpleNamespace(**{name: held_out[name] for name in ("input_ids", "positions")})
        batch.weights = held_out["position_valid"].astype(np.float32)
        log = DetectionLog("run", batch, held_out["train_counts"], (0, 2, 3))
        _never(log.restore, 4)
        _never(log.append, 6, record)
        _never(log.close)
        assert _never(DetectionRecords.load, "run").steps[-1] == 6


def _read_metrics():
    try:
        columns = metric_columns("run")
        assert columns["step"].dtype == np.float64 and (np.diff(columns["step"]) > 0).all()
    finally:
        log = MetricsLog("run")
        _never(log.restore, 4)
        _never(log.append, {"step": 6, "gen_loss": 1.0})
        assert _never(metric_columns, "run")["step"][-1] == 6


def _never(function, *arguments):
    """Call a function that must not fail for data of pictures."""
    try:
        return function(*arguments)
    except InputError as error:
        raise AssertionError(f"blocks the training: {error}") from None


def _read_state():
    checkpoints.newest_whole("run")
    checkpoints.prune("run", 2)


def _read_finetuned(folder="sst", file="sst.tsv"):
    def use():
        model = Finetuned(folder)
        examples = model.task.read(file, labelled=False)
        for example, prediction in zip(examples, model.predict(examples[:2]), strict=False):
            model.task.show(example, prediction)
            json.dumps(model.task.report(example, prediction))

    return use


def _read_tokenizer(folder):
    def use():
        tokenizer = WordPieceTokenizer.from_pretrained(folder)
        _, tokens, _ = tokenizer.encode_with_offsets("The cat, sees <new> [MASK] \u6f22e\u0301")
        "".join(tokens).encode()
        tokenizer.save("saved")

    return use


def _read_model(folder):
    def use():
        from minielectra.detect import detect

        detect(*load_discriminator(folder), "the cat sees it")

    return use


def _read_dataset(folder):
    def use():
        dataset = Dataset.open(folder)
        dataset.verify()
        examples = dataset.train.examples(16)
        examples[np.arange(min(4, len(examples)))]
        dataset.train.token_counts(len(dataset.tokenizer))
        dataset.heldout.examples(16)

    return use


def _read_task(task, file):
    def use():
        kind = tasks.find(task)
        tokenizer = WordPieceTokenizer.from_pretrained("sst")
        found, examples = kind.from_file(task, file, {})
        found.encode(examples[:4], tokenizer, 24)
        found.read(file, labelled=False)

    return use


def _read_schedule():
    record = ScheduleRecord("run")
    for step in range(len(record)):
        _ = record[step], record.finished, record.used_at("save"), record.evaluations_after(step)


def _read_results():
    experiment.format_results(read_results("sst"))


def _read_half():
    record = unfinished.read("half")
    _ = record.settings
    record.check_same({}, {})
    unfinished.Keeper("half")


RESUME = ["train", "--resume", "run", "--workers", "plain"]
HALF = "half/checkpoints/step-00000012"
FORMATS = [
    Format("detection.npz", "run/detection.npz", damage.damaged_npz, _read_detection, RESUME, True),
    Format(
        "detection/step-….npz",
        "run/detection/step-00000004.npz",
        damage.damaged_npz,
        _read_detection,
        RESUME,
        True,
        "parts/step-00000004.npz",
    ),
    Format("metrics.jsonl", "run/metrics.jsonl", damage.damaged_json, _read_metrics, RESUME, True),
    Format("run.json", "run/run.json", damage.damaged_json, _read_model("run"), RESUME),
    Format("schedule.bin", "run/schedule.bin", damage.damaged_bytes, _read_schedule, sound="schedule.bin"),
    Format("state.json", f"{STEP}/state.json", damage.damaged_json, _read_state, RESUME),
    Format(
        "checkpoint weights",
        f"{STEP}/model.safetensors",
        damage.damaged_safetensors,
        _read_model("run"),
        RESUME,
    ),
    Format("optimizer", f"{STEP}/optimizer.safetensors", damage.damaged_safetensors, _read_state, RESUME),
    Format("checksums.json", "checked/checksums.json", damage.damaged_json, lambda: verify("checked")),
    Format(
        "task.json", "sst/task.json", damage.damaged_json, _read_finetuned(), ["predict", "sst", "sst.tsv"]
    ),
    Format(
        "task.json (tags)", "tagger/task.json", damage.damaged_json, _read_finetuned("tagger", "words.conll")
    ),
    Format(
        "task.json (squad)",
        "answers/task.json",
        damage.damaged_json,
        _read_finetuned("answers", "squad.json"),
    ),
    Format(
        "results.json",
        "sst/results.json",
        damage.damaged_json,
        _read_results,
        ["finetune", "--resume", "sst"],
    ),
    Format(
        "unfinished.json",
        "half/unfinished.json",
        damage.damaged_json,
        _read_half,
        ["finetune", "--resume", "half", "--threads", "1"],
    ),
    Format(
        "state.json (fine-tuning)",
        f"{HALF}/state.json",
        damage.damaged_json,
        _read_half,
        ["finetune", "--resume", "half", "--threads", "1"],
    ),
    Format("weights of a fine-tuning", f"{HALF}/chosen.safetensors", damage.damaged_safetensors, _read_half),
    Format(
        "vocab.txt",
        "exported/discriminator/vocab.txt",
        damage.damaged_lines,
        _read_tokenizer("exported/discriminator"),
    ),
    Format(
        "tokenizer_config.json",
        "exported/discriminator/tokenizer_config.json",
        damage.damaged_json,
        _read_tokenizer("exported/discriminator"),
    ),
    Format("tokenizer.json", "generic/tokenizer.json", damage.damaged_json, _read_tokenizer("generic")),
    Format(
        "config.json",
        "exported/discriminator/config.json",
        damage.damaged_json,
        _read_model("exported/discriminator"),
        ["detect", "exported/discriminator", "the cat"],
    ),
    Format("config.json (head)", "sst/config.json", damage.damaged_json, _read_finetuned()),
    Format(
        "config.json (no task.json)", "foreign/config.json", damage.damaged_json, _read_finetuned("foreign")
    ),
    Format(
        "model.safetensors",
        "exported/discriminator/model.safetensors",
        damage.damaged_safetensors,
        _read_model("exported"),
    ),
    Format(
        "index.json of shards",
        "shards/model.safetensors.index.json",
        damage.damaged_json,
        _read_model("shards"),
    ),
    Format(
        "dataset.json",
        "prepared/dataset.json",
        damage.damaged_json,
        _read_dataset("prepared"),
        [
            "train",
            "--corpus",
            "prepared",
            "--out",
            "new",
            "--steps",
            "1",
            *scenarios.SET,
            "--workers",
            "plain",
        ],
    ),
    Format("tokens.npy", "prepared/train.tokens.npy", damage.damaged_npy, _read_dataset("prepared")),
    Format("sentences.npy", "prepared/train.sentences.npy", damage.damaged_npy, _read_dataset("prepared")),
    Format("documents.npy", "prepared/heldout.documents.npy", damage.damaged_npy, _read_dataset("prepared")),
    Format("SQuAD", "squad.json", damage.damaged_json, _read_task("squad", "squad.json")),
    Format("SQuAD, flat", "flat.jsonl", damage.damaged_json, _read_task("squad", "flat.jsonl")),
    Format("TSV", "table.tsv", damage.damaged_text, _read_task("sst-2", "table.tsv")),
    Format("CSV", "table.csv", damage.damaged_text, _read_task("classification", "table.csv")),
    Format("numbers", "numbers.tsv", damage.damaged_text, _read_task("regression", "numbers.tsv")),
    Format("labels and texts", "labels.txt", damage.damaged_text, _read_task("classification", "labels.txt")),
    Format("JSON rows", "rows.jsonl", damage.damaged_json, _read_task("classification", "rows.jsonl")),
    Format("CoNLL", "words.conll", damage.damaged_text, _read_task("tagging", "words.conll")),
    Format("tagged JSON", "words.jsonl", damage.damaged_json, _read_task("tagging", "words.jsonl")),
    Format(
        "corpus, text",
        "text.txt",
        damage.damaged_text,
        lambda: _consume(corpus_lines("text.txt")),
        ["prepare", "--corpus", "text.txt", "--out", "new", "--vocab-size", "120"],
    ),
    Format(
        "corpus, JSON lines",
        "text.jsonl",
        damage.damaged_json,
        lambda: _consume(corpus_lines("text.jsonl")),
        ["prepare", "--corpus", "text.jsonl", "--out", "new", "--vocab-size", "120"],
    ),
]


def _consume(lines):
    for line in lines:
        line.encode("utf-8", "surrogatepass")


def run_command(words):
    """A command line in this process -> its status."""
    from minielectra.plots import style

    with (
        mock.patch.object(style, "DPI", 20),
        mock.patch("minielectra.cli.pretraining_commands._draw"),
        mock.patch("minielectra.cli.finetuning_commands._draw"),
    ):
        return main(words)
