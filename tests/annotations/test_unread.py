"""Bases that were not read, against a slow twin that holds every base."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annotations.types import Span
from annotations.unread import bases_read, unread, unread_bins


def test_gaps_by_hand():
    spans = [Span(0, 0, 10), Span(0, 15, 20), Span(1, 0, 30)]
    assert unread(Span(0, 5, 30), spans) == [Span(0, 10, 15), Span(0, 20, 30)]
    assert unread(Span(0, 16, 18), spans) == []
    assert unread(Span(2, 3, 7), spans) == [Span(2, 3, 7)]
    assert unread(Span(0, 5, 30), None) == []
    assert bases_read(Span(0, 5, 30), [Span(0, 10, 15), Span(0, 20, 30)]) == 10
    assert unread_bins(Span(0, 0, 10), [Span(0, 2, 6), Span(0, 9, 10)], 4).tolist() == [
        False, True, False, False,
    ]  # fmt: skip


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.tuples(st.integers(0, 59), st.integers(1, 60)),
    st.integers(1, 60),
)
def test_gaps_are_those_of_every_base(read, asked, bins):
    start = min(asked[0], len(read) - 1)
    region = Span(3, start, min(len(read), start + asked[1]))
    bins = min(bins, region.length)
    padded = np.diff(np.concatenate([[0], np.array(read, int), [0]]))
    pairs = zip(np.flatnonzero(padded > 0), np.flatnonzero(padded < 0), strict=True)
    spans = [Span(2, 0, 60), *(Span(3, int(low), int(high)) for low, high in pairs)]
    gaps = unread(region, spans)
    told = np.ones(len(read), bool)
    for _, low, high in gaps:
        told[low:high] = False
    inside = slice(region.start, region.end)
    assert told[inside].tolist() == read[inside]
    assert bases_read(region, gaps) == sum(read[inside])
    edges = region.start + np.arange(bins + 1) * region.length // bins
    expected = [not any(read[low:high]) for low, high in pairwise(edges)]
    assert unread_bins(region, gaps, bins).tolist() == expected
