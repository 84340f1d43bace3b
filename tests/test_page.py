"""The page that runs a model in a browser: what it shows, what it must not do, and when there is none."""

import json

import numpy as np
import pytest
from browser import needs_browser
from conftest import cli_here
from hostile import CONFIG
from page_models import HOSTILE, TASKS, finetuned, made

from minielectra.cli.entry import main
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.added_tokens import AddedToken
from minielectra.data.wordpiece.rules import Rules
from minielectra.detect import detect_many
from minielectra.devices import page_contents as module
from minielectra.devices.character_table import character_table
from minielectra.devices.opened_source import OpenedSource
from minielectra.devices.page_contents import page_contents, page_of
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.formats.html_page import html_page, inline_json, write_page
from minielectra.pretraining.load import load_discriminator


@pytest.fixture(scope="module")
def tokenizer():
    return load_discriminator("mini")[1]


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "mini.html"
    cli_here("page", "mini", path)
    return path


def test_it_is_one_small_file_that_names_no_other(mini):
    text = mini.read_text(encoding="utf-8")
    assert mini.stat().st_size <= 5_000_000
    assert not any(word in text.lower() for word in ("http://", "https://", "src=", "@import", "url("))
    assert "default-src 'none'" in text


def listed(page):
    """What the list below the text says."""
    return page.evaluate("[...document.querySelectorAll('#results li')].map((item) => item.innerText)")


def typed(page, *texts):
    """Put texts into the fields as if they were typed -> the summary."""
    page.evaluate(
        f"""document.documentElement.dataset.ready = "";
            document.querySelectorAll("textarea").forEach((area, i) => {{
              area.value = {json.dumps(texts)}[i];
              area.dispatchEvent(new Event("input"));
            }});"""
    )
    page.wait_for("document.documentElement.dataset.ready === 'yes'")
    return page.evaluate("document.getElementById('summary').textContent")


@needs_browser
def test_typing_marks_the_words(browser, mini):
    page = browser.open(mini)
    page.evaluate("document.querySelector('textarea').select()")
    page.type("The cat.")
    page.wait_for("document.querySelectorAll('#results li').length === 3")
    expected = detect_many(*load_discriminator("mini"), ["The cat."])[0]["replaced"]
    assert [entry.split("\n")[0] for entry in listed(page)] == ["The", "cat", "."]
    assert [int(entry.split("\n")[1][:-2]) for entry in listed(page)] == [round(100 * p) for p in expected]
    marks = page.evaluate(
        "[...document.querySelectorAll('mark')].map((mark) => "
        "[mark.textContent, mark.style.getPropertyValue('--strength')])"
    )
    assert [mark for mark, _ in marks] == ["The", "cat", "."]
    assert np.allclose([float(strength) for _, strength in marks], expected, atol=1e-3)
    assert typed(page, "") == "Type something above." and listed(page) == []
    assert page.problems == [] and page.requests == [mini.as_uri()]
    page.close()


@needs_browser
def test_hostile_texts_are_texts(browser, mini):
    page = browser.open(mini, fragment="#t=%3Cb%3Ethe%3C%2Fb%3E")
    assert page.evaluate("document.querySelector('textarea').value") == "<b>the</b>"
    elements = "document.querySelectorAll('*').length - document.querySelectorAll('mark, li, li *').length"
    before = page.evaluate(elements)
    for text in [*HOSTILE, "\ud800 half"]:
        typed(page, text)
        shown, own = (
            page.evaluate(f"document.querySelector('{name}').{value}.toWellFormed()")
            for name, value in ((".mirror", "textContent"), ("textarea", "value"))
        )
        assert shown == own + "\n", text
        assert page.evaluate(elements) == before, text
    assert page.evaluate("document.querySelectorAll('b, img').length") == 0
    assert page.problems == []
    page.close()


