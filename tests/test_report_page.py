"""The report in a browser: figures equal to the pictures', hostile tokens, keyboard, links, colors."""

import json
from importlib import resources

import numpy as np
import pytest
from browser import needs_browser
from synthetic_run import ADJECTIVES, NOUNS, VOCAB, sentences, synthetic_arrays, write_run

from minielectra.plots import statistics
from minielectra.plots.confusions import _pairs
from minielectra.plots.tokens import _rate
from minielectra.report import write_report
from minielectra.report.contents import report_contents
from minielectra.report.packed_records import LEVELS, score_levels
from minielectra.report.write_report import save_report
from minielectra.runs.detection_records import DetectionRecords

pytestmark = needs_browser

HOSTILE = [
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "\"'>&lt;b&gt;${1}`",
    "שלום",
    "\u202eoverride",
    "a\u200bb",
    "\u0301",
    "##\u0301x",
    "x" * 90,
    "日本語",
]


def hostile_arrays(seed=1):
    """The arrays of a synthetic run in whose text hostile tokens are frequent."""
    random = np.random.default_rng(seed)
    text = sentences(random, 40, 32)
    for word, hostile in zip(NOUNS + ADJECTIVES, HOSTILE, strict=False):
        text[(text == word) & (random.random(text.shape) < 0.8)] = hostile
    return synthetic_arrays([*VOCAB, *HOSTILE], text, evaluations=13, seed=seed)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """{name: a page}, of one run, of two, and of one without a discriminator."""
    folder = tmp_path_factory.mktemp("reports")
    runs = [
        write_run(folder / name, [*VOCAB, *HOSTILE], hostile_arrays(seed))
        for seed, name in enumerate(("run <b>\u202e", "second"), 1)
    ]
    mlm = write_run(folder / "mlm", VOCAB, hostile_arrays(), objective="mlm")
    several = {"one": runs[:1], "two": runs, "mlm": [mlm]}
    return {name: write_report(those, folder / f"{name}.html") for name, those in several.items()}


@pytest.fixture(scope="module")
def page(browser, pages):
    """The page of one run, for tests that do not change it."""
    return browser.open(pages["one"])


@pytest.fixture(scope="module")
def shared(browser, pages):
    """A page of one run for tests that go on from wherever it is."""
    return browser.open(pages["one"])


@pytest.fixture
def fresh(browser, pages):
    """A function that opens a page of its own, and closes it at the end."""
    opened = []

    def open_page(name="one", **how):
        opened.append(browser.open(pages[name], **how))
        return opened[-1]

    yield open_page
    for one in opened:
        assert not one.problems
        one.close()


def texts(page, selector):
    """The texts of the elements that a selector finds."""
    return page.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((x) => x.textContent)")


def hash_of(page):
    """What the page keeps in its address, which it writes a moment later."""
    return page.evaluate("new Promise((done) => setTimeout(() => done(location.hash), 400))")


# The arithmetic, called as the page calls it.


def computed(page, expression, **values):
    """The value of an expression in the page's own functions. NaN travels as null, both ways."""
    files = ("text.js", "statistics.js", "records.js")
    scripts = [
        resources.files("minielectra.report").joinpath("page", name).read_text("utf-8") for name in files
    ]
    given = "".join(
        f"const {name} = revive({json.dumps(_nulls(value), allow_nan=False)});"
        for name, value in values.items()
    )
    revive = "const revive = (x) => Array.isArray(x) ? x.map(revive) : x === null ? NaN : x;"
    data = "const RUN_DATA = JSON.parse(document.getElementById('contents').textContent);"
    return page.evaluate(
        f"(async () => {{ {revive} {data} {' '.join(scripts)} {given} return {expression}; }})()"
    )


