"""The pictures, and the arithmetic they rest on, on a synthetic run whose truth is known."""

import ast
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.text import Text
from synthetic_run import VOCAB, sentences, synthetic_arrays, write_run

from minielectra.errors import InputError
from minielectra.plots import draw_all, film_strip_sentence, fonts, statistics, style, words
from minielectra.runs import detection_counts as detection
from minielectra.runs.detection_records import DetectionRecords
from minielectra.runs.metrics_log import metric_columns

PLOTS = ["learning", "tokens", "groups", "acquisition_heatmap", "acquisition_frequency"]
PLOTS += ["confusions", "film_strip", "calibration"]


@pytest.fixture(scope="module")
def arrays():
    return synthetic_arrays(VOCAB, sentences(np.random.default_rng(1), 96, 40))


@pytest.fixture(scope="module")
def records(arrays):
    return DetectionRecords(arrays, VOCAB)


@pytest.fixture(scope="module")
def run_dir(arrays, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), VOCAB, arrays)


@pytest.fixture
def coarse(monkeypatch):
    """Pictures of few pixels, for tests that only ask whether they can be drawn."""
    monkeypatch.setattr(style, "DPI", 50)


def pixels(path):
    """[height, width, 4] of a PNG."""
    from matplotlib.image import imread

    return imread(path)


# --- arithmetic ------------------------------------------------------------------------------------------


def brute_force_auc(scores, labels, weights):
    wins = pairs = 0.0
    for i in np.flatnonzero(labels):
        for j in np.flatnonzero(~labels):
            pairs += weights[i] * weights[j]
            wins += weights[i] * weights[j] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return wins / pairs if pairs else np.nan


def test_auc_equals_counting_all_pairs():
    rng = np.random.default_rng(0)
    for size in (2, 7, 60):
        scores, labels = rng.integers(0, 6, size) / 5, rng.random(size) < 0.4  # six values only: many ties
        labels[:2] = True, False
        weights = rng.uniform(0.5, 2, size)
        assert detection.auc(scores, labels) == pytest.approx(
            brute_force_auc(scores, labels, np.ones(size)), rel=1e-12
        )
        assert detection.auc(scores, labels, weights) == pytest.approx(
            brute_force_auc(scores, labels, weights), rel=1e-12
        )
    assert detection.auc([0.2, 0.9], np.array([False, True])) == 1.0
    assert np.isnan(detection.auc([0.2, 0.9], np.array([True, True])))
    assert np.isnan(detection.auc(np.zeros(0), np.zeros(0, bool)))


