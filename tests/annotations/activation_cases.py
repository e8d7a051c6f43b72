"""Activations for tests: written out by hand, or drawn by hypothesis."""

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from annotations.activations import Activations

Row = tuple[int, int, int, int, float]

N_FEATURES = 5
LENGTH = 120


def activations(rows: Iterable[Row]) -> Activations:
    """Activations of (feature, strand, contig, position, value) rows."""
    columns = list(zip(*rows, strict=True)) or [()] * 5
    dtypes = (np.uint32, np.int8, np.uint32, np.int64, np.float32)
    return Activations(
        *(np.array(values, dtype=dtype) for values, dtype in zip(columns, dtypes, strict=True))
    )


def rows(found: Activations) -> list[Row]:
    """The rows of activations."""
    return list(zip(*(values.tolist() for values in found), strict=True))


@st.composite
def row_lists(draw: st.DrawFn, max_size: int = 150) -> list[Row]:
    """Rows in any order, no base twice, with many equal values."""
    keys = draw(
        st.lists(
            st.tuples(
                st.integers(0, N_FEATURES - 1),
                st.sampled_from([1, -1]),
                st.integers(0, 1),
                st.integers(0, LENGTH - 1),
            ),
            unique=True,
            max_size=max_size,
        )
    )
    values = draw(
        st.lists(
            st.sampled_from([0.25, 0.5, 1.0, 1.5, 700.0]) | st.floats(2.0**-30, 60000, width=32),
            min_size=len(keys),
            max_size=len(keys),
        )
    )
    return [(*key, value) for key, value in zip(keys, values, strict=True)]


def sorted_rows(found: Iterable[Row]) -> list[Row]:
    """By feature, strand (+ first), contig, position."""
    return sorted(found, key=lambda row: (row[0], -row[1], row[2], row[3]))
