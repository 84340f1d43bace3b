"""What the script of a page computes in a browser: the same as `detect` and `predict` on the same weights."""

import base64
import json

import numpy as np
import pytest
from browser import needs_browser
from conftest import sentences
from hostile import CONFIG
from page_models import TAGS, TASKS, finetuned, made, texts

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.normalization import TextNormalizer
from minielectra.detect import detect_many
from minielectra.devices.opened_source import OpenedSource, open_source
from minielectra.devices.page_contents import SCRIPTS, page_contents, page_file
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.finetuning.readers.conll import Sentence
from minielectra.finetuning.readers.squad_json import Question
from minielectra.finetuning.readers.tables import Example
from minielectra.formats.html_page import html_page, write_page
from minielectra.pretraining.load import load_discriminator

# A page without an interface, that hands out what computes.
DRIVER = """
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const about = read("about");
const bytes = Uint8Array.from(atob(read("weights")), (char) => char.charCodeAt(0)).buffer;
const tasks = new Tasks(about, new Model(about.config, about.arrays, bytes), new WordPiece(about.tokenizer));
const inputs = read("inputs");
window.run = (name) => JSON.stringify(inputs.map((texts) => tasks[name](...texts)));
window.characters = () => JSON.stringify(inputs.map(([text]) =>
  [...text].map((char) => tasks.tokenizer.characters.normalized(char))));
document.documentElement.dataset.ready = "yes";
"""


@pytest.fixture(scope="module")
def tokenizer():
    return load_discriminator("mini")[1]


def computed(browser, tmp_path, opened, inputs, call):
    """What the page's script computes of inputs, lists of texts."""
    about, weights = page_contents(opened)
    script = "\n".join([*map(page_file, SCRIPTS[:-1]), DRIVER])
    data = {"about": about, "weights": base64.b64encode(weights).decode(), "inputs": inputs}
    write_page(tmp_path / "driver.html", html_page("driver", "<p></p>", "p {}", script, data))
    page = browser.open(tmp_path / "driver.html")
    found = json.loads(page.evaluate(call))
    assert page.problems == []
    page.close()
    return found


def assert_detects(found, wanted):
    """The same pieces of the same places, with the same probabilities."""
    for pieces, result in zip(found, wanted, strict=True):
        text = result["text"]
        assert [piece["text"] for piece in pieces] == result["tokens"], text
        utf16 = text.encode("utf-16-le", "surrogatepass")
        places = [utf16[2 * p["start"] : 2 * p["end"]].decode("utf-16-le", "surrogatepass") for p in pieces]
        assert places == [text[start:end] for start, end in result["offsets"]], text
        assert np.allclose([p["probability"] for p in pieces], result["replaced"], rtol=0, atol=1e-4), text


FIELDS = [{}, {"hidden_act": "gelu_new", "embedding_size": 8, "type_vocab_size": 1}]


@needs_browser
@pytest.mark.parametrize("fields", FIELDS)
def test_detection(browser, tmp_path, tokenizer, fields):
    model = made(ElectraForPreTraining, type(CONFIG), tokenizer, **fields)
    inputs = texts(300)
    found = computed(
        browser,
        tmp_path,
        OpenedSource({"discriminator": model}, tokenizer),
        [[x] for x in inputs],
        "run('detect')",
    )
    assert_detects(found, detect_many(model, tokenizer, inputs))


@needs_browser
@pytest.mark.slow
def test_mini_detects_the_same_in_the_page(browser, tmp_path):
    opened, inputs = open_source("mini"), texts(200, seed=1)
    found = computed(browser, tmp_path, opened, [[x] for x in inputs], "run('detect')")
    assert_detects(found, detect_many(opened.models["discriminator"], opened.tokenizer, inputs))


@needs_browser
@pytest.mark.parametrize("name", ["classification", "pair", "regression"])
def test_classification(browser, tmp_path, tokenizer, name):
    opened = finetuned(TASKS[name](), tokenizer, readout="mix" if name == "pair" else "last")
    inputs, other = texts(120), texts(120, seed=2)[::-1]
    pairs = [[a, b] for a, b in zip(inputs, other, strict=True)] if name == "pair" else [[a] for a in inputs]
    found = computed(browser, tmp_path, opened, pairs, "run('classify')")
    examples = [Example(pair[0], pair[1] if len(pair) > 1 else None, None, 1) for pair in pairs]
    for scores, prediction in zip(found, opened.finetuned.predict(examples), strict=True):
        wanted = prediction.get("scores") or {"score": prediction["label"]}
        assert np.allclose(scores, list(wanted.values()), rtol=1e-5, atol=1e-4)


@needs_browser
def test_tagging(browser, tmp_path, tokenizer):
    opened, inputs = finetuned(TASKS["tagging"](), tokenizer), [*texts(150), "the captain " * 60]
    found = computed(browser, tmp_path, opened, [[x] for x in inputs], "run('tag')")
    rules = TextNormalizer()
    examples = [Sentence(rules.words(text), None, 1) for text in inputs]
    for words, example, wanted in zip(found, examples, opened.finetuned.predict(examples), strict=True):
        assert [TAGS[word["label"]] for word in words] == wanted["labels"], example.words
        assert np.allclose([word["probability"] for word in words], wanted["scores"], rtol=0, atol=1e-4)


@needs_browser
@pytest.mark.parametrize("name", ["answering", "answering, perhaps"])
def test_answering(browser, tmp_path, tokenizer, name):
    opened = finetuned(TASKS[name](), tokenizer)
    contexts = [*texts(80), " ".join(sentences(20)), *(" ".join(sentences(3, seed)) for seed in range(20))]
    inputs = [[f"what is {context[:30]}", context] for context in contexts]
    found = computed(browser, tmp_path, opened, inputs, "run('answer')")
    examples = [Question("q", question, context, (), False) for question, context in inputs]
    for result, example, wanted in zip(found, examples, opened.finetuned.predict(examples), strict=True):
        utf16 = example.context.encode("utf-16-le")
        answers = [utf16[2 * a["start"] : 2 * a["end"]].decode("utf-16-le") for a in result["answers"]]
        best = [entry["answer"] for entry in wanted["best"]]
        assert (answers or [""]) == best
        scores = [a["score"] for a in result["answers"]] or [1.0]
        assert np.allclose(scores, [entry["score"] for entry in wanted["best"]], rtol=0, atol=1e-4)
        assert result["none"] == (wanted["answer"] == "")


@needs_browser
@pytest.mark.parametrize("rules", [(True, None, True), (False, None, True), (True, False, False)])
def test_every_character_becomes_the_same(browser, tmp_path, rules):
    pieces = load_discriminator("mini")[1].vocab
    cut = WordPieceTokenizer(pieces, rules[0], strip_accents=rules[1], chinese=rules[2])
    model = made(ElectraForPreTraining, type(CONFIG), cut)
    codes = [*range(0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE0200), 0x10FFFE, 0x10FFFD]
    step = 1 if rules[0] and rules[1] is None else 7
    inputs = [[chr(code)] for code in codes[::step]]
    opened = OpenedSource({"discriminator": model}, cut)
    found = computed(browser, tmp_path, opened, inputs, "characters()")
    normalizer = TextNormalizer(*rules)
    different = [
        f"{ord(char):x}"
        for (char,), (text,) in zip(inputs, found, strict=True)
        if text != normalizer[ord(char)]
    ]
    assert different == []