def test_grouped_auc_is_the_auc_of_every_group():
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 9, 300).astype(np.float16), rng.random(300) < 0.3
    groups = rng.integers(0, 7, 300)
    labels[groups == 3] = True  # one class only
    groups[groups == 5] = 4  # an empty group
    together = detection.grouped_auc(scores, labels, groups, 7)
    alone = [detection.auc(scores[groups == g], labels[groups == g]) for g in range(7)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert np.isnan(together[[3, 5]]).all() and np.isfinite(together).sum() == 5


def test_counts_equal_a_walk_over_all_positions(arrays):
    """The same counts position by position, with a stray slot whose position must be ignored."""
    a = {name: array[:9] if array.shape[0] == 96 else array for name, array in arrays.items()}
    valid = a["position_valid"].copy()
    valid[0, :2] = False
    samples, scores = a["samples"][-1][:9], a["scores"][-1][:9]
    counts = detection.count_detections(
        a["input_ids"], a["positions"], valid, samples, scores, len(VOCAB), (0, 2, 3)
    )
    expected = {name: np.zeros(len(VOCAB), int) for name in counts}
    for s, row in enumerate(a["input_ids"]):
        written = {
            int(p): int(t) for p, t, ok in zip(a["positions"][s], samples[s], valid[s], strict=True) if ok
        }
        for p, original in enumerate(row):
            seen, flagged = written.get(p, original), scores[s, p] > 0.5
            if original in (0, 2, 3):
                continue
            if seen == original:
                expected["original"][seen] += 1
                expected["kept"][seen] += not flagged
            else:
                expected["replaced"][seen] += 1
                expected["caught"][seen] += flagged
                expected["replaced_original"][original] += 1
                expected["caught_original"][original] += flagged
    for name in counts:
        np.testing.assert_array_equal(counts[name], expected[name], err_msg=name)
        assert counts[name].dtype == np.int32
    assert counts["replaced"].sum() > 20 and 0 < counts["caught"].sum() < counts["replaced"].sum()


def test_a_sample_that_hits_the_original_is_an_original():
    ids = np.array([[2, 7, 8, 3, 0]])
    positions, valid = np.array([[1, 2, 0]]), np.array([[True, True, False]])  # the last slot is empty
    samples = np.array([[[7, 9, 6]], [[5, 8, 6]]])  # two evaluations at once
    np.testing.assert_array_equal(
        detection.corrupt(ids, positions, valid, samples)[:, 0], [[2, 7, 9, 3, 0], [2, 5, 8, 3, 0]]
    )
    np.testing.assert_array_equal(
        np.argwhere(detection.is_replaced(ids, positions, valid, samples)), [[0, 0, 2], [1, 0, 1]]
    )


def test_wilson_interval():
    low, high = statistics.wilson([0, 5, 10, 0], [10, 10, 10, 0])
    np.testing.assert_allclose(low[:3], [0, 0.23659, 0.72246], atol=1e-5)  # Wilson (1927), as tabulated
    np.testing.assert_allclose(high[:3], [0.27754, 0.76341, 1], atol=1e-5)
    assert np.isnan([low[3], high[3]]).all()


def test_smoothing_is_a_weighted_mean_of_neighbours():
    values, weights = np.array([[99, 1.0, np.nan, 4.0, 10.0]]).T, np.array([[1.0, 1.0, 5.0, 3.0, 1.0]]).T
    smoothed = statistics.smooth(values, 3)[:, 0]
    np.testing.assert_allclose(smoothed, [99, 1, 2.5, 7, 7])  # the first evaluation stands alone
    np.testing.assert_allclose(statistics.smooth(values, 3, weights)[:, 0], [99, 1, 3.25, 5.5, 5.5])
    np.testing.assert_array_equal(statistics.smooth(values, 1), values)


def test_acquisition_is_the_last_crossing():
    curves = np.array(
        [[0.9, 0.7, 0.5, 0.5], [0.5, 0.7, 0.7, 0.5], [0.8, 0.7, 0.5, np.nan], [0.8, 0.7, 0.7, 0.5]]
    )
    steps = statistics.acquisition_step(np.array([0, 10, 20, 30]), curves, 0.6)
    np.testing.assert_array_equal(steps, [20, 10, 30, np.nan])  # never 0


def test_token_auc_finds_what_was_put_in(records):
    """The synthetic discriminator learns frequent tokens first: only at the end are they told apart."""
    auc, replaced, original = statistics.token_auc(records)
    often = words.well_counted(replaced.mean(0), original.mean(0), 20)
    assert auc[-1, often].mean() > 0.75 > 0.65 > auc[0, often].mean()
    labels, tokens = records.replaced_mask[0][records.counted], records.seen[0][records.counted]
    np.testing.assert_array_equal(np.bincount(tokens[labels], minlength=len(VOCAB)), records.replaced[0])


def test_word_classes_and_bands():
    cases = {
        "the": "closed class",
        "river": "open class",
        "##ing": "open class",
        "##the": "open class",
        ",": "punctuation",
    }
    cases |= {"$": "punctuation", "1945": "digits", "##45": "digits", "[CLS]": "", "[": "punctuation"}
    assert {token: words.word_class(token) for token in cases} == cases
    counts, seen = np.array([0, 5, 5, 5, 80, 1000]), np.array([0, 10, 10, 10, 30, 30])
    band, ranges = words.frequency_bands(counts, seen, 3)
    assert ranges == [(5, 5), (80, 80), (1000, 1000)]
    assert band[1] == band[2] == band[3] < band[4] < band[5]


# --- pictures --------------------------------------------------------------------------------------------


def test_every_picture_is_drawn(run_dir, tmp_path):
    paths = draw_all(run_dir, tmp_path / "pictures")
    assert [path.stem for path in paths] == PLOTS
    assert set((tmp_path / "pictures").iterdir()) == set(paths)  # no leftovers
    for path in paths:
        picture = pixels(path)
        assert min(picture.shape[:2]) > 500
        assert 0.02 < (picture[..., :3].min(-1) < 0.9).mean() < 0.9, path.name  # neither blank nor black
        colours = (picture[::3, ::3, :3] * 7).astype(int) @ [1, 8, 64]
        assert len(np.unique(colours)) > 15, path.name


def test_titles_state_the_finding(records, run_dir):
    from minielectra.plots.confusions import confusions
    from minielectra.plots.learning import learning

    metrics = metric_columns(run_dir)
    title = learning(metrics).texts[0].get_text()
    assert title.startswith("After 4\u2009000 steps") and f"AUC {metrics['disc_auc'][-1]:.2f}" in title
    flagged = records.scores[-1] > 0.5
    labels = records.replaced_mask[-1]
    assert f"{style.per_cent(flagged[~labels & records.valid].mean())} false alarms" in title
    missed = 1 - (records.scores[-5:] > 0.5)[records.replaced_mask[-5:]].mean()
    assert confusions(records).texts[0].get_text().startswith(style.per_cent(missed))


def variant(arrays, **changes):
    """The arrays with some replaced, and the counts that follow."""
    arrays = arrays | changes
    fixed = [arrays[name] for name in ("input_ids", "positions", "position_valid")]
    parts = [
        detection.count_detections(*fixed, *pair, len(VOCAB), (0, 2, 3))
        for pair in zip(arrays["samples"], arrays["scores"], strict=True)
    ]
    return arrays | {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def only_first(arrays):
    return {name: array[:1] if array.shape[0] == 12 else array for name, array in arrays.items()}


def nothing_replaced(arrays):
    originals = np.take_along_axis(arrays["input_ids"], arrays["positions"], 1)
    return variant(arrays, samples=np.broadcast_to(originals, arrays["samples"].shape).copy())


def no_position(arrays):
    return variant(arrays, position_valid=np.zeros_like(arrays["position_valid"]))


def few_and_constant(arrays):
    few = {name: arrays[name][:2] for name in ("input_ids", "positions", "position_valid")}
    scores = np.full_like(arrays["scores"][:3, :2], 0.5)
    few |= {name: arrays[name][:3, :2] for name in ("samples", "gen_correct_prob")}
    return variant(arrays, **few, steps=arrays["steps"][:3], scores=scores)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", [only_first, nothing_replaced, no_position, few_and_constant])
def test_meagre_records_are_drawn_too(arrays, tmp_path, coarse, change):
    write_run(tmp_path, VOCAB, change(arrays))
    assert len(draw_all(tmp_path)) == len(PLOTS)


@pytest.mark.filterwarnings("error")
def test_odd_tokens_are_drawn(arrays, tmp_path, coarse):
    odd = [*VOCAB[:5], "$x$", "\\frac", "漢", "a" * 40, "_^{", "%", "$", "🙂", *VOCAB[13:]]
    write_run(tmp_path, odd, arrays)
    assert len(draw_all(tmp_path, tokens=["$x$", "漢", "🙂"])) == len(PLOTS)


def test_without_a_discriminator_only_learning_is_drawn(arrays, tmp_path):
    write_run(tmp_path, VOCAB, arrays, objective="mlm")
    assert [path.name for path in draw_all(tmp_path)] == ["learning.png"]
    with pytest.raises(InputError, match="no discriminator"):
        draw_all(tmp_path, tokens=["the"])


def test_film_strip_of_a_sentence(tmp_path):
    tokens = [*VOCAB[10:35], "$", "##ing", "."]
    scores = np.random.default_rng(0).random((3, len(tokens)))
    fig = film_strip_sentence(tokens, scores, [0, 100, 2000], "A sentence", np.arange(len(tokens)) == 3)
    assert fig.texts[0].get_text() == "A sentence"
    assert pixels(style.save(fig, tmp_path / "strip.png")).shape[0] > 500
    assert style.save(film_strip_sentence(["a"], [[0.2]], [5], "One token"), tmp_path / "one.png").is_file()
    for bad in (
        (tokens[:-1], scores, [0, 1, 2]),
        (tokens, scores * 2, [0, 1, 2]),
        ([], np.zeros((1, 0)), [0]),
    ):
        with pytest.raises(InputError):
            film_strip_sentence(*bad, "bad")


def test_film_strip_shows_a_typical_passage(records):
    from minielectra.plots.film_strip import choose_passage

    sequence, start, stop = choose_passage(records, 10)
    assert stop - start == 10 and records.counted[sequence, start:stop].all()
    assert 2 <= records.replaced_mask[-1, sequence, start:stop].sum() <= 5


# --- what goes wrong -------------------------------------------------------------------------------------


def test_unknown_token_gets_suggestions(run_dir, tmp_path):
    with pytest.raises(InputError, match="'rivver' is not in the run's vocabulary; did you mean river"):
        draw_all(run_dir, tmp_path / "none", tokens=["the", "rivver"])
    assert not (tmp_path / "none").exists()


def test_damaged_folders_are_reported(arrays, tmp_path):
    def fails(match):
        with pytest.raises(InputError, match=match) as caught:
            draw_all(run)
        assert "\n" not in str(caught.value)

    run = tmp_path / "absent"
    fails("no such directory")
    run = write_run(tmp_path / "run", VOCAB, arrays)
    whole = (run / "detection.npz").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 10):
        (run / "detection.npz").write_bytes(whole[:size])
        fails("cut short or not an .npz file")
    (run / "detection.npz").write_bytes(whole[:5000] + bytes(3000) + whole[8000:])
    fails("detection.npz")
    np.savez(run / "detection.npz", steps=np.array([{}], dtype=object))
    fails("no input_ids")
    np.savez(run / "detection.npz", **(arrays | {"steps": np.array([{}], dtype=object)}))
    fails("steps has shape .1,. and dtype object")
    for changed, match in (
        ({"steps": arrays["steps"][:3]}, "E ="),
        ({"scores": arrays["scores"][..., :-1]}, "scores"),
        ({"samples": arrays["samples"] + 1000}, "samples holds 1"),
        ({"positions": arrays["positions"] + 1000}, "positions holds 1"),
        ({"scores": arrays["scores"].astype(int)}, "dtype"),
    ):
        np.savez(run / "detection.npz", **(arrays | changed))
        fails(match)
    np.savez(run / "detection.npz", **{name: array for name, array in arrays.items() if name != "caught"})
    fails("no caught")
    (run / "detection.npz").unlink()
    fails("detection.npz is missing")
    vocab = (run / "vocab.txt").read_text()
    (run / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCAB[:7]))
    (run / "detection.npz").write_bytes(whole)
    fails("V = 7")
    (run / "vocab.txt").unlink()
    fails("vocab.txt")
    (run / "vocab.txt").write_text(vocab)
    (run / "metrics.jsonl").write_text("")
    fails("no evaluation yet")
    (run / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    fails("line 2")
    (run / "metrics.jsonl").unlink()
    fails("metrics.jsonl is missing")
    (run / "run.json").write_text("{}")
    fails("not a minielectra run")
    (run / "run.json").unlink()
    fails("run.json is missing")


PACKAGE = Path(style.__file__).parent.parent


# Texts of the user's.


def drawn(fig):
    """Every text of a Figure as it is drawn, and whether matplotlib reads it as a formula."""
    return dict(text._preprocess_math(text.get_text()) for text in fig.findobj(Text))


@pytest.mark.parametrize(
    "sentence", ["it costs $5 or $6", "$x^2$ is", r"a \$ b $ c", "$", "$$ $$", r"$\frac"]
)
def test_dollars_are_dollars(sentence, tmp_path, coarse):
    """Not the ends of a formula, which would swallow them, or fail."""
    fig = film_strip_sentence(
        sentence.split(), np.full((1, len(sentence.split())), 0.5), [1], f"“{sentence}”"
    )
    found = drawn(fig)
    assert f"“{sentence}”" in found and set(sentence.split()) <= set(found)
    assert not any(found.values())
    style.save(fig, tmp_path / "a.png")


def test_a_title_is_one_line_and_not_endless():
    fig = film_strip_sentence(["a"], [[0.5]], [1], "two\nlines\tand " + "more " * 99)
    title = next(text for text in drawn(fig) if text.startswith("two"))
    assert title.startswith("two lines and more more") and title.endswith("…") and len(title) < 100


@pytest.fixture
def fresh_fonts(monkeypatch):
    """As if nothing had been drawn yet; the fonts of this machine are then those that the test names."""
    for name in ("_fallbacks", "_lacking"):
        monkeypatch.setattr(fonts, name, {})
    monkeypatch.setattr(fonts, "_told", set())

    def install(*names):
        entries = [entry for entry in font_manager.fontManager.ttflist if entry.name in names]
        monkeypatch.setattr(fonts.font_manager.fontManager, "ttflist", entries)
        for function in (fonts._installed, fonts._family_with):
            function.cache_clear()

    yield install
    monkeypatch.undo()
    for function in (fonts._installed, fonts._family_with):
        function.cache_clear()


def test_characters_that_no_font_has_are_boxes_and_one_warning(fresh_fonts, tmp_path, coarse, capsys):
    fresh_fonts("DejaVu Sans")
    assert style.printable("日本x") == "□□x"
    fonts.tell_lacking()
    message = capsys.readouterr().err
    assert message.startswith("pictures: no font on this machine has 日 本; □ is drawn instead. Install")
    assert message.count("\n") == 1
    assert style.printable("日") == "□"
    fonts.tell_lacking()
    assert capsys.readouterr().err == ""
    style.printable("".join(map(chr, range(0x4E00, 0x4E30))), 99)
    fonts.tell_lacking()
    assert "… (48 in all)" in capsys.readouterr().err


def test_another_font_helps_out(fresh_fonts, tmp_path, coarse, capsys, recwarn):
    name = "STIXGeneral"  # comes with matplotlib, and has characters that DejaVu Sans lacks
    path = font_manager.findfont(name)
    lacking = sorted(fonts._characters(path) - fonts._characters(font_manager.findfont("DejaVu Sans")))
    token = "".join(map(chr, lacking[:2]))
    fresh_fonts("DejaVu Sans", name)
    assert style.printable(token) == token
    fig = film_strip_sentence([token, "cat"], [[0.5, 0.5]], [1], token)
    style.save(fig, tmp_path / "a.png")
    helped = {text.get_text() for text in fig.findobj(Text) if text.get_fontfamily()[-1] == name}
    assert helped == {token}
    fonts.tell_lacking()
    assert capsys.readouterr().err == "" and not [str(w.message) for w in recwarn.list]


def test_nan_in_results_is_null_and_is_drawn(tmp_path, coarse):
    from minielectra.plots.development_scores import finetuning

    entry = {"epoch": 1.0, "step": 3, "loss": 1.0, "pearson": None, "odd$score": 0.5}
    seeds = [{"seed": 0, "best": entry, "history": [entry, entry | {"epoch": 2.0, "pearson": 0.5}]}]
    summary = {"seeds": seeds, "mean": {"pearson": None}, "deviation": {"pearson": None}}
    about = {"task": "sts-b", "n_train": 5, "n_dev": 5, "metrics": ["pearson", "odd$score"]}
    fig = finetuning(about | {"starts": {"pre-trained": summary}})
    style.save(fig, tmp_path / "a.png")
    assert "Pearson correlation nan pre-trained" in drawn(fig)


def imported(path, anywhere=False):
    """Files of the package that a file of it imports at its top, or anywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = set()
    for name in names:
        room, *rest = name.split(".")
        if room != "minielectra":
            continue
        steps = [PACKAGE.joinpath(*rest[:n]) for n in range(1, len(rest) + 1)]
        files |= {step.with_suffix(".py") for step in steps} | {step / "__init__.py" for step in steps}
    return {file for file in files if file.is_file()}


def test_plots_need_no_display_and_no_model():
    """No pyplot (global state, a display), and no model, not even through something else that is imported."""
    own = set((PACKAGE / "plots").glob("*.py"))
    for path in own:
        lines = path.read_text(encoding="utf-8").splitlines()
        imports = [line for line in lines if line.lstrip().startswith(("from ", "import "))]
        assert not any("pyplot" in line for line in imports), path
    waiting, seen = set().union(*(imported(path, anywhere=True) for path in own)), set(own)
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= imported(path) - seen
    names = {path.relative_to(PACKAGE).as_posix() for path in seen}
    certain = {"runs/detection_records.py", "data/wordpiece/tokenizer.py", "errors.py"}
    assert certain < names  # the walk leads somewhere
    models = ("nn/", "ops/", "objectives/", "optim/", "finetuning/", "electra/towers", "detect")
    reached = [name for name in names if name.startswith(models)]
    # The first lines of these rooms only list their files.
    assert all(name.endswith("__init__.py") for name in reached), reached
