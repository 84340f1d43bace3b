"""Generated models of every class and configuration, through directories: what transformers makes of ours,
and we of theirs.

Not only logits: the padding row, the longest sequence, segments, and what a pipeline prints.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from properties import given, settings, st

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.detect import detect
from minielectra.electra import towers
from minielectra.electra.electra_config import ACTIVATIONS, ElectraConfig
from minielectra.errors import InputError
from minielectra.finetuning import heads
from minielectra.finetuning.backbone import read_backbone
from minielectra.finetuning.directory import Finetuned, save_finetuned
from minielectra.finetuning.loop import SeedResult
from minielectra.finetuning.readers.tables import Example, TableFormat
from minielectra.finetuning.tasks.classification import Classification

from .checks import fill
from .round_trips import their_logits

WORDS = ["the", "river", "flow", "##ing", "##s", "cat", "a", ",", "."]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOWERS = (towers.ElectraForPreTraining, towers.ElectraForMaskedLM)
HEADS = (
    heads.ElectraForSequenceClassification,
    heads.ElectraForTokenClassification,
    heads.ElectraForQuestionAnswering,
)


@st.composite
def vocabularies(draw):
    """A tokenizer whose special tokens stand anywhere."""
    return WordPieceTokenizer(draw(st.permutations(SPECIAL + WORDS)), draw(st.booleans()))


@st.composite
def configurations(draw, kind, size):
    """A configuration for `kind`, of at least `size` rows."""
    per_head = draw(st.integers(2, 5))
    n_heads = draw(st.integers(1, 3))
    fields = {
        "vocab_size": size + draw(st.sampled_from([0, 0, 1, 6])),
        "embedding_size": draw(st.sampled_from([per_head * n_heads, 4, 7])),
        "hidden_size": per_head * n_heads,
        "num_attention_heads": n_heads,
        "num_hidden_layers": draw(st.integers(1, 2)),
        "intermediate_size": draw(st.integers(1, 9)),
        "hidden_act": draw(st.sampled_from(ACTIVATIONS)),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": draw(st.integers(8, 20)),
        "type_vocab_size": draw(st.integers(1, 3)),
        "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
    }
    if not issubclass(kind, HEADS):
        return ElectraConfig(**fields)
    count = 2 if kind is heads.ElectraForQuestionAnswering else draw(st.integers(1, 4))
    return heads.HeadConfig(**fields, labels=tuple(f"label {i}" for i in range(count)))


def tokens(config, seed):
    """ids, valid, segments [B, T] of random tokens, of any row."""
    random = np.random.default_rng(seed)
    shape = (3, config.max_position_embeddings - seed % 3)
    ids = random.integers(0, config.vocab_size, shape, dtype=np.int32)
    valid = np.arange(shape[1]) < random.integers(1, shape[1] + 1, 3)[:, None]
    return ids, valid, random.integers(0, config.type_vocab_size, shape, dtype=np.int32)


@torch.no_grad()
def logits_there(module, batch):
    """As `their_logits`, for question answering too."""
    if not isinstance(module, transformers.ElectraForQuestionAnswering):
        return their_logits(module, batch)
    out = module(*(torch.from_numpy(x.astype(np.int64)) for x in batch))
    return torch.stack([out.start_logits, out.end_logits], -1).numpy()


def close(ours, theirs):
    """Asserts that logits agree to 1e-5 of the largest."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1.0, np.abs(theirs).max())


@pytest.mark.parametrize("kind", (*TOWERS, *HEADS), ids=lambda kind: kind.__name__)
@given(st.data())
@settings(max_examples=12, deadline=None)
def test_what_is_written_is_read_alike(kind, data):
    tokenizer = data.draw(vocabularies())
    config = data.draw(configurations(kind, len(tokenizer)))
    batch, model = tokens(config, data.draw(st.integers(0, 99))), kind(config)
    fill(model.parameters, data.draw(st.integers(0, 99)))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, tokenizer)
        theirs, about = getattr(transformers, kind.__name__).from_pretrained(
            folder, output_loading_info=True, attn_implementation="eager"
        )
        assert not any(about.values())
        close(model(*batch), logits_there(theirs.eval(), batch))
        assert theirs.config.pad_token_id == tokenizer.pad_id
        assert theirs.electra.embeddings.word_embeddings.padding_idx == tokenizer.pad_id
        opened = transformers.AutoTokenizer.from_pretrained(folder)
        assert opened.model_max_length == config.max_position_embeddings
        text = "The river flowing , cats " * 9
        encoded = opened(text, "a cat .", truncation=True, return_tensors="pt")
        assert encoded.input_ids.shape[1] == config.max_position_embeddings
        theirs(**encoded)  # neither positions nor segments are out of range
        names = ("pad", "unk", "cls", "sep", "mask")
        assert [getattr(opened, f"{name}_token_id") for name in names] == list(tokenizer.special_ids)

        theirs.save_pretrained(f"{folder}/again")
        opened.save_pretrained(f"{folder}/again")
        again = kind.from_pretrained(f"{folder}/again")
        assert again.config == read_config_with(model.config, tokenizer)
        assert np.array_equal(again.parameters.flat, model.parameters.flat)
        model.save_pretrained(f"{folder}/again", tokenizer)  # over the tokenizer.json that is there
        assert not Path(f"{folder}/again/tokenizer.json").exists()


