"""Stretches of consecutive active bases: the table in which activations are stored.

Coordinates, strand and order are those of `annotations.active_bases`.

Values are float16: a relative error of at most 2**-11. `as_stored` gives the values that
a reader of the table sees.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.active_bases import (
    Activations,
    check,
    concatenate,
    locus_index,
    row_index,
    sort,
    sorting_order,
)
from annotations.errors import FormatError
from annotations.tables import check_columns, column

ACTIVATIONS_SCHEMA = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("contig", pa.uint32(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field(
            "values", pa.list_(pa.field("item", pa.float16(), nullable=False)), nullable=False
        ),
    ]
)
"""One row per stretch of consecutive active bases: `values` belong to `start`, `start` + 1, ..."""

_FIRST_COLUMNS = ("feature", "strand", "contig", "start")

SMALLEST_VALUE = 2.0**-24
"""Smallest float16 above 0; a smaller activation is stored as this, so that it stays active."""


def as_stored(activations: Activations) -> Activations:
    """The activations with the values that a reader of the stored file sees.

    Parameters
    ----------
    activations : Activations
        As `check` accepts them.

    Returns
    -------
    activations : Activations
        `value` rounded to float16 and never to 0; float32.
    """
    check(activations)
    return activations._replace(value=to_half(activations.value).astype(np.float32))


def to_stretches(activations: Activations) -> pa.Table:
    """Join consecutive active bases into stretches.

    Parameters
    ----------
    activations : Activations
        In any order.

    Returns
    -------
    table : Table of ACTIVATIONS_SCHEMA
        Sorted by feature, strand (+ first), contig, start; two stretches never touch.

    Raises
    ------
    FormatError, CoordinateError
        As `sort`.
    """
    ordered = sort(activations)
    group = _same_group(ordered.feature, ordered.strand, ordered.contig)
    joined = group & (ordered.position[1:] == ordered.position[:-1] + 1)
    first = _group_starts(joined, len(ordered.value))
    offsets = np.append(first, len(ordered.value)).astype(np.int32)
    return stretch_table(
        ordered.feature[first],
        ordered.strand[first],
        ordered.contig[first],
        ordered.position[first],
        offsets,
        to_half(ordered.value),
    )


def stretch_table(
    feature: NDArray[np.uint32],
    strand: NDArray[np.int8],
    contig: NDArray[np.uint32],
    start: NDArray[np.int64],
    offsets: NDArray[np.int32],
    values: NDArray[np.float16],
) -> pa.Table:
    """Stretches whose values lie one after the other.

    Parameters
    ----------
    feature, strand, contig, start : ndarrays, shape (stretches,)
        As in ACTIVATIONS_SCHEMA.
    offsets : ndarray of int32, shape (stretches + 1,)
        Index of the first value of each, and the number of values.
    values : ndarray of float16, shape (bases,)

    Returns
    -------
    table : Table of ACTIVATIONS_SCHEMA
        In the order given.
    """
    lists = pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values), type=ACTIVATIONS_SCHEMA.field("values").type
    )
    return pa.Table.from_arrays(
        [*map(pa.array, (feature, strand, contig, start)), lists], schema=ACTIVATIONS_SCHEMA
    )


def from_stretches(table: pa.Table) -> Activations:
    """One row per active base of a table of stretches, in the table's order.

    Parameters
    ----------
    table : Table of ACTIVATIONS_SCHEMA
        In any order.

    Returns
    -------
    activations : Activations
        Values are those of the float16 the table holds.

    Raises
    ------
    FormatError
        If the table has other columns.
    """
    check_columns(table, ACTIVATIONS_SCHEMA, what="a table of activations")
    if not table.num_rows:
        return concatenate([])
    sizes = stretch_sizes(table)
    ends = np.cumsum(sizes)
    within = np.arange(ends[-1], dtype=np.int64) - np.repeat(ends - sizes, sizes)
    return Activations(
        feature=np.repeat(column(table, "feature"), sizes),
        strand=np.repeat(column(table, "strand"), sizes),
        contig=np.repeat(column(table, "contig"), sizes),
        position=np.repeat(column(table, "start"), sizes) + within,
        value=stretch_values(table).astype(np.float32),
    )


def stretch_sizes(table: pa.Table) -> NDArray[np.int64]:
    """Bases in each stretch of a table of ACTIVATIONS_SCHEMA, shape (rows,)."""
    sizes = pc.list_value_length(table.column("values")).to_numpy()
    return np.asarray(sizes, dtype=np.int64)


def join_touching(table: pa.Table) -> pa.Table:
    """Sort stretches and join those that touch, as `to_stretches` would have made them.

    Parameters
    ----------
    table : Table of ACTIVATIONS_SCHEMA
        Stretches of several shards, in any order.

    Returns
    -------
    table : Table of ACTIVATIONS_SCHEMA
        The same active bases; the same table however they were cut.

    Raises
    ------
    FormatError
        If two stretches of a feature share a base.
    """
    check_columns(table, ACTIVATIONS_SCHEMA, what="a table of activations")
    table = table.combine_chunks()
    if not table.num_rows:
        return ACTIVATIONS_SCHEMA.empty_table()
    feature, strand, contig, start = (column(table, name) for name in _FIRST_COLUMNS)
    sizes, values = stretch_sizes(table), stretch_values(table)
    order = sorting_order(row_index(feature, strand), locus_index(contig, start))
    if order is not None:
        # Arrow takes rows with lists several times more slowly
        values = values[_of_lists(np.cumsum(sizes) - sizes, sizes, order)]
        feature, strand, contig, start, sizes = (
            each[order] for each in (feature, strand, contig, start, sizes)
        )
    gap = start[1:] - (start + sizes)[:-1]
    group = _same_group(feature, strand, contig)
    if (group & (gap < 0)).any():
        at = int(np.flatnonzero(group & (gap < 0))[0])
        raise FormatError(
            f"feature {feature[at]} has two values at base {start[at + 1]} of contig "
            f"{contig[at]}; the shards overlap"
        )
    first = _group_starts(group & (gap == 0), table.num_rows)
    bases = np.concatenate([[0], np.cumsum(sizes)])
    offsets = np.append(bases[first], bases[-1]).astype(np.int32)
    return stretch_table(
        feature[first], strand[first], contig[first], start[first], offsets, values
    )


def _of_lists(
    begin: NDArray[np.int64], sizes: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices of the items of lists that lie one after the other, by the lists' new order."""
    begin, sizes = begin[order], sizes[order]
    if len(sizes) == sizes.sum():  # mostly one item each
        return begin
    ends = np.cumsum(sizes)
    return np.repeat(begin - (ends - sizes), sizes) + np.arange(ends[-1])


