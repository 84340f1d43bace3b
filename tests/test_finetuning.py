"""Fine-tuning from a run to a directory, predictions and scores; overfitting; what is said of bad input."""

import json
import shutil

import numpy as np
import pytest
from conftest import cli, train

from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.finetuning import experiment as tasks
from minielectra.finetuning.backbone import make_model, read_backbone
from minielectra.finetuning.experiment import Finetuned, launch
from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.loop import predict
from minielectra.finetuning.readers.squad_json import Question
from minielectra.finetuning.sequences import epoch_batches, make_batch, truncated_pair
from minielectra.finetuning.tasks.answering import Answering, _best_window, _windows
from minielectra.nn.inference import logits_of
from minielectra.optim.schedule import learning_rate
from minielectra.training.step import Trainee

# The run's vocabulary comes from a small grammar: these words are in it, digits are not.
WORDS = ("cat", "river", "house", "teacher", "engine", "garden", "letter", "window", "old", "small")
TEXTS = {
    "sst.tsv": "sentence\tlabel\n"
    + "".join(f"the {'old' if i % 2 else 'happy'} cat sees {word}\t{i % 2}\n" for i, word in enumerate(WORDS)),
    "pairs.csv": "a,b,relation\n" + "".join(f'"the cat, {word}",the river,{"yn"[i % 2]}\n' for i, word in enumerate(WORDS)),
    "numbers.tsv": "sentence1\tsentence2\tscore\n" + "".join(f"the {word}\ta house\t{i / 2}\n" for i, word in enumerate(WORDS)),
    "lines.txt": "".join(
        f"{'DESC' if i % 2 else 'NUM:count'} the {'old' if i % 2 else 'small'} cat {word}\n" for i, word in enumerate(WORDS)
    ),
    "pos.conll": "".join(f"the\tDET\nold\tADJ\n{word}s\tNOUN\nsees\tVERB\n\n" for word in WORDS),
    "chunks.conll": "".join(f"the B-NP x\n{word}s I-NP x\ncat I-NP x\nsees O x\nhouses B-NP x\n\n" for word in WORDS),
}


def squad(count=10, impossible=False, repeat=1):
    context = "The old cat sees the river. " * repeat + "The small teacher likes every garden today."
    answers = ["cat", "river", "The small teacher", "garden", "today"]
    questions = []
    for i in range(count):
        answer = answers[i % len(answers)]
        none = impossible and i % 3 == 0
        found = [] if none else [{"text": answer, "answer_start": context.index(answer)}]
        questions.append({"id": f"q{i}", "question": f"which {WORDS[i]}?", "is_impossible": none, "answers": found})
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


@pytest.mark.parametrize("case", CASES)
def test_ten_examples_are_overfitted_to_zero_loss(case, run, files):
    file, columns = CASES[case]
    name = NAMES.get(case, case)
    task, examples = tasks.TASKS[name].from_file(name, files / file, columns)
    backbone = read_backbone(run)
    finetuning = FinetuningConfig(head=task.head, dropout=0.0, layer_decay=1.0, max_length=24, batch_size=64)
    encoded = task.encode(examples, backbone.tokenizer, 24)
    model = make_model(backbone, task.labels, finetuning, seed=0)
    trainee = Trainee(model, workers="threads")
    batch = make_batch(encoded, backbone.tokenizer.pad_id)
    for step in range(800):
        loss = trainee.step(batch, learning_rate(step, 800, 3e-3, 20), 0, step).losses[0]
        if loss < 1e-4:
            break
    assert loss < 1e-3
    predictions = predict(trainee.model.model, task, examples, encoded, backbone.tokenizer)
    if case == "squad 2":
        predictions = task.tune(examples, predictions)
    scores = task.score(examples, predictions)
    best = 100.0 if task.head == "answering" else 1.0
    assert scores[task.metrics[0]] == pytest.approx(best, abs=1e-3), scores