def read_config_with(config, tokenizer):
    """The configuration that a directory with this tokenizer has."""
    return type(config)(**(asdict(config) | {"pad_token_id": tokenizer.pad_id}))


def random_module(kind, seed=0, **fields):
    """A model of transformers with random weights."""
    sizes = {
        "vocab_size": len(SPECIAL + WORDS),
        "embedding_size": 6,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 10,
        "max_position_embeddings": 24,
    }
    torch.manual_seed(seed)
    module = getattr(transformers, kind)(transformers.ElectraConfig(**sizes | fields)).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def saved(module, directory, **options):
    """Write a model of transformers with a tokenizer -> the directory."""
    module.save_pretrained(directory, **options)
    WordPieceTokenizer(SPECIAL + WORDS).save(directory)
    return directory


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "2KB"}], ids=["one file", "shards"])
@pytest.mark.parametrize("embedding_size", [6, 8])
def test_an_encoder_alone(embedding_size, options, tmp_path):
    module = random_module("ElectraModel", embedding_size=embedding_size)
    backbone = read_backbone(saved(module, tmp_path, **options))
    names = {f"electra.{name}" for name, _ in module.named_parameters()}
    assert set(backbone.state) == names
    for name, parameter in module.named_parameters():
        assert np.array_equal(backbone.state[f"electra.{name}"], parameter.detach().numpy())
    with pytest.raises(InputError, match="no discriminator head") as caught:
        towers.ElectraForPreTraining.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_one_kind_of_segment_in_pairs(tmp_path):
    """transformers fails on segment 1; with what we write beside the model, nobody asks for it."""
    task = Classification("rte", TableFormat("columns", "a", "b", "c"), ("no", "yes"))
    model, tokenizer = head_model(("no", "yes"), type_vocab_size=1), WordPieceTokenizer(SPECIAL + WORDS)
    save_finetuned(tmp_path, task, model, seed_result(model, task.settings), tokenizer, 24, {})
    examples = [Example("the river", "a cat flowing", None, 1), Example("cats", "the", None, 2)]
    ours = Finetuned(tmp_path).predict(examples)
    theirs = transformers.pipeline("text-classification", model=str(tmp_path), top_k=None)
    for example, prediction in zip(examples, ours, strict=True):
        found = theirs({"text": example.text, "text_pair": example.pair})
        assert prediction["scores"] == pytest.approx(
            {entry["label"]: entry["score"] for entry in found}, abs=2e-6
        )


def head_model(labels, **fields):
    """One of our classifiers, of random weights."""
    sizes = {"hidden_size": 8, "embedding_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 10, "max_position_embeddings": 24, "vocab_size": len(SPECIAL + WORDS)}
    model = heads.ElectraForSequenceClassification(heads.HeadConfig(**sizes | fields, labels=labels))
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.size)
    return model


def seed_result(model, task_settings):
    """As if training had ended with this model."""
    return SeedResult(0, [], {}, model.parameters.flat.copy(), task_settings)


@given(st.floats(1e-3, 1e4), st.integers(0, 99), st.sampled_from(["sts-b", "regression"]))
@settings(max_examples=15, deadline=None)
def test_a_regression_predicts_the_same_numbers(scale, seed, name):
    """Their logits are our predictions, and both are what training saw: the head's output times the scale."""
    task = Classification(name, TableFormat("lines", name=None), ("score",), scale=scale)
    model, tokenizer = head_model(("score",)), WordPieceTokenizer(SPECIAL + WORDS)
    model.parameters.flat[...] = np.random.default_rng(seed).standard_normal(model.parameters.size)
    before = model.parameters.flat.copy()
    texts = ["the river", "cats flowing , a", "."]
    with tempfile.TemporaryDirectory() as folder:
        save_finetuned(folder, task, model, seed_result(model, task.settings), tokenizer, 24, {})
        assert np.array_equal(model.parameters.flat, before)  # the caller's model is left alone
        ours = Finetuned(folder).predict([Example(text, None, None, i) for i, text in enumerate(texts)])
        numbers = np.array([prediction["label"] for prediction in ours])
        module = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        encoded = transformers.AutoTokenizer.from_pretrained(folder)(texts, return_tensors="pt", padding=True)
        with torch.no_grad():
            theirs = module(**encoded).logits[:, 0].numpy()
        assert module.config.problem_type == "regression"
        rows = [[tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id] for text in texts]
        trained = np.array([float(model(np.array([row]))[0, 0]) * scale for row in rows])
        size = np.abs(trained).max()
        np.testing.assert_allclose(numbers, theirs, rtol=1e-5, atol=1e-5 * size)
        np.testing.assert_allclose(numbers, trained, rtol=1e-5, atol=1e-5 * size)
        assert json.loads(Path(folder, "task.json").read_text(encoding="utf-8"))["scale"] == 1.0


