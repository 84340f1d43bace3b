"""Directories written here and opened by transformers, and the reverse: keys, logits, tokens, bytes."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import transformers

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra import towers as models

from .checks import CONFIG, SETTINGS, joint_model, make_tokens
from .round_trips import (
    VOCABULARY,
    contents,
    differences,
    encode,
    make_there,
    missing_data,
    open_there,
    resaved,
    sentences,
    small_config,
    small_model_here,
    their_logits,
    with_tokenizer,
)
from .test_towers import both
from .twins import KINDS

CONFIGS = {
    "default": CONFIG,
    "E = H": replace(CONFIG, embedding_size=36),
    "all fields": replace(
        CONFIG,
        hidden_act="gelu_new",
        layer_norm_eps=1e-6,
        pad_token_id=2,
        initializer_range=0.03,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.3,
    ),
}
configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
SENTENCE = "The Rivers, flowing. w7 elsewhere"


def close(ours, theirs, tolerance=1e-5):
    """Asserts that logits agree to `tolerance` of the largest."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.float32
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@configs
@both
def test_saved_here_opened_there(kind, config, tmp_path):
    model, _ = small_model_here(kind, tmp_path, config)
    module, problems = open_there(kind, tmp_path)
    assert not problems
    assert {name: getattr(module.config, name) for name in asdict(config)} == asdict(config)
    batch = make_tokens(config, 1)
    close(model(*batch), their_logits(module, batch))


@configs
@both
def test_saved_there_opened_here(kind, config, tmp_path):
    module = make_there(kind, config, tmp_path)
    model = getattr(models, kind).from_pretrained(tmp_path)
    assert model.config == config
    batch = make_tokens(config, 1)
    close(model(*batch), their_logits(module, batch))


@pytest.mark.parametrize("tower", KINDS)
def test_towers_of_a_joint_model(tower, tmp_path):
    settings = replace(SETTINGS, objective="replace-mlm" if tower == "corrector" else "electra")
    model = joint_model(settings=settings, dtype=np.float32).towers[tower]
    model.save_pretrained(tmp_path)
    module, problems = open_there(KINDS[tower], tmp_path)
    assert not problems
    batch = make_tokens(CONFIG, 1)
    close(model(*batch), their_logits(module, batch))


@both
@pytest.mark.parametrize(("precision", "tolerance"), [("half", 3e-3), ("bfloat16", 3e-2), ("float", 1e-5)])
def test_saved_there_in_shards_and_other_precisions(kind, precision, tolerance, tmp_path):
    """Weights are what was rounded there, to the bit; logits are theirs of before, to that precision."""
    module = make_there(kind, CONFIG, tmp_path / "whole")
    expected = their_logits(module, batch := make_tokens(CONFIG, 1))
    getattr(module, precision)().save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    model = getattr(models, kind).from_pretrained(tmp_path / "shards")
    for name, parameter in module.named_parameters():
        assert np.array_equal(model.parameters[name].value, parameter.detach().float().numpy()), name
    close(model(*batch), expected, tolerance)


@both
def test_bytes_are_stable(kind, tmp_path):
    small_model_here(kind, tmp_path / "a")
    first = contents(tmp_path / "a")
    assert {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"} <= first.keys()
    assert resaved(kind, tmp_path / "a", tmp_path / "b") == first
    assert resaved(kind, tmp_path / "b", tmp_path / "b") == first  # over itself


@both
def test_bytes_are_stable_through_transformers(kind, tmp_path):
    small_model_here(kind, tmp_path / "a")
    open_there(kind, tmp_path / "a")[0].save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "theirs")
    assert resaved(kind, tmp_path / "theirs", tmp_path / "b") == contents(tmp_path / "a")
    assert resaved(kind, tmp_path / "b", tmp_path / "c") == contents(tmp_path / "a")


@pytest.mark.parametrize("opener", [transformers.AutoTokenizer, transformers.ElectraTokenizer])
@pytest.mark.parametrize("lowercase", [True, False])
def test_tokenizer(opener, lowercase, tmp_path):
    _, tokenizer = small_model_here("ElectraForPreTraining", tmp_path)
    tokenizer = WordPieceTokenizer(tokenizer.vocab, lowercase)
    tokenizer.save(tmp_path)
    theirs = opener.from_pretrained(tmp_path)
    for text in (SENTENCE, "Über uber ÜBER", "[MASK] flows [SEP] the", ""):
        assert theirs(text).input_ids == [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
    theirs.save_pretrained(tmp_path / "theirs")
    back = WordPieceTokenizer.from_pretrained(tmp_path / "theirs")
    assert (back.vocab, back.lowercase) == (tokenizer.vocab, lowercase)


@pytest.mark.slow
@both
def test_electra_small_on_real_sentences(kind, tmp_path, capsys):
    """As published and as transformers initializes it. The project promises logits within 1e-5, absolute."""
    if reason := missing_data():
        pytest.skip(reason)
    tokenizer = WordPieceTokenizer.from_file(VOCABULARY)
    found, seconds, problems = differences(kind, small_config(kind), encode(tokenizer, sentences()), tmp_path)
    assert not problems
    assert max(found.values()) <= 1e-5, found
    with capsys.disabled():
        print(f"\n{kind}: opened in {seconds:.2f} s; largest difference of a logit {max(found.values()):.1e}")
    first = with_tokenizer(kind, tmp_path / "ours", tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    for text in sentences(50):
        assert theirs(text).input_ids == [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
    assert resaved(kind, tmp_path / "ours", tmp_path / "again") == first
