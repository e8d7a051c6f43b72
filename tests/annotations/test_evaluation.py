"""Figures against hand-computed toys and slow twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from annotations import evaluation
from annotations.errors import FormatError

few = settings(max_examples=50, deadline=None)
scores_and_labels = st.lists(
    st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=1, max_size=30
)


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
    ]
    assert all(math.isnan(value) for value in nan)


def test_no_call_and_a_positive_is_an_f1_of_zero():
    assert evaluation.f1([1.0], [True], threshold=2).f1 == 0


def test_scores_and_labels_of_different_lengths_are_refused():
    with pytest.raises(FormatError, match="one length"):
        evaluation.auroc([1.0], [True, False])


@few
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
def test_mann_whitney_equals_scipys(rows):
    scores, labels = (np.array(part) for part in zip(*rows, strict=True))
    p = float(evaluation.counts_of(scores, labels).mann_whitney_p[0])
    if not labels.any() or labels.all() or np.ptp(scores) == 0:
        assert p == 1.0
    else:
        expected = mannwhitneyu(
            scores[labels], scores[~labels], alternative="greater", method="asymptotic"
        )
        assert p == pytest.approx(expected.pvalue, rel=1e-9)


def test_counts_of_several_labels_by_hand():
    # scores 2, 1, 0: the first label has positives 1, 0, 1; the second 0, 0, 2
    counts = evaluation.Counts(np.array([[1.0, 0, 1], [0, 0, 2]]), np.array([1.0, 1, 2]))
    assert counts.prevalence.tolist() == [0.5, 0.5]
    # label 1: 2 above both negatives, 0 below one and level with one: (2 + .5) of 4
    # label 2: twice below both negatives
    assert counts.auroc.tolist() == [2.5 / 4, 0.0]
    assert counts.auprc.tolist() == [0.5 * 1 + 0.5 * 2 / 4, 2 / 4]
    assert counts.f1().tolist() == [[2 / 3, 2 / 4, 4 / 6], [0.0, 0.0, 4 / 6]]


@few
@given(scores_and_labels)
def test_best_f1_equals_that_of_every_threshold(rows):
    scores, labels = zip(*rows, strict=True)
    curve = evaluation.counts_of(scores, labels).f1()[0]
    for value, found in zip(sorted(set(scores), reverse=True), curve, strict=True):
        assert same(found, evaluation.f1(scores, labels, threshold=value).f1)
