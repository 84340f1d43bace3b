"""Where the fuzzer starts: a folder with a sound file of every format, which the product itself wrote."""

import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np

from minielectra.finetuning import unfinished
from minielectra.formats.weights import stored_arrays
from minielectra.runs.detection_records import PER_EVALUATION
from minielectra.runs.schedule_record import Planned, ScheduleRecord

from . import scenarios

STEP = "run/checkpoints/step-00000008"


def make_start(folder):
    """Fill a new folder with a sound file of every format, and go there."""
    scenarios.make_base(folder)
    with mock.patch.object(unfinished, "clear"):
        words = [*scenarios.FINETUNE[:7], "half", *scenarios.FINETUNE[8:]]
        assert words[6] == "--out" and scenarios.run(words) == 0
    for name in ("task.json", "results.json", "model.safetensors", "config.json"):
        (folder / "half" / name).unlink()
    assert scenarios.run(["export", "run", "exported"]) == 0
    assert scenarios.run([*scenarios.PREPARE[:4], "prepared", *scenarios.PREPARE[5:]]) == 0
    for words in ("run/data", "prepared", STEP, *map(str, Path("half/checkpoints").glob("step-*"))):
        _without_checksums(Path(words))
    shutil.copytree("exported/discriminator", "shards")
    _split_weights(Path("shards"))
    for name, content in TASK_FILES.items():
        Path(name).write_text(content, encoding="utf-8")
    for task, file, out in (("tagging", "words.conll", "tagger"), ("squad", "squad.json", "answers")):
        words = ["finetune", task, "--model", "run", "--train", file, "--dev", file, "--out", out]
        assert scenarios.run([*words, "--epochs", "1", "--max-length", "24", "--threads", "1"]) == 0
    shutil.copytree("sst", "foreign", ignore=shutil.ignore_patterns("task.json", "results.json"))
    with np.load("run/detection.npz") as whole:
        part = {name: whole[name][2:3] for name in PER_EVALUATION}
    Path("parts").mkdir()
    record = ScheduleRecord(".")
    for step in range(8):
        record.append(Planned(step / 8, step % 2 == 0, step % 4 == 0, step == 7, step / 8))
    record.close()
    np.savez(f"parts/step-{part['steps'][0]:08d}.npz", **part)
    shutil.copytree("prepared", "checked")
    shutil.move("checked/checksums.kept", "checked/checksums.json")
    lines = [json.dumps({"text": line}) for line in Path("text.txt").read_text().splitlines() if line]
    Path("text.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_tokenizer_json(Path("generic"))


def _without_checksums(folder):
    """As earlier versions wrote it, so that damage reaches the readers."""
    (folder / "checksums.json").rename(folder / "checksums.kept")
    for name in ("dataset.json", "state.json"):
        path = folder / name
        if path.exists():
            content = json.loads(path.read_text())
            del content["checksums"]
            path.write_text(json.dumps(content))


def _split_weights(folder):
    """One file of weights as a shard with an index."""
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    names = dict.fromkeys(stored_arrays(folder / "part.safetensors"), "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def _write_tokenizer_json(folder):
    folder.mkdir()
    pieces = Path("run/vocab.txt").read_text().split()
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {
        "added_tokens": [{"id": len(pieces), "content": "<new>", **token}],
        "normalizer": {
            "type": "BertNormalizer",
            "lowercase": True,
            "strip_accents": None,
            "clean_text": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {p: i for i, p in enumerate(pieces)}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def _questions(count=6):
    context = "The old cat sees the river. The small teacher likes every garden today."
    found = []
    for i in range(count):
        answer = ("river", "garden", "cat")[i % 3]
        answers = [] if i % 3 == 2 else [{"text": answer, "answer_start": context.index(answer)}]
        about = {
            "id": f"q{i}",
            "question": f"the {answer} ?",
            "answers": answers,
            "is_impossible": not answers,
        }
        found.append(about)
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": found}]}]}


_ROWS = [(f"the cat {'sees' if i % 2 else 'likes'} it", i % 2) for i in range(12)]
TASK_FILES = {
    "table.tsv": "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in _ROWS),
    "table.csv": "text,label\n" + "".join(f'"{text}, today",{label}\n' for text, label in _ROWS),
    "numbers.tsv": "text\tlabel\n" + "".join(f"{text}\t{i / 3}\n" for i, (text, _) in enumerate(_ROWS)),
    "labels.txt": "".join(f"A:{label} {text}\n" for text, label in _ROWS),
    "rows.jsonl": "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in _ROWS),
    "words.conll": "the DET B-X\ncat NOUN I-X\nsees VERB O\n\nit PRON O\nsleeps VERB O\n" * 3,
    "words.jsonl": '{"tokens": ["the", "cat"], "ner_tags": ["O", "B-X"]}\n' * 6,
    "squad.json": json.dumps(_questions()),
    "flat.jsonl": "".join(
        json.dumps(
            {
                "context": "the old cat",
                "id": q["id"],
                "question": q["question"],
                "answers": {"text": [], "answer_start": []},
            }
        )
        + "\n"
        for q in _questions()["data"][0]["paragraphs"][0]["qas"]
    )
    .replace('"text": []', '"text": ["old"]', 3)
    .replace('"answer_start": []', '"answer_start": [4]', 3),
}
