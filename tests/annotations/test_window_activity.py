"""Rows of window activity read back from files, against the sparse array of all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from annotations.activations import to_stretches, window_cells, window_maxima, write_stretches
from annotations.window_activity import WindowActivity
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
    with WindowActivity.stored(len(windows[0]), ROWS, cells, folder) as stored:
        assert stored.shape == maxima.shape
        assert stored.counts.tolist() == (maxima > 0).sum(axis=0).tolist()
        assert np.array_equal(stored.columns(rows).toarray(), maxima[:, rows])
        assert WindowActivity.of(stored) is stored
    in_memory = WindowActivity.of(window_maxima(folder / "file", windows, N_FEATURES))
    assert np.array_equal(in_memory.columns(rows).toarray(), maxima[:, rows])


def test_silent_windows_of_a_sparse_array_are_left_out():
    values = np.array([0.5, 0.0], np.float32)
    given_array = sparse.csc_array((values, [0, 1], [0, 1, 2]), shape=(3, 2))
    assert WindowActivity.of(given_array).counts.tolist() == [1, 0]
    assert given_array.nnz == 2  # what was given stays as it was


def test_files_are_closed_at_the_end(tmp_path):
    with WindowActivity.stored(3, 2, [], tmp_path) as stored:
        assert stored.columns(np.array([0, 1])).nnz == 0
    with pytest.raises(ValueError, match="closed file"):
        stored.columns(np.array([0, 1]))
