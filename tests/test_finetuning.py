"""Fine-tuning: from a run to a directory, predictions and scores; overfitting; messages for bad input."""

import dataclasses
import json
import shutil
import tracemalloc

import numpy as np
import pytest
from conftest import cli, train
from properties import given, settings, st

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.electra_config import ElectraConfig
from minielectra.errors import InputError
from minielectra.finetuning import tasks
from minielectra.finetuning.answer_windows import best_window, context_windows
from minielectra.finetuning.backbone import make_objective, read_backbone
from minielectra.finetuning.directory import Finetuned
from minielectra.finetuning.experiment import run_experiment
from minielectra.finetuning.experiment_settings import ExperimentSettings
from minielectra.finetuning.finetuning_config import OPTIONS, FinetuningConfig
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    HeadConfig,
)
from minielectra.finetuning.loop import make_plan, predict
from minielectra.finetuning.objective import FinetuningObjective
from minielectra.finetuning.readers.squad_json import Question
from minielectra.finetuning.sequences import Encoded, epoch_batches, pad_batch, truncated_pair
from minielectra.finetuning.task_losses import AnsweringLoss, ClassificationLoss, TaggingLoss
from minielectra.finetuning.tasks.answering import Answering
from minielectra.nn.inference import logits_of
from minielectra.optim.schedule import learning_rate
from minielectra.training.engine import make_engine

# The run's vocabulary comes from a small grammar: these words are in it, digits are not.
WORDS = ("cat", "river", "house", "teacher", "engine", "garden", "letter", "window", "old", "small")
TEXTS = {
    "sst.tsv": "sentence\tlabel\n"
    + "".join(
        f"the {'old' if i % 2 else 'happy'} cat sees {word}\t{i % 2}\n" for i, word in enumerate(WORDS)
    ),
    "pairs.csv": "a,b,relation\n"
    + "".join(f'"the cat, {word}",the river,{"yn"[i % 2]}\n' for i, word in enumerate(WORDS)),
    "numbers.tsv": "sentence1\tsentence2\tscore\n"
    + "".join(f"the {word}\ta house\t{i / 2}\n" for i, word in enumerate(WORDS)),
    "lines.txt": "".join(
        f"{'DESC' if i % 2 else 'NUM:count'} the {'old' if i % 2 else 'small'} cat {word}\n"
        for i, word in enumerate(WORDS)
    ),
    "pos.conll": "".join(f"the\tDET\nold\tADJ\n{word}s\tNOUN\nsees\tVERB\n\n" for word in WORDS),
    "chunks.conll": "".join(
        f"the B-NP x\n{word}s I-NP x\ncat I-NP x\nsees O x\nhouses B-NP x\n\n" for word in WORDS
    ),
}