def copied(table: pa.Table) -> pa.Table:
    """The same rows alone: a slice keeps all of the table that it was cut from in memory.

    Parameters
    ----------
    table : Table of ACTIVATIONS_SCHEMA

    Returns
    -------
    table : Table of ACTIVATIONS_SCHEMA
        In memory of its own, one chunk.
    """
    table = table.combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(stretch_sizes(table))]).astype(np.int32)
    feature, strand, contig, start = (column(table, name).copy() for name in _FIRST_COLUMNS)
    return stretch_table(feature, strand, contig, start, offsets, stretch_values(table).copy())


def _same_group(
    feature: NDArray[np.generic], strand: NDArray[np.generic], contig: NDArray[np.generic]
) -> NDArray[np.bool_]:
    """Whether each row but the first has the feature, strand and contig of the row before."""
    return np.asarray(
        (feature[1:] == feature[:-1]) & (strand[1:] == strand[:-1]) & (contig[1:] == contig[:-1])
    )


def _group_starts(joined: NDArray[np.bool_], n_rows: int) -> NDArray[np.int64]:
    """Rows that are not joined to the row before them."""
    if not n_rows:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate([[True], ~joined]))


def to_half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Values above 0 as float16, where none becomes 0; same shape."""
    return np.maximum(values, np.float32(SMALLEST_VALUE)).astype(np.float16)


def stretch_values(table: pa.Table) -> NDArray[np.float16]:
    """The values of all stretches, one after the other."""
    flat = pc.list_flatten(table.column("values"))
    return np.asarray(flat.to_numpy(), dtype=np.float16)
