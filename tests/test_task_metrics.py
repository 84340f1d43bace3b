"""Task metrics against scikit-learn, SciPy and seqeval on drawn inputs, degenerate ones among them."""

import math

import pytest
from properties import given, settings, st

from minielectra.finetuning.metrics.scores import accuracy, binary_f1, matthews, pearson, spearman
from minielectra.finetuning.metrics.spans import Scheme, find_scheme, span_scores, spans

# the references warn where a score is undefined; the value is what is compared
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:An input array:RuntimeWarning")


def same(ours, reference):
    assert type(ours) is float
    assert (math.isnan(ours) and math.isnan(reference)) or abs(ours - reference) <= 1e-12, (
        ours,
        float(reference),
    )


def two(values):
    """Two lists of one length."""
    pairs = st.lists(st.tuples(values, values), min_size=1, max_size=20)
    return pairs.map(lambda drawn: [list(side) for side in zip(*drawn, strict=True)])


# Classification.


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(0, 1), (0, 1, 2, 3), ("no", "yes"), (1,)]).flatmap(
        lambda labels: two(st.sampled_from(labels))
    )
)
def test_labels_as_scikit_learn(drawn):
    reference = pytest.importorskip("sklearn.metrics")
    same(accuracy(*drawn), reference.accuracy_score(*drawn))
    same(matthews(*drawn), reference.matthews_corrcoef(*drawn))
    for label in {*drawn[0], *drawn[1]}:
        same(
            binary_f1(*drawn, positive=label),
            reference.f1_score(*drawn, labels=[label], average=None, zero_division=0)[0],
        )


def test_labels_by_hand():
    targets, predictions = [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0]  # TP 2, FN 1, FP 1, TN 2
    assert accuracy(targets, predictions) == pytest.approx(4 / 6)
    assert binary_f1(targets, predictions) == pytest.approx(4 / 6)
    assert matthews(targets, predictions) == pytest.approx((2 * 2 - 1 * 1) / math.sqrt(3 * 3 * 3 * 3))
    assert matthews([1, 1], [1, 1]) == matthews([0, 1], [1, 1]) == binary_f1([0, 0], [0, 0]) == 0.0
    assert matthews(["a", "b", "c"], ["a", "b", "c"]) == 1.0
    assert accuracy(["1"], [1]) == 0.0  # a label as text is not the number


@pytest.mark.parametrize("score", [accuracy, binary_f1, matthews, pearson, spearman])
def test_lengths(score):
    with pytest.raises(ValueError, match="at least one"):
        score([], [])
    with pytest.raises(ValueError, match="2 targets but 1 predictions"):
        score([1, 0], [1])


# Correlation.


@settings(max_examples=150, deadline=None)
@given(two(st.one_of(st.integers(0, 5), st.floats(-1e6, 1e6, width=32))))
def test_correlations_as_scipy(drawn):
    stats = pytest.importorskip("scipy.stats")
    x, y = ([float(value) for value in values] for values in drawn)
    if len(x) == 1:
        assert math.isnan(pearson(x, y)) and math.isnan(spearman(x, y))
        return
    same(pearson(x, y), stats.pearsonr(x, y).statistic)
    same(spearman(x, y), stats.spearmanr(x, y).statistic)


def test_correlations_by_hand():
    assert pearson([1, 2, 3], [2, 4, 6.5]) == pytest.approx(4.5 / math.sqrt(2 * 10.166666666666666))
    assert spearman([1, 2, 3], [10, 200, 3000]) == pytest.approx(1.0)
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)  # ranks 1.5 1.5 3
    assert pearson([1e200, -1e200, 0], [1e-200, -1e-200, 0]) == pytest.approx(1.0)
    nan, infinity = math.nan, math.inf
    for undefined in ([5, 5, 5], [1, nan, 2]):
        assert math.isnan(pearson([1, 2, 3], undefined)) and math.isnan(spearman([1, 2, 3], undefined))
    assert math.isnan(pearson([1, 2, 3], [1, infinity, 2])) and spearman(
        [1, 2, 3], [1, infinity, 2]
    ) == pytest.approx(0.5)


