"""Neighbours and groups: against numpy's own correlation, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from annotations import feature_groups
from annotations.errors import CoordinateError
from annotations.feature_groups import NEIGHBOURS_SCHEMA, correlations, groups


def drawn(n_windows=400, n_rows=14, seed=0):
    """Activity of pairs of rows that share their signal, some with noise, some silent."""
    rng = np.random.default_rng(seed)
    signal = rng.exponential(1.0, (n_windows, n_rows)) * (rng.random((n_windows, n_rows)) < 0.3)
    signal[:, 1] = 2 * signal[:, 0]
    signal[:, 3] = signal[:, 2] + 0.3 * signal[:, 4]
    signal[:, 5] = 0
    signal[10:, 6] = 0
    return signal.astype(np.float32)


@pytest.mark.parametrize("rows_at_once", [1, 5, 1024])
def test_neighbours_are_those_of_numpys_correlation(rows_at_once, monkeypatch):
    monkeypatch.setattr(feature_groups, "_ROWS_AT_ONCE", rows_at_once)
    signal = drawn()
    found = correlations(sparse.csr_array(signal), neighbours=2, min_correlation=-1.0)
    assert found.neighbours.schema == NEIGHBOURS_SCHEMA
    live = [row for row in range(14) if (signal[:, row] > 0).sum() >= 20]
    assert live == [row for row in range(14) if row not in (5, 6)]
    expected = np.full((14, 14), -2.0)
    expected[np.ix_(live, live)] = np.corrcoef(signal[:, live].T)
    np.fill_diagonal(expected, -2.0)
    got = {}
    for row in found.neighbours.to_pylist():
        mine = 2 * row["feature"] + (row["strand"] < 0)
        other = 2 * row["other_feature"] + (row["other_strand"] < 0)
        got.setdefault(mine, []).append(other)
        assert row["correlation"] == pytest.approx(expected[mine, other], abs=1e-5)
    assert got == {row: list(np.argsort(-expected[row])[:2]) for row in live}
    links = found.links.toarray()
    assert np.array_equal(links, expected >= 0.7)
    assert links[0, 1]
    assert links[2, 3]
    assert found.windows == 400


def test_weak_neighbours_are_left_out():
    found = correlations(sparse.csr_matrix(drawn())).neighbours.to_pylist()
    # features 0 and 1 are rows 0 to 3; row 4 has a part in row 3
    assert {(r["feature"], r["strand"], r["other_feature"], r["other_strand"]) for r in found} >= {
        (0, 1, 0, -1),
        (0, -1, 0, 1),
        (1, 1, 1, -1),
        (1, -1, 1, 1),
    }
    assert all(row["correlation"] >= 0.3 for row in found)


def test_many_rows_are_compared_in_fewer_windows():
    found = correlations(sparse.csr_array(drawn()), max_cells=14 * 300)
    assert found.windows == 300
    assert found.active.max() < 300


def test_one_window_tells_nothing():
    with pytest.raises(CoordinateError, match="2 windows"):
        correlations(sparse.csr_array(np.ones((1, 4))))


def test_silent_rows_have_no_neighbours():
    found = correlations(sparse.csr_array((50, 4)))
    assert (found.neighbours.num_rows, found.links.nnz) == (0, 0)


def test_a_chain_is_not_one_group():
    chain = np.zeros((6, 6), bool)
    for at in range(5):
        chain[at, at + 1] = chain[at + 1, at] = True
    assert groups(sparse.csr_array(chain), np.arange(6)).tolist() == [0, 0, 1, 1, 2, 2]
    assert groups(sparse.csr_array(chain), np.array([2, 5])).tolist() == [-1, 0, 0, 0, 1, 1]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(0.05, 0.6))
def test_every_member_is_linked_to_its_leader(n, seed, density):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < density, 1)
    links = upper | upper.T
    order = rng.permutation(n)
    group = groups(sparse.csr_array(links), order)
    for number in range(group.max(initial=-1) + 1):
        members = [row for row in order if group[row] == number]
        assert len(members) >= 2
        assert any(links[lead, [m for m in members if m != lead]].all() for lead in members)
    alone = [row for row in range(n) if group[row] < 0]
    assert not links[np.ix_(alone, alone)].any()
