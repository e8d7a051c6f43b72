"""AUROC and AUPRC through sparse ranks against the dense functions, and the test against scipy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from annotations import window_activity
from annotations.evaluation import auprc, auroc
from annotations.prediction import predict
from annotations.window_activity import WindowActivity


def draw(random, windows, rows, motifs, density, values):
    active = random.random((windows, rows)) < density
    activity = np.where(active, random.choice(values, (windows, rows)), 0).astype(np.float32)
    held = (random.random((windows, motifs)) < 0.3).astype(float)
    held[:, 0], held[:, -1] = 0, 1
    return activity, held


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([(1.0,), (0.5, 1.0, 2.0), tuple(np.linspace(0.1, 9, 500))]),
)
def test_equal_to_the_dense_functions(seed, density, values):
    random = np.random.default_rng(seed)
    activity, held = draw(random, 60, 4, 5, density, values)
    row, motif = np.divmod(random.permutation(20), 5)
    found = predict(sparse.csr_array(activity), sparse.csr_array(held), row, motif)
    for i, (r, m) in enumerate(zip(row, motif, strict=True)):
        expected = auprc(activity[:, r], held[:, m] > 0)
        assert found.auroc[i] == pytest.approx(
            auroc(activity[:, r], held[:, m] > 0), abs=1e-9, nan_ok=True
        )
        assert found.auprc[i] == pytest.approx(expected.auprc, abs=1e-9, nan_ok=True)
        assert found.prevalence[i] == pytest.approx(expected.prevalence)


def test_p_equals_the_tie_corrected_mann_whitney_test():
    random = np.random.default_rng(3)
    activity, held = draw(random, 300, 3, 4, 0.2, (0.5, 1.0, 2.0))
    activity[held[:, 1] > 0, 0] += 1
    found = predict(
        sparse.csr_array(activity),
        sparse.csr_array(held),
        np.array([0, 1, 2]),
        np.array([1, 1, 2]),
    )
    for i, (row, motif) in enumerate(((0, 1), (1, 1), (2, 2))):
        with_motif = held[:, motif] > 0
        expected = stats.mannwhitneyu(
            activity[with_motif, row],
            activity[~with_motif, row],
            alternative="greater",
            use_continuity=False,
            method="asymptotic",
        )
        assert found.p[i] == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.p[0] < 1e-9 < found.p[1]


def test_what_is_not_defined_is_nan():
    activity = np.array([[0, 0], [0, 2], [0, 1]], dtype=np.float32)
    held = np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    row, motif = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 2])
    found = predict(sparse.csr_array(activity), sparse.csr_array(held), row, motif)
    assert found.auroc == pytest.approx([np.nan, np.nan, 0.5, 0.0], nan_ok=True)
    assert found.auprc == pytest.approx([np.nan, 1.0, 1 / 3, 1 / 3], nan_ok=True)
    assert np.isnan(found.p[:3]).all()  # without positives, without negatives, without a value
    assert found.p[3] > 0.8


def test_many_pairs_go_through_in_parts(monkeypatch):
    random = np.random.default_rng(1)
    activity, held = draw(random, 80, 7, 5, 0.3, (1.0, 2.0))
    row, motif = np.divmod(np.arange(35), 5)
    whole = predict(sparse.csr_array(activity), sparse.csr_array(held), row, motif)
    monkeypatch.setattr(window_activity, "ENTRIES", 30)
    parts = predict(sparse.csr_array(activity), sparse.csr_array(held), row, motif)
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_more_windows_take_no_more_memory_than_the_entries_at_once(monkeypatch):
    monkeypatch.setattr(window_activity, "ENTRIES", 20_000)
    random = np.random.default_rng(4)
    row, motif = np.divmod(np.arange(100 * 5), 5)

    def most(windows):
        """Bytes held at once with 100 rows that are active in half of the windows."""
        activity, held = draw(random, windows, 100, 5, 0.5, (1.0, 2.0, 3.0))
        columns, holds = WindowActivity.of(sparse.csr_array(activity)), sparse.csr_array(held)
        tracemalloc.start()
        predict(columns, holds, row, motif)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most(1_000)
    assert most(8_000) < 1.5 * most(2_000)