def squad(count=10, impossible=False, repeat=1):
    context = "The old cat sees the river. " * repeat + "The small teacher likes every garden today."
    answers = ["cat", "river", "The small teacher", "garden", "today"]
    questions = []
    for i in range(count):
        answer = answers[i % len(answers)]
        none = impossible and i % 3 == 0
        found = [] if none else [{"text": answer, "answer_start": context.index(answer)}]
        questions.append(
            {"id": f"q{i}", "question": f"which {WORDS[i]}?", "is_impossible": none, "answers": found}
        )
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": questions}]}]})


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    """A pre-trained run, barely."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    train(out, corpus, "--steps", "4")
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "squad.json").write_text(squad(), encoding="utf-8")
    (folder / "squad2.json").write_text(squad(impossible=True), encoding="utf-8")
    return folder


CASES = {
    "sst-2": ("sst.tsv", {}),
    "classification": ("pairs.csv", {"text": "a", "pair": "b", "label": "relation"}),
    "label text": ("lines.txt", {}),
    "sts-b": ("numbers.tsv", {}),
    "tagging": ("pos.conll", {}),
    "spans": ("chunks.conll", {"tag": 1}),
    "squad": ("squad.json", {}),
    "squad 2": ("squad2.json", {}),
}
NAMES = {"label text": "classification", "spans": "tagging", "squad 2": "squad"}


def short(task, model, train, out, options=None, **settings):
    """A short experiment: one epoch of short sequences, unless `options` say otherwise."""
    settings = ExperimentSettings(task=task, model=model, train=train, out=out, **settings)
    return run_experiment(settings, options or {"epochs": 1.0, "max_length": 24})


def three_labels():
    """A classification task with three labels."""
    return tasks.find("classification").from_settings(
        {"name": "classification", "format": {"kind": "lines"}, "labels": ["a", "b", "c"], "scale": 1.0}
    )


@pytest.mark.parametrize("case", CASES)
def test_ten_examples_are_overfitted_to_zero_loss(case, run, files):
    file, columns = CASES[case]
    name = NAMES.get(case, case)
    task, examples = tasks.find(name).from_file(name, files / file, columns)
    backbone = read_backbone(run)
    config = FinetuningConfig(dropout=0.0, layer_decay=1.0, max_length=24, batch_size=64)
    encoded = task.encode(examples, backbone.tokenizer, 24)
    engine = make_engine(make_objective(backbone, task, config, seed=0), workers="threads")
    batch = pad_batch(encoded, backbone.tokenizer.pad_id)
    for step in range(800):
        loss = engine.step(batch, learning_rate(step, 800, 3e-3, 20), 0, step).losses[0]
        if loss < 1e-4:
            break
    engine.close()
    assert loss < 1e-3
    predictions = predict(engine.objective.model, task, examples, encoded, backbone.tokenizer)
    if case == "squad 2":
        predictions = task.tune(examples, predictions)
    scores = task.score(examples, predictions)
    best = 100.0 if name == "squad" else 1.0
    assert scores[task.metrics[0]] == pytest.approx(best, abs=1e-3), scores


def test_from_a_run_to_predictions_and_scores(run, files, tmp_path):
    out = tmp_path / "model"
    files_given = ("--model", run, "--train", files / "sst.tsv", "--dev", files / "sst.tsv")
    options = (*files_given, "--epochs", 2, "--seeds", 2, "--max-length", 24)
    done = cli("finetune", "sst-2", *options, "--control", "--out", out)
    assert done.stdout.splitlines()[-1] == str(out)
    assert "pre-trained" in done.stdout and "from scratch" in done.stdout and "±" in done.stdout
    results = json.loads((out / "results.json").read_text())
    assert [len(start["seeds"]) for start in results["starts"].values()] == [2, 2]
    assert (out / "finetuning.png").stat().st_size > 5000
    scores = json.loads(cli("evaluate", out, files / "sst.tsv", "--json").stdout)
    best = max(seed["best"]["accuracy"] for seed in results["starts"]["pre-trained"]["seeds"])
    assert scores["n"] == 10 and scores["accuracy"] == best and {"f1", "matthews_correlation"} <= set(scores)

    lines = cli(
        "predict", out, "-", "--json", input="the old cat\na \U0001f600 happy river\n"
    ).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [f["text"] for f in found] == ["the old cat", "a \U0001f600 happy river"]
    assert all(f["label"] in "01" and sum(f["scores"].values()) == pytest.approx(1, abs=1e-5) for f in found)
    from_table = [
        json.loads(line) for line in cli("predict", out, files / "sst.tsv", "--json").stdout.splitlines()
    ]
    assert np.mean([f["label"] == str(i % 2) for i, f in enumerate(from_table)]) == best

    again = tmp_path / "again"
    cli("finetune", "sst-2", *options, "--out", again, "--threads", 1)
    assert (again / "model.safetensors").read_bytes() == (
        out / "model.safetensors"
    ).read_bytes()  # whatever the threads
    scratch = tmp_path / "scratch"
    cli("finetune", "sst-2", *options, "--from-scratch", "--out", scratch)
    theirs = json.loads((scratch / "results.json").read_text())["starts"]
    assert theirs["from scratch"]["seeds"] == results["starts"]["from scratch"]["seeds"] and len(theirs) == 1


@pytest.mark.parametrize("case", ["tagging", "spans", "squad", "squad 2", "sts-b", "label text"])
def test_every_task_from_end_to_end(case, run, files, tmp_path):
    file, columns = CASES[case]
    name = NAMES.get(case, case)
    results = short(name, run, files / file, tmp_path / "out", dev=files / file, **columns)
    model = Finetuned(tmp_path / "out")
    scores = model.evaluate(files / file)
    best = results["starts"]["pre-trained"]["seeds"][0]["best"]
    # The scale of a regression is folded into its last layer, which rounds otherwise than training did.
    assert {metric: best[metric] for metric in model.task.metrics} == pytest.approx(
        {metric: scores[metric] for metric in model.task.metrics}, nan_ok=True, rel=1e-4
    )
    examples = model.task.read(files / file, labelled=False)
    predictions = model.predict(examples)
    assert len(predictions) == len(examples)
    for example, prediction in zip(examples, predictions, strict=True):
        report = json.loads(json.dumps(model.task.report(example, prediction)))
        assert {"label", "labels", "answer"} & set(report)
        assert model.task.show(example, prediction)


def test_the_fine_tuned_directory_is_a_backbone_too(run, files, tmp_path):
    exported = tmp_path / "exported"
    cli("export", run, exported)
    for source in (run, exported, exported / "discriminator"):
        backbone = read_backbone(source)
        assert set(backbone.state) == set(read_backbone(run).state)
        assert all((backbone.state[name] == x).all() for name, x in read_backbone(run).state.items())
    short("sst-2", exported, files / "sst.tsv", tmp_path / "out")
    assert read_backbone(tmp_path / "out").config.hidden_size == backbone.config.hidden_size


def test_mlm_runs_are_fine_tuned_too(corpus, files, tmp_path):
    train(tmp_path / "bert", corpus, "--steps", "3", "--objective", "mlm")
    short("sst-2", tmp_path / "bert", files / "sst.tsv", tmp_path / "out")
    assert Finetuned(tmp_path / "out").evaluate(files / "sst.tsv")["n"] == 10


# The contract of tasks, and settings.


def test_every_task_is_found_by_its_names():
    names = tasks.names()
    assert len(names) == len(set(names)) and {"sst-2", "regression", "tagging", "squad"} <= set(names)
    assert all(name in tasks.find(name).names for name in names)
    with pytest.raises(InputError, match=r"unknown task 'sst3': choose one of .*sst-2"):
        tasks.find("sst3")


NEW_TASK = """
from minielectra.finetuning.tasks.tagging import Tagging

