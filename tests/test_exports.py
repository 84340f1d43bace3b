"""What others read in our directories, and we in theirs: padding, lengths, prefixes, scales, segments."""

import json
import shutil

import numpy as np
import pytest
from conftest import TINY, cli_here, sentences, train_here
from hostile import CONFIG, read_arrays, save, write_arrays
from properties import given, settings, st

from minielectra import objectives
from minielectra.cli.entry import main
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.finetuning.backbone import read_backbone
from minielectra.finetuning.directory import Finetuned, save_finetuned
from minielectra.finetuning.heads import ElectraForSequenceClassification, HeadConfig
from minielectra.finetuning.loop import SeedResult
from minielectra.finetuning.readers.tables import Example, TableFormat
from minielectra.finetuning.tasks.classification import Classification
from minielectra.pretraining.exported_pair import read_towers, save_towers
from minielectra.pretraining.load import load_pretraining
from minielectra.pretraining.presets import configure

WORDS = "electra.embeddings.word_embeddings.weight"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def odd_vocabulary(tmp_path_factory, corpus):
    """A vocabulary in which the special tokens come last, [PAD] second to last."""
    text = corpus.read_text(encoding="utf-8").splitlines()
    pieces = WordPieceTokenizer.train(text, 120).vocab[len(SPECIAL_TOKENS) :]
    path = tmp_path_factory.mktemp("odd") / "vocab.txt"
    special = ["[MASK]", "[UNK]", "[CLS]", "[PAD]", "[SEP]"]
    path.write_text("".join(f"{piece}\n" for piece in [*pieces, *special]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory, odd_vocabulary, corpus):
    out = tmp_path_factory.mktemp("odd") / "run"
    train_here(out, corpus, "--vocab", odd_vocabulary, "--steps", "2", "--set", "learning_rate=1e-30")
    return out


def refused(capsys, *arguments):
    """The one line with which a command ends."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("minielectra: ")
    return line


# [PAD] and the longest sequence.


def test_the_padding_row_is_that_of_the_vocabulary(odd_run, odd_vocabulary, tmp_path):
    pad = odd_vocabulary.read_text(encoding="utf-8").splitlines().index("[PAD]")
    assert pad > 20 and read(odd_run / "run.json")["config"]["pad_token_id"] == pad
    objective, tokenizer = load_pretraining(odd_run)
    table = objective.parameters[WORDS].value
    assert tokenizer.pad_id == objective.towers["generator"].config.pad_token_id == pad
    assert np.flatnonzero(np.abs(table).max(axis=1) < 1e-20).tolist() == [pad]
    cli_here("export", odd_run, tmp_path / "pair")
    for name in ("generator", "discriminator"):
        assert read(tmp_path / "pair" / name / "config.json")["pad_token_id"] == pad


def test_a_run_of_an_older_version_is_exported_with_the_right_one(odd_run, tmp_path):
    shutil.copytree(odd_run, tmp_path / "run")
    info = read(tmp_path / "run" / "run.json")
    pad = info["config"]["pad_token_id"]
    info["config"]["pad_token_id"] = 0
    (tmp_path / "run" / "run.json").write_text(json.dumps(info), encoding="utf-8")
    cli_here("export", tmp_path / "run", tmp_path / "pair")
    assert read(tmp_path / "pair" / "discriminator" / "config.json")["pad_token_id"] == pad


def test_weights_of_an_older_export_go_on(odd_run, corpus, tmp_path):
    cli_here("export", odd_run, tmp_path / "pair")
    for name in ("generator", "discriminator"):
        path = tmp_path / "pair" / name / "config.json"
        path.write_text(json.dumps(read(path) | {"pad_token_id": 0}), encoding="utf-8")
    cli_here(
        "train", "--init", tmp_path / "pair", "--corpus", corpus, "--steps", "1", "--out", tmp_path / "b"
    )
    assert read(tmp_path / "b" / "run.json")["config"]["pad_token_id"] > 20


def test_another_padding_row_is_refused(odd_vocabulary, corpus, tmp_path, capsys):
    options = ("--corpus", corpus, "--vocab", odd_vocabulary, *TINY, "--steps", "1")
    line = refused(capsys, "train", *options, "--out", tmp_path / "a", "--set", "pad_token_id=3")
    assert "pad_token_id 3: [PAD] has the id" in line
    assert not (tmp_path / "a").exists()


@given(st.permutations([*SPECIAL_TOKENS, "a", "b", "##c", "d"]), st.integers(2, 40), st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_every_directory_says_where_padding_is_and_how_long_sequences_are(
    tmp_path_factory, pieces, length, wrong
):
    fields = {"max_position_embeddings": length, "pad_token_id": wrong}
    model = ElectraForPreTraining(ElectraConfig(**vars(CONFIG) | fields))
    directory = tmp_path_factory.mktemp("model")
    model.save_pretrained(directory, WordPieceTokenizer(pieces))
    assert read(directory / "config.json")["pad_token_id"] == pieces.index("[PAD]")
    assert read(directory / "tokenizer_config.json")["model_max_length"] == length
    assert model.config.pad_token_id == wrong  # the model itself stays as it is
    shutil.rmtree(directory)


def test_files_of_an_earlier_tokenizer_do_not_survive(directory):
    for name in ("tokenizer.json", "added_tokens.json", "special_tokens_map.json"):
        (directory / name).write_text('{"model": {"type": "WordPiece"}}')
    save(directory)
    assert sorted(path.name for path in directory.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert WordPieceTokenizer.from_pretrained(directory).vocab[-1] == "d"


# A generator's sizes are a fraction of the discriminator's, rounded down.


@pytest.mark.parametrize("width", [0.25, 1 / 3, 0.33333, 0.4, 0.62, 1.0])
def test_a_width_that_was_rounded_is_found_again(width, tmp_path):
    overrides = {"vocab_size": 9, "embedding_size": 8, "hidden_size": 48, "num_hidden_layers": 1}
    overrides |= {"num_attention_heads": 1, "intermediate_size": 190, "generator_width": width}
    model_config, config = configure("tiny", overrides)
    objective = objectives.make(model_config, config)
    save_towers(objective.towers, tmp_path, WordPieceTokenizer([*SPECIAL_TOKENS, *"abcd"]))
    fields = read_towers(tmp_path, config)[0]
    again = model_config.generator(fields["generator_width"], fields["generator_depth"])
    assert again == objective.towers["generator"].config


# Encoders without a head.


def without_prefix(directory):
    """Rewrite a model's directory as transformers' `ElectraModel` would: the encoder, without `electra.`."""
    arrays = read_arrays(directory)
    kept = {name.removeprefix("electra."): entry for name, entry in arrays.items() if "electra." in name}
    write_arrays(directory / "model.safetensors", kept)
    path = directory / "config.json"
    path.write_text(json.dumps(read(path) | {"architectures": ["ElectraModel"]}))


@pytest.fixture
def cola(tmp_path):
    rows = [f"x\t{i % 2}\t\t{text}\n" for i, text in enumerate(sentences(24))]
    path = tmp_path / "cola.tsv"
    path.write_text("".join(rows), encoding="utf-8")
    return path


def test_an_encoder_alone_is_fine_tuned(odd_run, cola, tmp_path, capsys):
    cli_here("export", odd_run, tmp_path / "pair")
    shutil.copytree(tmp_path / "pair" / "discriminator", tmp_path / "encoder")
    without_prefix(tmp_path / "encoder")
    whole, alone = read_backbone(tmp_path / "pair"), read_backbone(tmp_path / "encoder")
    assert whole.config == alone.config and list(whole.state) == list(alone.state)
    assert all(np.array_equal(whole.state[name], alone.state[name]) for name in whole.state)
    out = tmp_path / "out"
    cli_here(
        "finetune", "cola", "--model", tmp_path / "encoder", "--train", cola, "--epochs", "1", "--out", out
    )
    assert read(out / "config.json")["pad_token_id"] == alone.tokenizer.pad_id
    assert read(out / "tokenizer_config.json")["model_max_length"] == alone.config.max_position_embeddings
    line = refused(capsys, "detect", tmp_path / "encoder", "a text")
    assert "its encoder has no discriminator head" in line and "fine-tune this one" in line


def test_an_encoder_alone_that_does_not_fit(directory):
    without_prefix(directory)
    arrays = read_arrays(directory)
    del arrays["encoder.layer.0.output.dense.bias"]
    write_arrays(directory / "model.safetensors", arrays)
    with pytest.raises(InputError, match=r"missing electra\.encoder\.layer\.0\.output\.dense\.bias"):
        read_backbone(directory)
    with pytest.raises(InputError, match=r"of config\.json's sizes"):
        ElectraForPreTraining.from_pretrained(directory)


def test_a_generator_has_no_discriminator_head(odd_run, tmp_path, capsys):
    cli_here("export", odd_run, tmp_path / "pair")
    assert "no discriminator head" in refused(capsys, "detect", tmp_path / "pair" / "generator", "a text")


def test_an_exported_masked_language_model_is_fine_tuned_too(corpus, tmp_path, capsys):
    """As the run itself. It has no discriminator, and `detect` says so."""
    train_here(tmp_path / "run", corpus, "--steps", "2", "--objective", "mlm")
    cli_here("export", tmp_path / "run", tmp_path / "pair")
    run, exported = read_backbone(tmp_path / "run"), read_backbone(tmp_path / "pair")
    assert run.config == exported.config
    assert all(np.array_equal(run.state[name], exported.state[name]) for name in run.state)
    assert "no discriminator" in refused(capsys, "detect", tmp_path / "run", "a text")
    assert "no discriminator head" in refused(capsys, "detect", tmp_path / "pair", "a text")


# Regressions.


@pytest.fixture
def regression(odd_run, tmp_path):
    """A fine-tuned regression whose largest number is 40, and a file of texts."""
    texts = sentences(30, seed=1)
    path = tmp_path / "numbers.csv"
    path.write_text("text,score\n" + "".join(f"{t},{i * 40 / 29}\n" for i, t in enumerate(texts)))
    out = tmp_path / "regression"
    cli_here("finetune", "regression", "--model", odd_run, "--train", path, "--epochs", "2", "--out", out)
    return out, path


def test_the_scale_is_in_the_weights(regression):
    directory, path = regression
    assert read(directory / "task.json")["scale"] == 1.0
    opened = Finetuned(directory)
    predictions = np.array([p["label"] for p in opened.predict(opened.task.read(path))])
    row = opened.tokenizer.encode(sentences(30, seed=1)[0])
    logits = opened.model([[opened.tokenizer.cls_id, *row, opened.tokenizer.sep_id]])
    assert float(logits[0, 0]) == pytest.approx(predictions[0], rel=1e-5)


@pytest.mark.parametrize("scale", [0.25, 1.0, 40.0])
def test_predictions_are_what_was_trained_times_the_scale(scale, tmp_path):
    task = Classification("regression", TableFormat("lines"), ("score",), scale)
    model = ElectraForSequenceClassification(HeadConfig(**vars(CONFIG), labels=("score",)))
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.size)
    flat = model.parameters.flat.copy()
    trained = float(model([[2, 5, 6, 3]])[0, 0])
    result, tokenizer = (
        SeedResult(0, [], {}, flat, task.settings),
        WordPieceTokenizer([*SPECIAL_TOKENS, *"abcd"]),
    )
    save_finetuned(tmp_path, task, model, result, tokenizer, 12, {})
    (prediction,) = Finetuned(tmp_path).predict([Example("a b", None, None, 1)])
    assert prediction["label"] == pytest.approx(trained * scale, rel=1e-6)
    assert np.array_equal(flat, model.parameters.flat)  # what the caller holds stays as it is


def test_a_directory_of_an_older_version_predicts_the_same(regression, tmp_path):
    """There the scale is in task.json, and not in the weights."""
    directory, path = regression
    old = tmp_path / "old"
    shutil.copytree(directory, old)
    arrays = read_arrays(old)
    for name in ("classifier.out_proj.weight", "classifier.out_proj.bias"):
        values = np.frombuffer(arrays[name][2], np.float32) / np.float32(40.0)
        arrays[name][2] = values.tobytes()
    write_arrays(old / "model.safetensors", arrays)
    (old / "task.json").write_text(json.dumps(read(old / "task.json") | {"scale": 40.0}))
    found = []
    for opened in map(Finetuned, (directory, old)):
        found.append([p["label"] for p in opened.predict(opened.task.read(path))])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


# One kind of segment.


def test_one_kind_of_segment(corpus, tmp_path):
    run, out = tmp_path / "run", tmp_path / "rte"
    train_here(run, corpus, "--steps", "2", "--set", "type_vocab_size=1")
    objective, _ = load_pretraining(run)
    assert objective.parameters["electra.embeddings.token_type_embeddings.weight"].shape[0] == 1
    texts = sentences(20)
    path = tmp_path / "rte.tsv"
    rows = [f"{a}\t{b}\t{i % 2}\n" for i, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))]
    path.write_text("sentence1\tsentence2\tlabel\n" + "".join(rows))
    options = ("--train", path, "--dev", path, "--epochs", "1", "--out", out)
    cli_here("finetune", "rte", "--model", run, *options)
    assert read(out / "tokenizer_config.json")["model_input_names"] == ["input_ids", "attention_mask"]
    cli_here("detect", run, "the cat sees")


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_segments_that_the_model_does_not_have(kinds):
    model = ElectraForPreTraining(ElectraConfig(**vars(CONFIG) | {"type_vocab_size": kinds}))
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.size)
    ids = np.arange(6).reshape(2, 3)
    for segments in (np.full((2, 3), kinds), np.full((2, 3), -1)):
        if kinds == 1:
            assert np.array_equal(model(ids, None, segments), model(ids))
        else:
            with pytest.raises(ValueError, match="token_type_ids must lie in 0"):
                model(ids, None, segments)