# Spans.

KINDS = ["PER", "LOC", "creative-work", ""]
TAGS = ["O", "B", "I", "E", "S", *(f"{letter}-{kind}" for letter in "BIES" for kind in KINDS)]
NO_TAGS = ["NN", "N", "VB-X", "O-PER", ".", "-"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(TAGS + NO_TAGS), max_size=12))
def test_any_sentence_as_seqeval(tags):
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling")
    assert spans(tags) == [(kind, first, last + 1) for kind, first, last in reference.get_entities(tags)]


@settings(max_examples=100, deadline=None)
@given(st.lists(two(st.sampled_from(TAGS)), min_size=1, max_size=4))
def test_span_scores_as_seqeval(drawn):
    reference = pytest.importorskip("seqeval.metrics")
    targets, predictions = map(list, zip(*drawn, strict=True))
    scores = span_scores(targets, predictions)
    same(scores["f1"], reference.f1_score(targets, predictions))
    same(scores["precision"], reference.precision_score(targets, predictions))
    same(scores["recall"], reference.recall_score(targets, predictions))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(st.just("O"), st.builds("{}-{}".format, st.sampled_from("BI"), st.sampled_from("XY"))),
        max_size=12,
    )
)
def test_iob_by_conlleval_s_rule(tags):
    """With B and I alone, conlleval's rule is: an I of the same type continues the span before it."""
    expected = []
    for i, tag in enumerate(tags):
        if tag == "O":
            continue
        if tag[0] == "I" and i and tags[i - 1][1:] == tag[1:]:
            expected[-1] = (tag[2:], expected[-1][1], i + 1)
        else:
            expected.append((tag[2:], i, i + 1))
    assert spans(tags) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-X I-X O B-Y", [("X", 0, 2), ("Y", 3, 4)]),
        ("I-X I-X B-X I-Y", [("X", 0, 2), ("X", 2, 3), ("Y", 3, 4)]),  # IOB1
        ("O I-X", [("X", 1, 2)]),
        ("B-X E-X S-X S-X O", [("X", 0, 2), ("X", 2, 3), ("X", 3, 4)]),
        ("B-X L-X U-X U-X O", [("X", 0, 2), ("X", 2, 3), ("X", 3, 4)]),
        ("U-X B-X I-X L-X B-X", [("X", 0, 1), ("X", 1, 4), ("X", 4, 5)]),
        ("B I O S", [("_", 0, 2), ("_", 3, 4)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_spans_by_hand(tags, expected):
    assert spans(tags.split()) == spans(tuple(tags.split())) == expected


def test_span_scores_by_hand():
    targets = [["B-X", "I-X", "O", "B-Y"], ["B-X"]]
    predictions = [["B-X", "I-X", "B-Y", "O"], ["B-Y"]]
    assert span_scores(targets, predictions) == {
        "precision": 1 / 3,
        "recall": 1 / 3,
        "f1": pytest.approx(1 / 3),
    }
    assert (
        span_scores([["O"]], [["O"]]) == span_scores([], []) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    )
    # a span does not run across the end of a sentence
    assert span_scores([["B-X"], ["I-X"]], [["I-X"], ["B-X"]])["f1"] == 1.0
    for targets, predictions in (([["O"]], [["O", "O"]]), ([["O"]], [])):
        with pytest.raises(ValueError):
            span_scores(targets, predictions)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["O", *(f"{kind}-{letter}" for letter in "BIES" for kind in KINDS)]), max_size=12
    )
)
def test_letters_after_the_type_as_seqeval(tags):
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling")
    expected = [(kind, first, last + 1) for kind, first, last in reference.get_entities(tags, suffix=True)]
    assert spans(tags, Scheme("-", letter_last=True)) == expected


# Every scheme, from drawn entities: what seqeval reads in it strictly, and what was drawn.