@pytest.mark.parametrize("activation", ["relu", "silu", "swish"])
def test_their_discriminator_with_another_activation(activation, tmp_path):
    module = random_module("ElectraForPreTraining", hidden_act=activation)
    model = towers.ElectraForPreTraining.from_pretrained(saved(module, tmp_path))
    tokenizer = WordPieceTokenizer.from_pretrained(tmp_path)
    text = "the river flowing , a cat"
    encoded = transformers.AutoTokenizer.from_pretrained(tmp_path)(text, return_tensors="pt")
    with torch.no_grad():
        expected = module(**encoded).logits.sigmoid()[0, 1:-1].numpy()
    np.testing.assert_allclose(detect(model, tokenizer, text)["replaced"], expected, atol=2e-6)


# Classifiers that transformers made.


@given(st.integers(1, 5), st.integers(0, 99), st.booleans(), st.sampled_from([1, 2]))
@settings(max_examples=15, deadline=None)
def test_their_classifiers_predict_here_what_they_predict_there(count, seed, paired, kinds):
    labels = [f"class {i}" for i in range(count)]
    fields = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    fields |= {"problem_type": "regression"} if count == 1 else {}
    module = random_module("ElectraForSequenceClassification", seed, type_vocab_size=2, **fields)
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS[:3] + WORDS[5:], n)) for n in (3, 40, 1, 7)]
    pairs = [" ".join(random.choice(WORDS[:3], n)) for n in (5, 2, 30, 1)] if paired else [None] * 4
    with tempfile.TemporaryDirectory() as folder:
        saved(module, folder)
        ours = Finetuned(folder)
        file = Path(folder, "texts.txt")
        rows = (text if pair is None else f"{text}\t{pair}" for text, pair in zip(texts, pairs, strict=True))
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")
        predictions = ours.predict(ours.task.read(file, labelled=False, form="lines"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, model_max_length=24)
        for text, pair, prediction in zip(texts, pairs, predictions, strict=True):
            encoded = tokenizer(text, pair, truncation=True, return_tensors="pt")
            with torch.no_grad():
                logits = module(**encoded).logits[0]
            if count == 1:
                assert prediction["label"] == pytest.approx(float(logits[0]), rel=1e-5, abs=1e-5)
            else:
                expected = dict(zip(labels, logits.softmax(-1).tolist(), strict=True))
                assert prediction["scores"] == pytest.approx(expected, abs=2e-5)
                assert prediction["label"] == labels[int(logits.argmax())]


@given(st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_their_taggers(seed):
    labels = ["O", "B-X", "I-X"]
    module = random_module("ElectraForTokenClassification", seed, id2label=dict(enumerate(labels)))
    random = np.random.default_rng(seed)
    sentences = [
        list(random.choice(["the", "rivers", "flowing", "cat", "unknown", "."], n)) for n in (4, 9, 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        saved(module, folder)
        ours, file = Finetuned(folder), Path(folder, "sentences.txt")
        file.write_text("".join(" ".join(words) + "\n" for words in sentences), encoding="utf-8")
        predictions = ours.predict(ours.task.read(file, labelled=False, form="lines"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for words, prediction in zip(sentences, predictions, strict=True):
            encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
            with torch.no_grad():
                best = module(**encoded).logits[0].argmax(-1)
            owners = encoded.word_ids()
            expected = [labels[int(best[owners.index(i)])] for i in range(len(words))]
            assert prediction["labels"] == expected


@given(st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_their_answers(seed):
    module = random_module("ElectraForQuestionAnswering", seed)
    random = np.random.default_rng(seed)
    context, question = " ".join(random.choice(WORDS[:3] + WORDS[5:], 12)), "a cat"
    content = {"data": [{"paragraphs": [{"context": context, "qas": [{"id": "q", "question": question}]}]}]}
    with tempfile.TemporaryDirectory() as folder:
        saved(module, folder)
        ours, file = Finetuned(folder), Path(folder, "questions.json")
        file.write_text(json.dumps(content), encoding="utf-8")
        (prediction,) = ours.predict(ours.task.read(file, labelled=False))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        encoded = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            out = module(**encoded)
        inside = [i for i, owner in enumerate(encoded.sequence_ids()) if owner == 1]
        spans = [(i, j) for i in inside for j in inside if i <= j]
        first, last = max(spans, key=lambda s: float(out.start_logits[0, s[0]] + out.end_logits[0, s[1]]))
        assert prediction["answer"] == context[offsets[first][0] : offsets[last][1]]
        assert prediction["start"] == offsets[first][0]