def _nulls(value):
    if isinstance(value, np.ndarray):
        return _nulls(value.tolist())
    if isinstance(value, list):
        return [_nulls(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def close(found, expected):
    found = np.array(found, dtype=float)  # None becomes NaN
    np.testing.assert_allclose(
        found, np.asarray(expected, float), rtol=1e-9, atol=1e-6
    )  # the bound of an AUC of 1 is a root of rounding


def test_statistics_are_those_of_the_pictures(page):
    random = np.random.default_rng(0)
    total = random.integers(0, 40, 60)
    hits = random.integers(0, total + 1)
    close(
        computed(page, "hits.map((k, i) => wilson(k, total[i]))", hits=hits, total=total),
        np.transpose(statistics.wilson(hits, total)),
    )
    auc = random.random(60)
    bounds = computed(
        page, "auc.map((a, i) => aucInterval(a, hits[i], total[i]))", auc=auc, hits=hits, total=total
    )
    close(bounds, np.transpose(statistics.auc_interval(auc, hits, total)))
    for evaluations in (1, 2, 3, 12, 13, 24, 60):
        width = computed(page, f"smoothingWindow({evaluations})")
        assert width == statistics.window(evaluations)
        values, weights = random.random(evaluations), random.integers(0, 3, evaluations)
        values[random.random(evaluations) < 0.2] = np.nan
        smoothed = computed(page, f"smooth(values, {width}, weights)", values=values, weights=weights)
        close(smoothed, statistics.smooth(values, width, weights))
        steps = np.arange(evaluations) * 100 + random.integers(0, 2)
        when = computed(page, "acquisitionStep(steps, values, 0.5)", steps=steps, values=values)
        close([when], statistics.acquisition_step(steps, values[:, None], 0.5))


def test_detection_of_every_token_is_that_of_the_pictures(page):
    """From the same rounded scores: AUC, recall and false alarms, with their bands, at every evaluation."""
    arrays = hostile_arrays()
    rounded = arrays | {"scores": (score_levels(arrays["scores"]) + 0.5) / LEVELS}
    records = DetectionRecords(rounded, [*VOCAB, *HOSTILE])
    auc, n_replaced, n_original = statistics.token_auc(records)
    width = statistics.window(len(records.steps))
    recall = _rate(records.caught, records.replaced, width)
    alarms = _rate(records.original - records.kept, records.original, width)
    expected = {
        "auc": (auc, *statistics.auc_interval(auc, n_replaced, n_original)),
        "recall": recall,
        "alarms": alarms,
    }
    found = computed(
        page,
        "Records.from(RUN_DATA.runs[0].detection).then((r) => r.tokens.map((_, id) => r.curvesOf(id, 500)))",
    )
    for measure, (value, low, high) in expected.items():
        for name, array in (("value", value), ("low", low), ("high", high)):
            close([curves[measure][name] for curves in found], array.T)


def test_confusions_and_calibration_are_those_of_the_records(page):
    records = DetectionRecords(hostile_arrays(), [*VOCAB, *HOSTILE])
    load = "Records.from(RUN_DATA.runs[0].detection)"
    found = computed(page, f"{load}.then((r) => r.pairs(12, 5, 500).pairs)")
    pairs, caught, total = _pairs(records, 5)
    expected = {
        tuple(pair): (t, t - c)
        for pair, c, t in zip(pairs.tolist(), caught.tolist(), total.tolist(), strict=True)
    }
    assert {(one["original"], one["replacement"]): (one["total"], one["fooled"]) for one in found} == expected
    for one in found[:50]:  # the passage that a pair leads to has the original in it
        assert records.input_ids.ravel()[one["place"]] == one["original"]
    for e in (0, 12):
        counts = computed(
            page,
            f"{load}.then((r) => r.histogram({e})).then((h) => [h.replaced, h.original].map((x) => [...x]))",
        )
        levels, replaced = (
            score_levels(records.scores[e])[records.valid],
            records.replaced_mask[e][records.valid],
        )
        for found, which in zip(counts, (replaced, ~replaced), strict=True):
            np.testing.assert_array_equal(found, np.bincount(levels[which], minlength=LEVELS))


def test_precision_and_recall_on_the_page_are_those_of_the_metrics(fresh, pages):
    row = report_contents([pages["one"].parent / "run <b>\u202e"])["runs"][0]["metrics"]
    page = fresh(fragment=f"#step={row['step'][4]:.0f}")
    shown = texts(page, "#calibration tbody td.strong")[:2]
    for text, share in zip(shown, (row["disc_precision"][4], row["disc_recall"][4]), strict=True):
        assert abs(float(text.removesuffix("\u202f%")) / 100 - share) < 0.005


# Nothing goes wrong, nothing is loaded, nothing runs that came from the run.


@pytest.mark.parametrize("name", ["one", "two", "mlm"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_opens_without_a_network(fresh, pages, name, dark):
    page = fresh(name, dark=dark)
    assert page.requests == [pages[name].as_uri()] and not page.problems
    assert page.evaluate("document.querySelectorAll('#learning .chart').length") > 3
    assert (page.evaluate("document.getElementById('tokens') !== null")) == (name != "mlm")


@pytest.mark.parametrize("token", HOSTILE, ids=ascii)
def test_hostile_tokens_are_text(shared, token):
    """Searched by its own characters, a token is found, drawn, listed and read out as what it is."""
    page, text = shared, token_text(token)
    # A link of its own: the page may not have written its last state into the address yet
    page.evaluate(f"location.hash = '#token=the&setting={HOSTILE.index(token)}'")
    page.wait_for("document.querySelectorAll('.chips li').length === 1")
    page.evaluate("document.getElementById('token-search').focus()")
    page.type(token)
    assert texts(page, "#token-search-list .token")[0] == text
    page.press("Enter")
    assert texts(page, ".chips .token")[-1] == texts(page, "#tokens tbody .token")[-1] == text
    plain = [one.translate(dict.fromkeys(map(ord, "<>\u2068\u2069"))) for one in texts(page, ".legend li")]
    assert text.translate(dict.fromkeys(map(ord, "<>"))) in plain
    page.evaluate(
        "(() => { const f = document.getElementById('filter-original'); f.focus(); f.select(); })()"
    )
    page.type(token)
    shown = texts(page, "#confusions tbody td:first-child")
    assert all(text.removeprefix("\u25cc") in one for one in shown)
    assert page.evaluate("[document.images.length, document.scripts.length]") == [0, 2]
    assert "taken" not in page.evaluate("document.title") and not page.problems


def token_text(token):
    """A token as the page shows it: characters that are not seen, or would move others, by their number."""
    shown = "".join(f"U+{ord(c):04X}" if c in "\u202e\u200b" else c for c in token)
    return shown.replace("\u0301", "\u25cc\u0301")


# What is shown is in the address.


def test_a_link_shows_the_same_again(fresh, browser, pages):
    link = (
        "#axis=tokens&step=2000&threshold=300&measure=recall&place=6&sort=share&rising=1&original=t"
        "&token=the&token=a%E2%80%8Bb&passage1=7"
    )
    page = fresh(fragment=link)
    shown = page.evaluate("document.querySelector('main').innerText")
    assert "threshold 30\u202f%" in shown and texts(page, ".chips .token") == ["the", "aU+200Bb"]
    assert page.evaluate("document.querySelector('input[name=axis]:checked').value") == "tokens"
    assert page.evaluate("document.querySelector('#strip input').value") == "8"
    assert (
        page.evaluate("document.querySelector('th[aria-sort=ascending]').textContent") == "share that fooled"
    )
    page.evaluate("document.querySelector('input[value=alarms]').click()")
    again = fresh(fragment=hash_of(page))
    assert "measure=alarms" in hash_of(page)
    assert again.evaluate("document.querySelector('main').innerText") == page.evaluate(
        "document.querySelector('main').innerText"
    )
    page.evaluate("location.hash = ''")
    page.wait_for("document.querySelector('input[name=axis]:checked').value === 'step'")


@pytest.mark.parametrize(
    "fragment",
    [
        "#step=-1&threshold=0",
        "#step=99999999999999999999",
        "#threshold=nan&axis=__proto__&sort=constructor",
        "#passage1=99999&place=999",
        "#token=%3Cb%3E&token=",
        "#%E0%A4%A&=&&",
        "#setting=%00%5B(&original=%5C",
    ],
)
def test_nonsense_in_the_address_is_passed_over(fresh, fragment):
    page = fresh(fragment=fragment)
    assert page.evaluate("document.querySelectorAll('.passage .cell').length") > 5


# Keyboard, screen readers, small screens, colors.


def test_everything_can_be_done_with_the_keyboard(fresh):
    page = fresh()
    page.evaluate("document.getElementById('token-search').focus()")
    page.type("ri")
    assert page.evaluate("document.getElementById('token-search').getAttribute('aria-expanded')") == "true"
    page.press("ArrowDown", "ArrowUp", "Enter")
    assert texts(page, ".chips .token")[-1] == "river"
    page.evaluate("document.querySelector('.chips li:last-child button:last-child').focus()")
    page.press("Enter")
    assert "river" not in texts(page, ".chips .token")
    page.evaluate("document.getElementById('step').focus()")
    page.press("ArrowLeft", "ArrowLeft")
    assert "step=" in hash_of(page)
    page.evaluate("document.querySelector('#learning .plot').focus()")
    page.press("Home")
    first = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    page.press("ArrowRight")
    second = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    assert first.startswith("step 0: ") and "held-out" in second and first != second
    page.press("Enter")
    assert "step=333" in hash_of(page)
    page.evaluate("document.querySelector('.passage .cell').focus()")
    page.press("ArrowRight", "Enter")
    assert "place=1" in hash_of(page)
    assert page.evaluate("document.activeElement.className.includes('cell')")


def test_confusions_can_be_sorted_both_ways(fresh):
    page = fresh()
    numbers = {"fooled": int, "times": int, "share that fooled": float, "mean score": float}
    for column, head in enumerate(texts(page, "#confusions th button"), 1):
        for turn in range(2):
            page.evaluate(f"document.querySelector('#confusions th:nth-child({column}) button').click()")
            kind = page.evaluate(f"document.querySelector('#confusions th:nth-child({column})').ariaSort")
            cells = texts(page, f"#confusions tbody td:nth-child({column})")
            if head in numbers:
                values = [numbers[head](text.split("\u202f%")[0].replace("\u202f", "")) for text in cells]
                assert values == sorted(values, reverse=kind == "descending"), (head, turn)
        assert page.evaluate("document.querySelectorAll('th[aria-sort$=cending]').length") == 1


def test_the_threshold_moves_precision_and_recall(fresh):
    page = fresh()
    shown = []
    for percent in (5, 30, 60):
        page.evaluate(
            "(() => { const slider = document.getElementById('threshold'); "
            f"slider.value = {percent}; slider.dispatchEvent(new Event('input')); }})()"
        )
        shown.append(
            [float(text.split("\u202f")[0]) for text in texts(page, "#calibration tbody td.strong")[:2]]
        )
    precision, recall = zip(*shown, strict=True)
    assert precision == tuple(sorted(precision)) and recall == tuple(sorted(recall, reverse=True))
    assert "threshold=600" in hash_of(page)


@pytest.mark.parametrize("name", ["one", "two"])
def test_every_control_has_a_name(fresh, name):
    page = fresh(name)
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = (
        "button",
        "slider",
        "combobox",
        "searchbox",
        "checkbox",
        "radio",
        "spinbutton",
        "link",
        "group",
        "table",
    )
    controls = [
        node for node in nodes if not node["ignored"] and node.get("role", {}).get("value") in roles[:8]
    ]
    assert len(controls) > 60
    assert not [node for node in controls if not node.get("name", {}).get("value", "").strip()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_small_screen(fresh, width):
    for name in ("one", "two"):
        page = fresh(name, width=width, height=800, fragment="#token=" + "x" * 90 + "&token=the&place=3")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


# Text that stands out too little from what is behind it, by the formula of WCAG 2.
CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(".unseen, script, noscript")) continue;
    const backs = [];
    for (let at = node; at; at = at.parentElement) backs.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(node), color = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(paint(backs)), light(paint([...backs, color]))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), least = node.closest(".cell") ? 4.4 : 4.5;
    if (ratio < least) poor.push([node.className, node.textContent.slice(0, 30), ratio]);
  }
  return poor;
})()"""


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(fresh, dark):
    assert fresh("two", dark=dark, fragment="#place=3").evaluate(CONTRAST) == []


# While a run trains.


def test_a_live_page_refreshes_and_keeps_what_is_shown(browser, pages, tmp_path):
    contents = report_contents([pages["one"].parent / "second"])
    path = save_report(contents, tmp_path / "live.html", refresh=3600)
    page = browser.open(path, height=700)
    hour = "performance.now = () => 1e7; window.before = true"
    page.evaluate("document.querySelector('input[value=recall]').click()")
    page.evaluate("document.getElementById('step').focus(); scrollTo(0, 1500)")
    contents["runs"][0]["finding"] = "one more evaluation"
    save_report(contents, path, refresh=3600)
    page.evaluate(hour)
    page.wait_for("window.before === undefined && document.documentElement?.dataset.ready === 'yes'")
    assert "one more evaluation" in texts(page, ".finding")[0]
    assert "measure=recall" in hash_of(page) and page.evaluate("document.activeElement.id") == "step"
    page.wait_for("Math.abs(scrollY - 1500) < 5")
    page.evaluate("document.querySelector('#live button').click()")
    assert "does not refresh" in texts(page, "#live")[0]
    page.evaluate(hour)
    page.evaluate("new Promise((done) => setTimeout(done, 1500))")
    assert page.evaluate("window.before") is True and not page.problems
    page.close()
