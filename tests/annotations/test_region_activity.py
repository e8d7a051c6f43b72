"""Regions against tables counted by hand, and against dense arrays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import region_activity
from annotations.activations import (
    Activations,
    count_active_bases,
    sort,
    to_stretches,
    write_stretches,
)
from annotations.active_bases import row_index
from annotations.errors import CoordinateError, LimitError
from annotations.region_activity import (
    correlations,
    in_region,
    largest_in_bins,
    of_rows,
    summarize,
    values_by_base,
)
from annotations.types import Span

# feature, strand, contig, position, value
TOY = (
    (1, 1, 0, 4, 1.0),
    (1, 1, 0, 5, 2.0),
    (1, 1, 0, 9, 2.0),
    (1, -1, 0, 5, 4.0),
    (2, 1, 0, 2, 0.5),
    (2, 1, 1, 5, 8.0),
)


def made(rows: object) -> Activations:
    feature, strand, contig, position, value = zip(*rows, strict=True) if rows else [()] * 5
    return Activations(
        feature=np.array(feature, np.uint32),
        strand=np.array(strand, np.int8),
        contig=np.array(contig, np.uint32),
        position=np.array(position, np.int64),
        value=np.array(value, np.float32),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_stretches(to_stretches(made(TOY)), tmp_path / "activations.parquet")
    return tmp_path / "activations.parquet"


def test_a_region_is_cut_out_of_the_stretches_that_reach_into_it(path: Path) -> None:
    # the stretch at 4 and 5 of feature 1+ begins before the region
    found = in_region(path, Span(0, 5, 10))
    rows = row_index(found.feature, found.strand).tolist()
    assert rows == [2, 2, 3]
    assert found.position.tolist() == [5, 9, 5]
    assert found.value.tolist() == [2.0, 2.0, 4.0]
    assert len(in_region(path, Span(1, 0, 5)).value) == 0


def test_rows_are_summed_up(path: Path) -> None:
    region = Span(0, 0, 10)
    table = summarize(in_region(path, region), region)
    assert table.to_pylist() == [
        {"feature": 1, "strand": 1, "max": 2.0, "position": 5, "sum": 5.0, "active_bases": 3,
         "share": 0.3},
        {"feature": 1, "strand": -1, "max": 4.0, "position": 5, "sum": 4.0, "active_bases": 1,
         "share": 0.1},
        {"feature": 2, "strand": 1, "max": 0.5, "position": 2, "sum": 0.5, "active_bases": 1,
         "share": 0.1},
    ]  # fmt: skip


def test_named_rows_come_in_their_order_and_silent_ones_too(path: Path) -> None:
    region = Span(0, 0, 10)
    table = summarize(of_rows(path, [6, 3, 2], region), region, [6, 3, 2])
    assert table["feature"].to_pylist() == [3, 1, 1]
    assert table["max"].to_pylist() == [0.0, 4.0, 2.0]
    assert table["position"].to_pylist() == [None, 5, 5]
    assert table["active_bases"].to_pylist() == [0, 1, 3]
    nothing = summarize(made(()), Span(0, 0, 4), [0])
    assert nothing.to_pylist()[0] | {"feature": 0} == {
        "feature": 0, "strand": 1, "max": 0.0, "position": None, "sum": 0.0, "active_bases": 0,
        "share": 0.0,
    }  # fmt: skip
    assert summarize(made(()), Span(0, 0, 4)).num_rows == 0


def test_values_and_bins(path: Path) -> None:
    region = Span(0, 2, 10)
    active = of_rows(path, [2, 4], region)
    values = values_by_base(active, region, [4, 2])
    assert values.tolist() == [[0.5, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 2, 0, 0, 0, 2]]
    # parts of 8 bases in 3: they begin at 0, 2 and 5
    assert largest_in_bins(active, region, 2, 3).tolist() == [0.0, 2.0, 2.0]
    assert largest_in_bins(active, region, 2, 99).tolist() == values[1].tolist()


def test_correlation_of_the_toy() -> None:
    # over 4 bases: (1, 0, 0, 1), (2, 0, 0, 2), (0, 1, 1, 0), and one that is silent
    rows = [(0, 1, 0, at, 1.0) for at in (0, 3)] + [(0, -1, 0, at, 2.0) for at in (0, 3)]
    rows += [(1, 1, 0, at, 1.0) for at in (1, 2)]
    r = correlations(made(rows), [0, 1, 2, 3], 4)
    np.testing.assert_allclose(r[:3, :3], [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-12)
    assert np.isnan(r[3]).all()
    assert np.isnan(r[:, 3]).all()


def test_a_row_that_is_the_same_everywhere_goes_with_none() -> None:
    rows = [(0, 1, 0, at, 0.1) for at in range(7)] + [(1, 1, 0, 2, 3.0)]
    r = correlations(made(rows), [0, 2], 7)
    assert np.isnan(r[0]).all()
    assert r[1, 1] == pytest.approx(1)


def test_limits_are_kept(path: Path) -> None:
    assert count_active_bases(path) == 6
    with pytest.raises(LimitError, match="holds 6 active bases, and at most 5"):
        in_region(path, Span(0, 0, 3), max_scanned=5)
    with pytest.raises(CoordinateError):
        summarize(made(()), Span(0, 3, 3))


def test_what_is_held_at_once_has_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_activity, "MAX_HELD", 4)
    assert len(of_rows(path, [3]).value) == 1
    assert len(of_rows(path, [2, 3], Span(0, 8, 10)).value) == 1
    assert len(in_region(path, Span(0, 0, 3)).value) == 1
    for asked in (
        lambda: of_rows(path, [2, 3, 4]),
        lambda: of_rows(path, [2, 3, 4], Span(0, 0, 10)),
        lambda: in_region(path, Span(0, 0, 10)),
    ):
        with pytest.raises(LimitError, match=r"at most 4 .* fewer rows or a shorter region"):
            asked()


def test_of_what_was_not_read_nothing_is_known() -> None:
    half = summarize(made([(0, 1, 0, 2, 1.5)]), Span(0, 0, 10), [0, 1], bases=5)
    assert half["share"].to_pylist() == [0.2, 0.0]
    (row,) = summarize(made(()), Span(0, 0, 10), [1], bases=0).to_pylist()
    assert row == {"feature": 0, "strand": -1} | dict.fromkeys(
        ["max", "position", "sum", "active_bases", "share"]
    )


LENGTH = 30
cells = st.tuples(
    st.integers(0, 3), st.sampled_from([1, -1]), st.integers(0, 1), st.integers(0, LENGTH - 1)
)
some_rows = st.dictionaries(cells, st.integers(1, 64).map(lambda n: n / 8), max_size=60)


@settings(max_examples=60, deadline=None)
@given(found=some_rows, start=st.integers(0, LENGTH - 1), size=st.integers(1, LENGTH))
def test_all_is_as_a_dense_array_has_it(
    found: dict[tuple[int, int, int, int], float],
    start: int,
    size: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("dense") / "activations.parquet"
    write_stretches(to_stretches(made([(*key, value) for key, value in found.items()])), path)
    dense = np.zeros((8, 2, LENGTH))
    for (feature, strand, contig, position), value in found.items():
        dense[2 * feature + (strand < 0), contig, position] = value
    region = Span(1, start, min(start + size, LENGTH))
    part = dense[:, 1, region.start : region.end]
    active = in_region(path, region)
    everything = list(range(8))
    np.testing.assert_array_equal(values_by_base(active, region, everything), part)
    again = of_rows(path, everything, region)
    np.testing.assert_array_equal(values_by_base(again, region, everything), part)
    table = summarize(active, region, everything)
    np.testing.assert_array_equal(table["max"].to_numpy(), part.max(axis=1))
    np.testing.assert_allclose(table["sum"].to_numpy(), part.sum(axis=1))
    np.testing.assert_array_equal(table["active_bases"].to_numpy(), (part > 0).sum(axis=1))
    at = [None if not own.any() else region.start + int(own.argmax()) for own in part]
    assert table["position"].to_pylist() == at
    whole = dense.reshape(8, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.corrcoef(whole)
    r = correlations(of_rows(path, everything), everything, whole.shape[1])
    np.testing.assert_allclose(r, expected, atol=1e-9)
    assert sort(active) is active