@needs_browser
@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_page(browser, tmp_path, tokenizer, name, monkeypatch):
    monkeypatch.setattr(module, "open_source", lambda source: finetuned(TASKS[name](), tokenizer))
    write_page(tmp_path / "task.html", page_of("task"))
    for width, dark in ((1000, False), (380, True)):
        page = browser.open(tmp_path / "task.html", width=width, dark=dark)
        assert page.evaluate("document.getElementById('summary').textContent.length") > 5
        assert listed(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        named = "[...document.querySelectorAll('textarea')].every((area) => area.labels.length === 1)"
        assert page.evaluate(named)
        for text in HOSTILE:
            typed(page, text, text)
        assert page.problems == []
        page.close()


@needs_browser
def test_the_policy_lets_nothing_out(browser, tmp_path):
    script = """
      const blocked = [];
      document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
      const add = (html) => document.body.insertAdjacentHTML("beforeend", html);
      add('<img src="http://127.0.0.1:9/a.png">');
      add('<img src="data:," onerror="window.ran = true">');
      add('<link rel="stylesheet" href="http://127.0.0.1:9/a.css"><iframe src="http://127.0.0.1:9/"></iframe>');
      add('<p id="styled" style="color: rgb(1, 2, 3)">x</p>');
      const inline = document.createElement("script");
      inline.textContent = "window.ran = true";
      document.body.append(inline);
      try { new Function("window.ran = true")(); } catch { blocked.push("eval"); }
      fetch("http://127.0.0.1:9/").catch(() => {});
      try { new WebSocket("ws://127.0.0.1:9/"); } catch {}
      setTimeout(() => { window.blocked = blocked; document.documentElement.dataset.ready = "yes"; }, 500);
    """
    write_page(tmp_path / "page.html", html_page("x", "<p></p>", "p { margin: 0 }", script, {}))
    page = browser.open(tmp_path / "page.html")
    blocked = page.evaluate("window.blocked")
    elements = {"img-src", "frame-src", "script-src-elem", "style-src-elem"}
    assert {*elements, "script-src-attr", "style-src-attr", "connect-src", "eval"} <= set(blocked)
    assert page.evaluate("window.ran") is None
    assert page.evaluate("getComputedStyle(document.getElementById('styled')).color") != "rgb(1, 2, 3)"
    page.close()


# Without a browser.


@pytest.mark.parametrize("value", HOSTILE)
def test_data_in_a_page_comes_back(value):
    text = inline_json({value: [value, 1.5, None]})
    assert text.isascii() and "<" not in text
    assert json.loads(text) == {value: [value, 1.5, None]}


def test_a_title_is_text_and_a_script_does_not_end_early():
    page = html_page("</title>é\ud800", "", "", "", {})
    assert "<title>&lt;/title&gt;&#233;&#55296;</title>" in page and page.isascii()
    for style, script in (("</STYLE>", ""), ("", "'</script >'"), ("", "a <!-- b")):
        with pytest.raises(ValueError, match="would end it"):
            html_page("", "", style, script, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        html_page("", "", "", "", {"x": float("nan")})


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_table_of_characters_is_sorted(lowercase):
    table = character_table(Rules(lowercase))
    for name in ("dropped", "spaces", "apart"):
        assert table[name] == sorted(table[name]) and len(table[name]) % 2 == 0
    assert ("É" in table["changed"]) == lowercase and table["decompose"] == lowercase


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_what_makes_no_page_is_refused_in_one_line(tmp_path, capsys, monkeypatch, tokenizer):
    cli_here("export", "mini", tmp_path / "pair")
    line = refused(capsys, "page", tmp_path / "pair" / "generator", tmp_path / "a.html")
    assert "no discriminator" in line
    assert "ends in .html" in refused(capsys, "page", "mini", tmp_path / "pair")
    (tmp_path / "folder.html").mkdir()
    assert "folder.html" in refused(capsys, "page", "mini", tmp_path / "folder.html")
    assert "no such folder" in refused(capsys, "page", tmp_path / "nothing", tmp_path / "a.html")
    assert "neither a run" in refused(capsys, "page", tmp_path, tmp_path / "a.html")
    (tmp_path / "pair" / "discriminator" / "vocab.txt").unlink()
    assert "vocab.txt" in refused(capsys, "page", tmp_path / "pair" / "discriminator", tmp_path / "a.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "pair"]


def test_a_page_is_not_too_large_for_a_browser_and_knows_its_tokens(tokenizer, monkeypatch):
    model = made(ElectraForPreTraining, type(CONFIG), tokenizer)
    added = WordPieceTokenizer(tokenizer.vocab, added=[AddedToken("<x>", len(tokenizer))])
    with pytest.raises(InputError, match="added to the vocabulary"):
        page_contents(OpenedSource({"discriminator": model}, added))
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(InputError, match="--format onnx"):
        page_contents(OpenedSource({"discriminator": model}, tokenizer))
