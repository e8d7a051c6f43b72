"""Packed activations say what sorted columns say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.active_bases import owned_mask, select, sort
from annotations.errors import CoordinateError, FormatError, LimitError
from annotations.packed import Places, describe, pack
from annotations.peaks import RADIUS, find_peaks, with_context
from annotations.shard_bases import write_shard_bases
from annotations.stretches import as_stored
from annotations.types import Span
from tests.annotations.activation_cases import LENGTH, N_FEATURES, activations, row_lists, rows
from tests.annotations.shard_cases import read_activations, read_peaks, statistics_of
from workers.pipeline import widened

WHOLE = [Span(1, 0, LENGTH), Span(0, 0, LENGTH)]


def packed(found, places):
    return pack(
        found.feature,
        places.number(found.contig, found.position),
        found.strand < 0,
        found.value,
        n_places=len(places),
    )


def described(parts, places, owned, **changes):
    whole = {
        "lengths": dict.fromkeys((0, 1), LENGTH),
        "n_features": N_FEATURES,
        "scanned": {1: 2 * LENGTH, -1: 2 * LENGTH},
    }
    return describe(parts, places, owned, **{**whole, **changes})


OWNED = [
    WHOLE,
    [Span(1, 3, 40), Span(0, 0, LENGTH)],
    [Span(0, 30, 31), Span(0, 60, 90), Span(1, LENGTH - 1, LENGTH)],
]


@settings(max_examples=60, deadline=None)
@given(row_lists(), st.sampled_from(OWNED))
def test_packed_bases_are_described_as_the_columns_are(tmp_path_factory, found, owned):
    path = tmp_path_factory.mktemp("shard") / "shard"
    stored = as_stored(activations(found))
    spans = widened(owned, RADIUS)
    places = Places(spans, apart=RADIUS)
    read = select(stored, owned_mask(stored.contig, stored.position, spans))
    half = len(read.value) // 2
    parts = [packed(select(read, np.arange(len(read.value)) % 2 == at), places) for at in (1, 0)]
    assert sum(map(len, parts)) == len(read.value) >= half
    bases, statistics = described(parts, places, owned)
    write_shard_bases(bases, path)
    kept = sort(select(stored, owned_mask(stored.contig, stored.position, owned)))
    assert rows(read_activations(path)) == rows(kept)
    peaks = with_context(find_peaks(stored, owned), dict.fromkeys((0, 1), LENGTH))
    assert read_peaks(path).equals(peaks)
    expected = statistics_of(
        kept, n_features=N_FEATURES, scanned={1: 2 * LENGTH, -1: 2 * LENGTH}, peaks=peaks
    )
    for field in ("scanned", "maximum", "histogram", "peaks"):
        found_field = getattr(statistics, field)
        np.testing.assert_array_equal(found_field, getattr(expected, field))
        assert found_field.dtype == getattr(expected, field).dtype


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
    with pytest.raises(FormatError, match="feature 3 is given two values at base 7 of contig 1"):
        described([found, again], places, WHOLE)


def test_bases_that_cannot_be_counted_are_refused():
    places = Places(WHOLE)
    found = packed(activations([(3, -1, 1, 7, 1.0), (3, -1, 1, 8, 1.0)]), places)
    with pytest.raises(FormatError, match="feature 3 is not in a dictionary of 3"):
        described([found], places, WHOLE, n_features=3)
    with pytest.raises(FormatError, match=r"active at \[0, 2\] bases .* only \[9, 1\]"):
        described([found], places, WHOLE, scanned={1: 9, -1: 1})


def test_numbers_are_left_out_between_spans():
    places = Places([Span(0, 0, 3), Span(1, 0, 2)], apart=4)
    assert len(places) == 3 + 4 + 2 + 4
    number = places.number(np.array([0, 0, 0, 1, 1, 1]), np.array([2, 3, 5, 0, 1, 2]))
    assert number.tolist() == [2, -1, -1, 7, 8, -1]
    assert places.contig[[0, 6, 7]].tolist() == [0, 0, 1]


def test_what_does_not_fit_is_refused():
    found = activations([(2**31, 1, 0, 0, 1.0)])
    with pytest.raises(LimitError, match="smaller shards"):
        pack(found.feature, found.position, found.strand < 0, found.value, n_places=2**20)