LETTERS = {  # scheme -> letters of a span of one word; of the first, middle and last word of a longer one
    "IOB2": ("B", "BII"),
    "IOE2": ("E", "IIE"),
    "IOBES": ("S", "BIE"),
    "BILOU": ("U", "BIL"),
    "BMES": ("S", "BME"),
}
FORMS = {
    "{letter}-{kind}": Scheme("-"),
    "{kind}-{letter}": Scheme("-", letter_last=True),
    "{letter}_{kind}": Scheme("_"),
    "{kind}_{letter}": Scheme("_", letter_last=True),
}


def draw_tags(entities, scheme, form):
    """Drawn (type or None, length) as tags, and the spans that these are."""
    single, (first, middle, last) = LETTERS[scheme]
    tags, expected = [], []
    for kind, length in entities:
        letters = single if length == 1 else first + middle * (length - 2) + last
        if kind is not None:
            expected.append((kind, len(tags), len(tags) + length))
        tags += ["O" if kind is None else form.format(letter=x, kind=kind) for x in letters]
    return tags, expected


ENTITIES = st.lists(
    st.tuples(st.sampled_from(["PER", "LOC", "a-b", "x_y", None]), st.integers(1, 4)), min_size=1, max_size=8
)


@settings(max_examples=200, deadline=None)
@given(ENTITIES, st.sampled_from(sorted(LETTERS)), st.sampled_from(sorted(FORMS)))
def test_spans_of_every_scheme(entities, scheme, form):
    tags, expected = draw_tags(entities, scheme, form)
    assert spans(tags, FORMS[form]) == expected
    if expected:
        assert find_scheme(tags) == FORMS[form]
    elif set(tags) == {"O"}:
        assert find_scheme(tags) is None
    strict = pytest.importorskip("seqeval.scheme")
    kind = getattr(strict, scheme, strict.IOBES)
    if form.index("letter") < form.index("kind") and "-" in form:  # seqeval's prefixes
        theirs = [tag.replace("M-", "I-", 1) if tag.startswith("M-") else tag for tag in tags]
        found = strict.Entities([theirs], kind).entities[0]
        assert [(entity.tag, entity.start, entity.end) for entity in found] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=8), st.sampled_from("IB"))
def test_spans_without_a_type(entities, single):
    """B, I and O; and the words of Chinese in BMES, where every character is in a word."""
    tags, expected, words = [], [], []
    for is_span, length in entities:
        if is_span:
            expected.append(("_", len(tags), len(tags) + length))
        tags += ["B", *"I" * (length - 1)] if is_span else ["O"] * length
        words += "S" if length == 1 else "B" + "M" * (length - 2) + "E"
    assert spans(tags) == expected
    assert (find_scheme(tags) is None) == (not expected)
    assert [stop - start for _, start, stop in spans(words)] == [length for _, length in entities]
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling")
    assert spans(tags) == [(kind, first, last + 1) for kind, first, last in reference.get_entities(tags)]


def test_which_tags_are_spans():
    for labels in (
        ["O", "B-PER", "I-PER"],
        {"I-NP"},
        ["U-X", "L-X", "O", "S-creative-work"],
        ["B", "I", "O"],
        ["O", "I"],
        "BMES",
        "BILUO",
        ["B-X", "M-X", "E-X", "S-X"],
    ):
        assert find_scheme(labels) == Scheme("-"), labels
    assert find_scheme(["O", "PER-B", "LOC-I"]) == Scheme("-", letter_last=True)
    assert find_scheme(["O", "B_PER", "I_PER"]) == Scheme("_")
    assert find_scheme(["O", "PER_B", "PER_I"]) == Scheme("_", letter_last=True)
    for plain in (
        ["NN", "O"],
        ["O"],
        [],
        ["B", "N", "O"],
        ["S", "O"],
        ["B-NP", "NN"],
        ["B-X", "X-B"],
        ["B-"],
        ["-B"],
        ["b-np"],
        ["-LRB-", "SYM"],
        ["X-Y"],
    ):
        assert find_scheme(plain) is None, plain
