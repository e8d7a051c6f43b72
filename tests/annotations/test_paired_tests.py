"""The signed-rank test against all sign patterns and against scipy."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from annotations.paired_tests import signed_rank, standardised_effect


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0, 3.0], [-1.0, 2.0, 2.0, 5.0], [1.0, 1.0, 1.0, -1.0, 0.0], [-3.0, -1.0, 2.0, 3.0]],
)
def test_all_sign_patterns_are_counted(values):
    found = np.array([v for v in values if v])
    ranks = rankdata(np.abs(found))
    sums = [ranks[np.array(signs) > 0].sum() for signs in product([-1, 1], repeat=len(found))]
    observed = ranks[found > 0].sum()
    greater = np.mean([total >= observed for total in sums])
    less = np.mean([total <= observed for total in sums])
    test = signed_rank(np.array(values))
    assert test.n == len(found)
    assert test.p_greater == pytest.approx(greater)
    assert test.p_two_sided == pytest.approx(min(1, 2 * min(greater, less)))


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_it_is_scipys(seed):
    values = np.random.default_rng(seed).normal(0.3, 1, 30)
    test = signed_rank(values)
    assert test.p_greater == pytest.approx(
        wilcoxon(values, alternative="greater", method="exact").pvalue
    )
    assert test.p_two_sided == pytest.approx(wilcoxon(values, method="exact").pvalue)


def test_all_agreeing_have_p_of_a_half_to_the_n():
    assert signed_rank(np.ones(50)).p_greater == 2.0**-50


def test_nothing_but_zeros_says_nothing():
    assert signed_rank(np.zeros(9)) == (0, 1.0, 1.0)


def test_the_standardised_effect():
    assert standardised_effect(np.array([1.0, 3.0])) == pytest.approx(2 / np.sqrt(2))
    assert standardised_effect(np.array([1.0, 1.0])) is None
    assert standardised_effect(np.array([1.0])) is None
