"""Packed activations say what sorted columns say."""

import numpy as np
import pytest
from hypothesis import given, settings

from annotations.active_bases import SortedActivations, owned_mask, sort
from annotations.errors import CoordinateError, FormatError, LimitError
from annotations.packed import Places, pack, unpack
from annotations.stretches import as_stored
from annotations.types import Span
from tests.annotations.activation_cases import LENGTH, activations, row_lists, rows

WHOLE = [Span(1, 0, LENGTH), Span(0, 0, LENGTH)]


def packed(found, places):
    return pack(
        found.feature,
        places.number(found.contig, found.position),
        found.strand < 0,
        found.value,
        n_places=len(places),
    )


@settings(max_examples=50, deadline=None)
@given(row_lists())
def test_packing_sorts_and_rounds_as_the_columns_do(found):
    places = Places(WHOLE)
    given_rows = activations(found)
    half = len(found) // 2
    parts = [packed(activations(part), places) for part in (found[half:], found[:half])]
    back, place = unpack(parts, places)
    np.testing.assert_array_equal(place, places.number(back.contig, back.position))
    assert isinstance(back, SortedActivations)
    assert rows(back) == rows(sort(as_stored(given_rows)))
    assert [v.dtype for v in back] == [v.dtype for v in given_rows]


def test_places_number_the_bases_of_spans_in_order():
    places = Places([Span(2, 5, 8), Span(0, 10, 12)])
    assert places.contig.tolist() == [0, 0, 2, 2, 2]
    assert places.position.tolist() == [10, 11, 5, 6, 7]
    contig = np.repeat(np.arange(4), 14)
    position = np.tile(np.arange(-1, 13), 4)
    number = places.number(contig, position)
    inside = owned_mask(contig.astype(np.uint32), position, [Span(2, 5, 8), Span(0, 10, 12)])
    np.testing.assert_array_equal(number >= 0, inside)
    assert number[inside].tolist() == [0, 1, 2, 3, 4]
    assert Places([]).number(contig, position).max() == -1


def test_spans_that_overlap_are_refused():
    with pytest.raises(CoordinateError, match="not overlap"):
        Places([Span(0, 0, 10), Span(0, 9, 12)])


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, 65505.0, np.inf])
def test_a_value_that_is_no_activation_is_refused(value):
    places = Places(WHOLE)
    with pytest.raises(FormatError, match="above 0 and at most 65504"):
        packed(activations([(0, 1, 0, 0, 1.0), (0, 1, 0, 1, value)]), places)


def test_a_base_given_twice_is_refused():
    places = Places(WHOLE)
    found = packed(activations([(3, -1, 1, 7, 1.0)]), places)
    again = packed(activations([(3, -1, 1, 7, 2.0)]), places)
    with pytest.raises(FormatError, match="twice, the first is feature 3 at base 7 of contig 1"):
        unpack([found, again], places)


def test_what_does_not_fit_is_refused():
    found = activations([(2**31, 1, 0, 0, 1.0)])
    with pytest.raises(LimitError, match="smaller shards"):
        pack(found.feature, found.position, found.strand < 0, found.value, n_places=2**20)
