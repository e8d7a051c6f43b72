"""Where a feature fires: examples from its weakest peaks to its strongest.

    activations.parquet --peaks of a block of features--> ranks --four ranges--> examples

The top peaks alone flatter a feature: what it is at half its strength may be something else. So
its peaks, all of them, are ranked by value and cut into four ranges of equal number, as InterPLM
and Bricken et al. (2023) show features by ranges of activation, and examples are taken from each
at even distances in rank. Nothing is drawn at random: the same file gives the same examples.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activations import ACTIVATIONS_SCHEMA, stretch_groups
from annotations.active_bases import Activations, row_index, select
from annotations.peaks import PEAKS_SCHEMA, local_maxima, with_context
from annotations.sequences import reverse_complement
from annotations.stretches import from_stretches
from annotations.tables import column

RANGES: Final = 4
"""Ranges of a row's peaks by rank: 1 is the strongest quarter, 4 the weakest."""
PER_RANGE: Final = 5
"""Examples of each range."""
FLANK: Final = 25
"""Bases on each side of an example's peak that are kept."""
LETTERS: Final = "ACGTN"
STEPS: Final = 255
"""Value of a base at which a row is at its largest; see `EXAMPLES_SCHEMA`."""

EXAMPLES_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("range", pa.uint8(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("contig", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("value", pa.float32(), nullable=False),
        pa.field("gene", pa.string()),
        pa.field("sequence", pa.string(), nullable=False),
        pa.field("values", pa.list_(pa.field("element", pa.uint8(), nullable=False))),
    ]
)
"""One row per example, sorted by feature, strand (+ first) and rank.

`rank` 1 is the row's largest peak; `range` is 1 for the quarter of largest peaks to 4;
`position` is 0-based; `gene` names the genes there, joined by a semicolon; `sequence` is the
peak's base and `FLANK` bases on each side, as the pass read them (the reverse complement on
strand -), N where the record ends; `values` are the activations of these bases in `STEPS` steps of
the row's largest activation anywhere, 0 where silent and nowhere else; null in atlases of earlier
versions, which did not keep them."""


class Sampled(NamedTuple):
    """Examples before they have names and sequences."""

    peaks: pa.Table
    """`annotations.peaks.PEAKS_SCHEMA`."""
    rank: NDArray[np.int64]
    range: NDArray[np.int64]
    values: NDArray[np.uint8]
    """Shape (n, 2 * FLANK + 1), as `EXAMPLES_SCHEMA` has them."""


def sample_peaks(
    activations: Path,
    lengths: Sequence[int],
    *,
    contigs: Collection[int] | None = None,
    per_range: int = PER_RANGE,
) -> Sampled:
    """Peaks of every feature row from four ranges of value.

    Parameters
    ----------
    activations : Path
        File of `annotations.activations.merge_stretches`; read one block of features at a time.
    lengths : sequence of int
        Bases of each contig.
    contigs : collection of int, optional
        Only peaks on these.
    per_range : int
        Examples of each range; at least 1. A row of few peaks has fewer.

    Returns
    -------
    sampled : Sampled
        Sorted by feature, strand (+ first) and rank.
    """
    sizes = dict(enumerate(lengths))
    parts = []
    for table in _whole_rows(activations):
        found = from_stretches(table)
        peaks = _peaks_of(found, sizes, contigs)
        if peaks.num_rows:
            parts.append(_sampled(peaks, found, per_range))
    if not parts:
        nothing = np.empty(0, dtype=np.int64)
        silent = np.empty((0, 2 * FLANK + 1), dtype=np.uint8)
        return Sampled(PEAKS_SCHEMA.empty_table(), nothing, nothing, silent)
    return Sampled(
        pa.concat_tables([part.peaks for part in parts]).combine_chunks(),
        np.concatenate([part.rank for part in parts]),
        np.concatenate([part.range for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def _peaks_of(
    found: Activations, lengths: Mapping[int, int], contigs: Collection[int] | None
) -> pa.Table:
    rows = np.flatnonzero(local_maxima(found))
    if contigs is not None:
        rows = rows[np.isin(found.contig[rows], list(contigs))]
    peaks = select(found, rows)
    return with_context(
        pa.Table.from_arrays([pa.array(values) for values in peaks], schema=PEAKS_SCHEMA), lengths
    )


def ranges_of(peaks: int, per_range: int) -> list[tuple[int, int]]:
    """Ranks of the examples of a row, and the range each stands for.

    Parameters
    ----------
    peaks : int
        Peaks of the row.
    per_range : int
        Examples of each range.

    Returns
    -------
    chosen : list of (rank, range)
        Ranks from 1, ascending; in each range the strongest and the weakest peak, and others at
        even distances between them.

    Examples
    --------
    >>> ranges_of(100, 2)
    [(1, 1), (25, 1), (26, 2), (50, 2), (51, 3), (75, 3), (76, 4), (100, 4)]
    >>> ranges_of(3, 2)
    [(1, 1), (2, 2), (3, 3)]
    """
    chosen: dict[int, int] = {}
    edges = [-(-peaks * part // RANGES) for part in range(RANGES + 1)]
    for part, (low, high) in enumerate(pairwise(edges), start=1):
        for at in np.unique(np.linspace(low, high - 1, min(per_range, high - low)).round()):
            chosen[int(at) + 1] = part
    return sorted(chosen.items())


def examples_table(
    sampled: Sampled,
    codes: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    genes: pa.Array | None,
) -> pa.Table:
    """Examples with the names of their contigs, their genes and their bases.

    Parameters
    ----------
    sampled : Sampled
    codes : sequence of ndarray of uint8
        Base codes of each contig.
    names : sequence of str
        Names of the contigs.
    genes : Array of string, or None
        Names of the genes at each example; None where genes are not known.

    Returns
    -------
    examples : Table of EXAMPLES_SCHEMA
    """
    peaks = sampled.peaks
    contig, position = column(peaks, "contig"), column(peaks, "position")
    reverse = column(peaks, "strand") < 0
    texts = [
        window_text(codes[c], int(p), reverse=bool(r))
        for c, p, r in zip(contig, position, reverse, strict=True)
    ]
    return pa.table(
        [
            peaks["feature"],
            peaks["strand"],
            pa.array(sampled.range.astype(np.uint8)),
            pa.array(sampled.rank.astype(np.int32)),
            pa.array(names, pa.string()).take(pa.array(contig)),
            peaks["position"],
            peaks["value"],
            pa.nulls(peaks.num_rows, pa.string()) if genes is None else genes,
            pa.array(texts, pa.string()),
            pa.ListArray.from_arrays(
                np.arange(len(texts) + 1, dtype=np.int32) * (2 * FLANK + 1),
                pa.array(sampled.values.ravel()),
                type=EXAMPLES_SCHEMA.field("values").type,
            ),
        ],
        schema=EXAMPLES_SCHEMA,
    )


def window_text(codes: NDArray[np.uint8], position: int, *, reverse: bool) -> str:
    """A base and `FLANK` bases on each side as letters, as the pass reads them.

    Examples
    --------
    >>> window_text(np.array([0, 1, 2, 3], np.uint8), 1, reverse=True)[FLANK - 3 : FLANK + 3]
    'NACGTN'
    """
    window = np.full(2 * FLANK + 1, 4, dtype=np.uint8)
    low, high = max(0, position - FLANK), min(len(codes), position + FLANK + 1)
    window[low - position + FLANK : high - position + FLANK] = codes[low:high]
    if reverse:
        window = reverse_complement(window)
    return "".join(LETTERS[code] for code in window)


def _whole_rows(path: Path) -> Iterator[pa.Table]:
    """The stretches of a file, a row group at a time, no feature row in two parts."""
    held = ACTIVATIONS_SCHEMA.empty_table()
    for group in stretch_groups(path):
        table = pa.concat_tables([held, group.cast(ACTIVATIONS_SCHEMA)])
        row = row_index(column(table, "feature"), column(table, "strand"))
        cut = int(np.searchsorted(row, row[-1])) if len(row) else 0
        if cut:
            yield table.slice(0, cut)
        held = table.slice(cut)
    if held.num_rows:
        yield held


def window_values(found: Activations, peaks: pa.Table) -> NDArray[np.uint8]:
    """Activations about some peaks, in steps of the largest of each peak's feature row.

    Parameters
    ----------
    found : Activations
        All of the peaks' feature rows, sorted by feature, strand (+ first), contig, position.
    peaks : Table
        Columns feature, strand, contig, position; sorted by feature and strand.

    Returns
    -------
    values : ndarray of uint8, shape (n, 2 * FLANK + 1)
        In the sense of the pass, rounded up: 0 where silent alone, `STEPS` for the largest.
    """
    values = np.zeros((peaks.num_rows, 2 * FLANK + 1), dtype=np.uint8)
    steps = np.arange(-FLANK, FLANK + 1)
    row = row_index(found.feature, found.strand)
    # signed: a base before the first of a contig is one that no other contig has
    place = (found.contig.astype(np.int64) << 32) + found.position
    wanted = row_index(column(peaks, "feature"), column(peaks, "strand"))
    peak = (column(peaks, "contig").astype(np.int64) << 32) + column(peaks, "position")
    for each in np.unique(wanted).tolist():
        own = slice(*np.searchsorted(row, [each, each + 1]))
        of = slice(*np.searchsorted(wanted, [each, each + 1]))
        sense = -1 if each % 2 else 1
        bases = peak[of, None] + sense * steps
        at = np.minimum(np.searchsorted(place[own], bases), own.stop - own.start - 1)
        value = np.where(place[own][at] == bases, found.value[own][at], 0.0)
        values[of] = np.ceil(STEPS * (value / found.value[own].max()))
    return values


def _sampled(peaks: pa.Table, found: Activations, per_range: int) -> Sampled:
    """Examples of a block of features whose peaks are sorted by feature, strand and place."""
    row = 2 * column(peaks, "feature").astype(np.int64) + (column(peaks, "strand") < 0)
    # equal values keep their order: by contig, then position
    order = np.lexsort((np.arange(len(row)), -column(peaks, "value"), row))
    row = row[order]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    sizes = np.diff(np.append(starts, len(row)))
    at, rank, part = [], [], []
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        for position, quarter in ranges_of(size, per_range):
            at.append(start + position - 1)
            rank.append(position)
            part.append(quarter)
    chosen = order[np.array(at, dtype=np.int64)]
    taken = peaks.take(pa.array(chosen)).combine_chunks()
    return Sampled(
        taken,
        np.array(rank, dtype=np.int64),
        np.array(part, dtype=np.int64),
        window_values(found, taken),
    )
