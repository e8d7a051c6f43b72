"""Rows of window activity read back from files, against the sparse array of all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from annotations import window_activity as module
from annotations.activations import to_stretches, window_cells, window_maxima, write_stretches
from annotations.window_activity import WindowActivity, parts, stored
from tests.annotations.activation_cases import LENGTH, N_FEATURES, activations, row_lists

ROWS = 2 * N_FEATURES


@settings(max_examples=30, deadline=None)
@given(row_lists(), st.sets(st.integers(0, ROWS - 1)))
def test_stored_rows_equal_those_of_window_maxima(tmp_path_factory, found, wanted):
    folder = tmp_path_factory.mktemp("windows")
    write_stretches(to_stretches(activations(found)), folder / "file")
    start = np.arange(0, LENGTH, 10)
    windows = (np.tile([0, 1], len(start)), np.repeat(start, 2), np.repeat(start, 2) + 10)
    maxima = window_maxima(folder / "file", windows, N_FEATURES).toarray()
    rows = np.array(sorted(wanted), np.int64)
    cells = window_cells(folder / "file", windows, N_FEATURES)
    with stored([len(windows[0])], ROWS, cells, folder) as (found_again,):
        assert found_again.shape == maxima.shape
        assert found_again.counts.tolist() == (maxima > 0).sum(axis=0).tolist()
        assert np.array_equal(found_again.columns(rows).toarray(), maxima[:, rows])
        assert WindowActivity.of(found_again) is found_again
    # windows in three sets, one of them empty
    cells = window_cells(folder / "file", windows, N_FEATURES)
    sizes = [7, 0, len(windows[0]) - 7]
    with stored(sizes, ROWS, cells, folder) as sets:
        assert [each.shape for each in sets] == [(size, ROWS) for size in sizes]
        whole = np.concatenate([each.columns(rows).toarray() for each in sets])
        assert np.array_equal(whole, maxima[:, rows])
    assert [path.name for path in folder.iterdir()] == ["file"]
    in_memory = WindowActivity.of(window_maxima(folder / "file", windows, N_FEATURES))
    assert np.array_equal(in_memory.columns(rows).toarray(), maxima[:, rows])


def test_silent_windows_of_a_sparse_array_are_left_out():
    values = np.array([0.5, 0.0], np.float32)
    given_array = sparse.csc_array((values, [0, 1], [0, 1, 2]), shape=(3, 2))
    assert WindowActivity.of(given_array).counts.tolist() == [1, 0]
    assert given_array.nnz == 2  # what was given stays as it was


def test_files_are_closed_at_the_end(tmp_path):
    with stored([3], 2, [], tmp_path) as (activity,):
        assert activity.columns(np.array([0, 1])).nnz == 0
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="closed file"):
        activity.columns(np.array([0, 1]))


def test_rows_are_cut_by_their_entries(monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", 10)
    counts = np.array([4, 4, 4, 0, 30, 1, 1])
    assert parts(counts) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert parts(counts[:0]) == []