class Stress(Tagging):
    names = ("stress",)
"""


def test_adding_a_task_is_adding_a_file(tmp_path, monkeypatch):
    (tmp_path / "stress.py").write_text(NEW_TASK)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    tasks.task_classes.cache_clear()
    try:
        assert tasks.find("stress").__name__ == "Stress"
        assert tasks.find("tagging").__name__ == "Tagging"
    finally:
        tasks.task_classes.cache_clear()


def test_options_of_readers_are_settings_of_an_experiment(tmp_path):
    fields = {field.name for field in dataclasses.fields(ExperimentSettings)}
    assert set(tasks.reader_options()) == {"text", "pair", "label", "word", "tag", "separator"} <= fields
    settings = ExperimentSettings(task="tagging", model=tmp_path, train=tmp_path / "a", tag=0, separator="|")
    assert settings.model == str(tmp_path) and settings.dev is None
    assert settings.reader_options(tasks.find("tagging")) == {"tag": 0, "separator": "|"}
    with pytest.raises(InputError, match="--tag: does not apply to squad"):
        dataclasses.replace(settings, task="squad", separator=None).reader_options(tasks.find("squad"))
    with pytest.raises(InputError, match="seeds must be at least 1"):
        dataclasses.replace(settings, seeds=0)


def test_a_task_without_an_official_file_says_so():
    with pytest.raises(InputError, match="--official: classification has no official"):
        three_labels().check_official([])


def test_settings_that_suit_the_model_and_the_task():
    small, base = ElectraConfig(), ElectraConfig(hidden_size=768, max_position_embeddings=100)
    assert FinetuningConfig.suited_to(small, 384, {}) == FinetuningConfig(max_length=384)
    suited = FinetuningConfig.suited_to(base, 128, {"epochs": 2.0})
    assert (suited.learning_rate, suited.layer_decay, suited.max_length, suited.epochs) == (
        1e-4,
        0.8,
        100,
        2.0,
    )
    assert FinetuningConfig.suited_to(base, 128, {"learning_rate": 1e-3}).learning_rate == 1e-3
    with pytest.raises(InputError, match="--max-length 101: the model reads at most 100 tokens"):
        FinetuningConfig.suited_to(base, 128, {"max_length": 101})
    about = {field.name: field.metadata for field in dataclasses.fields(FinetuningConfig)}
    assert all(about[name]["help"] for name in OPTIONS)
    for wrong in ({"dropout": 1.0}, {"layer_decay": 0.0}, {"max_length": 7}, {"learning_rate": float("nan")}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
            FinetuningConfig(**wrong)


# Parts.


HEADS = {
    "sequences": (ElectraForSequenceClassification, ClassificationLoss()),
    "tokens": (ElectraForTokenClassification, TaggingLoss()),
    "answers": (ElectraForQuestionAnswering, AnsweringLoss()),
}


@pytest.mark.parametrize("kind", HEADS)
def test_engines_give_the_same_bits(kind):
    sizes = {"vocab_size": 50, "embedding_size": 8, "hidden_size": 12, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 20, "max_position_embeddings": 16}
    random = np.random.default_rng(5)
    sequences = []
    for i in range(7):
        ids = [2, *random.integers(5, 50, 3 + i), 3]
        target = {"sequences": i % 2, "tokens": [k % 2 for k in range(len(ids))], "answers": (1, 2)}[kind]
        weights = None if kind == "sequences" else [1.0] * len(ids)
        sequences.append(Encoded(ids, [0] * len(ids), i, target, weights))
    weights = {}
    for workers in ("plain", "threads", "processes"):
        objective = FinetuningObjective(
            HeadConfig(**sizes), FinetuningConfig(batch_size=7, shards=3), *HEADS[kind]
        )
        start = np.random.default_rng(1).standard_normal(objective.parameters.size, np.float32)
        objective.parameters.flat[...] = 0.2 * start
        engine = make_engine(objective, workers=workers)
        for step in range(3):
            assert engine.step(pad_batch(sequences, 0), 1e-3, 0, step).finite
        weights[workers] = engine.objective.parameters.flat.copy()
        engine.close()
    assert (weights["plain"] != 0.2 * start).mean() > 0.7  # all but the vectors of words that do not occur
    np.testing.assert_array_equal(weights["threads"], weights["plain"])
    np.testing.assert_array_equal(weights["processes"], weights["plain"])


@pytest.mark.parametrize(
    ("n_train", "n_dev", "epochs"), [(1, 1, 0.1), (10, 5, 1.0), (997, 100, 3.0), (64, 6400, 2.5)]
)
def test_evaluations_are_regular_and_end_each_epoch(n_train, n_dev, epochs):
    plan = make_plan(FinetuningConfig(batch_size=8, epochs=epochs), n_train, n_dev)
    evaluated = [step for step in range(plan.steps) if plan.evaluates_after(step)]
    ends = {*range(plan.steps_per_epoch - 1, plan.steps, plan.steps_per_epoch), plan.steps - 1}
    assert ends <= set(evaluated)
    assert plan.evaluate_every == plan.steps_per_epoch or plan.evaluate_every >= n_dev // 8
    if n_train == 997:  # 125 steps per epoch, four evaluations each; none just before the epoch's end
        assert evaluated[:5] == [30, 61, 92, 124, 155]


def test_batches_of_an_epoch_hold_every_sequence_once_and_little_padding():
    random = np.random.default_rng(0)
    lengths = random.integers(3, 100, 1003)
    batches = epoch_batches(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(1003))
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert padded < 1.2 * lengths.sum()
    other = epoch_batches(lengths, 16, np.random.default_rng(2))
    assert any((a[:3] != b[:3]).any() for a, b in zip(batches, other, strict=True) if len(a) > 2 < len(b))


def test_a_pair_is_cut_where_it_is_longer():
    assert truncated_pair([1] * 9, [2] * 3, 8) == ([1] * 5, [2] * 3)
    assert truncated_pair([1] * 9, [2] * 9, 8) == ([1] * 4, [2] * 4)
    assert truncated_pair([1], [2], 8) == ([1], [2])


def test_logits_of_many_sequences_are_those_of_each(run):
    backbone = read_backbone(run)
    model = make_objective(backbone, three_labels(), FinetuningConfig(), seed=3).model
    rows = [[2, *np.random.default_rng(n).integers(5, 100, 3 + 2 * n), 3] for n in range(9)]
    segments = [[0] * 2 + [1] * (len(row) - 2) for row in rows]
    together = logits_of(model, rows, 0, segments)
    for row, types, logits in zip(rows, segments, together, strict=True):
        np.testing.assert_allclose(
            model(np.array([row]), None, np.array([types]))[0], logits, rtol=1e-4, atol=1e-5
        )


def test_top_layers_can_start_afresh(run, files, tmp_path):
    backbone = read_backbone(run)
    depth = backbone.config.num_hidden_layers
    again = FinetuningConfig(reinitialized_layers=depth - 1)
    model = make_objective(backbone, three_labels(), again, seed=3)
    scratch = make_objective(backbone, three_labels(), FinetuningConfig(), seed=3, from_scratch=True)
    assert depth > 1
    for name, x in model.parameters.state().items():
        top = name.startswith(tuple(f"electra.encoder.layer.{i}." for i in range(1, depth)))
        known = scratch.parameters.state() if top or name not in backbone.state else backbone.state
        np.testing.assert_array_equal(x, known[name])
    with pytest.raises(InputError, match=f"--reinitialized-layers {depth + 1}: the model has {depth}"):
        short(
            "tagging", run, files / "pos.conll", tmp_path / "out", options={"reinitialized_layers": depth + 1}
        )
    assert not (tmp_path / "out").exists()


def test_a_long_sentence_is_tagged_in_windows(run, files, tmp_path):
    pos = files / "pos.conll"
    short("tagging", run, pos, tmp_path / "out", options={"epochs": 1.0, "max_length": 8}, dev=pos)
    model = Finetuned(tmp_path / "out")
    (tmp_path / "long.txt").write_text("the old cat sees a happy teacher \u200b " * 30 + "\n")
    (sentence,) = model.task.read(tmp_path / "long.txt", labelled=False)
    (prediction,) = model.predict([sentence])
    assert len(prediction["labels"]) == len(sentence.words) == 240
    assert min(prediction["scores"]) > 0.0  # every word, that of no visible character too, was answered for


def test_windows_over_a_context_overlap_and_own_each_token_once():
    spans = list(context_windows(700, 300))
    assert spans == [(0, 300), (128, 428), (256, 556), (384, 684), (512, 700)]
    owner = best_window(spans, 700)
    assert (np.diff(owner) >= 0).all() and set(owner) == set(range(5))
    assert owner[290] == 1  # ten tokens of context to its right in the first window, 137 in the second
    assert list(context_windows(10, 300)) == [(0, 10)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 900), st.integers(1, 200))
def test_the_best_window_is_the_first_with_the_most_context(count, room):
    spans = list(context_windows(count, room))
    owner = best_window(spans, count)
    for k in range(0, count, 7):
        context = [
            min(k - start, stop - 1 - k) + 0.01 * (stop - start) if start <= k < stop else -1.0
            for start, stop in spans
        ]
        assert owner[k] == context.index(max(context))


def test_long_contexts_take_memory_in_proportion():
    tracemalloc.start()
    try:
        best_window(list(context_windows(200_000, 320)), 200_000)
        assert tracemalloc.get_traced_memory()[1] < 2e7  # windows times tokens would be 2.5 GB
    finally:
        tracemalloc.stop()


def test_answers_of_many_windows_are_the_best_of_all(monkeypatch):
    """What is forgotten on the way would not have been among the best."""
    context, random = "the cat saw a dog and " * 40, np.random.default_rng(0)
    question = Question("a", "Who?", context, (), False)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "saw", "a", "dog", "and", "who", "?"]
    task = Answering("squad")
    encoded = task.encode([question], WordPieceTokenizer(vocab, source="test"), 40, labelled=False)
    logits = [random.standard_normal((len(sequence.ids), 2)).round(1) for sequence in encoded]
    expected = task.decode(logits, encoded, [question])
    assert len(encoded) > 10 and len(expected[0]["best"]) == 20
    monkeypatch.setattr("minielectra.finetuning.tasks.answering.MANY_ANSWERS", 30)
    assert task.decode(logits, encoded, [question]) == expected


def test_answers_come_back_in_the_characters_of_the_text():
    """The tokens that a model points at become the text's own characters, with its accents and spaces."""
    context = "Déjà  vu: " + "the café opened in   1999 . " * 9 + "It closed in Zürich—twice."
    answer = "Zürich—twice"
    question = Question("a", "Where did it close?", context, ((answer, context.index(answer)),), False)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.:?—"]
    tokenizer = WordPieceTokenizer(
        [*vocab, *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")], source="test"
    )
    task = Answering("squad")
    encoded = task.encode([question], tokenizer, 100)
    assert len(encoded) > 1 and sum(sequence.target != (0, 0) for sequence in encoded) >= 1
    logits = []
    for sequence in encoded:
        x = np.zeros((len(sequence.ids), 2), np.float32)
        if sequence.target != (0, 0):
            x[sequence.target[0], 0] = x[sequence.target[1], 1] = 9.0
        logits.append(x)
    (prediction,) = task.decode(logits, encoded, [question])
    assert prediction["answer"] == answer and prediction["start"] == context.index(answer)
    assert task.score([question], [prediction])["exact_match"] == 100.0
    assert json.loads(task.official_format([question], [prediction])) == {"a": answer}


# Bad input: one line, which says where.


def refused(*arguments, **options):
    done = cli(*arguments, check=2, **options)
    assert done.stderr.strip().count("\n") == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_bad_input_is_one_line_with_file_and_line(run, files, tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    good = files / "sst.tsv"
    options = ("--model", run, "--max-length", 24, "--out", tmp_path / "out")
    unknown = write("dev.tsv", "sentence\tlabel\na cat\t0\na dog\t7\n")
    assert "dev.tsv:3: label '7'" in refused("finetune", "sst-2", *options, "--train", good, "--dev", unknown)
    assert "phrase" in refused(
        "finetune", "classification", *options, "--train", good, "--text", "phrase", "--label", "label"
    )
    ragged = write("ragged.tsv", "sentence\tlabel\na cat\t0\na dog\na hen\n")
    assert "ragged.tsv:3" in refused("finetune", "sst-2", *options, "--train", ragged)
    assert "empty" in refused("finetune", "sst-2", *options, "--train", write("empty.tsv", ""))
    assert "every label" in refused(
        "finetune", "sst-2", *options, "--train", write("one.tsv", "sentence\tlabel\na\t0\nb\t0\n")
    )
    columns = write("ragged.conll", "the DET\ncat\n")
    assert "ragged.conll:2" in refused("finetune", "tagging", *options, "--train", columns)
    tags = write("dev.conll", "the\tDET\ncat\tVERY\n")
    assert "dev.conll:2: tag 'VERY'" in refused(
        "finetune", "tagging", *options, "--train", files / "pos.conll", "--dev", tags
    )
    wrong = json.loads(squad())
    wrong["data"][0]["paragraphs"][0]["qas"][3]["answers"][0].pop("text")
    wrong = write("wrong.json", json.dumps(wrong))
    assert "q3" in refused("finetune", "squad", *options, "--train", wrong)
    assert "unknown task" in refused("finetune", "sst3", *options, "--train", good)
    assert "--tag" in refused("finetune", "sst-2", *options, "--train", good, "--tag", 1)
    assert "reads" in refused("finetune", "sst-2", *options[:2], "--max-length", 5000, "--train", good)
    assert not (tmp_path / "out").exists()  # nothing half-written
    write("taken", "x")
    assert "taken" in refused(
        "finetune", "sst-2", "--model", run, "--train", good, "--out", tmp_path / "taken"
    )


def test_bad_directories_are_one_line(run, files, tmp_path):
    out = tmp_path / "model"
    short("sst-2", run, files / "sst.tsv", out)
    assert "task.json" in refused("evaluate", run, files / "sst.tsv")
    bare = tmp_path / "bare"
    cli("export", run, bare)
    (bare / "discriminator" / "vocab.txt").unlink()
    assert "vocab.txt" in refused(
        "finetune", "sst-2", "--model", bare, "--train", files / "sst.tsv", "--out", tmp_path / "x"
    )
    more = tmp_path / "more"
    shutil.copytree(out, more)
    about = json.loads((more / "task.json").read_text())
    (more / "task.json").write_text(json.dumps(about | {"labels": ["0", "1", "2"]}))
    assert "3 labels" in refused("evaluate", more, files / "sst.tsv")
    (more / "task.json").write_text(json.dumps(about | {"name": "nothing"}))
    assert "damaged" in refused("predict", more, files / "sst.tsv")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_is_reported(run, files, tmp_path):
    with pytest.raises(InputError, match="not finite"):
        options = {"epochs": 30.0, "learning_rate": 1e30, "max_length": 24}
        short("sst-2", run, files / "sst.tsv", None, options=options)
