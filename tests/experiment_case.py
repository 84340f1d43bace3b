"""A tiny experiment that several tests use: a file, its text and its tasks."""

import json

from conftest import sentences

TINY = """
title = "A tiny comparison"
corpus = ["text.txt"]
budgets = [2e8, 6e8]
seeds = [1, 2]
baseline = "bert"

[model]
preset = "tiny"
vocab_size = 120
embedding_size = 8
hidden_size = 8
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
batch_size = 8
seq_length = 24

[variants.bert]
objective = "mlm"

[variants.electra]
objective = "electra"
generator_width = 0.5

[variants.electra-mix]
same_as = "electra"
finetuning = {readout = "mix"}

[tuning]
budget = 2e8
seeds = [9]
learning_rate = [1e-3, 3e-3]

[tasks.pos]
task = "tagging"
train = "pos.jsonl"
examples = 40

[tasks.topic]
task = "classification"
train = "topic.tsv"
examples = 40
selection = true

[finetuning]
epochs = 1

[pairs]
per_kind = 3
"""
TAGS = ["DET", "ADJ", "NOUN", "VERB", "DET", "NOUN", "ADV"]


def make_case(folder, text=TINY):
    """Write the experiment `text` with all that it names into a folder -> path of the file."""
    lines = sentences(240)
    documents = ["\n".join(lines[i : i + 12]) for i in range(0, len(lines), 12)]
    (folder / "text.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    words = [sentence.lower().rstrip(".").split()[: len(TAGS)] for sentence in sentences(60, seed=1)]
    tagged = [json.dumps({"words": own, "tags": TAGS[: len(own)]}) for own in words]
    (folder / "pos.jsonl").write_text("\n".join(tagged) + "\n", encoding="utf-8")
    rows = [f"{text}\t{int('cat' in text or 'house' in text)}" for text in sentences(60, seed=2)]
    (folder / "topic.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    path = folder / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path