def test_from_a_run_to_predictions_and_scores(run, files, tmp_path):
    out = tmp_path / "model"
    options = (
        "--model",
        run,
        "--train",
        files / "sst.tsv",
        "--dev",
        files / "sst.tsv",
        "--epochs",
        2,
        "--seeds",
        2,
        "--max-length",
        24,
    )
    done = cli("finetune", "sst-2", *options, "--control", "--out", out)
    assert done.stdout.splitlines()[-1] == str(out)
    assert "pre-trained" in done.stdout and "from scratch" in done.stdout and "±" in done.stdout
    results = json.loads((out / "results.json").read_text())
    assert [len(start["seeds"]) for start in results["starts"].values()] == [2, 2]
    assert (out / "finetuning.png").stat().st_size > 5000
    scores = json.loads(cli("evaluate", out, files / "sst.tsv", "--json").stdout)
    best = max(seed["best"]["accuracy"] for seed in results["starts"]["pre-trained"]["seeds"])
    assert scores["n"] == 10 and scores["accuracy"] == best and {"f1", "matthews_correlation"} <= set(scores)

    lines = cli("predict", out, "-", "--json", input="the old cat\na \U0001f600 happy river\n").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [f["text"] for f in found] == ["the old cat", "a \U0001f600 happy river"]
    assert all(f["label"] in "01" and sum(f["scores"].values()) == pytest.approx(1, abs=1e-5) for f in found)
    from_table = [json.loads(line) for line in cli("predict", out, files / "sst.tsv", "--json").stdout.splitlines()]
    assert np.mean([f["label"] == str(i % 2) for i, f in enumerate(from_table)]) == best

    again = tmp_path / "again"
    cli("finetune", "sst-2", *options, "--out", again, "--threads", 1)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()  # whatever the threads
    scratch = tmp_path / "scratch"
    cli("finetune", "sst-2", *options, "--from-scratch", "--out", scratch)
    theirs = json.loads((scratch / "results.json").read_text())["starts"]
    assert theirs["from scratch"]["seeds"] == results["starts"]["from scratch"]["seeds"] and len(theirs) == 1


