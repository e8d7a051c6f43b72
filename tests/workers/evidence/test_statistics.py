"""Every statistic of the evidence, on toys counted by hand."""

import numpy as np
import pytest

from annotations.evaluation import auprc, auroc
from workers.evidence.statistics import (
    Scale,
    areas,
    draws,
    fit_logistic,
    interval,
    local_maxima,
    precision_of_top,
)

ONE = np.ones((1, 1), np.int64)


def top(value, positive, n, prevalence=0.0, block=None, weights=ONE):
    value = np.array(value, float)
    block = np.zeros(len(value), int) if block is None else np.array(block)
    return precision_of_top(
        value,
        np.array(positive, bool),
        block,
        weights,
        top=n,
        prevalence=np.full(len(weights), prevalence),
    ).tolist()


def test_precision_of_the_top_loci():
    assert top([5, 4, 3, 2], [1, 0, 1, 1], 2) == [0.5]
    assert top([2, 5, 3, 4], [1, 1, 1, 0], 3) == [pytest.approx(2 / 3)]


def test_ties_at_the_last_place_count_as_drawn_at_random():
    # one place is left for three loci of equal score, one of them positive
    assert top([5, 3, 3, 3], [1, 1, 0, 0], 2) == [pytest.approx((1 + 1 / 3) / 2)]


def test_loci_that_are_missing_count_as_drawn_from_all_bins():
    assert top([5, 4], [1, 1], 4, prevalence=0.1) == [pytest.approx((2 + 2 * 0.1) / 4)]
    assert top([], [], 4, prevalence=0.25) == [0.25]


def test_a_block_taken_twice_gives_its_loci_twice():
    # blocks a, b; the second draw takes a twice: its positive fills both places
    weights = np.array([[1, 1], [2, 0]])
    assert top([5, 4], [1, 0], 2, block=[0, 1], weights=weights) == [0.5, 1.0]


def test_areas_equal_those_of_the_project_with_ties():
    rng = np.random.default_rng(3)
    value = rng.integers(0, 5, 60).astype(float)
    positive = rng.random(60) < 0.3
    block = rng.integers(0, 4, 60)
    found = areas(value, positive, block, np.ones((1, 4), np.int64))
    assert found.auroc[0] == pytest.approx(auroc(value, positive))
    assert found.auprc[0] == pytest.approx(auprc(value, positive).auprc)


def test_areas_by_hand():
    # positives .8 and .4, negatives .4 and .1: 4 pairs, 3 won and one tie
    value = np.array([0.1, 0.4, 0.4, 0.8])
    positive = np.array([False, True, False, True])
    found = areas(value, positive, np.zeros(4, int), ONE)
    assert found.auroc.tolist() == [0.875]
    # steps: .8 alone (1 of 1), then both of .4 (2 of 3)
    assert found.auprc.tolist() == [pytest.approx((1 + 2 / 3) / 2)]


def test_areas_of_a_draw_are_those_of_the_repeated_blocks():
    rng = np.random.default_rng(5)
    value, positive = rng.random(40).round(1), rng.random(40) < 0.4
    block = np.repeat(np.arange(4), 10)
    weights = np.array([[2, 0, 1, 1]])
    found = areas(value, positive, block, weights)
    repeated = np.repeat(np.arange(40), weights[0][block])
    assert found.auroc[0] == pytest.approx(auroc(value[repeated], positive[repeated]))
    assert found.auprc[0] == pytest.approx(auprc(value[repeated], positive[repeated]).auprc)


def test_areas_without_a_positive_are_undefined():
    found = areas(np.arange(3.0), np.zeros(3, bool), np.zeros(3, int), ONE)
    assert np.isnan(found.auroc[0])
    assert np.isnan(found.auprc[0])


def test_draws_take_as_many_blocks_as_there_are_and_are_the_same_each_time():
    found = draws(7, seed=1, resamples=50)
    assert found.shape == (51, 7)
    assert found[0].tolist() == [1] * 7
    assert (found.sum(1) == 7).all()
    assert (found == draws(7, seed=1, resamples=50)).all()
    assert (found != draws(7, seed=2, resamples=50)).any()


def test_interval_is_the_middle_of_the_draws():
    sample = np.concatenate([[0.3], np.arange(101) / 100])
    assert interval(sample) == {"value": 0.3, "low": 0.025, "high": 0.975}
    assert interval(np.array([np.nan, 1.0]))["value"] is None


def test_local_maxima_are_of_their_own_group():
    group = np.array([0, 0, 0, 1, 1])
    place = np.array([0, 2, 5, 0, 3])
    value = np.array([1.0, 2.0, 1.0, 9.0, 1.0])
    assert local_maxima(group, place, value).tolist() == [False, True, True, True, True]


def test_z_scores_use_the_scale_they_are_given():
    scale = Scale.of(np.array([[0.0, 5.0], [2.0, 5.0]]))
    # mean 1 and standard deviation 1; a signal that does not vary is left as it is
    assert scale.z(np.array([[3.0, 6.0]])).tolist() == [[2.0, 1.0]]
    assert scale.z(np.array([[3.0, 6.0]])).sum(1).tolist() == [3.0]


def test_logistic_regression_finds_the_weights_that_made_the_labels():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 2))
    p = 1 / (1 + np.exp(-(-1 + 2 * z[:, 0] - 0.5 * z[:, 1])))
    weights = fit_logistic(z, rng.random(20_000) < p)
    assert weights == pytest.approx([2, -0.5], abs=0.1)


def test_logistic_regression_of_two_signals_that_tell_all_apart_stays_finite():
    z = np.array([[-1.0, 0.0], [-0.5, 0.0], [0.5, 0.0], [1.0, 0.0]])
    weights = fit_logistic(z, np.array([False, False, True, True]))
    assert 0 < weights[0] < 10
    assert weights[1] == pytest.approx(0)
