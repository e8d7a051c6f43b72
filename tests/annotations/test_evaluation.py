"""Figures against hand-computed toys and slow twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotations import evaluation
from annotations.errors import FormatError

few = settings(max_examples=50, deadline=None)
scores_and_labels = st.lists(
    st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=1, max_size=30
)
tables = hnp.arrays(np.float64, (7, 3), elements=st.floats(-5, 5).map(lambda x: round(x, 2)))


def slow_auroc(scores, labels):
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p, lp in zip(scores, labels, strict=True)
        if lp
        for n, ln in zip(scores, labels, strict=True)
        if not ln
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


def slow_auprc(scores, labels):
    if not any(labels):
        return math.nan
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        now = sum(called) / sum(labels)
        total += (now - recall) * sum(called) / len(called)
        recall = now
    return total


def same(a, b):
    return (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, abs=1e-12)


def test_auroc_by_hand():
    # positives 3, 1; negatives 2, 1: (3>2) (3>1) (1<2) (1=1) = 1 + 1 + 0 + .5 of 4
    assert evaluation.auroc([3, 2, 1, 1], [True, False, True, False]) == 2.5 / 4


def test_auprc_by_hand():
    # threshold 3: recall .5, precision 1; threshold 1: recall 1, precision 2/4
    result = evaluation.auprc([3, 2, 1, 1], [True, False, True, False])
    assert result == evaluation.PrecisionRecall(0.5 * 1 + 0.5 * 0.5, 0.5)


def test_f1_by_hand():
    result = evaluation.f1([3, 2, 1, 0], [True, False, True, True], threshold=1)
    assert result == evaluation.Confusion(2 / 3, 2 / 3, 4 / 6, 3)


@few
@given(scores_and_labels)
def test_ranking_figures_equal_their_slow_twins(rows):
    scores, labels = zip(*rows, strict=True)
    assert same(evaluation.auroc(scores, labels), slow_auroc(scores, labels))
    found = evaluation.auprc(scores, labels)
    assert same(found.auprc, slow_auprc(scores, labels))
    assert found.prevalence == pytest.approx(sum(labels) / len(labels))


@few
@given(scores_and_labels)
def test_turning_scores_round_turns_the_auroc_round(rows):
    scores, labels = zip(*rows, strict=True)
    turned = evaluation.auroc([-s for s in scores], labels)
    assert same(turned, 1 - evaluation.auroc(scores, labels))


def test_undefined_figures_are_nan():
    nan = [
        evaluation.auroc([1.0, 2.0], [True, True]),
        evaluation.auroc([1.0, 2.0], [False, False]),
        evaluation.auroc([1.0, math.nan], [False, True]),
        evaluation.auroc([], []),
        evaluation.auprc([1.0], [False]).auprc,
        evaluation.auprc([], []).prevalence,
        evaluation.f1([1.0], [True], threshold=2).precision,
        evaluation.f1([1.0], [False], threshold=0).recall,
        evaluation.f1([1.0], [False], threshold=2).f1,
        evaluation.fvu([[1.0], [1.0]], [[1.0], [1.0]]),
        evaluation.fvu(np.full((10, 1), 0.1), np.zeros((10, 1))),
        evaluation.explained_variance([[1.0], [1.0]], [[1.0], [1.0]]),
        evaluation.cosine([[0.0]], [[1.0]]),
        evaluation.loss_recovered(1.0, 1.5, 1.0),
        evaluation.mean_l0(np.zeros((0, 3))),
        evaluation.dead_share([]),
        evaluation.jaccard([], []),
        evaluation.pearson([], [], [1], [1.0], cells=3),
        evaluation.pearson([], [], [], [], cells=0),
    ]
    assert all(math.isnan(value) for value in nan)


def test_no_call_and_a_positive_is_an_f1_of_zero():
    assert evaluation.f1([1.0], [True], threshold=2).f1 == 0


def test_reconstruction_by_hand():
    x, y = [[0.0, 0.0], [2.0, 4.0]], [[0.0, 1.0], [2.0, 2.0]]
    # spread: (1 + 1) + (4 + 4) = 10; error: 1 + 4 = 5
    assert evaluation.fvu(x, y) == pytest.approx(0.5)
    # errors of channel 2: -1, 2 with mean .5: 2 x 1.5^2 = 4.5
    assert evaluation.explained_variance(x, y) == pytest.approx(1 - 0.45)
    # the first row is all zero; the second: (4 + 8) / (sqrt 20 x sqrt 8)
    assert evaluation.cosine(x, y) == pytest.approx(12 / math.sqrt(160))


@few
@given(tables, tables)
def test_an_offset_costs_fvu_alone(x, y):
    # Exactly representable offsets, so that equality is not a matter of rounding.
    plain, moved = evaluation.explained_variance(x, y), evaluation.explained_variance(x, y + 8)
    assert same(plain, moved) or plain == pytest.approx(moved, rel=1e-6)
    loss = evaluation.fvu(x, y)
    assert math.isnan(plain) or 1 - plain <= loss + 1e-9


def test_sparsity_by_hand():
    assert evaluation.mean_l0([[0, 1, -1], [2, 0.5, 0]]) == 1.5
    assert evaluation.dead_share(np.array([0, 1, 5, 0, 0])) == 0.6
    assert evaluation.loss_recovered(1.0, 1.2, 2.0) == pytest.approx(0.8)


sparse = st.dictionaries(st.integers(0, 11), st.integers(1, 9).map(float), max_size=12)


@few
@given(sparse, sparse)
def test_agreement_equals_the_dense_computation(left, right):
    a, b = np.zeros(12), np.zeros(12)
    a[list(left)], b[list(right)] = list(left.values()), list(right.values())
    either = int(((a > 0) | (b > 0)).sum())
    dense = ((a > 0) & (b > 0)).sum() / either if either else math.nan
    assert same(evaluation.jaccard(list(left), list(right)), float(dense))
    found = evaluation.pearson(
        list(left), list(left.values()), list(right), list(right.values()), cells=12
    )
    if a.std() == 0 or b.std() == 0:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: evaluation.auroc([1.0], [True, False]), "one length"),
        (lambda: evaluation.fvu([[1.0]], [[1.0, 2.0]]), "one shape"),
        (lambda: evaluation.mean_l0([1.0]), "rows, columns"),
        (lambda: evaluation.jaccard([1, 1], [2]), "without doubles"),
        (lambda: evaluation.pearson([1], [1.0], [2], [1.0], cells=1), "2 in all"),
        (lambda: evaluation.pearson([1], [1.0, 2.0], [2], [1.0], cells=9), "one value"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(FormatError, match=message):
        wrong()
