"""How often and how strongly each feature fires: counts that add up over any partition.

    counts --FeatureStatistics.counted--> statistics of a shard --+--> of all --features_table-->

Rows are (feature, strand): row ``2 * feature`` is strand +, the next one strand -, as in
`annotations.active_bases.row_index`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.active_bases import row_index
from annotations.errors import FormatError
from annotations.tables import check_columns, column

FEATURES_SCHEMA = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("active_bases", pa.int64(), nullable=False),
        pa.field("scanned_bases", pa.int64(), nullable=False),
        pa.field("density", pa.float64()),
        pa.field("max", pa.float32()),
        pa.field("q50", pa.float32()),
        pa.field("q90", pa.float32()),
        pa.field("q99", pa.float32()),
        pa.field("peaks", pa.int64(), nullable=False),
    ]
)
"""One row per feature and strand that was scanned; null where there is nothing to measure."""

STATISTICS_SCHEMA = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("max", pa.float32(), nullable=False),
        pa.field("peaks", pa.int64(), nullable=False),
        pa.field("bins", pa.list_(pa.int16()), nullable=False),
        pa.field("counts", pa.list_(pa.int64()), nullable=False),
    ]
)
"""Statistics as stored. Metadata: `n_features`, and bases scanned on each strand."""

BINS_PER_OCTAVE = 8
"""Bins of a histogram of values per doubling of the value."""

BIN_EDGES = np.exp2(np.arange(-24 * BINS_PER_OCTAVE, 16 * BINS_PER_OCTAVE + 1) / BINS_PER_OCTAVE)
"""Bin i holds values from edge i up to, not including, edge i + 1; from 2**-24 to 2**16.
A value below the first edge, which is stored as 2**-24, is in bin 0."""

N_BINS = len(BIN_EDGES) - 1
"""Bins of a histogram: 320."""

_INFINITE_HALF = 0x7C00  # the bits of float16 infinity; finite positive ones are below


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Counts of a dictionary's activations over some bases; of two sets of bases they add up.

    The sum is exact and does not depend on the order or on how the bases were divided.
    """

    scanned: NDArray[np.int64]
    """Bases that were scanned on strand + and on strand -, shape (2,)."""
    maximum: NDArray[np.float32]
    """Largest value of each row, 0 where the row was never active, shape (2 * n_features,)."""
    histogram: NDArray[np.int64]
    """Active bases by value, shape (2 * n_features, N_BINS); bins as in `BIN_EDGES`."""
    peaks: NDArray[np.int64]
    """Peaks of each row, shape (2 * n_features,)."""

    @classmethod
    def counted(
        cls,
        *,
        scanned: Mapping[int, int],
        maximum: NDArray[np.float32],
        histogram: NDArray[np.int64],
        peaks: NDArray[np.int64],
    ) -> "FeatureStatistics":
        """Counts of activations, as `annotations.packed.describe` makes them.

        Parameters
        ----------
        scanned : mapping of {1, -1} to int
            Bases scanned on each strand; a strand that is absent was not scanned.
        maximum, histogram, peaks : ndarrays
            As the fields.

        Returns
        -------
        statistics : FeatureStatistics

        Raises
        ------
        FormatError
            If a strand with activations was not scanned, or a row is active at more bases than
            were scanned.
        """
        statistics = cls(
            scanned=np.array([scanned.get(1, 0), scanned.get(-1, 0)], dtype=np.int64),
            maximum=maximum,
            histogram=histogram,
            peaks=peaks,
        )
        most = statistics.active_bases.reshape(-1, 2).max(axis=0, initial=0)
        if (most > statistics.scanned).any():
            raise FormatError(
                f"a feature is active at {most.tolist()} bases (strand +, strand -), but only "
                f"{statistics.scanned.tolist()} were scanned; count owned bases only, once"
            )
        return statistics

    @property
    def n_features(self) -> int:
        """Features of the dictionary."""
        return len(self.maximum) // 2

    @property
    def active_bases(self) -> NDArray[np.int64]:
        """Bases at which each row is active, shape (2 * n_features,)."""
        return np.asarray(self.histogram.sum(axis=1))

    def __add__(self, other: "FeatureStatistics") -> "FeatureStatistics":
        """Statistics of both sets of bases, which must not share any.

        Raises
        ------
        FormatError
            If the two are of dictionaries of different size.
        """
        if self.n_features != other.n_features:
            raise FormatError(
                f"statistics of {self.n_features} and of {other.n_features} features do not add "
                "up; they are of different dictionaries"
            )
        return FeatureStatistics(
            scanned=self.scanned + other.scanned,
            maximum=np.maximum(self.maximum, other.maximum),
            histogram=self.histogram + other.histogram,
            peaks=self.peaks + other.peaks,
        )

    def quantile(self, q: float) -> NDArray[np.float32]:
        """A quantile of the values of each row's active bases, from the histogram.

        The bin is that of the exact quantile by nearest rank (the ceil(q * n)-th smallest
        value); what is returned is its geometric middle, or the row's largest value if that
        is smaller. So it is off by a factor of at most 2**(1/16), 4.4 %.

        Parameters
        ----------
        q : float
            Above 0, at most 1.

        Returns
        -------
        values : ndarray of float32, shape (2 * n_features,)
            NaN where the row was never active.

        Raises
        ------
        ValueError
            If `q` is not in (0, 1].
        """
        if not 0 < q <= 1:
            raise ValueError(f"q must be above 0 and at most 1, got {q}")
        total = self.active_bases
        rank = np.maximum(np.ceil(q * total), 1)
        bins = np.minimum(
            (np.cumsum(self.histogram, axis=1) < rank[:, None]).sum(axis=1), N_BINS - 1
        )
        middle = np.sqrt(BIN_EDGES[bins] * BIN_EDGES[bins + 1])
        return np.where(total > 0, np.minimum(middle, self.maximum), np.nan).astype(np.float32)

    def to_table(self) -> pa.Table:
        """One row per (feature, strand) that was active: maximum, and the bins that count."""
        rows = np.flatnonzero(self.maximum > 0)
        row, bins = np.nonzero(self.histogram[rows])
        offsets = pa.array(np.searchsorted(row, np.arange(len(rows) + 1)).astype(np.int32))
        counts = self.histogram[rows][row, bins]
        metadata = {
            "n_features": str(self.n_features),
            "scanned_plus": str(self.scanned[0]),
            "scanned_minus": str(self.scanned[1]),
        }
        return pa.Table.from_arrays(
            [
                pa.array((rows // 2).astype(np.uint32)),
                pa.array(np.where(rows % 2 == 0, 1, -1).astype(np.int8)),
                pa.array(self.maximum[rows]),
                pa.array(self.peaks[rows]),
                pa.ListArray.from_arrays(offsets, pa.array(bins.astype(np.int16))),
                pa.ListArray.from_arrays(offsets, pa.array(counts)),
            ],
            schema=STATISTICS_SCHEMA.with_metadata(metadata),
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> "FeatureStatistics":
        """Statistics as `to_table` wrote them.

        Raises
        ------
        FormatError
            If the table is not one of `to_table`, its metadata included.
        """
        check_columns(table, STATISTICS_SCHEMA, what="a table of statistics")
        metadata = table.schema.metadata or {}
        try:
            n_features, *scanned = (
                int(metadata[key]) for key in (b"n_features", b"scanned_plus", b"scanned_minus")
            )
        except (KeyError, ValueError) as error:
            raise FormatError(f"a table of statistics lacks its metadata: {error}") from error
        rows = row_index(column(table, "feature"), column(table, "strand"))
        maximum = np.zeros(2 * n_features, dtype=np.float32)
        maximum[rows] = column(table, "max")
        histogram = np.zeros((2 * n_features, N_BINS), dtype=np.int64)
        sizes = pc.list_value_length(table.column("bins")).to_numpy()
        bins = pc.list_flatten(table.column("bins")).to_numpy()
        histogram[np.repeat(rows, sizes), bins] = pc.list_flatten(table.column("counts")).to_numpy()
        peaks = np.zeros(2 * n_features, dtype=np.int64)
        peaks[rows] = column(table, "peaks")
        return cls(np.array(scanned, dtype=np.int64), maximum, histogram, peaks)


def features_table(statistics: FeatureStatistics) -> pa.Table:
    """What is known of each feature on each strand that was scanned.

    Parameters
    ----------
    statistics : FeatureStatistics
        Of all owned bases.

    Returns
    -------
    features : Table of FEATURES_SCHEMA
        Every feature, the silent ones too, sorted by feature, strand (+ first). `density` is
        active bases per scanned base; `max` and quantiles are of the active bases, null where
        there are none. The quantiles are those of `FeatureStatistics.quantile` (within 4.4 %).
    """
    scanned = np.tile(statistics.scanned, statistics.n_features)
    rows = np.flatnonzero(scanned > 0)
    active = statistics.active_bases[rows]

    def measured(values: NDArray[np.float32]) -> pa.Array:
        return pa.array(values[rows], mask=active == 0)

    return pa.Table.from_arrays(
        [
            pa.array((rows // 2).astype(np.uint32)),
            pa.array(np.where(rows % 2 == 0, 1, -1).astype(np.int8)),
            pa.array(active),
            pa.array(scanned[rows]),
            pa.array(active / scanned[rows]),
            measured(statistics.maximum),
            *(measured(statistics.quantile(q)) for q in (0.5, 0.9, 0.99)),
            pa.array(statistics.peaks[rows]),
        ],
        schema=FEATURES_SCHEMA,
    )


def check_rows(row: NDArray[np.int64], n_features: int) -> None:
    """Refuse rows of features that the dictionary does not have."""
    if len(row) and int(row.max()) >= 2 * n_features:
        raise FormatError(
            f"feature {int(row.max()) // 2} is not in a dictionary of {n_features} features"
        )


@cache
def float_of_halves() -> NDArray[np.float32]:
    """Number of every float16 by its bits; NumPy converts one by one, several times as long."""
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)


@cache
def bins_of_halves() -> NDArray[np.int64]:
    """Bin of every positive float16 by its bits; 0 for the patterns that are no such value."""
    bins = np.zeros(2**16, dtype=np.int64)
    halves = np.arange(_INFINITE_HALF, dtype=np.uint16).view(np.float16).astype(np.float64)
    bins[:_INFINITE_HALF] = np.searchsorted(BIN_EDGES, halves, side="right") - 1
    return np.maximum(bins, 0)
