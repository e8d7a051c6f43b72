"""Which intervals touch a window, against a loop over both."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annotations.near_places import NearPlaces

WIDTH = 7


@given(
    st.lists(st.integers(-5, 100), max_size=12),
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 9)), max_size=20),
)
def test_touched_equals_a_loop_over_intervals_and_windows(starts, intervals):
    near = NearPlaces.of(np.array(starts, np.int64), WIDTH)
    assert (near.start < near.end).all()
    assert (near.end[:-1] < near.start[1:]).all()  # none touches another
    assert (near.end - near.start).sum() == len({s + i for s in starts for i in range(WIDTH)})
    start, size = np.array(intervals, np.int64).reshape(-1, 2).T
    expected = [any(at < s + WIDTH and s < at + n for s in starts) for at, n in intervals]
    assert near.touched(start, start + size).tolist() == expected
