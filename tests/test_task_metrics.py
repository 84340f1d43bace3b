"""Task metrics against scikit-learn, SciPy and seqeval on drawn inputs, degenerate ones among them."""

import math

import pytest
from properties import given, settings, st

from minielectra.finetuning.metrics.scores import accuracy, binary_f1, matthews, pearson, spearman
from minielectra.finetuning.metrics.spans import span_scores, spans, uses_spans

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
NO_TAGS = ["NN", "N", "VB-X", "O-PER", ".", "-", "M-PER"]


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


def test_which_tags_are_spans():
    assert (
        uses_spans(["O", "B-PER", "I-PER"])
        and uses_spans({"I-NP"})
        and uses_spans(["U-X", "L-X", "O", "S-creative-work"])
    )
    for plain in (
        ["NN", "O"],
        ["O"],
        [],
        ["I", "O"],
        ["B-NP", "NN"],
        ["B-"],
        ["b-np"],
        ["-LRB-", "SYM"],
        ["X-Y"],
    ):
        assert not uses_spans(plain), plain