@pytest.mark.parametrize("case", ["tagging", "spans", "squad", "squad 2", "sts-b", "label text"])
def test_every_task_from_end_to_end(case, run, files, tmp_path):
    file, columns = CASES[case]
    name = NAMES.get(case, case)
    results = launch(name, run, files / file, files / file, tmp_path / "out", {"epochs": 1.0, "max_length": 24}, columns)
    model = Finetuned(tmp_path / "out")
    scores = model.evaluate(files / file)
    best = results["starts"]["pre-trained"]["seeds"][0]["best"]
    assert {metric: best[metric] for metric in model.task.metrics} == pytest.approx(
        {metric: scores[metric] for metric in model.task.metrics}, nan_ok=True
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
    launch("sst-2", exported, files / "sst.tsv", None, tmp_path / "out", {"epochs": 1.0, "max_length": 24}, {})
    assert read_backbone(tmp_path / "out").config.hidden_size == backbone.config.hidden_size


def test_mlm_runs_are_fine_tuned_too(corpus, files, tmp_path):
    train(tmp_path / "bert", corpus, "--steps", "3", "--objective", "mlm")
    launch("sst-2", tmp_path / "bert", files / "sst.tsv", None, tmp_path / "out", {"epochs": 1.0, "max_length": 24}, {})
    assert Finetuned(tmp_path / "out").evaluate(files / "sst.tsv")["n"] == 10


# Parts.


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
    model = make_model(backbone, ("a", "b", "c"), FinetuningConfig(), seed=3).model
    rows = [[2, *np.random.default_rng(n).integers(5, 100, 3 + 2 * n), 3] for n in range(9)]
    segments = [[0] * 2 + [1] * (len(row) - 2) for row in rows]
    together = logits_of(model, rows, 0, segments)
    for row, types, logits in zip(rows, segments, together, strict=True):
        np.testing.assert_allclose(model(np.array([row]), None, np.array([types]))[0], logits, rtol=1e-4, atol=1e-5)


def test_top_layers_can_start_afresh(run, files, tmp_path):
    backbone = read_backbone(run)
    depth = backbone.config.num_hidden_layers
    again = FinetuningConfig(reinitialized_layers=depth - 1)
    model = make_model(backbone, ("a", "b"), again, seed=3)
    scratch = make_model(backbone, ("a", "b"), FinetuningConfig(), seed=3, from_scratch=True)
    assert depth > 1
    for name, x in model.parameters.state().items():
        top = name.startswith(tuple(f"electra.encoder.layer.{i}." for i in range(1, depth)))
        known = scratch.parameters.state() if top or name not in backbone.state else backbone.state
        np.testing.assert_array_equal(x, known[name])
    with pytest.raises(InputError, match=f"--reinitialized-layers {depth + 1}: the model has {depth}"):
        launch("tagging", run, files / "pos.conll", None, tmp_path / "out", {"reinitialized_layers": depth + 1}, {})
    assert not (tmp_path / "out").exists()


def test_a_long_sentence_is_tagged_in_windows(run, files, tmp_path):
    launch("tagging", run, files / "pos.conll", files / "pos.conll", tmp_path / "out", {"epochs": 1.0, "max_length": 8}, {})
    model = Finetuned(tmp_path / "out")
    (tmp_path / "long.txt").write_text("the old cat sees a happy teacher \u200b " * 30 + "\n")
    (sentence,) = model.task.read(tmp_path / "long.txt", labelled=False)
    (prediction,) = model.predict([sentence])
    assert len(prediction["labels"]) == len(sentence.words) == 240
    assert min(prediction["scores"]) > 0.0  # every word, that of no visible character too, was answered for


def test_windows_over_a_context_overlap_and_own_each_token_once():
    spans = list(_windows(700, 300))
    assert spans == [(0, 300), (128, 428), (256, 556), (384, 684), (512, 700)]
    owner = _best_window(spans, 700)
    assert (np.diff(owner) >= 0).all() and set(owner) == set(range(5))
    assert owner[290] == 1  # ten tokens of context to its right in the first window, 137 in the second
    assert list(_windows(10, 300)) == [(0, 10)]


def test_answers_come_back_in_the_characters_of_the_text():
    """A model that points at the right tokens, through windows, accents and odd spaces, gives the text's own characters."""
    context = "Déjà  vu: " + "the café opened in   1999 . " * 9 + "It closed in Zürich—twice."
    answer = "Zürich—twice"
    question = Question("a", "Where did it close?", context, ((answer, context.index(answer)),), False)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.:?—"]
    tokenizer = WordPieceTokenizer([*vocab, *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")], source="test")
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
    assert task.official([question], [prediction]) == {"a": answer}


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
    assert "phrase" in refused("finetune", "classification", *options, "--train", good, "--text", "phrase", "--label", "label")
    ragged = write("ragged.tsv", "sentence\tlabel\na cat\t0\na dog\n")
    assert "ragged.tsv:3" in refused("finetune", "sst-2", *options, "--train", ragged)
    assert "empty" in refused("finetune", "sst-2", *options, "--train", write("empty.tsv", ""))
    assert "every label" in refused("finetune", "sst-2", *options, "--train", write("one.tsv", "sentence\tlabel\na\t0\nb\t0\n"))
    columns = write("ragged.conll", "the DET\ncat\n")
    assert "ragged.conll:2" in refused("finetune", "tagging", *options, "--train", columns)
    tags = write("dev.conll", "the\tDET\ncat\tVERY\n")
    assert "dev.conll:2: tag 'VERY'" in refused("finetune", "tagging", *options, "--train", files / "pos.conll", "--dev", tags)
    wrong = json.loads(squad())
    wrong["data"][0]["paragraphs"][0]["qas"][3]["answers"][0]["answer_start"] += 2
    wrong = write("wrong.json", json.dumps(wrong))
    assert "q3" in refused("finetune", "squad", *options, "--train", wrong)
    assert "unknown task" in refused("finetune", "sst3", *options, "--train", good)
    assert "--tag" in refused("finetune", "sst-2", *options, "--train", good, "--tag", 1)
    assert "reads" in refused("finetune", "sst-2", *options[:2], "--max-length", 5000, "--train", good)
    assert not (tmp_path / "out").exists()  # nothing half-written
    write("taken", "x")
    assert "taken" in refused("finetune", "sst-2", "--model", run, "--train", good, "--out", tmp_path / "taken")


def test_bad_directories_are_one_line(run, files, tmp_path):
    out = tmp_path / "model"
    launch("sst-2", run, files / "sst.tsv", None, out, {"epochs": 1.0, "max_length": 24}, {})
    assert "task.json" in refused("evaluate", run, files / "sst.tsv")
    bare = tmp_path / "bare"
    cli("export", run, bare)
    (bare / "discriminator" / "vocab.txt").unlink()
    assert "vocab.txt" in refused("finetune", "sst-2", "--model", bare, "--train", files / "sst.tsv", "--out", tmp_path / "x")
    more = tmp_path / "more"
    shutil.copytree(out, more)
    about = json.loads((more / "task.json").read_text())
    (more / "task.json").write_text(json.dumps(about | {"labels": ["0", "1", "2"]}))
    assert "3 labels" in refused("evaluate", more, files / "sst.tsv")
    (more / "task.json").write_text(json.dumps(about | {"name": "nothing"}))
    assert "damaged" in refused("predict", more, files / "sst.tsv")
    assert "--official" in refused("predict", out, files / "sst.tsv", "--official", tmp_path / "answers.json")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_is_said(run, files, tmp_path):
    with pytest.raises(InputError, match="not finite"):
        launch("sst-2", run, files / "sst.tsv", None, None, {"epochs": 30.0, "learning_rate": 1e30, "max_length": 24}, {})
