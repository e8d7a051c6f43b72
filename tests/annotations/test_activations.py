"""Stretches are the same bases, however they were cut, and only the rows asked for are read."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import annotations.activations as module
from annotations import activation_cells as cells
from annotations.activations import (
    ACTIVATIONS_SCHEMA,
    as_stored,
    concatenate,
    from_stretches,
    merge_stretches,
    owned_mask,
    read_feature,
    select,
    sort,
    to_stretches,
    window_maxima,
    write_stretches,
)
from annotations.errors import CoordinateError, FormatError, StorageError
from annotations.types import Span
from tests.annotations.activation_cases import (
    LENGTH,
    N_FEATURES,
    activations,
    row_lists,
    rows,
    sorted_rows,
)
from tests.annotations.shard_cases import write_shard

NAMES_OF_DTYPES = ("uint32", "int8", "uint32", "int64", "float32")
few = settings(max_examples=40, deadline=None)


def test_stretches_of_a_case_done_by_hand():
    found = activations(
        [
            (7, -1, 0, 4, 1.0),
            (7, 1, 0, 5, 2.0),
            (2, 1, 0, 9, 3.0),
            (7, 1, 0, 4, 4.0),
            (7, 1, 0, 7, 5.0),
            (7, 1, 1, 8, 6.0),
        ]
    )
    assert to_stretches(found).to_pylist() == [
        {"feature": 2, "strand": 1, "contig": 0, "start": 9, "values": [3.0]},
        {"feature": 7, "strand": 1, "contig": 0, "start": 4, "values": [4.0, 2.0]},
        {"feature": 7, "strand": 1, "contig": 0, "start": 7, "values": [5.0]},
        {"feature": 7, "strand": 1, "contig": 1, "start": 8, "values": [6.0]},
        {"feature": 7, "strand": -1, "contig": 0, "start": 4, "values": [1.0]},
    ]


def slow_stretches(found):
    """Twin of to_stretches: one row at a time."""
    stretches = []
    for feature, strand, contig, position, value in sorted_rows(found):
        value = float(np.float16(value)) or 2.0**-24
        key = (feature, strand, contig)
        if stretches and stretches[-1][0] == key and stretches[-1][2] == position:
            stretches[-1][2] += 1
            stretches[-1][3].append(value)
        else:
            stretches.append([key, position, position + 1, [value]])
    return [(*key, start, values) for key, start, _, values in stretches]


@few
@given(row_lists())
def test_stretches_equal_their_slow_twin_and_come_back_up_to_float16(found):
    table = to_stretches(activations(found))
    assert table.schema.equals(ACTIVATIONS_SCHEMA)
    assert [tuple(row.values()) for row in table.to_pylist()] == slow_stretches(found)
    back = from_stretches(table)
    assert rows(back) == sorted_rows(rows(as_stored(activations(found))))
    assert [values.dtype for values in back] == [values.dtype for values in activations(found)]
    exact = np.array([row[4] for row in sorted_rows(found)])
    assert np.allclose(back.value, exact, rtol=2.0**-11, atol=2.0**-24)
    assert (back.value > 0).all()


def test_a_slice_of_a_table_gives_its_own_values():
    table = to_stretches(activations([(f, 1, 0, p, f + p + 1) for f in range(4) for p in (1, 2)]))
    assert rows(from_stretches(table.slice(2, 1))) == [(2, 1, 0, 1, 4.0), (2, 1, 0, 2, 5.0)]


def test_an_activation_too_small_for_float16_stays_active():
    stored = as_stored(activations([(0, 1, 0, 0, 1e-12)]))
    assert stored.value.tolist() == [2.0**-24]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 65505.0])
def test_a_value_that_is_no_activation_is_refused_not_clipped(value):
    with pytest.raises(FormatError, match="above 0 and at most 65504"):
        to_stretches(activations([(0, 1, 0, 0, 1.0), (0, 1, 0, 1, value)]))


def test_the_largest_float16_is_stored_as_it_is():
    assert to_stretches(activations([(0, 1, 0, 0, 65504)]))["values"].to_pylist() == [[65504.0]]


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ((0, 1, 0, 5, 2.0), FormatError, "given twice, the first is feature 0 at base 5"),
        ((0, 0, 0, 5, 2.0), FormatError, r"\+1 or -1"),
        ((0, 1, 0, -1, 2.0), CoordinateError, "got -1 to 5"),
        ((0, 1, 0, 2**32, 2.0), CoordinateError, "got 5 to 4294967296"),
    ],
)
def test_bad_rows_are_refused(row, error, message):
    with pytest.raises(error, match=message):
        sort(activations([(0, 1, 0, 5, 1.0), row]))


def test_arrays_of_another_dtype_are_refused():
    found = activations([(0, 1, 0, 5, 1.0)])
    with pytest.raises(FormatError, match="feature of activations must be a uint32 array"):
        sort(found._replace(feature=found.feature.astype(np.int64)))


def test_sorting_falls_back_when_a_row_and_a_locus_do_not_fit_one_key():
    found = [(2**32 - 1, -1, 2**32 - 1, 2**32 - 1, 1.0), (5, 1, 7, 2**31, 2.0), (5, 1, 7, 3, 3.0)]
    assert rows(sort(activations(found))) == sorted_rows(found)


def test_concatenate_of_nothing_is_empty_with_the_right_dtypes():
    assert [v.dtype.name for v in concatenate([])] == list(NAMES_OF_DTYPES)
    assert to_stretches(concatenate([])).equals(ACTIVATIONS_SCHEMA.empty_table())
    assert rows(from_stretches(ACTIVATIONS_SCHEMA.empty_table())) == []


spans = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 8)), max_size=6)


@few
@given(spans, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=30))
def test_owned_mask_equals_its_slow_twin(drawn, bases):
    owned, taken = [], set()
    for contig, start, size in drawn:
        new = {(contig, base) for base in range(start, start + size)}
        if not new & taken:
            owned.append(Span(contig, start, start + size))
            taken |= new
    owned = [span for span in owned if span.length]
    contig = np.array([base[0] for base in bases], dtype=np.uint32)
    position = np.array([base[1] for base in bases], dtype=np.int64)
    assert owned_mask(contig, position, owned).tolist() == [base in taken for base in bases]


def test_owned_spans_that_overlap_are_refused():
    with pytest.raises(CoordinateError, match="not overlap"):
        owned_mask(np.zeros(1, np.uint32), np.zeros(1, np.int64), [Span(0, 0, 5), Span(0, 4, 9)])


@few
@given(row_lists(), st.lists(st.integers(1, LENGTH - 1), max_size=4), st.integers(1, 90))
def test_merged_shards_are_the_one_shard_whatever_the_cuts(tmp_path_factory, found, cuts, block):
    folder = tmp_path_factory.mktemp("merge")
    whole = activations(found)
    write_shard(whole, folder / "whole")
    merge_stretches([folder / "whole"], folder / "one", bases_per_block=block)
    borders = [0, *sorted(set(cuts)), LENGTH]
    paths = []
    for start, end in pairwise(borders):
        shard = select(whole, (whole.position >= start) & (whole.position < end))
        paths.append(folder / f"shard{start}")
        write_shard(shard, paths[-1])
    # nor on the blocks they are merged in
    merge_stretches(paths[::-1], folder / "many", bases_per_block=block // 2 + 1)
    assert pq.read_table(folder / "many").equals(to_stretches(whole))
    assert (folder / "many").read_bytes() == (folder / "one").read_bytes()


def test_merge_holds_only_a_block_of_features(tmp_path, monkeypatch):
    found = activations([(f, 1, 0, p, 1.0) for f in range(20) for p in range(0, 40, 2)])
    paths = []
    for start in (0, 20):
        shard = select(found, (found.position >= start) & (found.position < start + 20))
        paths.append(tmp_path / str(start))
        write_shard(shard, paths[-1])
    sizes = []
    join = cells.joined
    monkeypatch.setattr(
        cells, "joined", lambda parts: (sizes.append(len(join(parts).row)), join(parts))[1]
    )
    merge_stretches(paths, tmp_path / "out", bases_per_block=3 * 20)
    assert max(sizes) == 3 * 20
    assert sum(sizes) == 400


def test_merge_refuses_shards_that_overlap(tmp_path):
    write_shard(activations([(0, 1, 0, 5, 1.0), (0, 1, 0, 6, 1.0)]), tmp_path / "a")
    write_shard(activations([(0, 1, 0, 6, 1.0)]), tmp_path / "b")
    with pytest.raises(FormatError, match="a feature has two values at base 6 of contig 0"):
        merge_stretches([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_merge_of_nothing_is_an_empty_file(tmp_path):
    merge_stretches([], tmp_path / "out")
    assert pq.read_table(tmp_path / "out").equals(ACTIVATIONS_SCHEMA.empty_table())


@few
@given(row_lists(), st.integers(0, N_FEATURES), st.sampled_from([None, 1, -1]), st.integers(0, 2))
def test_a_feature_is_read_alone(tmp_path_factory, found, feature, strand, contig):
    path = tmp_path_factory.mktemp("read") / "file"
    write_stretches(to_stretches(activations(found)), path)
    chosen = None if contig == 2 else contig
    expected = [
        row
        for row in rows(as_stored(activations(sorted_rows(found))))
        if row[0] == feature and strand in (None, row[1]) and chosen in (None, row[2])
    ]
    table = read_feature(path, feature, strand, chosen)
    assert table.schema.equals(ACTIVATIONS_SCHEMA)
    assert rows(from_stretches(table)) == expected


def test_a_feature_is_read_from_its_row_groups_only(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUP_ROWS", 10)
    found = [(f, 1, 0, p, 1.0) for f in range(30) for p in range(0, 8, 2)]
    write_stretches(to_stretches(activations(found)), tmp_path / "file")
    read = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, i, **options: (read.append(i), original(self, i, **options))[1],
    )
    assert read_feature(tmp_path / "file", 7).num_rows == 4
    assert read == [2, 3]


window_lists = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, LENGTH), st.integers(1, 60)), max_size=12
)


@few
@given(row_lists(), window_lists)
def test_window_maxima_equal_their_slow_twin(tmp_path_factory, found, windows):
    path = tmp_path_factory.mktemp("windows") / "file"
    write_stretches(to_stretches(activations(found)), path)
    expected = np.zeros((len(windows), 2 * N_FEATURES), dtype=np.float32)
    for i, (on, start, size) in enumerate(windows):
        for feature, strand, contig, position, value in found:
            if contig == on and start <= position < start + size:
                stored = np.float32(max(np.float16(value), np.float16(2**-24)))
                cell = (i, 2 * feature + (strand < 0))
                expected[cell] = max(expected[cell], stored)
    contig, start, size = np.array(windows, dtype=np.int64).reshape(-1, 3).T
    maxima = window_maxima(path, (contig, start, start + size), N_FEATURES)
    assert maxima.dtype == np.float32
    assert (maxima.toarray() == expected).all()
    assert maxima.nnz == (expected > 0).sum()


def test_window_maxima_refuse_a_smaller_dictionary_and_empty_windows(tmp_path):
    write_stretches(to_stretches(activations([(9, 1, 0, 5, 1.0)])), tmp_path / "file")
    one = np.array([0])
    with pytest.raises(StorageError, match="holds feature 9, but the dictionary has 9 features"):
        window_maxima(tmp_path / "file", (one, one, one + 9), 9)
    with pytest.raises(CoordinateError, match="must not be empty"):
        window_maxima(tmp_path / "file", (one, one, one), 10)


def test_files_that_are_not_activations_are_refused(tmp_path):
    with pytest.raises(StorageError, match="cannot read the activations none"):
        read_feature(tmp_path / "none", 0)
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(StorageError, match="cannot read the activations text"):
        read_feature(tmp_path / "text", 0)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other")
    with pytest.raises(StorageError, match="not a file of activations: its columns are a"):
        read_feature(tmp_path / "other", 0)


def test_unsorted_stretches_are_not_written(tmp_path):
    table = to_stretches(activations([(0, 1, 0, 5, 1.0), (0, -1, 0, 5, 1.0)]))
    with pytest.raises(FormatError, match="must be sorted"):
        write_stretches(table.take([1, 0]), tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
