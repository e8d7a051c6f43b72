"""Peaks do not depend on the cuts, and statistics add up over any partition."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.activations import owned_mask, select
from annotations.active_bases import row_index
from annotations.errors import FormatError
from annotations.peaks import (
    FEATURES_SCHEMA,
    PEAKS_SCHEMA,
    RADIUS,
    TOP_PEAKS_SCHEMA,
    FeatureStatistics,
    _may_be_kept,
    features_table,
    find_peaks,
    top_peaks,
    with_context,
)
from annotations.statistics import BIN_EDGES
from annotations.types import Span
from tests.annotations.activation_cases import (
    LENGTH,
    N_FEATURES,
    activations,
    row_lists,
    rows,
    sorted_rows,
)
from tests.annotations.shard_cases import statistics_of

few = settings(max_examples=40, deadline=None)
EVERYWHERE = [Span(0, 0, LENGTH), Span(1, 0, LENGTH)]
SCANNED = {1: 2 * LENGTH, -1: 2 * LENGTH}


def peak_rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def slow_peaks(found):
    """Twin of find_peaks: every row against every other."""
    return [
        row
        for row in sorted_rows(found)
        if not any(
            other[:3] == row[:3]
            and abs(other[3] - row[3]) <= RADIUS
            and (other[4] > row[4] or (other[4] == row[4] and other[3] < row[3]))
            for other in found
        )
    ]


def test_peaks_of_a_case_done_by_hand():
    found = activations(
        [
            (3, 1, 0, 10, 2.0),
            (3, 1, 0, 10 + RADIUS, 2.0),  # a tie within the radius: the left one wins
            (3, 1, 0, 11 + 2 * RADIUS, 1.0),  # one base too far from both
            (3, -1, 0, 12, 1.0),  # another strand
            (3, 1, 1, 12, 1.0),  # another contig
            (4, 1, 0, 12, 1.0),  # another feature
        ]
    )
    assert peak_rows(find_peaks(found, EVERYWHERE)) == [
        (3, 1, 0, 10, 2.0),
        (3, 1, 0, 11 + 2 * RADIUS, 1.0),
        (3, 1, 1, 12, 1.0),
        (3, -1, 0, 12, 1.0),
        (4, 1, 0, 12, 1.0),
    ]


@few
@given(row_lists())
def test_peaks_equal_their_slow_twin(found):
    table = find_peaks(activations(found), EVERYWHERE)
    assert table.schema.equals(PEAKS_SCHEMA)
    assert peak_rows(table) == slow_peaks(rows(activations(found)))


@few
@given(st.lists(st.integers(0, 3), min_size=LENGTH, max_size=LENGTH))
def test_peaks_of_a_dense_signal_equal_their_slow_twin(signal):
    found = [(0, 1, 0, base, float(value)) for base, value in enumerate(signal) if value]
    assert peak_rows(find_peaks(activations(found), EVERYWHERE)) == slow_peaks(found)


@few
@given(row_lists(), st.lists(st.integers(1, LENGTH - 1), max_size=4))
def test_peaks_do_not_depend_on_the_cuts(found, cuts):
    whole = activations(found)
    borders = [0, *sorted(set(cuts)), LENGTH]
    parts = []
    for start, end in pairwise(borders):
        near = (whole.position >= start - RADIUS) & (whole.position < end + RADIUS)
        owned = [Span(contig, start, end) for contig in (0, 1)]
        parts += peak_rows(find_peaks(select(whole, near), owned))
    assert sorted_rows(parts) == peak_rows(find_peaks(whole, EVERYWHERE))


def test_without_the_halo_a_cut_would_make_peaks():
    # the property above can fail: this is what it guards against
    found = activations([(0, 1, 0, 49, 1.0), (0, 1, 0, 50, 2.0)])
    left = select(found, found.position < 50)
    assert find_peaks(left, [Span(0, 0, 50)]).num_rows == 1
    assert find_peaks(found, [Span(0, 0, 50)]).num_rows == 0


def test_peaks_where_a_read_begins_are_left_out():
    table = find_peaks(
        activations(
            [
                (0, 1, 0, RADIUS - 1, 1.0),  # contig 0 has 100 bases: too near its start
                (1, 1, 0, RADIUS, 1.0),
                (2, 1, 0, 99, 1.0),  # the far end is read last
                (3, -1, 0, 99 - RADIUS + 1, 1.0),  # the other strand is read from there
                (4, -1, 0, 99 - RADIUS, 1.0),
                (5, -1, 0, 0, 1.0),
                (6, 1, 1, RADIUS - 1, 1.0),  # contig 1 is shorter than that
                (7, -1, 1, 0, 1.0),
            ]
        ),
        [Span(0, 0, 100), Span(1, 0, RADIUS)],
    )
    assert with_context(table, {0: 100, 1: RADIUS})["feature"].to_pylist() == [1, 2, 4, 5]
    assert with_context(PEAKS_SCHEMA.empty_table(), {}).num_rows == 0


def slow_top(found, per_feature, held_out=()):
    top, seen = [], {}
    for row in sorted(
        found, key=lambda row: (row[0], -row[1], row[2] in held_out, -row[4], row[2], row[3])
    ):
        part = (*row[:2], row[2] in held_out)
        rank = seen[part] = seen.get(part, 0) + 1
        if rank <= per_feature:
            top.append((*row, rank))
    return top


@few
@given(row_lists(), st.integers(1, 5), st.integers(0, 150), st.sampled_from([(), (1,), (0,)]))
def test_top_peaks_equal_their_slow_twin_however_the_tables_are_divided(found, most, cut, out):
    parts = [activations(found[:cut]), activations(found[cut:])]
    tables = [
        pa.Table.from_arrays([pa.array(v) for v in part], schema=PEAKS_SCHEMA) for part in parts
    ]
    table = top_peaks(iter(tables), most, held_out=out)
    assert table.schema.equals(TOP_PEAKS_SCHEMA)
    assert peak_rows(table) == slow_top(rows(activations(found)), most, out)


@few
@given(row_lists(), st.integers(1, 5))
def test_what_is_ranked_holds_the_top_of_each_row(found, most):
    whole = activations(found)
    row = row_index(whole.feature, whole.strand)
    kept = _may_be_kept(row, whole.value, most)
    for own in np.unique(row):
        values = np.sort(whole.value[row == own])[::-1]
        top = values[:most].min()
        assert kept[(row == own) & (whole.value >= top)].all()
        # an eighth of an octave below the last at most
        assert not kept[(row == own) & (whole.value < top * 7 / 8)].any() or len(values) <= most


def test_most_of_a_dense_row_is_not_ranked():
    value = np.random.default_rng(0).lognormal(size=50_000).astype(np.float32)
    kept = _may_be_kept(np.zeros(len(value), np.int64), value, 100)
    assert 100 <= kept.sum() < 300


def test_top_peaks_need_a_number_and_the_columns_of_peaks():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        top_peaks([], 0)
    with pytest.raises(FormatError, match="column strand"):
        top_peaks([PEAKS_SCHEMA.empty_table().drop_columns("strand")])


def same(one, two):
    return all(
        np.array_equal(getattr(one, name), getattr(two, name))
        for name in ("scanned", "maximum", "histogram", "peaks")
    )


def test_statistics_of_a_case_done_by_hand():
    found = activations([(1, -1, 0, p, v) for p, v in enumerate([0.5, 1.0, 2.0, 4.0])])
    peaks = find_peaks(found, EVERYWHERE)
    statistics = statistics_of(found, n_features=2, scanned={1: 40, -1: 8}, peaks=peaks)
    assert statistics.active_bases.tolist() == [0, 0, 0, 4]
    assert statistics.maximum.tolist() == [0, 0, 0, 4]
    # powers of two are edges of bins: each lies in the bin that it opens
    bins = np.flatnonzero(statistics.histogram[3])
    assert BIN_EDGES[bins].tolist() == [0.5, 1.0, 2.0, 4.0]
    table = features_table(statistics)
    assert table.schema.equals(FEATURES_SCHEMA)
    silent = dict.fromkeys(("max", "q50", "q90", "q99"))
    rows_found = table.to_pylist()
    assert rows_found[:3] == [
        {
            "feature": feature,
            "strand": strand,
            "active_bases": 0,
            "scanned_bases": 40 if strand > 0 else 8,
            "density": 0.0,
            **silent,
            "peaks": 0,
        }
        for feature, strand in [(0, 1), (0, -1), (1, 1)]
    ]
    last = rows_found[3]
    assert (last["density"], last["max"], last["peaks"]) == (0.5, 4.0, 1)
    assert last["q50"] == pytest.approx(2 ** (1 / 16))
    assert last["q99"] == 4.0


def test_a_strand_that_was_not_scanned_has_no_rows():
    statistics = statistics_of(activations([]), n_features=3, scanned={1: 10})
    assert features_table(statistics)["strand"].to_pylist() == [1, 1, 1]


@few
@given(row_lists(), st.lists(st.integers(0, 3), min_size=150, max_size=150))
def test_statistics_add_up_exactly_over_any_partition(found, shards):
    whole = activations(found)
    shard = np.array(shards[: len(found)], dtype=np.int64)
    total = statistics_of(activations([]), n_features=N_FEATURES, scanned={})
    for i in (2, 0, 3, 1):
        rows_of_part = select(whole, shard == i)
        part = statistics_of(
            rows_of_part,
            n_features=N_FEATURES,
            scanned={1: LENGTH, -1: LENGTH},
            peaks=pa.Table.from_arrays([pa.array(v) for v in rows_of_part], schema=PEAKS_SCHEMA),
        )
        total = total + FeatureStatistics.from_table(part.to_table())
    scanned = {1: 4 * LENGTH, -1: 4 * LENGTH}
    # every active base stands for a peak here: what is counted adds up
    peaks = pa.Table.from_arrays([pa.array(v) for v in whole], schema=PEAKS_SCHEMA)
    expected = statistics_of(whole, n_features=N_FEATURES, scanned=scanned, peaks=peaks)
    assert same(total, expected)


@few
@given(
    st.lists(st.floats(2.0**-24, 65504, width=32), min_size=1, max_size=80),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_in_the_bin_of_the_exact_one(values, q):
    found = activations([(0, 1, 0, base, value) for base, value in enumerate(values)])
    statistics = statistics_of(found, n_features=1, scanned={1: LENGTH})
    estimate = statistics.quantile(q)[0]
    exact = np.quantile(np.array(values), q, method="inverted_cdf")
    assert abs(np.log2(estimate / exact)) <= 1 / 16 + 1e-6
    assert np.isnan(statistics.quantile(q)[1])


def test_statistics_refuse_what_cannot_be():
    found = activations([(3, 1, 0, 5, 1.0), (3, 1, 0, 6, 1.0)])
    with pytest.raises(FormatError, match=r"active at \[2, 0\] bases .* only \[1, 0\]"):
        statistics_of(found, n_features=4, scanned={1: 1})
    four = statistics_of(found, n_features=4, scanned=SCANNED)
    five = statistics_of(found, n_features=5, scanned=SCANNED)
    with pytest.raises(FormatError, match="of 4 and of 5 features"):
        four + five
    with pytest.raises(FormatError, match="lacks its metadata"):
        FeatureStatistics.from_table(four.to_table().replace_schema_metadata(None))
    with pytest.raises(ValueError, match="above 0 and at most 1, got 0"):
        four.quantile(0)


def test_statistics_outlive_a_file(tmp_path):
    found = activations([(3, 1, 0, 5, 1.0), (0, -1, 0, 6, 9.0)])
    statistics = statistics_of(found, n_features=4, scanned={1: 7, -1: 8})
    pq.write_table(statistics.to_table(), tmp_path / "statistics.parquet")
    back = FeatureStatistics.from_table(pq.read_table(tmp_path / "statistics.parquet"))
    assert same(statistics, back)


def test_the_owned_mask_is_what_find_peaks_keeps():
    found = activations([(0, 1, 0, base, 1.0) for base in range(0, LENGTH, RADIUS + 1)])
    owned = [Span(0, RADIUS + 1, 3 * RADIUS)]
    kept = select(found, owned_mask(found.contig, found.position, owned))
    assert peak_rows(find_peaks(found, owned)) == rows(kept)
