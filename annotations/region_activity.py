"""Activations in a region: what fires there, at which bases, and which feature rows go together.

    activations.parquet --in_region--> active bases --summarize--> one line a feature row
                        --of_rows----> active bases --correlations--> matrix

A file is sorted by feature: a few rows are read at once, but "all that is active in a region"
has to go through the whole of it, so that `in_region` has a limit. The parts of a large result
(`annotations.activation_parts`) have no such limit: only those of the region are read.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from annotations.activation_parts import ActivationParts, ActivationSource, opened
from annotations.activations import count_active_bases, read_rows, stretch_groups
from annotations.active_bases import (
    Activations,
    SortedActivations,
    locus_index,
    row_index,
    select,
    sort,
)
from annotations.errors import CoordinateError, LimitError
from annotations.stretches import ACTIVATIONS_SCHEMA, from_stretches
from annotations.tables import column
from annotations.types import Span

MAX_SCANNED: Final = 100_000_000
"""Active bases of a file that `in_region` goes through; 3 to 4 seconds."""

MAX_HELD: Final = 5_000_000
"""Active bases that are held at once, of all rows: 0.6 GB while they are sorted, and 7 seconds."""

REGION_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("max", pa.float32()),
        pa.field("position", pa.int64()),
        pa.field("sum", pa.float64()),
        pa.field("active_bases", pa.int64()),
        pa.field("share", pa.float64()),
    ]
)
"""One row per feature row. `position`: of the largest value, 0-based, the leftmost among equals,
null where it is silent; `share`: active bases over the bases of the region that were read. All are
null where none was."""


def in_region(
    path: ActivationSource, region: Span, *, max_scanned: int = MAX_SCANNED
) -> SortedActivations:
    """All active bases of a region.

    Parameters
    ----------
    path : ActivationSource
        A file of `annotations.activations.merge_stretches`, or parts.
    region : Span
        Where; not empty.
    max_scanned : int
        Most active bases that a file may hold.

    Returns
    -------
    active : SortedActivations
        Sorted by feature, strand (+ first) and position.

    Raises
    ------
    LimitError
        If the file holds more, or the region more than `MAX_HELD`.
    StorageError
        If the file is missing, cut or not one of activations.
    """
    source = opened(path)
    if isinstance(source, ActivationParts):
        check_held(source.active_bases_inside(region))
        return _cut(_overlapping(source.near(region), region), region)
    held = count_active_bases(path)
    if held > max_scanned:
        raise LimitError(
            f"the run holds {held:,} active bases, and at most {max_scanned:,} are gone through "
            "for a region; name the features, or submit the region alone"
        )
    return _cut(_overlapping(stretch_groups(path), region), region)


def scanned_for(path: ActivationSource, region: Span) -> int:
    """Active bases that `in_region` goes through: all of a file, of parts those of the tiles there.

    Raises
    ------
    StorageError
        As `in_region`.
    """
    source = opened(path)
    if isinstance(source, ActivationParts):
        return source.active_bases_near(region)
    return count_active_bases(source)


def of_rows(
    path: ActivationSource, rows: Sequence[int], region: Span | None = None
) -> SortedActivations:
    """The active bases of some feature rows.

    Parameters
    ----------
    path : ActivationSource
        As in `in_region`.
    rows : sequence of int
        Feature rows, ``2 * feature + (strand < 0)``.
    region : Span, optional
        Only there; everywhere by default.

    Returns
    -------
    active : SortedActivations
        Sorted by feature, strand (+ first), contig and position.

    Raises
    ------
    LimitError
        If they are more than `MAX_HELD`.
    StorageError
        As `in_region`.
    """
    own = [[row for row in rows if row // 2 == each] for each in sorted({r // 2 for r in rows})]
    source = opened(path)
    if isinstance(source, ActivationParts) and region is not None:
        return _cut(_overlapping(_rows_near(source, own, region), region), region)
    contig = None if region is None else region.contig
    tables = (read_rows(path, each, contig) for each in own)
    if region is not None:
        return _cut(_overlapping(tables, region), region)
    return sort(from_stretches(_joined(_bounded(tables))))


def _rows_near(
    parts: ActivationParts, rows: Sequence[Sequence[int]], region: Span
) -> Iterator[pa.Table]:
    """Stretches near a region of the rows of some features."""
    for own in rows:
        for table in parts.near(region, range(own[0] // 2, own[0] // 2 + 1)):
            found = row_index(column(table, "feature"), column(table, "strand"))
            yield table.filter(pa.array(np.isin(found, own)))


def within(active: SortedActivations, region: Span) -> SortedActivations:
    """The active bases that lie in a region, in their order."""
    inside = (
        (active.contig == region.contig)
        & (active.position >= region.start)
        & (active.position < region.end)
    )
    return SortedActivations(*select(active, inside))


def summarize(
    active: Activations,
    region: Span,
    rows: Sequence[int] | None = None,
    *,
    bases: int | None = None,
) -> pa.Table:
    """What each feature row does in a region.

    Parameters
    ----------
    active : Activations
        Sorted; all of the region, none of another.
    region : Span
        Not empty.
    rows : sequence of int, optional
        Which rows, and in which order, silent ones too; by default all that are active, in the
        order of their numbers.
    bases : int, optional
        Bases of the region that were read, all by default. Of a region of which none was, nothing
        is known: its rows hold nulls.

    Returns
    -------
    table : Table of REGION_SCHEMA

    Raises
    ------
    CoordinateError
        If the region is empty.

    Examples
    --------
    >>> one = Activations(
    ...     feature=np.array([7, 7], np.uint32), strand=np.array([-1, -1], np.int8),
    ...     contig=np.zeros(2, np.uint32), position=np.array([4, 5]),
    ...     value=np.array([1.5, 2.0], np.float32),
    ... )
    >>> summarize(one, Span(0, 0, 8)).to_pylist()[0]["sum"]
    3.5
    """
    if region.length < 1:
        raise CoordinateError("a region must have at least one base")
    own = row_index(active.feature, active.strand)
    found, first, counts = np.unique(own, return_index=True, return_counts=True)
    largest, total = np.zeros(len(found), np.float32), np.zeros(len(found))
    at = np.zeros(len(found), np.int64)
    if len(found):
        largest = np.maximum.reduceat(active.value, first)
        total = np.add.reduceat(active.value.astype(np.float64), first)
        is_largest = np.flatnonzero(active.value == np.repeat(largest, counts))
        at = active.position[is_largest[np.searchsorted(own[is_largest], found)]]
    if rows is None:
        wanted, place, there = found, np.arange(len(found)), np.ones(len(found), bool)
    else:
        wanted = np.array(rows, np.int64)
        place = np.searchsorted(found, wanted)
        there = np.isin(wanted, found)
        place[~there] = 0
    sizes = np.where(there, _taken(counts, place), 0)
    bases = region.length if bases is None else bases
    unknown = np.full(len(wanted), bases == 0)
    return pa.table(
        [
            pa.array((wanted // 2).astype(np.uint32)),
            pa.array((1 - 2 * (wanted % 2)).astype(np.int8)),
            pa.array(np.where(there, _taken(largest, place), 0).astype(np.float32), mask=unknown),
            pa.array(_taken(at, place), pa.int64(), mask=~there),
            pa.array(np.where(there, _taken(total, place), 0.0), mask=unknown),
            pa.array(sizes.astype(np.int64), mask=unknown),
            pa.array(sizes / max(bases, 1), mask=unknown),
        ],
        schema=REGION_SCHEMA,
    )


def values_by_base(active: Activations, region: Span, rows: Sequence[int]) -> NDArray[np.float32]:
    """Values of feature rows at every base of a region.

    Parameters
    ----------
    active : Activations
        Of the region; other rows are left out.
    region : Span
        Where.
    rows : sequence of int
        Feature rows, each once.

    Returns
    -------
    values : ndarray of float32, shape (len(rows), region.length)
        0 where silent.
    """
    values = np.zeros((len(rows), region.length), dtype=np.float32)
    own = row_index(active.feature, active.strand)
    for at, row in enumerate(rows):
        mine = own == row
        values[at, active.position[mine] - region.start] = active.value[mine]
    return values


def largest_in_bins(active: Activations, region: Span, row: int, bins: int) -> NDArray[np.float32]:
    """The largest value of a feature row in each of equal parts of a region.

    Parameters
    ----------
    active : Activations
        Of the region; other rows are left out.
    region : Span
        Where.
    row : int
        The feature row.
    bins : int
        Parts; fewer where the region has fewer bases. Part i begins at base
        ``i * region.length // bins``.

    Returns
    -------
    largest : ndarray of float32, shape (min(bins, region.length),)
        0 where silent.
    """
    bins = min(bins, region.length)
    largest = np.zeros(bins, dtype=np.float32)
    mine = row_index(active.feature, active.strand) == row
    starts = np.arange(bins) * region.length // bins
    part = np.searchsorted(starts, active.position[mine] - region.start, side="right") - 1
    np.maximum.at(largest, part, active.value[mine])
    return largest


def correlations(active: Activations, rows: Sequence[int], bases: int) -> NDArray[np.float64]:
    """Pearson correlation of feature rows over bases, silent bases as 0.

    Parameters
    ----------
    active : Activations
        The active bases of the rows; other rows are left out.
    rows : sequence of int
        Feature rows, each once.
    bases : int
        How many bases there are, active or silent.

    Returns
    -------
    r : ndarray of float64, shape (len(rows), len(rows))
        NaN in the line and column of a row that has the same value everywhere.
    """
    own = row_index(active.feature, active.strand)
    named = np.array(list(rows), np.int64)
    order = np.argsort(named)
    kept = np.isin(own, named)
    place = locus_index(active.contig[kept], active.position[kept])
    _, column = np.unique(place, return_inverse=True)
    values = active.value[kept].astype(np.float64)
    which = order[np.searchsorted(named, own[kept], sorter=order)]
    matrix = sparse.csr_array(
        (values, (which, column)), shape=(len(rows), int(column.max(initial=-1)) + 1)
    )
    products = (matrix @ matrix.T).toarray()
    mean = matrix.sum(axis=1) / bases
    covariance = products / bases - np.outer(mean, mean)
    variance = np.diag(covariance)
    # what is constant is so exactly only in theory
    constant = variance <= 1e-12 * np.diag(products) / bases
    scale = np.sqrt(np.where(constant, np.nan, variance))
    r: NDArray[np.float64] = np.clip(covariance / np.outer(scale, scale), -1.0, 1.0)
    return r


def _overlapping(tables: Iterable[pa.Table], region: Span) -> pa.Table:
    """Stretches that have a base in a region."""
    return _joined(_bounded(_overlapping_part(table, region) for table in tables))


def _bounded(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, as long as they hold no more than `MAX_HELD` active bases together."""
    held = 0
    for table in tables:
        held += pc.sum(pc.list_value_length(table["values"])).as_py() or 0
        check_held(held)
        yield table


