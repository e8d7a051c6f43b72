"""Reconstruction and agreement against hand-computed toys and dense twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotations import reconstruction
from annotations.errors import FormatError

few = settings(max_examples=50, deadline=None)
tables = hnp.arrays(np.float64, (7, 3), elements=st.floats(-5, 5).map(lambda x: round(x, 2)))


def same(a, b):
    return (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, abs=1e-12)


def test_undefined_figures_are_nan():
    nan = [
        reconstruction.fvu([[1.0], [1.0]], [[1.0], [1.0]]),
        reconstruction.fvu(np.full((10, 1), 0.1), np.zeros((10, 1))),
        reconstruction.explained_variance([[1.0], [1.0]], [[1.0], [1.0]]),
        reconstruction.cosine([[0.0]], [[1.0]]),
        reconstruction.loss_recovered(1.0, 1.5, 1.0),
        reconstruction.mean_l0(np.zeros((0, 3))),
        reconstruction.dead_share([]),
        reconstruction.jaccard([], []),
        reconstruction.pearson([], [], [1], [1.0], cells=3),
        reconstruction.pearson([], [], [], [], cells=0),
    ]
    assert all(math.isnan(value) for value in nan)


def test_reconstruction_by_hand():
    x, y = [[0.0, 0.0], [2.0, 4.0]], [[0.0, 1.0], [2.0, 2.0]]
    # spread: (1 + 1) + (4 + 4) = 10; error: 1 + 4 = 5
    assert reconstruction.fvu(x, y) == pytest.approx(0.5)
    # errors of channel 2: -1, 2 with mean .5: 2 x 1.5^2 = 4.5
    assert reconstruction.explained_variance(x, y) == pytest.approx(1 - 0.45)
    # the first row is all zero; the second: (4 + 8) / (sqrt 20 x sqrt 8)
    assert reconstruction.cosine(x, y) == pytest.approx(12 / math.sqrt(160))


@few
@given(tables, tables)
def test_an_offset_costs_fvu_alone(x, y):
    # Exactly representable offsets, so that equality is not a matter of rounding.
    plain, moved = (
        reconstruction.explained_variance(x, y),
        reconstruction.explained_variance(x, y + 8),
    )
    assert same(plain, moved) or plain == pytest.approx(moved, rel=1e-6)
    loss = reconstruction.fvu(x, y)
    assert math.isnan(plain) or 1 - plain <= loss + 1e-9


def test_sparsity_by_hand():
    assert reconstruction.mean_l0([[0, 1, -1], [2, 0.5, 0]]) == 1.5
    assert reconstruction.dead_share(np.array([0, 1, 5, 0, 0])) == 0.6
    assert reconstruction.loss_recovered(1.0, 1.2, 2.0) == pytest.approx(0.8)


sparse = st.dictionaries(st.integers(0, 11), st.integers(1, 9).map(float), max_size=12)


@few
@given(sparse, sparse)
def test_agreement_equals_the_dense_computation(left, right):
    a, b = np.zeros(12), np.zeros(12)
    a[list(left)], b[list(right)] = list(left.values()), list(right.values())
    either = int(((a > 0) | (b > 0)).sum())
    dense = ((a > 0) & (b > 0)).sum() / either if either else math.nan
    assert same(reconstruction.jaccard(list(left), list(right)), float(dense))
    found = reconstruction.pearson(
        list(left), list(left.values()), list(right), list(right.values()), cells=12
    )
    if a.std() == 0 or b.std() == 0:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: reconstruction.fvu([[1.0]], [[1.0, 2.0]]), "one shape"),
        (lambda: reconstruction.mean_l0([1.0]), "rows, columns"),
        (lambda: reconstruction.jaccard([1, 1], [2]), "without doubles"),
        (lambda: reconstruction.pearson([1], [1.0], [2], [1.0], cells=1), "2 in all"),
        (lambda: reconstruction.pearson([1], [1.0, 2.0], [2], [1.0], cells=9), "one value"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(FormatError, match=message):
        wrong()
