"""Tests of counts against numbers one can do by hand, and against scipy."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from annotations.significance import (
    benjamini_hochberg,
    binomial_tail,
    family_q,
    predictive_tail,
)


def test_binomial_tail_by_hand():
    # 4 coins with P(head) = 1/4: P(>= 3) = 4 * (1/4)^3 * 3/4 + (1/4)^4 = 13/256.
    p = binomial_tail(np.array([3.0, 0.0, 4.0]), np.array([4.0]), np.array([1.0]))
    assert p == pytest.approx([13 / 256, 1.0, 1 / 256])
    assert binomial_tail(np.array([1.0]), np.array([4.0]), np.array([0.0])) == pytest.approx(0.0)


def test_predictive_tail_by_hand():
    # Nothing seen in 2 windows, 2 trials: the rate is Beta(1, 3), so that
    # P(X = 2) = B(3, 3) / B(1, 3) = (1/30) / (1/3) = 1/10 and
    # P(X = 1) = 2 * B(2, 4) / B(1, 3) = 2 * (1/20) / (1/3) = 3/10.
    p = predictive_tail(np.array([2.0, 1.0]), np.full(2, 2.0), np.zeros(2), np.full(2, 2.0))
    assert p == pytest.approx([0.1, 0.4])
    many = predictive_tail(np.array([6.0]), np.array([20.0]), np.array([1e8]), np.array([1e9]))
    exact = sum(comb(20, k) * 0.1**k * 0.9 ** (20 - k) for k in range(6, 21))
    assert many == pytest.approx([exact], rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.data())
def test_predictive_tail_equals_scipy(n, data):
    hits, windows = data.draw(st.integers(1, n)), data.draw(st.integers(1, 5000))
    seen = data.draw(st.floats(0, windows))
    ours = predictive_tail(*(np.array([float(x)]) for x in (hits, n, seen, windows)))
    theirs = stats.betabinom.sf(hits - 1, n, seen + 1, windows - seen + 1)
    assert ours[0] == pytest.approx(theirs, rel=1e-6, abs=1e-10)


def test_benjamini_hochberg_by_hand():
    # 5 tests of which one, with p = 1, is not listed: p * 5 / rank is .05, .05, .0667, .05,
    # and the step up takes the least of what follows.
    q = benjamini_hochberg(np.array([0.04, 0.01, 0.04, 0.02]), 5)
    assert q == pytest.approx([0.05, 0.05, 0.05, 0.05])
    assert benjamini_hochberg(np.array([0.5]), 10) == pytest.approx([1.0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-12, 1), max_size=30), st.integers(0, 20))
def test_benjamini_hochberg_equals_scipy(p, more):
    ours = benjamini_hochberg(np.array(p), len(p) + more)
    theirs = stats.false_discovery_control([*p, *[1.0] * more])[: len(p)] if p else np.empty(0)
    assert np.allclose(ours, theirs)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1e-6, 0.001, 0.02, 0.3, 0.9]), min_size=1, max_size=40), st.data())
def test_q_of_some_equals_q_of_all(p, data):
    family, tested = np.array(p), len(p) + data.draw(st.integers(0, 9))
    chosen = np.array(data.draw(st.lists(st.integers(0, len(p) - 1), max_size=9)), dtype=int)
    q = benjamini_hochberg(family, tested)[chosen]
    assert np.array_equal(family, p)  # not used up
    assert family_q(family[chosen], family.copy(), tested) == pytest.approx(q)