def check_held(active_bases: int) -> None:
    """Refuse more active bases than are held at once.

    Raises
    ------
    LimitError
        If they are more than `MAX_HELD`.
    """
    if active_bases > MAX_HELD:
        raise LimitError(
            f"this takes {active_bases:,} active bases or more, and at most {MAX_HELD:,} are "
            "looked at together; ask for fewer rows or a shorter region, or correlate over the "
            "region in place of the run"
        )


def _overlapping_part(table: pa.Table, region: Span) -> pa.Table:
    near = table.filter(
        pc.and_(
            pc.equal(table["contig"], pa.scalar(region.contig, pa.uint32())),
            pc.less(table["start"], region.end),
        )
    )
    ends = pc.add(near["start"], pc.list_value_length(near["values"]).cast(pa.int64()))
    return near.filter(pc.greater(ends, region.start))


def _cut(table: pa.Table, region: Span) -> SortedActivations:
    """The active bases of stretches that lie in a region."""
    active = from_stretches(table)
    inside = (active.position >= region.start) & (active.position < region.end)
    return sort(select(active, inside))


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([ACTIVATIONS_SCHEMA.empty_table(), *tables]).cast(ACTIVATIONS_SCHEMA)


def _taken(values: NDArray[np.generic], place: NDArray[np.int64]) -> NDArray[np.generic]:
    """Values at places; zeros where there are none to take."""
    return values[place] if len(values) else np.zeros(len(place), values.dtype)
